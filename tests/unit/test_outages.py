"""Waiting for what is outside."""

import asyncio
import itertools
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from consumer import outages as waiting_for_outages
from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.observe.metrics import Metrics
from consumer.outages import LONGEST_DELAY_SECONDS, Outages, Wait, delays


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def outages(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> Outages:
    monkeypatch.setattr(waiting_for_outages, "FIRST_DELAY_SECONDS", 0.001)
    return Outages(metrics)


class Failing:
    """Raises each of the given errors once, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)

    async def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def test_delays_grow_to_the_cap_with_jitter_below() -> None:
    longest = list(itertools.islice(delays(lambda: 1.0), 20))
    shortest = list(itertools.islice(delays(lambda: 0.0), 20))
    assert longest[0] < 1
    assert longest == sorted(longest)
    assert longest[-1] == LONGEST_DELAY_SECONDS
    assert shortest == [bound / 2 for bound in longest]


async def test_outages_are_waited_for_and_counted(outages: Outages, metrics: Metrics) -> None:
    attempt = Failing(Unavailable("store", "refused"), Unavailable("store", "slow"), Unavailable("disk", "full"))
    assert await outages.until_available(attempt) == "answer"
    count = metrics.registry.get_sample_value
    assert count("whisper_consumer_retries_total", {"dependency": "store"}) == 2
    assert count("whisper_consumer_retries_total", {"dependency": "disk"}) == 1


async def test_other_errors_go_through(outages: Outages) -> None:
    with pytest.raises(Rejected):
        await outages.until_available(
            Failing(Unavailable("store", "refused"), Rejected(Reason.MISSING, Stage.FETCH, "no such object"))
        )
    with pytest.raises(ZeroDivisionError):
        await outages.until_available(Failing(ZeroDivisionError()))


async def test_each_change_is_told_once_however_many_wait(outages: Outages, caplog: pytest.LogCaptureFixture) -> None:
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= 15:
            raise Unavailable("store", "refused")

    with caplog.at_level(logging.INFO, "consumer"):
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(outages.until_available(attempt))
    assert [message.split(":")[0].split(",")[0] for message in caplog.messages] == ["store unavailable", "store"]


async def test_whoever_is_cancelled_waits_no_longer(outages: Outages, caplog: pytest.LogCaptureFixture) -> None:
    async def attempt() -> None:
        raise Unavailable("store", "refused")

    for _ in range(2):
        with caplog.at_level(logging.WARNING, "consumer"), pytest.raises(TimeoutError):
            await asyncio.wait_for(outages.until_available(attempt), 0.01)
    assert len(caplog.messages) == 2


async def test_what_is_waited_for_is_told_with_the_latest_message(outages: Outages, metrics: Metrics) -> None:
    refusals = iter(["refused", "timed out"])
    told: dict[str, Wait] = {}
    seen = asyncio.Event()

    async def attempt() -> None:
        if (message := next(refusals, None)) is not None:
            raise Unavailable("store", message)
        told.update(outages.waiting)
        seen.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(outages.until_available(attempt))
    async with asyncio.timeout(5):
        await seen.wait()
    assert told.keys() == {"store"}
    assert (told["store"].message, told["store"].waiters) == ("timed out", 1)
    assert 0 < told["store"].seconds < 5
    assert str(told["store"]) == "since 0 s: timed out"
    waiting.cancel()
    await asyncio.wait({waiting})
    assert outages.waiting == {}


async def test_everybody_who_waits_is_counted_for_what_he_waits_for(outages: Outages, metrics: Metrics) -> None:
    def waiting(dependency: str) -> float | None:
        return metrics.registry.get_sample_value("whisper_consumer_dependency_waiting", {"dependency": dependency})

    gate = asyncio.Event()

    def attempts() -> Callable[[], Awaitable[None]]:
        faults = iter([Unavailable("store", "refused"), Unavailable("broker", "refused")])

        async def attempt() -> None:
            if (fault := next(faults, None)) is not None:
                raise fault
            await gate.wait()

        return attempt

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(outages.until_available(attempts()))
        while waiting("broker") != 3:
            await asyncio.sleep(0)
        assert waiting("store") == 0
        assert outages.waiting["broker"].waiters == 3
        gate.set()
    assert waiting("broker") == 0
    assert outages.waiting == {}


def test_those_who_failed_together_do_not_come_back_together() -> None:
    waiters = 1000
    draw = random.Random(4).random
    tries: Counter[int] = Counter()  # second -> attempts in it
    for _ in range(waiters):
        now = 0.0
        pauses = delays(draw)
        while now < 300:
            now += next(pauses)
            tries[int(now)] += 1
    # With pauses of 15 to 30 s, 44 of 1000 come in each second when they are spread evenly.
    assert max(tries[second] for second in range(120, 300)) < 0.07 * waiters
    # However long the outage was, nobody sleeps on for longer than the cap.
    assert sum(tries[second] for second in range(120, 150)) >= waiters
