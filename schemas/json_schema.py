"""The JSON Schemas (2020-12) of the messages, generated from the types. Pure: writes nothing."""

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from schemas.audio_uploaded import AudioUploaded
from schemas.base import Message
from schemas.cancel import CancelRequest
from schemas.failed import TranscriptFailed
from schemas.progress import TranscriptProgress
from schemas.transcript import Transcript, TranscriptCompleted

_MESSAGES: dict[str, tuple[type[Message], JsonSchemaMode]] = {
    "audio.uploaded.v1": (AudioUploaded, "validation"),  # read by the worker
    "transcript.cancel.v1": (CancelRequest, "validation"),  # read by the worker
    "transcript.completed.v1": (TranscriptCompleted, "serialization"),  # written by the worker
    "transcript.failed.v1": (TranscriptFailed, "serialization"),  # written by the worker
    "transcript.progress.v1": (TranscriptProgress, "serialization"),  # written by the worker
    "transcript.v1": (Transcript, "serialization"),  # the object that a transcript.completed may refer to
}


class Generator(GenerateJsonSchema):
    """pydantic's, without titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False  # they would only repeat the names


def file_name(message: str) -> str:
    """File that holds the schema of a message, e.g. ``audio.uploaded.v1``."""
    return f"{message}.schema.json"


def json_schemas() -> dict[str, JsonSchemaValue]:
    """The schema of each message, by the message's name and version."""
    return {message: _json_schema(message, *how) for message, how in _MESSAGES.items()}


def render(schema: JsonSchemaValue) -> str:
    """The schema as it is checked in: the same text for the same types."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _json_schema(message: str, model: type[Message], mode: JsonSchemaMode) -> JsonSchemaValue:
    schema = model.model_json_schema(by_alias=True, mode=mode, schema_generator=Generator)
    identity = {"$schema": GenerateJsonSchema.schema_dialect, "$id": f"urn:whisper-consumer:{message}"}
    return identity | schema | {"title": message}
