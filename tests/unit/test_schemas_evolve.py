"""Within a version of a message, changes only add: against every version that was ever published.

``tests/data/published/VERSION`` holds the schemas and examples of a release, as they were; a release adds a directory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.unit.test_schemas import EXAMPLES, TYPES, message_of, validator

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
VERSIONS = sorted(path for path in PUBLISHED.iterdir() if path.is_dir())
OLD_EXAMPLES = [path for version in VERSIONS for path in sorted(version.glob("*.json")) if ".schema." not in path.name]
OLD_SCHEMAS = [path for version in VERSIONS for path in sorted(version.glob("*.schema.json"))]


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.name.removesuffix('.json')}"


def published(path: Path) -> tuple[str, dict[str, Any]]:
    """The message's name and its schema."""
    return path.name.removesuffix(".schema.json"), json.loads(path.read_text(encoding="utf-8"))


def test_every_message_has_been_published_once() -> None:
    assert VERSIONS
    assert {published(path)[0] for path in OLD_SCHEMAS} <= set(TYPES)


@pytest.mark.parametrize("path", OLD_EXAMPLES, ids=named)
def test_a_new_reader_reads_old_messages(path: Path) -> None:
    message, example = message_of(path), json.loads(path.read_bytes())
    validator(message).validate(example)
    parsed = TYPES[message].model_validate(example)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == example


@pytest.mark.parametrize("path", OLD_SCHEMAS, ids=named)
def test_an_old_reader_reads_new_messages(path: Path) -> None:
    message, schema = published(path)
    examples = [example for example in EXAMPLES if message_of(example) == message]
    for example in examples:
        Draft202012Validator(schema).validate(json.loads(example.read_bytes()))


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every property of every type in a schema: its name, what it may be, and whether it must be there."""
    for name, definition in {"": schema, **schema.get("$defs", {})}.items():
        for field, meaning in definition.get("properties", {}).items():
            yield f"{name}.{field}", meaning, field in definition.get("required", ())


def types(meaning: dict[str, Any]) -> set[str]:
    """What a property may be, as one word each."""
    if "anyOf" in meaning:
        return {word for each in meaning["anyOf"] for word in types(each)}
    if "$ref" in meaning:
        return {meaning["$ref"].rsplit("/", 1)[-1]}
    if "const" in meaning:
        return {f"const {meaning['const']}"}
    return {str(meaning.get("type"))}


@pytest.mark.parametrize("path", OLD_SCHEMAS, ids=named)
def test_what_was_there_is_there_and_means_the_same(path: Path) -> None:
    message, old = published(path)
    now = {name: (meaning, needed) for name, meaning, needed in properties(json.loads(json.dumps(_now(message))))}
    is_read_by_the_worker = message == "audio.uploaded.v1"
    for name, meaning, needed in properties(old):
        assert name in now, f"{name} is gone"
        new_meaning, new_needed = now[name]
        if is_read_by_the_worker:
            assert types(meaning) <= types(new_meaning), f"{name} was allowed to be more"
            assert needed or not new_needed, f"{name} was not required"
        else:
            assert types(new_meaning) <= types(meaning), f"{name} was never that"
            assert new_needed or not needed, f"{name} was always there"
    if is_read_by_the_worker:
        known = {name for name, *_ in properties(old)}
        assert not [name for name, (_, needed) in now.items() if needed and name not in known]


def _now(message: str) -> Any:
    return validator(message).schema
