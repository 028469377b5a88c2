"""Options of one recording: what cannot be followed is noted, and spoils nothing else."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events import Uploads, parse
from consumer.pipeline import Allowed
from schemas import JobOptions
from schemas.job_options import range_seconds

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


def test_what_can_be_followed_is() -> None:
    options = JobOptions.read({"language": "de", "task": "translate", "vocabulary": ["a", "b"], "formats": []}, "event")
    assert options == JobOptions(language="de", task="translate", vocabulary=("a", "b"), formats=())
    assert JobOptions.read({"formats": "srt, vtt"}, "tags").formats == ("srt", "vtt")
    assert JobOptions.read({"words": "false", "priority": "low"}, "tags") == JobOptions(words=False, priority="low")


@pytest.mark.parametrize(
    ("text", "expected"), [("90-150.5", (90, 150.5)), ("0-", (0, math.inf)), ("1.25-2", (1.25, 2))]
)
def test_a_range_is_read(text: str, expected: tuple[float, float]) -> None:
    assert JobOptions.read({"range": text}, "metadata").range == text
    assert range_seconds(text) == expected


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"language": "klingon"}, "no such language"),
        ({"task": "sing"}, "'transcribe' or 'translate'"),
        ({"prompt": "x" * 2001}, "at most 2000 characters"),
        ({"channels": 2}, "'mix' or 'split'"),
        ({"formats": ["doc"]}, "'text', 'json'"),
        ({"words": "perhaps"}, "valid boolean"),
        ({"range": "90"}, "expected seconds like"),
        ({"range": "90-90"}, "must come after its beginning"),
        ({"range": "٣-"}, "expected seconds like"),
        ({"priority": "urgent"}, "'low', 'normal' or 'high'"),
        ({"langauge": "de"}, "there is no such option; expected one of channels, formats, language"),
        ({"ignored": []}, "there is no such option"),
    ],
)
def test_what_cannot_be_followed_is_noted(asked: dict[str, Any], why: str) -> None:
    options = JobOptions.read({**asked, "vocabulary": ["kept"]}, "metadata")
    assert options.vocabulary == ("kept",)
    (ignored,) = options.ignored
    assert (ignored.name, ignored.origin) == (next(iter(asked)), "metadata")
    assert why in ignored.why
    assert options.model_dump(exclude_none=True) == {"vocabulary": ("kept",)}


@given(st.dictionaries(st.sampled_from([*JobOptions.model_fields, "x"]) | st.text(), JSON))
def test_anything_is_read(asked: dict[str, Any]) -> None:
    options = JobOptions.read(asked, "event")
    followed = options.model_dump(exclude_none=True)
    assert {each.name for each in options.ignored}.isdisjoint(followed)


def test_an_event_is_not_spoilt_by_its_options() -> None:
    event = {"bucket": "calls", "key": "a.wav", "options": {"language": "xx", "task": "translate"}}
    parsed = parse((), None, json.dumps(event).encode())
    assert isinstance(parsed, Uploads)
    options = parsed.uploads[0].options
    assert (options.language, options.task) == (None, "translate")
    assert [each.name for each in options.ignored] == ["language"]


def test_the_events_own_come_first_then_metadata_then_tags() -> None:
    allowed = Allowed(("language", "task"), ("language", "task", "channels"))
    metadata = {"whisper-language": "de", "whisper-task": "sing", "whisper-channels": "split", "language": "fr"}
    tags = {"whisper-language": "it", "whisper-task": "translate", "whisper-channels": "mono"}
    options = allowed.read(JobOptions(), metadata, tags)
    assert (options.language, options.task, options.channels) == ("de", "translate", None)
    assert [(each.name, each.origin) for each in options.ignored] == [("task", "metadata"), ("channels", "tags")]
    assert allowed.read(JobOptions(language="es"), metadata, tags).language == "es"
    assert Allowed().read(JobOptions(), metadata, tags) == JobOptions()
