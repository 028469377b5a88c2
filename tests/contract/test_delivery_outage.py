"""The broker goes away and comes back: work waits, nothing is lost, and the worker can always be stopped."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from consumer.delivery.membership import Membership, MembershipOptions
from consumer.delivery.partitions import TopicPartition
from consumer.operate.kafka_server import KafkaServer
from tests.chaos.cluster import Cluster
from tests.chaos.proxy import Mode
from tests.support.delivery import GatedWork, Topics, event, running_worker
from tests.support.kafka_clients import kafka_clients


@pytest.fixture(scope="module")
def broker(kafka_jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this module's own, to be stopped and started."""
    server = KafkaServer(data_dir=tmp_path_factory.mktemp("kafka"), jars=kafka_jars)
    yield server
    server.stop()


@pytest.fixture
async def server(broker: KafkaServer) -> KafkaServer:
    """The broker, running."""
    await broker.start()
    return broker


def short(options: MembershipOptions) -> MembershipOptions:
    client = {**options.client, "request_timeout_ms": 2000}
    return replace(options, client=client, request_timeout_seconds=2, session_timeout_seconds=6)


async def test_work_outlives_an_outage_of_the_broker_and_is_not_repeated(server: KafkaServer) -> None:
    work = GatedWork()
    work.hold("a")
    async with kafka_clients(server.bootstrap_servers) as clients:
        topics = await Topics.create(clients)
        await clients.send(topics.input, event("a"))
        async with running_worker(clients, topics, work, publish_timeout_seconds=1, change=short) as worker:
            await work.wait_started("a")
            server.stop()
            work.release("a")
            await worker.wait_metric("retries_total", lambda value: value > 0, dependency="broker")
            ticked = worker.worker.last_tick
            await worker.wait_until(lambda: worker.worker.last_tick > ticked + 2)
            await server.start()
            answers = await clients.read(topics.output, 1, timeout_seconds=60)
            await clients.wait_committed(topics.group_id, topics.input, 1)
            await clients.send(topics.input, event("b"))
            await clients.wait_committed(topics.group_id, topics.input, 2)
    assert answers[0].key == b"a"
    assert work.started == {"a": 1, "b": 1}


async def test_a_worker_that_starts_before_the_broker_waits_and_can_be_stopped(server: KafkaServer) -> None:
    async with kafka_clients(server.bootstrap_servers) as clients:
        topics = await Topics.create(clients)
        await clients.send(topics.input, event("a"))
        server.stop()
        async with running_worker(clients, topics, GatedWork(), change=short) as waiting:
            await waiting.wait_metric("retries_total", lambda value: value > 0, dependency="broker")
            await waiting.stop()
        async with running_worker(clients, topics, GatedWork(), change=short) as worker:
            await worker.wait_metric("retries_total", lambda value: value > 0, dependency="broker")
            assert not worker.worker.joined
            await server.start()
            await clients.wait_committed(topics.group_id, topics.input, 1)


async def test_stop_is_bounded_while_the_broker_is_away(server: KafkaServer) -> None:
    work = GatedWork()
    work.hold("a")
    async with kafka_clients(server.bootstrap_servers) as clients:
        topics = await Topics.create(clients)
        await clients.send(topics.input, event("a"))
        async with running_worker(
            clients, topics, work, grace_seconds=1, publish_timeout_seconds=1, change=short
        ) as worker:
            await work.wait_started("a")
            server.stop()
            work.release("a")
            await worker.wait_metric("retries_total", lambda value: value > 0, dependency="broker")
            begun = time.monotonic()
            worker.worker.stop()
            await asyncio.wait_for(worker.running, 40)
            assert time.monotonic() - begun < 1 + 3 * 5 + 2  # the grace, three bounded steps, and slack
        await server.start()
        assert not await clients.committed(topics.group_id, topics.input)


class Assigned:
    """Fits ``consumer.delivery.membership.Rebalanced``: remembers what is assigned."""

    def __init__(self) -> None:
        self.partitions: frozenset[TopicPartition] = frozenset()

    async def on_revoked(self) -> None:
        self.partitions = frozenset()

    def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.partitions = partitions


async def test_connections_on_which_nothing_comes_are_given_up_by_the_call_that_waits_there(
    kafka_jars: list[Path], tmp_path: Path
) -> None:
    """While partitions are not open nothing is fetched, so nothing else may find out."""
    assigned = Assigned()
    async with Cluster(data_dir=tmp_path / "kafka", jars=kafka_jars, brokers=1) as cluster, AsyncExitStack() as stack:
        for proxy in cluster.proxies.values():
            await stack.enter_async_context(proxy)
        clients = await stack.enter_async_context(kafka_clients(cluster.bootstrap_servers))
        topic = await clients.create_topic("audio.uploaded")
        options = MembershipOptions(
            client={
                "bootstrap_servers": cluster.bootstrap_servers_for_workers.split(","),
                "request_timeout_ms": 1000,
            },
            group_id="group",
            topic=topic,
            request_timeout_seconds=1,
            session_timeout_seconds=60,
            rebalance_timeout_seconds=60,
            max_poll_interval_seconds=300,
            max_record_bytes=1000,
        )
        membership = Membership(options, assigned)
        await membership.start()
        try:
            async with asyncio.timeout(30):
                while not assigned.partitions:
                    await membership.poll(1, 0.1)
            await membership.log_ranges(assigned.partitions)
            for mode in (Mode.HALF_OPEN, Mode.PASS):
                for proxy in cluster.proxies.values():
                    proxy.set(mode)
            ranges = await membership.log_ranges(assigned.partitions)
            assert set(ranges) == assigned.partitions
        finally:
            await membership.stop(5)
