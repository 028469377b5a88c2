"""Requests to cancel reach what they concern, and nothing else."""

import asyncio
import json
from typing import Any

import pytest

from consumer.delivery.cancellations import MOST_REMEMBERED, Cancellations
from consumer.delivery.control import request_in
from consumer.errors import Reason, Rejected
from schemas import AudioUploaded, CancelRequest

UPLOAD = AudioUploaded(bucket="calls", key="a.wav")
OBJECT = CancelRequest(bucket="calls", key="a.wav")
NAME = "0f" * 32


class Work:
    """Goes on until it is cancelled, or told to end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> str:
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return "done"


async def test_what_runs_ends_as_cancelled() -> None:
    cancellations, work = Cancellations(), Work()
    running = asyncio.create_task(cancellations.watch(UPLOAD, 10).run(work.run()))
    await work.began.wait()
    assert cancellations.ask(CancelRequest(bucket="calls", key="b.wav"), 20) == 0
    assert cancellations.ask(OBJECT, 20) == 1
    with pytest.raises(Rejected) as refusal:
        await running
    assert refusal.value.reason == Reason.CANCELLED
    assert work.was_cancelled
    assert cancellations.ask(OBJECT, 21) == 0


async def test_what_is_named_later_ends_then() -> None:
    cancellations, work = Cancellations(), Work()
    cancellations.ask(CancelRequest(transcript_id=NAME), 20)
    watched = cancellations.watch(UPLOAD, 10)
    running = asyncio.create_task(watched.run(work.run()))
    await work.began.wait()
    watched.named(NAME)
    with pytest.raises(Rejected):
        await running


async def test_what_waits_in_the_topic_never_begins() -> None:
    cancellations, work = Cancellations(), Work()
    cancellations.ask(OBJECT, 20)
    with pytest.raises(Rejected):
        await cancellations.watch(UPLOAD, 20).run(work.run())
    assert not work.began.is_set()


async def test_what_is_announced_later_is_worked_on() -> None:
    cancellations, work = Cancellations(), Work()
    cancellations.ask(OBJECT, 20)
    cancellations.ask(OBJECT, 5)  # read again, or out of order: the newest counts
    work.may_end.set()
    assert await cancellations.watch(UPLOAD, 21).run(work.run()) == "done"
    with pytest.raises(Rejected):
        await cancellations.watch(UPLOAD, 20).run(work.run())


async def test_the_end_of_the_worker_is_no_cancellation_of_the_recording() -> None:
    cancellations, work = Cancellations(), Work()
    running = asyncio.create_task(cancellations.watch(UPLOAD, 10).run(work.run()))
    await work.began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.was_cancelled


async def test_memory_is_bounded_and_keeps_the_newest() -> None:
    cancellations, work = Cancellations(), Work()
    for number in range(MOST_REMEMBERED + 1):
        cancellations.ask(CancelRequest(bucket="calls", key=f"{number}.wav"), 20)
    work.may_end.set()
    forgotten = AudioUploaded(bucket="calls", key="0.wav")
    assert await cancellations.watch(forgotten, 10).run(work.run()) == "done"
    with pytest.raises(Rejected):
        await cancellations.watch(AudioUploaded(bucket="calls", key="1.wav"), 10).run(work.run())


@pytest.mark.parametrize(
    "document",
    [
        {"bucket": "calls", "key": "a.wav"},
        {"transcriptId": NAME},
        {"specversion": "1.0", "type": "transcript.cancel.v1", "data": {"transcriptId": NAME}},
        {"bucket": "calls", "key": "a.wav", "addedLater": 1},
    ],
)
def test_requests_are_read(document: dict[str, Any]) -> None:
    request = request_in(json.dumps(document).encode())
    assert request in (OBJECT, CancelRequest(transcript_id=NAME))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no value"),
        (b"{", "not JSON"),
        (b"[]", "no transcript.cancel.v1"),
        (b"{}", "must name bucket and key, or transcriptId"),
        (b'{"bucket": "calls"}', "must name bucket and key, or transcriptId"),
        (b'{"transcriptId": "secret words"}', "transcriptId"),
        (b'{"specversion": "1.0", "type": "other"}', "another type"),
        (b" " * 70_000, "more than"),
    ],
)
def test_what_is_none_is_said_without_its_words(value: bytes | None, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        request_in(value)
    assert "secret" not in str(error.value)
