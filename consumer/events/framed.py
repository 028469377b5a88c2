"""Values in the wire format of schema registries: what their schema says of them, as JSON. Pure.

A value begins with a zero byte and the schema's number, four bytes, most significant first; those of Protobuf go on
with the place of the message among its file's (https://docs.confluent.io/platform/current/schema-registry/fundamentals/
serdes-develop/index.html#wire-format).

1. Avro is read with the schema that wrote it, and JSON as it is; what they hold is an event in any dialect. Protobuf is
   taken for the project's own ``AudioUploaded`` and refused under any other name: numbers alone tell no fields apart.
2. Schemas are refused that could make a small value large or deep: records within themselves, and lists or maps of what
   takes up no byte. So is a value that is larger than any event of the project is.

Needs fastavro and protobuf, the extra ``registry``.
"""

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import fastavro
import orjson
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from consumer.events.parsed import bad_event
from schemas.registered import AUDIO_UPLOADED, JOB_OPTIONS, PACKAGE, Record

MAX_VALUE_BYTES: Final = 64 * 1024
"""The project's own event takes 52 KB at most, with its prompt and vocabulary. Each byte may be a list for Python."""
_PREFIX_BYTES: Final = 5
_MAX_INDEXES: Final = 32


@dataclass(frozen=True, slots=True)
class Framed:
    """The number of a schema, and what was written with it."""

    schema_id: int
    payload: bytes


Reader = Callable[[bytes], object]
"""Reads payloads of one schema. Raises Rejected(BAD_EVENT, PARSE)."""


def framed(value: bytes) -> Framed | None:
    """The parts of a value; None where it is in no such format. No JSON begins with a zero byte."""
    if len(value) < _PREFIX_BYTES or value[0]:
        return None
    return Framed(int.from_bytes(value[1:_PREFIX_BYTES], "big"), value[_PREFIX_BYTES:])


def as_json(document: object) -> bytes:
    """What a reader gave, as JSON text: bytes in Base64, times in ISO 8601. Raises Rejected(BAD_EVENT, PARSE)."""
    try:
        return orjson.dumps(document, default=_plain)
    except (TypeError, ValueError) as error:
        raise bad_event(f"what the schema's record holds has no form in JSON: {error}") from error


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def avro_reader(schema: str, referenced: Sequence[str] = ()) -> Reader:
    """Of payloads written with a schema; ``referenced`` are those that it refers to, innermost first.

    Raises Rejected(BAD_EVENT, PARSE) for what is no schema, or by rule 2.
    """
    named: dict[str, Any] = {}
    try:
        for text in referenced:
            fastavro.parse_schema(orjson.loads(text), named)
        parsed = fastavro.parse_schema(orjson.loads(schema), named)
    except Exception as error:  # errors of schemas have no class of their own
        raise bad_event(f"the registry's schema is no Avro schema: {error}") from error
    _takes_no_byte(parsed, named, {})

    def read(payload: bytes) -> object:
        source = io.BytesIO(payload)
        try:
            document = fastavro.schemaless_reader(source, parsed, None)
        except Exception as error:  # of damaged data fastavro raises whatever it comes to
            raise bad_event(f"the value is not of its Avro schema: {type(error).__name__}") from error
        if source.tell() != len(payload):
            raise bad_event("the value is longer than its Avro schema says")
        return document

    return read


def json_reader(payload: bytes) -> object:
    """Payloads with a JSON Schema are JSON; whoever reads the event checks it."""
    return orjson.Fragment(payload)


def protobuf_reader(schema: str) -> Reader:
    """Of payloads with a Protobuf schema: its text, or a FileDescriptorProto in Base64, as registries have either."""
    messages = _messages_described(schema) or _messages_in(schema)

    def read(payload: bytes) -> object:
        indexes, start = _message_indexes(payload)
        name = _message_at(messages, indexes)
        if name != AUDIO_UPLOADED.name:
            raise bad_event(f"Protobuf message {name or indexes!r} is not understood; expected {AUDIO_UPLOADED.name}")
        message = AudioUploadedMessage()
        try:
            message.ParseFromString(payload[start:])
        except DecodeError as error:
            raise bad_event(f"the value is no Protobuf message {name}") from error
        return json_format.MessageToDict(message)

    return read


# ---- Avro


def _takes_no_byte(schema: Any, named: Mapping[str, Any], known: dict[str, bool | None]) -> bool:
    """Whether values of a schema may take up no byte. Raises Rejected by rule 2.

    ``known`` holds the answers for named types, None while one is looked into.
    """
    if isinstance(schema, list):
        for branch in schema:
            _takes_no_byte(branch, named, known)
        return False  # which branch it is takes up a byte
    if isinstance(schema, str):
        return schema == "null" or (schema in named and _named_takes_no_byte(named[schema], named, known))
    kind = schema["type"]
    if kind == "array" and _takes_no_byte(schema["items"], named, known):
        raise bad_event("the value's Avro schema has a list of what takes up no byte, which is refused")
    if kind == "map":
        _takes_no_byte(schema["values"], named, known)
    if kind in ("record", "error"):
        return _named_takes_no_byte(schema, named, known)
    return bool(kind == "null" or (kind == "fixed" and schema["size"] == 0))


def _named_takes_no_byte(schema: Any, named: Mapping[str, Any], known: dict[str, bool | None]) -> bool:
    if schema["type"] not in ("record", "error"):
        return _takes_no_byte(schema, named, known)
    name = schema["name"]
    if name not in known:
        known[name] = None
        answers = [_takes_no_byte(field["type"], named, known) for field in schema["fields"]]  # all are looked into
        known[name] = all(answers)
    if (answer := known[name]) is None:
        raise bad_event(f"the value's Avro schema has a record within itself, {name!r}, which is refused")
    return answer


# ---- Protobuf


def _file() -> descriptor_pb2.FileDescriptorProto:
    """The project's own schema."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="audio.uploaded.v1.proto", package=PACKAGE, syntax="proto3")
    for record in (AUDIO_UPLOADED, JOB_OPTIONS):
        message = file.message_type.add(name=record.name)
        for field in record.fields:
            label = kinds.LABEL_REPEATED if field.is_list else kinds.LABEL_OPTIONAL
            added = message.field.add(name=field.protobuf_name, number=field.number, label=label)
            if isinstance(field.kind, Record):
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{PACKAGE}.{field.kind.name}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{field.kind.upper()}")
                if not field.is_list and not field.is_required:
                    added.proto3_optional, added.oneof_index = True, len(message.oneof_decl)
                    message.oneof_decl.add(name=f"_{field.protobuf_name}")
    return file


def _own_message() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{AUDIO_UPLOADED.name}"))


AudioUploadedMessage: Final = _own_message()


def _message_indexes(payload: bytes) -> tuple[list[int], int]:
    """The place of the message in its file, and where it begins: numbers as in Avro, their count before them."""
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while place < len(payload) and shift < 35:
            byte = payload[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise bad_event("the value breaks off where its Protobuf message is named")

    count = number()
    if not 0 <= count <= _MAX_INDEXES:
        raise bad_event(f"the value names its Protobuf message by {count} numbers; at most {_MAX_INDEXES} are read")
    return [number() for _ in range(count)] or [0], place  # none stands for the first


@dataclass(slots=True)
class _Message:
    name: str
    inner: "list[_Message]"


def _messages_described(schema: str) -> list[_Message]:
    """The messages of a file's descriptor in Base64; none where the schema is no such thing."""
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema, validate=True))
    except (ValueError, DecodeError):
        return []
    return [_described(message) for message in file.message_type]


def _described(message: descriptor_pb2.DescriptorProto) -> _Message:
    return _Message(message.name, [_described(inner) for inner in message.nested_type])


_TOKENS: Final = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\bmessage\s+(?P<message>\w+)\s*\{|(?P<brace>[{}])""",
    re.DOTALL,
)


def _messages_in(schema: str) -> list[_Message]:
    """The messages of a file, in order, with those inside them."""
    top = _Message("", [])
    around = [top]
    for token in _TOKENS.finditer(schema):
        if name := token["message"]:
            message = _Message(name, [])
            around[-1].inner.append(message)
            around.append(message)
        elif token["brace"] == "{":
            around.append(_Message("", []))  # an enum, a oneof, an option
        elif token["brace"] and len(around) > 1:
            around.pop()
    return top.inner


def _message_at(messages: list[_Message], indexes: list[int]) -> str:
    """The name of a message; empty where there is none at that place."""
    name = ""
    for index in indexes:
        if not 0 <= index < len(messages):
            return ""
        name, messages = messages[index].name, messages[index].inner
    return name
