"""Trace context: from headers or the event to every answer, and only where it is well formed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from consumer.delivery.handling import RecordHandler, Rules
from consumer.delivery.job import Attempt, Headers, Job, Outcome, SourceRecord
from consumer.errors import Reason, Rejected, Stage
from consumer.events.trace import trace_of
from consumer.observe.metrics import Metrics
from consumer.outages import Outages

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UPLOAD = {"bucket": "calls", "key": "a.wav"}


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"traceparent": ""},
        {"traceparent": 5},
        {"traceparent": PARENT.upper()},
        {"traceparent": PARENT.replace("00-", "ff-", 1)},
        {"traceparent": "00-" + "0" * 32 + PARENT[35:]},
        {"traceparent": PARENT[:36] + "0" * 16 + "-01"},
        {"traceparent": PARENT + "\n"},
        {"tracestate": "a=1"},
    ],
)
def test_what_is_not_well_formed_is_none(attributes: dict[str, object]) -> None:
    assert trace_of(attributes) == ()


def test_state_goes_with_its_parent() -> None:
    assert trace_of({"traceparent": PARENT, "tracestate": "a=1,b=2"}) == (
        ("traceparent", PARENT),
        ("tracestate", "a=1,b=2"),
    )
    assert trace_of({"traceparent": PARENT, "tracestate": "ü"}) == (("traceparent", PARENT),)


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "x"]), st.text() | st.integers() | st.none()))
def test_anything_gives_a_trace_or_none(attributes: dict[str, Any]) -> None:
    assert [name for name, _ in trace_of(attributes)] in ([], ["traceparent"], ["traceparent", "tracestate"])


class Work:
    """Answers, or refuses."""

    def __init__(self, refusal: Rejected | None) -> None:
        self._refusal = refusal

    async def do(self, job: Job, attempt: Attempt) -> Outcome:  # noqa: ARG002
        if self._refusal:
            raise self._refusal
        return Outcome(b"key", b"value", (("content-type", b"application/json"),))

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None: ...


class FirstAttempt:
    deaths = 0


STRUCTURED = {"specversion": "1.0", "id": "1", "source": "/", "type": "audio.uploaded.v1", "data": UPLOAD}


@pytest.mark.parametrize("refusal", [None, Rejected(Reason.NOT_AUDIO, Stage.DECODE, "no")], ids=["result", "letter"])
@pytest.mark.parametrize(
    ("headers", "event", "expected"),
    [
        ((("traceparent", PARENT.encode()), ("tracestate", b"a=1")), UPLOAD, (PARENT, "a=1")),
        ((("Traceparent", PARENT.encode()),), UPLOAD, (PARENT, None)),
        ((), {**STRUCTURED, "traceparent": PARENT, "tracestate": "b=2"}, (PARENT, "b=2")),
        (
            (("ce_specversion", b"1.0"), ("ce_type", b"audio.uploaded.v1"), ("ce_traceparent", PARENT.encode())),
            UPLOAD,
            (PARENT, None),
        ),
        ((("traceparent", PARENT.encode()),), {**STRUCTURED, "traceparent": OTHER}, (PARENT, None)),
        (
            (),
            {"Records": [{"eventSource": "aws:sqs", "body": json.dumps({**STRUCTURED, "traceparent": PARENT})}]},
            (PARENT, None),
        ),
        ((("traceparent", b"rubbish"),), UPLOAD, (None, None)),
        ((), UPLOAD, (None, None)),
    ],
)
async def test_it_goes_on_to_results_and_dead_letters(
    refusal: Rejected | None, headers: Headers, event: dict[str, Any], expected: tuple[str | None, str | None]
) -> None:
    metrics = Metrics(CollectorRegistry())
    rules = Rules({"calls"}, "out", "letters", "group", 3, failed_topic="failures")
    handler = RecordHandler(Work(refusal), rules, Outages(metrics), metrics)
    record = SourceRecord("in", 0, 7, 0, None, json.dumps(event).encode(), headers)
    answer = await handler.handle(record, FirstAttempt())  # type: ignore[arg-type]  # all that is asked of one
    assert [message.topic for message in answer.messages] == (["failures", "letters"] if refusal else ["out"])
    for message in answer.messages:
        found = {name.lower(): (value or b"").decode() for name, value in message.headers}
        if (
            expected != (None, None) or message.topic != "letters"
        ):  # a letter has the record's headers, whatever they are
            assert (found.get("traceparent"), found.get("tracestate")) == expected


async def test_who_is_told_of_failures() -> None:
    metrics = Metrics(CollectorRegistry())
    refusal = Rejected(Reason.NOT_AUDIO, Stage.DECODE, "not a recording")
    rules = Rules({"calls"}, "out", "letters", "group", 3, failed_topic="failures")
    handler = RecordHandler(Work(refusal), rules, Outages(metrics), metrics)
    record = SourceRecord("in", 2, 7, 0, None, json.dumps(UPLOAD).encode())
    first, again = [
        (await handler.handle(record, FirstAttempt())).messages[0]  # type: ignore[arg-type]
        for _ in range(2)
    ]
    event = json.loads(first.value or b"")
    assert event["type"] == "transcript.failed.v1"
    assert (event["source"], event["subject"]) == ("/calls/a.wav", "a.wav")
    assert event["data"] == {
        "bucket": "calls",
        "key": "a.wav",
        "versionId": None,
        "eTag": None,
        "reason": "not_audio",
        "stage": "decode",
        "message": "not a recording",
        "attempts": 1,
        "topic": "in",
        "partition": 2,
        "offset": 7,
    }
    assert first.key == again.key == event["id"].encode()
    unreadable = SourceRecord("in", 2, 8, 0, None, b"{")
    answer = await handler.handle(unreadable, FirstAttempt())  # type: ignore[arg-type]
    assert [message.topic for message in answer.messages] == ["letters"]
