"""What the probes are told."""

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from consumer.delivery.partitions import Overview
from consumer.errors import Unavailable
from consumer.health import LOOP_STALL_SECONDS, WorkerHealth
from consumer.observe.metrics import Metrics
from consumer.outages import Outages


@dataclass
class Consumer:
    """A worker as health sees it."""

    joined: bool = True
    last_tick: float = field(default_factory=time.monotonic)
    stopped_because: str | None = None
    partitions: list[Overview] = field(default_factory=list)


@pytest.fixture
def outages() -> Outages:
    return Outages(Metrics(CollectorRegistry()))


@pytest.fixture
def health(outages: Outages) -> WorkerHealth:
    return WorkerHealth(Metrics(CollectorRegistry()), outages)


async def _away() -> None:
    raise Unavailable("store", "connection refused")


async def _begin_waiting(outages: Outages) -> asyncio.Task[None]:
    task = asyncio.create_task(outages.until_available(_away))
    async with asyncio.timeout(5):
        while not outages.waiting:
            await asyncio.sleep(0)
    return task


def test_not_ready_before_work_is_taken_and_while_it_stops(health: WorkerHealth) -> None:
    assert health.ready() == (False, "starting")
    health.enter("loading the model")
    assert health.ready() == (False, "loading the model")
    health.consuming(Consumer())
    assert health.ready() == (True, "running")
    health.enter("stopping")
    assert health.ready() == (False, "stopping")
    assert health.live() == (True, "stopping")


def test_not_ready_outside_the_group(health: WorkerHealth) -> None:
    health.consuming(Consumer(joined=False))
    assert health.ready() == (False, "not a member of the consumer group at present")


async def test_a_dependency_that_is_away_is_named_and_leaves_readiness_alone(
    health: WorkerHealth, outages: Outages
) -> None:
    health.consuming(consumer := Consumer())
    waiting = await _begin_waiting(outages)
    assert health.ready() == (True, "running; waits for store since 0 s: connection refused")
    assert health.live() == (True, "running")
    consumer.joined = False
    assert health.ready() == (
        False,
        "not a member of the consumer group at present; waits for store since 0 s: connection refused",
    )
    waiting.cancel()
    await asyncio.wait({waiting})
    consumer.joined = True
    assert health.ready() == (True, "running")


def test_the_gauge_says_what_the_probe_does(outages: Outages) -> None:
    metrics = Metrics(CollectorRegistry())
    health = WorkerHealth(metrics, outages)
    assert metrics.registry.get_sample_value("whisper_consumer_ready") == 0
    health.consuming(Consumer())
    assert metrics.registry.get_sample_value("whisper_consumer_ready") == 1


def test_a_worker_that_stopped_itself_is_alive_and_not_ready(health: WorkerHealth) -> None:
    health.consuming(Consumer(stopped_because="stopped taking work: look at the dead letters"))
    assert health.ready() == (False, "stopped taking work: look at the dead letters")
    assert health.live() == (True, "running")


def test_not_alive_where_the_consumers_loop_stands_still(health: WorkerHealth) -> None:
    health.consuming(Consumer(last_tick=time.monotonic() - 3 * LOOP_STALL_SECONDS - 1))
    alive, why = health.live()
    assert not alive
    assert why == "the consumer's loop stood still for 61 s"
    health.enter("stopping")
    assert health.live() == (True, "stopping")


def test_not_alive_while_native_code_is_stuck(health: WorkerHealth) -> None:
    health.computing(lambda _: None)
    assert health.live() == (True, "starting")
    health.computing(lambda _: 12.3)
    assert health.live() == (False, "native code is 12 s past its deadline")


def test_not_alive_where_the_event_loop_stands_still(health: WorkerHealth, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.live() == (True, "starting")
    late = health.loop_tick + LOOP_STALL_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: late)
    assert health.live() == (False, "the event loop stood still for 21 s")


async def test_the_loops_last_turn_is_told(health: WorkerHealth) -> None:
    before = health.loop_tick
    ticking = asyncio.create_task(health.tick())
    async with asyncio.timeout(10):
        while health.loop_tick == before:
            await asyncio.sleep(0.05)
    ticking.cancel()
    assert before < health.loop_tick <= time.monotonic()
