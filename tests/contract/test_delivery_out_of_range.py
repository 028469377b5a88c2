"""Offsets that the broker deleted before they were read: told, counted, and passed over. On a real broker."""

import logging
from collections.abc import AsyncIterator

import pytest

from consumer.operate.kafka_server import KafkaServer
from tests.support.delivery import GatedWork, Topics, event, running_worker
from tests.support.kafka_clients import KafkaClients, kafka_clients


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


async def test_offsets_deleted_while_no_worker_ran(clients: KafkaClients, caplog: pytest.LogCaptureFixture) -> None:
    topics = await Topics.create(clients)
    await clients.send(topics.input, event("k0"))
    async with running_worker(clients, topics, GatedWork()):
        await clients.wait_committed(topics.group_id, topics.input, 1)
    for number in range(1, 6):
        await clients.send(topics.input, event(f"k{number}"))
    await clients.delete_records(topics.input, before_offset=4)
    work = GatedWork()
    with caplog.at_level(logging.ERROR, "consumer"):
        async with running_worker(clients, topics, work) as worker:
            await clients.wait_committed(topics.group_id, topics.input, 6)
            assert worker.metric("offsets_skipped_total") == 3
    assert set(work.started) == {"k4", "k5"}
    assert f"{topics.input}-0: offsets 1 to 3 are out of range" in caplog.text


async def test_offsets_deleted_under_a_reading_worker(clients: KafkaClients, caplog: pytest.LogCaptureFixture) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("k0")
    await clients.send(topics.input, event("k0"))
    with caplog.at_level(logging.ERROR, "consumer"):
        async with running_worker(clients, topics, work, max_in_flight=1) as worker:
            await work.wait_started("k0")
            await worker.wait_metric("paused_partitions", lambda value: value == 1)
            for number in range(1, 6):
                await clients.send(topics.input, event(f"k{number}"))
            await clients.delete_records(topics.input, before_offset=4)
            work.release("k0")
            await clients.wait_committed(topics.group_id, topics.input, 6)
            await worker.wait_metric("offsets_skipped_total", lambda value: value == 3)
    assert set(work.started) == {"k0", "k4", "k5"}
    assert f"{topics.input}-0: offsets 1 to 3 are out of range" in caplog.text


async def test_a_log_emptied_of_all_that_was_committed_moves_the_commit_on(clients: KafkaClients) -> None:
    topics = await Topics.create(clients)
    for number in range(5):
        await clients.send(topics.input, event(f"k{number}"))
    async with running_worker(clients, topics, GatedWork()):
        await clients.wait_committed(topics.group_id, topics.input, 5)
    for number in range(5, 8):
        await clients.send(topics.input, event(f"k{number}"))
    await clients.delete_records(topics.input, before_offset=8)
    async with running_worker(clients, topics, GatedWork()) as worker:
        await clients.wait_committed(topics.group_id, topics.input, 8)
        assert worker.metric("offsets_skipped_total") == 3


async def test_gaps_without_a_loss_are_not_reported(clients: KafkaClients) -> None:
    """Transactions leave markers, which use up offsets and hold no record."""
    topics = await Topics.create(clients)
    await clients.send_in_transactions(topics.input, [event("k0"), event("k1"), event("k2")])
    async with running_worker(clients, topics, GatedWork()) as worker:
        await clients.wait_committed(topics.group_id, topics.input, 5)
        await worker.stop()
        assert worker.metric("offsets_skipped_total") == 0
    assert await clients.size(topics.output) == 3
