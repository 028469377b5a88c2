"""Partitions come and go: nothing is lost, and what comes back is not repeated. On a real broker."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiokafka.errors import KafkaError

from consumer.delivery.membership import CommitRefused
from consumer.delivery.partitions import Commit, Partitions, TopicPartition
from consumer.operate.kafka_server import KafkaServer
from tests.support.delivery import GatedWork, Topics, event, running_worker
from tests.support.kafka_clients import KafkaClients, kafka_clients

MODES = pytest.mark.parametrize("exactly_once", [False, True], ids=["effectively_once", "exactly_once"])


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


@MODES
async def test_two_workers_share_and_one_stopped_mid_work_loses_nothing(
    clients: KafkaClients, *, exactly_once: bool
) -> None:
    topics = await Topics.create(clients, partitions=4)
    first, second = GatedWork(), GatedWork()
    async with (
        running_worker(clients, topics, first, grace_seconds=0, exactly_once=exactly_once) as stopped,
        running_worker(clients, topics, second, exactly_once=exactly_once) as survivor,
    ):
        await stopped.wait_metric("assigned_partitions", lambda value: value == 2)
        await survivor.wait_metric("assigned_partitions", lambda value: value == 2)
        keys = [f"p{partition}" for partition in range(4)]
        first.hold(*keys)
        for partition, key in enumerate(keys):
            await clients.send(topics.input, event(key), partition=partition)
        await stopped.wait_until(lambda: len(first.started) == 2)
        await stopped.stop()
        await survivor.wait_metric("assigned_partitions", lambda value: value == 4)
        for partition in range(4):
            await clients.wait_committed(topics.group_id, topics.input, 1, partition)
    assert first.cancelled == first.started
    assert set(second.started) == set(keys)
    answers = await clients.read(topics.output, 4)
    assert sorted((answer.key or b"").decode() for answer in answers) == keys
    assert len(await clients.read_all(topics.output)) == 4


@MODES
async def test_work_goes_on_when_its_partition_comes_back_and_ends_when_it_does_not(
    clients: KafkaClients, *, exactly_once: bool
) -> None:
    topics = await Topics.create(clients, partitions=2)
    first, second = GatedWork(), GatedWork()
    first.hold("p0", "p1")
    for partition in range(2):
        await clients.send(topics.input, event(f"p{partition}"), partition=partition)
    async with running_worker(clients, topics, first, exactly_once=exactly_once) as keeper:
        await first.wait_started("p0")
        await first.wait_started("p1")
        async with running_worker(clients, topics, second, exactly_once=exactly_once) as joiner:
            await joiner.wait_metric("assigned_partitions", lambda value: value == 1)
            await keeper.wait_until(lambda: first.cancelled.total() == 1)
            (lost,) = first.cancelled
            (kept,) = {"p0", "p1"} - {lost}
            await clients.wait_committed(topics.group_id, topics.input, 1, int(lost[1]))
            first.release(kept)
            await clients.wait_committed(topics.group_id, topics.input, 1, int(kept[1]))
            assert keeper.metric("revoked_while_running_total") == 1
    assert first.started == {"p0": 1, "p1": 1}
    assert second.started == {lost: 1}
    assert len(await clients.read_all(topics.output)) == 2


@MODES
async def test_work_that_ends_out_of_order_is_not_repeated_after_a_rebalance(
    clients: KafkaClients, *, exactly_once: bool
) -> None:
    topics = await Topics.create(clients, partitions=2)
    first = GatedWork()
    first.hold("p0-0", "p1-0")
    for partition in range(2):
        for number in range(3):
            await clients.send(topics.input, event(f"p{partition}-{number}"), partition=partition)
    async with running_worker(clients, topics, first, max_in_flight=6, exactly_once=exactly_once) as keeper:
        await clients.read(topics.output, 4)
        async with running_worker(clients, topics, GatedWork(), exactly_once=exactly_once) as joiner:
            await joiner.wait_metric("assigned_partitions", lambda value: value == 1)
            await keeper.wait_until(lambda: first.cancelled.total() == 1)
            (lost,) = first.cancelled
            kept = "p1-0" if lost == "p0-0" else "p0-0"
            first.release(kept)
            await clients.wait_committed(topics.group_id, topics.input, 3, int(kept[1]))
            await clients.wait_committed(topics.group_id, topics.input, 3, int(lost[1]))
    assert set(first.started.values()) == {1}


async def test_a_rebalance_moves_no_more_partitions_than_it_must(clients: KafkaClients) -> None:
    topics, first = await Topics.create(clients, partitions=6), GatedWork()
    keys = [f"p{partition}" for partition in range(6)]
    first.hold(*keys)
    for partition, key in enumerate(keys):
        await clients.send(topics.input, event(key), partition=partition)
    second, third = GatedWork(), GatedWork()
    second.hold(*keys)
    async with running_worker(clients, topics, first, max_in_flight=6, grace_seconds=0) as one:
        await one.wait_until(lambda: len(first.started) == 6)
        async with running_worker(clients, topics, second, max_in_flight=6, grace_seconds=0) as two:
            await two.wait_until(lambda: len(second.started) == 3)
            async with running_worker(clients, topics, third, max_in_flight=6, grace_seconds=0) as three:
                await three.wait_until(lambda: len(third.started) == 2)
                await one.wait_until(lambda: first.cancelled.total() == 4)
                await two.wait_until(lambda: second.cancelled.total() == 1)
                first.release(*keys)
                second.release(*keys)
                for partition in range(6):
                    await clients.wait_committed(topics.group_id, topics.input, 1, partition)
    assert set(first.started.values()) == set(second.started.values()) == {1}


@MODES
async def test_a_broken_membership_is_given_up_and_joined_again_while_work_goes_on(
    clients: KafkaClients, *, exactly_once: bool
) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("a")
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, work, exactly_once=exactly_once) as worker:
        await work.wait_started("a")
        # What aiokafka does where the group coordinator refuses it: the next poll raises.
        worker.worker._membership._consumer._coordinator._pending_exception = KafkaError("refused")
        await worker.wait_metric("rebalances_total", lambda value: value == 2)
        work.release("a")
        await clients.wait_committed(topics.group_id, topics.input, 1)
    assert work.started == {"a": 1}
    assert not work.cancelled


async def test_a_fault_at_a_rebalance_ends_the_worker_rather_than_stalling_it(
    clients: KafkaClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Partitions, names: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Partitions, "assign", fail)
    topics = await Topics.create(clients)
    with pytest.raises(ZeroDivisionError):
        async with running_worker(clients, topics, GatedWork()) as worker:
            await worker.wait_until(lambda: False)


async def test_who_is_no_member_any_more_commits_nothing(
    clients: KafkaClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker takes a commit without a generation while the group is empty, whoever sends it."""
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("b")
    await clients.send(topics.input, event("a"))
    await clients.send(topics.input, event("b"))
    async with running_worker(
        clients, topics, work, change=lambda options: replace(options, session_timeout_seconds=2)
    ) as worker:
        await clients.wait_committed(topics.group_id, topics.input, 1)
        membership = worker.worker._membership
        coordinator = membership._consumer._coordinator

        async def sleep() -> bool:
            await asyncio.Event().wait()
            return True

        monkeypatch.setattr(coordinator, "_do_heartbeat", sleep)
        await clients.wait_empty(topics.group_id)
        coordinator.reset_generation()  # as it does when the broker tells it
        with pytest.raises(CommitRefused):
            await membership.commit({TopicPartition(topics.input, 0): Commit(0)}, 5)
        assert await clients.committed(topics.group_id, topics.input) == 1
        work.release("b")
        await clients.wait_committed(topics.group_id, topics.input, 2)
