"""What an event is taken for, and why: the worker's own reading of it, for people and for programs."""

import asyncio
import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from consumer.errors import Rejected
from consumer.events import Parsed, Skip, parse
from consumer.extras import needs_extra
from consumer.settings import RegistrySettings

Headers = tuple[tuple[str, bytes | None], ...]

AsJson = Callable[[bytes | None], bytes | None]
"""Turns a value that is in another format into JSON. Raises Rejected, Unavailable."""


@contextmanager
def registry_reader(settings: RegistrySettings) -> Iterator[AsJson]:
    """Read values with a schema as a worker with these settings does; without a registry they stay as they are.

    Raises SettingsError where the packages for it are missing.
    """
    if settings.schema_registry_url is None:
        yield _as_it_is
        return
    with needs_extra("SCHEMA_REGISTRY_URL", "registry"):
        from consumer.delivery.schema_registry import registry_of  # noqa: PLC0415
    with asyncio.Runner() as runner:
        registry = registry_of(settings)
        try:
            yield lambda value: runner.run(registry.as_json(value))
        finally:
            runner.run(registry.close())


def _as_it_is(value: bytes | None) -> bytes | None:
    return value


def explained(
    headers: Mapping[str, str | None], key: str | None, value: bytes | None, as_json: AsJson = _as_it_is
) -> Parsed | Rejected:
    """How the worker reads a record with these headers, key and value. Raises Unavailable: the schema registry."""
    encoded = tuple((name, None if text is None else text.encode()) for name, text in headers.items())
    try:
        text = as_json(value)
        parsed = parse(encoded, None if key is None else key.encode(), text)
        return parsed if text == value else parsed.within("value with a schema of the registry")
    except Rejected as rejection:
        return rejection


def answer(found: Parsed | Rejected) -> dict[str, Any]:
    """As a line of JSON holds it."""
    if isinstance(found, Rejected):
        return {"kind": "reject", "why": found.message}
    if isinstance(found, Skip):
        return {"kind": "skip", "why": f"{found.kind}: {found.why}"}
    return {
        "kind": "audio_uploaded",
        "objects": [
            {
                "bucket": upload.bucket,
                "key": upload.key,
                "version_id": upload.version_id,
                "etag": upload.etag,
                "size": upload.size_bytes,
            }
            for upload in found.uploads
        ],
    }


def report(found: Parsed | Rejected) -> str:
    """For a person."""
    if isinstance(found, Rejected):
        return f"rejected, and would become a dead letter ({found.reason}): {found.message}"
    lines = [f"taken for: {' > '.join(found.taken_for) or 'a tombstone'}"]
    if isinstance(found, Skip):
        return "\n".join([*lines, f"skipped ({found.kind}): {found.why}"])
    for upload in found.uploads:
        facts = {
            "bucket": upload.bucket,
            "key": upload.key,
            "version": upload.version_id,
            "ETag": upload.etag,
            "size": None if upload.size_bytes is None else f"{upload.size_bytes:,} bytes",
            "content type": upload.content_type,
            **upload.options.model_dump(exclude_none=True),
            **{f"{option.name} (ignored)": option.why for option in upload.options.ignored},
        }
        lines += [
            "",
            "a recording to transcribe",
            *(f"  {name + ':':13} {fact}" for name, fact in facts.items() if fact not in (None, "")),
        ]
    return "\n".join(lines)


def explained_lines(lines: Iterable[bytes], as_json: AsJson = _as_it_is) -> Iterator[bytes]:
    """For each record in JSON, a line, the answer in JSON, a line; empty lines have none.

    Raises Unavailable: the schema registry.
    """
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield orjson.dumps(_answer_to(line, number, as_json), option=orjson.OPT_APPEND_NEWLINE)


def _answer_to(line: bytes, number: int, as_json: AsJson) -> dict[str, Any]:
    try:
        record = _record(orjson.loads(line))
    except ValueError as error:  # orjson's and base64's errors are ones
        why = (
            f"line {number} is no record: {error}. Expected "
            '{"headers": {NAME: TEXT}, "key": TEXT, "value": TEXT or JSON}, or "value_b64" in place of "value"'
        )
        return {"kind": "reject", "why": why}
    return answer(explained(*record, as_json))


def _record(line: Any) -> tuple[dict[str, str | None], str | None, bytes | None]:
    if not isinstance(line, dict):
        raise ValueError("it must be an object")  # noqa: TRY004 - an error of the text, like the others
    headers, key = line.get("headers") or {}, line.get("key")
    if not isinstance(headers, dict) or not all(text is None or isinstance(text, str) for text in headers.values()):
        raise ValueError("'headers' must be an object of texts")
    if not (key is None or isinstance(key, str)):
        raise ValueError("'key' must be text or null")
    if line.get("value_b64") is not None:
        if not isinstance(line["value_b64"], str):
            raise ValueError("'value_b64' must be text")
        return headers, key, base64.b64decode(line["value_b64"], validate=True)
    value = line.get("value")
    return headers, key, None if value is None else value.encode() if isinstance(value, str) else orjson.dumps(value)
