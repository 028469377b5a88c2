"""Types, JSON Schemas and examples of the messages say the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import schemas
from schemas import AudioUploaded, CancelRequest, Transcript, TranscriptCompleted, TranscriptFailed, TranscriptProgress
from schemas.base import Message
from schemas.json_schema import file_name, json_schemas, render

DIRECTORY = Path(schemas.__file__).parent
TYPES: dict[str, type[Message]] = {
    "audio.uploaded.v1": AudioUploaded,
    "transcript.cancel.v1": CancelRequest,
    "transcript.completed.v1": TranscriptCompleted,
    "transcript.failed.v1": TranscriptFailed,
    "transcript.progress.v1": TranscriptProgress,
    "transcript.v1": Transcript,
}
EXAMPLES = sorted((DIRECTORY / "examples").glob("*.json"))


def message_of(example: Path) -> str:
    return next(message for message in TYPES if example.name.startswith(message))


def validator(message: str) -> Draft202012Validator:
    schema = json.loads((DIRECTORY / file_name(message)).read_text(encoding="utf-8"))
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


@pytest.mark.parametrize("message", TYPES)
def test_the_checked_in_schema_is_that_of_the_types(message: str) -> None:
    checked_in = (DIRECTORY / file_name(message)).read_text(encoding="utf-8")
    assert checked_in == render(json_schemas()[message]), "run scripts/generate_schemas.py"


def test_there_is_no_other_schema() -> None:
    assert {path.name for path in DIRECTORY.glob("*.schema.json")} == {file_name(message) for message in TYPES}
    assert set(json_schemas()) == set(TYPES)


@pytest.mark.parametrize("message", TYPES)
def test_schemas_are_valid_and_named(message: str) -> None:
    schema = json_schemas()[message]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:whisper-consumer:{message}"
    assert schema["title"] == message


def test_examples_of_all_kinds_are_there() -> None:
    assert [path.stem for path in EXAMPLES] == [
        "audio.uploaded.v1.full",
        "audio.uploaded.v1.minimal",
        "transcript.cancel.v1",
        "transcript.completed.v1.call",
        "transcript.completed.v1.no-speech",
        "transcript.completed.v1.reference",
        "transcript.completed.v1.transcript",
        "transcript.failed.v1",
        "transcript.progress.v1",
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_by_schema_and_by_type(path: Path) -> None:
    message = message_of(path)
    example = json.loads(path.read_text(encoding="utf-8"))
    validator(message).validate(example)
    parsed = TYPES[message].model_validate_json(path.read_bytes())
    # Nothing in the example is unknown to the type, and nothing is lost on the way through it.
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == example


def test_a_transcript_of_an_event_is_one_that_may_lie_in_the_bucket() -> None:
    event = json.loads((DIRECTORY / "examples" / "transcript.completed.v1.transcript.json").read_bytes())
    validator("transcript.v1").validate(event["data"]["transcript"])


def both(event: dict[str, Any]) -> None:
    reference = json.loads((DIRECTORY / "examples" / "transcript.completed.v1.reference.json").read_bytes())
    event["data"]["reference"] = reference["data"]["reference"]


def neither(event: dict[str, Any]) -> None:
    event["data"] = {"transcript": None, "reference": None}


def no_data(event: dict[str, Any]) -> None:
    event["data"] = {}


def bad_id(event: dict[str, Any]) -> None:
    event["id"] = event["id"].upper()


def bad_time(event: dict[str, Any]) -> None:
    event["time"] = "yesterday"


def other_version(event: dict[str, Any]) -> None:
    event["type"] = "transcript.completed.v2"


def negative_time(event: dict[str, Any]) -> None:
    event["data"]["transcript"]["segments"][0]["startSeconds"] = -1


def no_digest(event: dict[str, Any]) -> None:
    del event["data"]["transcript"]["source"]["sha256"]


@pytest.mark.parametrize("spoil", [both, neither, no_data, bad_id, bad_time, other_version, negative_time, no_digest])
def test_type_and_schema_refuse_the_same(spoil: Callable[[dict[str, Any]], None]) -> None:
    event = json.loads((DIRECTORY / "examples" / "transcript.completed.v1.transcript.json").read_bytes())
    spoil(event)
    assert not validator("transcript.completed.v1").is_valid(event)
    with pytest.raises(ValidationError):
        TranscriptCompleted.model_validate(event)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_fields_that_a_later_version_adds_are_ignored(path: Path) -> None:
    message = message_of(path)
    example = json.loads(path.read_text(encoding="utf-8")) | {"addedLater": {"x": 1}}
    validator(message).validate(example)
    assert not hasattr(TYPES[message].model_validate(example), "addedLater")


def test_the_envelope_always_says_what_it_is() -> None:
    required = json_schemas()["transcript.completed.v1"]["required"]
    assert {"specversion", "id", "source", "type"} <= set(required)
