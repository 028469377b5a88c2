"""``audio.uploaded`` v1 for schema registries, in Avro and in Protobuf. Pure.

Fields are those of ``AudioUploaded`` by the same names, and each but bucket and key may be left out. Numbers are what
Protobuf has on the wire: they never change, and a new field gets the next one.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

AVRO_FILE: Final = "audio.uploaded.v1.avsc"
PROTOBUF_FILE: Final = "audio.uploaded.v1.proto"
PACKAGE: Final = "whisper_consumer.v1"


@dataclass(frozen=True, slots=True)
class Field:
    """A field; ``kind`` is a Protobuf scalar or a record, ``name`` that of the JSON, which Avro shares."""

    number: int
    name: str
    kind: "str | Record" = "string"
    is_list: bool = False
    is_required: bool = False

    @property
    def protobuf_name(self) -> str:
        """In Protobuf's style, from which its JSON makes ``name`` again."""
        return re.sub("([A-Z])", r"_\1", self.name).lower()


@dataclass(frozen=True, slots=True)
class Record:
    """A message."""

    name: str
    fields: tuple[Field, ...]


JOB_OPTIONS: Final = Record(
    "JobOptions",
    (
        Field(1, "language"),
        Field(2, "task"),
        Field(3, "prompt"),
        Field(4, "vocabulary", is_list=True),
        Field(5, "channels"),
        Field(6, "formats", is_list=True),
        Field(7, "words", "bool"),
        Field(8, "range"),
        Field(9, "priority"),
    ),
)
AUDIO_UPLOADED: Final = Record(
    "AudioUploaded",
    (
        Field(1, "bucket", is_required=True),
        Field(2, "key", is_required=True),
        Field(3, "versionId"),
        Field(4, "eTag"),
        Field(5, "size", "int64"),
        Field(6, "contentType"),
        Field(7, "options", JOB_OPTIONS),
    ),
)
_AVRO_TYPES: Final = {"string": "string", "int64": "long", "bool": "boolean"}


def avro() -> str:
    """The Avro schema, as it is checked in."""
    return json.dumps(_avro_record(AUDIO_UPLOADED, {"namespace": PACKAGE}), indent=2) + "\n"


def protobuf() -> str:
    """The Protobuf schema, as it is checked in."""
    messages = [_proto_message(record) for record in (AUDIO_UPLOADED, JOB_OPTIONS)]
    return "\n".join(['syntax = "proto3";\n', f"package {PACKAGE};\n", *messages])


def _avro_record(record: Record, more: dict[str, str]) -> dict[str, Any]:
    return {"type": "record", "name": record.name, **more, "fields": [_avro_field(field) for field in record.fields]}


def _avro_field(field: Field) -> dict[str, Any]:
    kind: Any = _avro_record(field.kind, {}) if isinstance(field.kind, Record) else _AVRO_TYPES[field.kind]
    if field.is_list:
        kind = {"type": "array", "items": kind}
    if field.is_required:
        return {"name": field.name, "type": kind}
    return {"name": field.name, "type": ["null", kind], "default": None}


def _proto_message(record: Record) -> str:
    lines = [
        f"  {_proto_label(field)}{_proto_kind(field)} {field.protobuf_name} = {field.number};\n"
        for field in record.fields
    ]
    return f"message {record.name} {{\n{''.join(lines)}}}\n"


def _proto_label(field: Field) -> str:
    if field.is_list:
        return "repeated "
    return "" if field.is_required or isinstance(field.kind, Record) else "optional "


def _proto_kind(field: Field) -> str:
    return field.kind.name if isinstance(field.kind, Record) else field.kind
