"""Which recordings are announced once more, and that a bucket of any size is never held."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import Unavailable
from consumer.events import Uploads, parse
from consumer.operate.interruption import Interruption
from consumer.operate.reconcile.decision import Decision, Entry, Recording, Rules, decide, decide_unseen
from consumer.operate.reconcile.events import RECONCILED, announcement
from consumer.operate.reconcile.run import CONCURRENCY, uncovered
from tests.support.listing import DAY, NOW, LongListing

SECOND = timedelta(seconds=1)
RULES = Rules(NOW, min_age=DAY)
OURS, OTHERS = "a" * 64, "b" * 64


def recording(*, age: timedelta = 2 * DAY, size_bytes: int = 10, key: str = "a.wav") -> Recording:
    return Recording(key, "etag", size_bytes, NOW - age)


def result(*, age: timedelta = DAY, same: bool | None = None, weights: str | None = None) -> Entry:
    return Entry(False, NOW - age, same, weights)


def marker(*, age: timedelta = DAY, same: bool | None = None) -> Entry:
    return Entry(True, NOW - age, same)


@pytest.mark.parametrize(
    ("found", "entries", "rules", "decision"),
    [
        (recording(), [], RULES, Decision.ENQUEUE),
        (recording(), [result()], RULES, Decision.COVERED),
        (recording(), [marker()], RULES, Decision.COVERED),
        (recording(age=2 * DAY), [result(age=2 * DAY)], RULES, Decision.COVERED),
        (recording(age=2 * DAY), [result(age=2 * DAY + SECOND), marker(age=3 * DAY)], RULES, Decision.ENQUEUE),
        (recording(age=2 * DAY), [result(age=3 * DAY), result(age=DAY)], RULES, Decision.COVERED),
        (recording(), [result(same=False), marker(same=False)], RULES, Decision.ENQUEUE),
        (recording(age=2 * DAY), [result(age=3 * DAY, same=True)], RULES, Decision.COVERED),
        (recording(age=2 * DAY), [marker(age=3 * DAY, same=True)], RULES, Decision.ENQUEUE),
        (recording(), [marker(same=True)], RULES, Decision.COVERED),
        (recording(), [result(same=True, weights=OTHERS)], Rules(NOW, DAY, weights_sha256=OURS), Decision.ENQUEUE),
        (recording(size_bytes=0), [], RULES, Decision.EMPTY),
        (recording(age=DAY), [], RULES, Decision.ENQUEUE),
        (recording(age=DAY - SECOND), [], RULES, Decision.IN_FLIGHT),
        (recording(age=-DAY), [], RULES, Decision.IN_FLIGHT),
        (recording(age=2 * DAY), [], Rules(NOW, DAY, since=NOW - 2 * DAY), Decision.ENQUEUE),
        (recording(age=2 * DAY), [], Rules(NOW, DAY, since=NOW - 2 * DAY + SECOND), Decision.OLDER),
        (recording(), [result(weights=OTHERS)], RULES, Decision.COVERED),
        (recording(), [result(weights=OURS)], Rules(NOW, DAY, weights_sha256=OURS), Decision.COVERED),
        (recording(), [result(weights=OTHERS)], Rules(NOW, DAY, weights_sha256=OURS), Decision.ENQUEUE),
        (recording(), [result(weights=None)], Rules(NOW, DAY, weights_sha256=OURS), Decision.ENQUEUE),
        (recording(), [marker()], Rules(NOW, DAY, weights_sha256=OURS), Decision.COVERED),
    ],
)
def test_decisions(found: Recording, entries: list[Entry], rules: Rules, decision: Decision) -> None:
    assert decide(found, entries, rules) is decision
    unseen = decide_unseen(found, rules)
    assert unseen in (decision, None)
    assert (unseen is None) == (decision in (Decision.COVERED, Decision.ENQUEUE))


keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@given(keys, st.integers(1, 2**42))
def test_an_announcement_is_read_as_the_object_that_it_is_about(key: str, size_bytes: int) -> None:
    message = announcement("calls", Recording(key, "abc-2", size_bytes, NOW), "audio.uploaded")
    parsed = parse(message.headers, message.key, message.value)
    assert isinstance(parsed, Uploads)
    (upload,) = parsed.uploads
    assert (upload.bucket, upload.key, upload.etag, upload.size_bytes) == ("calls", key, "abc-2", size_bytes)
    assert message.topic == "audio.uploaded"
    assert message.key == f"calls/{key}".encode()
    assert message.headers == ((RECONCILED, b"1"),)


async def test_a_page_is_looked_at_with_bounded_concurrency_and_handed_out_in_order() -> None:
    bucket, tally = LongListing(2500), Counter[Decision]()
    found = [one.key async for page in uncovered(bucket, RULES, tally, Interruption()) for one in page]
    assert found == [f"calls/{number:09}.wav" for number in range(0, 2500, 10)]
    assert tally == {Decision.COVERED: 2250}
    assert bucket.looked_at_once == CONCURRENCY


class Counted(Recording):
    """A recording that knows how many of its kind are held."""

    held: ClassVar[int] = 0

    def __del__(self) -> None:
        Counted.held -= 1


async def test_a_bucket_of_any_size_is_never_held() -> None:
    class Large(LongListing):
        async def recordings(self) -> AsyncGenerator[list[Recording], None]:
            async for page in super().recordings():
                Counted.held += len(page)
                yield [Counted(one.key, one.etag, one.size_bytes, one.modified) for one in page]

    most, enqueued, page_keys = 0, 0, 500
    async for page in uncovered(Large(30_000, page_keys), RULES, Counter(), Interruption()):
        most = max(most, Counted.held)
        enqueued += len(page)
    assert enqueued == 3000
    assert page_keys <= most <= 2 * page_keys


async def test_asked_to_end_it_looks_at_no_further_page() -> None:
    interruption, tally = Interruption(), Counter[Decision]()
    with interruption.listening():
        async for _ in uncovered(LongListing(3000), RULES, tally, interruption):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                while not interruption:
                    await asyncio.sleep(0)
    assert tally.total() == 900
    assert interruption.exit_status == 128 + signal.SIGTERM


async def test_an_outage_in_the_middle_ends_it_and_leaves_nothing_running() -> None:
    class Failing(LongListing):
        async def entries(self, recording: Recording) -> list[Entry]:
            if recording.key.endswith("000500.wav"):
                raise Unavailable("store", "gone")
            return await super().entries(recording)

    with pytest.raises(Unavailable, match="gone"):
        async for _ in uncovered(Failing(2000), RULES, Counter(), Interruption()):
            pass
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
