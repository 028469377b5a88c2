"""What goes to schema registries is what the own event is."""

import json
from pathlib import Path

import schemas
from schemas import AudioUploaded, JobOptions
from schemas.base import Message
from schemas.registered import AUDIO_UPLOADED, AVRO_FILE, JOB_OPTIONS, PROTOBUF_FILE, Record, avro, protobuf

DIRECTORY = Path(schemas.__file__).parent


def names(message: type[Message]) -> set[str]:
    schema = message.model_json_schema(by_alias=True, mode="serialization")
    return set(schema["properties"])


def test_no_field_is_missing_and_none_is_invented() -> None:
    def registered(record: Record) -> set[str]:
        return {field.name for field in record.fields}

    assert registered(AUDIO_UPLOADED) == names(AudioUploaded)
    assert registered(JOB_OPTIONS) == names(JobOptions)


def test_numbers_are_those_that_were_published() -> None:
    assert {field.name: field.number for field in AUDIO_UPLOADED.fields} == {
        "bucket": 1,
        "key": 2,
        "versionId": 3,
        "eTag": 4,
        "size": 5,
        "contentType": 6,
        "options": 7,
    }
    assert {field.name: field.number for field in JOB_OPTIONS.fields} == {
        "language": 1,
        "task": 2,
        "prompt": 3,
        "vocabulary": 4,
        "channels": 5,
        "formats": 6,
        "words": 7,
        "range": 8,
        "priority": 9,
    }


def test_the_checked_in_files_are_generated() -> None:
    hint = "run scripts/generate_schemas.py"
    assert (DIRECTORY / AVRO_FILE).read_text(encoding="utf-8") == avro(), hint
    assert (DIRECTORY / PROTOBUF_FILE).read_text(encoding="utf-8") == protobuf(), hint


def test_what_is_not_needed_may_be_left_out_in_avro() -> None:
    fields = {field["name"]: field for field in json.loads(avro())["fields"]}
    assert {name for name, field in fields.items() if "default" not in field} == {"bucket", "key"}
