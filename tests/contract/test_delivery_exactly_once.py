"""One output for one input offset, for readers with read_committed, whatever happens to producers and members."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiokafka
import pytest

from consumer.delivery.handling import SOURCE
from consumer.operate.kafka_server import KafkaServer
from tests.contract.test_delivery_crash import Mortal, feed
from tests.support.delivery import GatedWork, Topics, event, running_worker
from tests.support.kafka_clients import KafkaClients, kafka_clients


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


async def outputs(clients: KafkaClients, topics: Topics) -> Counter[str]:
    """How many outputs a reader sees for each input record, of either topic."""
    answers = await clients.read_all(topics.output)
    letters = await clients.read_all(topics.dead_letters)
    return Counter(
        [answer.header(SOURCE) for answer in answers]
        + [f"{topics.input}-0-{letter.header('kafka_dlt-original-offset')}" for letter in letters]
    )


async def test_an_answer_and_its_offset_come_together(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("a")
    for value in (event("a"), event("b"), b"not an event"):
        await clients.send(topics.input, value)
    async with running_worker(clients, topics, work, exactly_once=True) as worker:
        await clients.wait_remembered(topics.group_id, topics.input, lambda known: known.finished == {1, 2})
        assert await outputs(clients, topics) == {f"{topics.input}-0-1": 1, f"{topics.input}-0-2": 1}
        work.release("a")
        await clients.wait_committed(topics.group_id, topics.input, 3)
        assert worker.metric("transactions_total", outcome="aborted") == 0
    assert set((await outputs(clients, topics)).values()) == {1}


async def test_a_worker_that_was_fenced_reads_anew_and_goes_on(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("a")
    await clients.send(topics.input, event("a"))
    await clients.send(topics.input, event("b"))
    async with running_worker(clients, topics, work, exactly_once=True) as worker:
        await clients.wait_remembered(topics.group_id, topics.input, lambda known: known.finished == {1})
        other = aiokafka.AIOKafkaProducer(
            bootstrap_servers=clients.bootstrap_servers, transactional_id=f"{topics.group_id}.{topics.input}.0"
        )
        async with other:
            work.release("a")
            await worker.wait_metric("transactions_total", lambda value: value > 0, outcome="aborted")
        await clients.wait_committed(topics.group_id, topics.input, 2)
    assert work.started == {"a": 1, "b": 1}
    assert await outputs(clients, topics) == {f"{topics.input}-0-0": 1, f"{topics.input}-0-1": 1}


async def test_an_offset_that_somebody_else_answered_is_not_answered_again(clients: KafkaClients) -> None:
    """What a worker that was thought dead meets when it wakes up: its record was finished meanwhile."""
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("a")
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, work, exactly_once=True) as worker:
        await work.wait_started("a")
        usurper = aiokafka.AIOKafkaProducer(
            bootstrap_servers=clients.bootstrap_servers, transactional_id=f"{topics.group_id}.{topics.input}.0"
        )
        async with usurper, usurper.transaction():
            await usurper.send(topics.output, b"its", headers=[(SOURCE, f"{topics.input}-0-0".encode())])
            name = aiokafka.TopicPartition(topics.input, 0)
            await usurper.send_offsets_to_transaction({name: 1}, topics.group_id)
        work.release("a")
        await worker.wait_metric("transactions_total", lambda value: value > 0, outcome="aborted")
        await clients.send(topics.input, event("b"))
        await clients.wait_committed(topics.group_id, topics.input, 2)
    assert await outputs(clients, topics) == {f"{topics.input}-0-0": 1, f"{topics.input}-0-1": 1}


async def test_a_stopped_worker_that_wakes_up_after_its_session_does_no_harm(
    clients: KafkaClients, tmp_path: Path
) -> None:
    topics = await Topics.create(clients)
    sleeper = Mortal(clients, topics, tmp_path, exactly_once=True)
    heir = Mortal(clients, topics, tmp_path, exactly_once=True)
    await feed(clients, topics, "slow", "a")
    async with sleeper.run() as process:
        await clients.wait_remembered(topics.group_id, topics.input, lambda known: known.finished == {1})
        process.send_signal(signal.SIGSTOP)
        try:
            async with heir.run():
                async with asyncio.timeout(60):
                    while not heir.begun("slow"):
                        await asyncio.sleep(0.02)
                (tmp_path / "slow").touch()
                await clients.wait_committed(topics.group_id, topics.input, 2)
                process.send_signal(signal.SIGCONT)  # its own answer is ready at once
                await feed(clients, topics, *"bcdef")
                await clients.wait_committed(topics.group_id, topics.input, 7)
        finally:
            process.send_signal(signal.SIGCONT)
    assert set((await outputs(clients, topics)).values()) == {1}
