"""The AsyncAPI 3 document of the worker's topics, generated from the types. Pure: writes nothing."""

from typing import Any, Final

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from schemas.audio_uploaded import AudioUploaded
from schemas.base import Message
from schemas.cancel import CancelRequest
from schemas.failed import TranscriptFailed
from schemas.json_schema import Generator
from schemas.progress import TranscriptProgress
from schemas.transcript import Transcript, TranscriptCompleted

FILE_NAME: Final = "asyncapi.json"
CLOUD_EVENT: Final = "application/cloudevents+json"

_PAYLOADS: Final[tuple[tuple[type[Message], JsonSchemaMode], ...]] = (
    (AudioUploaded, "validation"),
    (CancelRequest, "validation"),
    (TranscriptCompleted, "serialization"),
    (TranscriptFailed, "serialization"),
    (TranscriptProgress, "serialization"),
    (Transcript, "serialization"),
)
_DEAD_LETTER_HEADERS: Final = {
    "whisper-consumer-reason": "Why the record was given up, a word for programs.",
    "whisper-consumer-stage": "Where: parse, fetch, decode, transcribe, store; unknown for a defect of the worker.",
    "whisper-consumer-attempts": "How often its work was tried.",
    "kafka_dlt-exception-message": "What was wrong, what was expected and what to do.",
    "kafka_dlt-original-topic": "Topic of the record.",
    "kafka_dlt-original-partition": "Partition of the record.",
    "kafka_dlt-original-offset": "Offset of the record.",
}


def asyncapi() -> dict[str, Any]:
    """The document. Addresses are the topics' default names."""
    _, schemas = models_json_schema(
        list(_PAYLOADS), by_alias=True, ref_template="#/components/schemas/{model}", schema_generator=Generator
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "whisper-consumer",
            "version": "1.0.0",
            "description": "Events of uploaded recordings in, transcripts out. Within a version of a message, named in "
            "its type, changes only add: readers ignore fields that they do not know.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "uploads": _channel("audio.uploaded", "KAFKA_INPUT_TOPIC", "audioUploaded"),
            "control": _channel(None, "KAFKA_CONTROL_TOPIC, where it is set", "cancelRequest"),
            "transcripts": _channel("audio.transcripts", "KAFKA_OUTPUT_TOPIC", "transcriptCompleted"),
            "failures": _channel(None, "KAFKA_FAILED_TOPIC, where it is set", "transcriptFailed"),
            "progress": _channel(None, "KAFKA_PROGRESS_TOPIC, where it is set", "transcriptProgress"),
            "deadLetters": _channel("audio.dead-letters", "KAFKA_DEAD_LETTER_TOPIC", "deadLetter"),
        },
        "operations": {
            "receiveUpload": _operation("receive", "uploads"),
            "receiveControl": _operation("receive", "control"),
            "sendTranscript": _operation("send", "transcripts"),
            "sendFailure": _operation("send", "failures"),
            "sendProgress": _operation("send", "progress"),
            "sendDeadLetter": _operation("send", "deadLetters"),
        },
        "components": {
            "messages": {
                "audioUploaded": _message(
                    "AudioUploaded",
                    "A recording lies in the object store. Notifications of MinIO, AWS S3, Ceph and EventBridge, alone "
                    "or in SNS, SQS or CloudEvents, are read as well, with SCHEMA_REGISTRY_URL Avro and Protobuf too.",
                    "application/json",
                ),
                "cancelRequest": _message(
                    "CancelRequest",
                    "No transcript is wanted of what was announced before: bare, or the data of a CloudEvent "
                    "transcript.cancel.v1.",
                    "application/json",
                ),
                "transcriptCompleted": _message(
                    "TranscriptCompleted",
                    "A recording was transcribed. With EVENT_MODE=binary its attributes are headers (ce_id, …) and the "
                    "value is what stands here under data.",
                    CLOUD_EVENT,
                ),
                "transcriptFailed": _message(
                    "TranscriptFailed", "A recording was given up; its dead letter has the record.", CLOUD_EVENT
                ),
                "transcriptProgress": _message(
                    "TranscriptProgress", "How far a recording is, at most once a second.", CLOUD_EVENT
                ),
                "deadLetter": {
                    "summary": "A record that can never succeed: key, value and headers as they were, and these.",
                    "headers": {
                        "type": "object",
                        "properties": {
                            name: {"type": "string", "description": meaning}
                            for name, meaning in _DEAD_LETTER_HEADERS.items()
                        },
                        "required": list(_DEAD_LETTER_HEADERS),
                    },
                },
            },
            "schemas": schemas["$defs"],
        },
    }


def _channel(address: str | None, setting: str, message: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": f"The topic of the setting {setting}.",
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
    }


def _operation(action: str, channel: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}}


def _message(model: str, summary: str, content_type: str) -> dict[str, Any]:
    return {
        "name": model,
        "summary": summary,
        "contentType": content_type,
        "payload": {"$ref": f"#/components/schemas/{model}"},
    }
