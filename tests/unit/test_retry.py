"""Waiting for what is outside."""

import asyncio
import itertools
import logging

import pytest
from prometheus_client import CollectorRegistry

from consumer.delivery import retry
from consumer.delivery.retry import LONGEST_DELAY_SECONDS, Outages, delays
from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.observe.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def outages(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> Outages:
    monkeypatch.setattr(retry, "FIRST_DELAY_SECONDS", 0.001)
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
