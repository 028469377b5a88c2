"""What ``whisper-consumer explain`` says."""

import base64
from typing import Any

import orjson

from consumer.errors import Reason, Rejected, Stage
from consumer.events import Skip, SkipKind
from consumer.operate.explain import answer, explained, explained_lines, report
from tests.support.events import aws, minio, own, sqs


def answers(*lines: object) -> list[dict[str, Any]]:
    encoded = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
    return [orjson.loads(line) for line in explained_lines(encoded)]


def test_each_line_has_its_answer() -> None:
    full = {"bucket": "calls", "key": "a b", "version_id": "v1", "etag": "e1", "size": 7}
    found = answers(
        {"headers": {}, "key": "k", "value": orjson.dumps(minio("a b")).decode()},
        {"value": aws("a b")},
        b"",
        {"value_b64": base64.b64encode(orjson.dumps(own("a b"))).decode()},
        {
            "headers": {"ce_specversion": "1.0", "ce_type": "audio.uploaded.v1"},
            "value": '{"bucket": "calls", "key": "k"}',
        },
        {"headers": {"other": None}, "key": None, "value": None},
        {"value": {"order": 5}},
    )
    absent = {"bucket": "calls", "key": "k", "version_id": None, "etag": None, "size": None}
    assert found[:4] == [{"kind": "audio_uploaded", "objects": [one]} for one in (full, full, full, absent)]
    assert found[4] == {"kind": "skip", "why": "tombstone: null value"}
    assert found[5]["kind"] == "reject"
    assert "no known kind of event" in found[5]["why"]


def test_a_line_that_is_no_record_is_answered_too() -> None:
    broken: tuple[object, ...] = (
        b"{",
        [],
        {"headers": 5},
        {"headers": {"a": 1}},
        {"key": 5},
        {"value_b64": 5},
        {"value_b64": "?"},
    )
    for number, found in enumerate(answers(*broken), 1):
        assert found["kind"] == "reject"
        assert f"line {number} is no record" in found["why"]
        assert '"value_b64"' in found["why"]


def test_a_person_reads_which_options_would_be_ignored() -> None:
    event = own("a.wav") | {"options": {"language": "en", "words": False, "colour": "red"}}
    shown = report(explained({}, None, orjson.dumps(event)))
    assert "language:" in shown
    assert "words:        False" in shown
    assert "colour (ignored): there is no such option" in shown


def test_a_person_reads_the_way_in_and_every_fact() -> None:
    shown = report(explained({}, None, orjson.dumps(sqs(aws("my call.wav")))))
    assert shown.splitlines()[0] == "taken for: SQS message > AWS S3 notification"
    for fact in ("calls", "my call.wav", "v1", "e1", "7 bytes"):
        assert fact in shown


def test_a_person_reads_what_is_wrong() -> None:
    rejection = explained({}, None, b"no json")
    assert isinstance(rejection, Rejected)
    assert report(rejection).startswith("rejected, and would become a dead letter (bad_event): the event is not JSON")
    assert answer(Rejected(Reason.BAD_EVENT, Stage.PARSE, "why")) == {"kind": "reject", "why": "why"}


def test_a_person_reads_why_nothing_is_to_be_done() -> None:
    skip = Skip(SkipKind.REMOVED, "ObjectRemoved:Delete", ("MinIO notification",))
    assert report(skip) == "taken for: MinIO notification\nskipped (removed): ObjectRemoved:Delete"
