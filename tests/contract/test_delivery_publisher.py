"""Messages out, on a real broker: acknowledged or an outage, and never a producer that is stuck."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from consumer.delivery.publisher import Publisher
from consumer.delivery.topics import TopicNames, warn_about_topics
from consumer.errors import Unavailable
from consumer.observe.metrics import Metrics
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import free_ports
from tests.support.kafka_clients import KafkaClients, kafka_clients


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


def new_publisher(bootstrap_servers: str, timeout_seconds: float = 10) -> Publisher:
    client = {"bootstrap_servers": [bootstrap_servers], "request_timeout_ms": round(timeout_seconds * 1000)}
    return Publisher(client, 200_000, timeout_seconds, Metrics(CollectorRegistry()))


@pytest.fixture
async def publisher(kafka: KafkaServer) -> AsyncIterator[Publisher]:
    made = new_publisher(kafka.bootstrap_servers)
    yield made
    await made.stop()


async def test_a_message_arrives_as_it_was_given(clients: KafkaClients, publisher: Publisher) -> None:
    topic = await clients.create_topic("out")
    headers = (("a", b"\xff"), ("a", b""))
    await publisher.publish(topic, None, b"\x00value", headers)
    await publisher.publish(topic, b"key", None, ())
    first, second = await clients.read(topic, 2)
    assert (first.key, first.value, first.headers) == (None, b"\x00value", headers)
    assert (second.key, second.value, second.headers) == (b"key", None, ())


async def test_a_topic_that_refuses_a_message_does_not_spoil_the_next_one(
    clients: KafkaClients, publisher: Publisher
) -> None:
    topic = await clients.create_topic("out", max_message_bytes="1000")
    await publisher.publish(topic, b"k", b"first", ())
    with pytest.raises(Unavailable, match=r"max\.message\.bytes"):
        await publisher.publish(topic, b"k", b"x" * 5000, ())
    await publisher.publish(topic, b"k", b"second", ())
    assert [message.value for message in await clients.read(topic, 2)] == [b"first", b"second"]


async def test_a_message_larger_than_the_setting_is_told_so(clients: KafkaClients, publisher: Publisher) -> None:
    topic = await clients.create_topic("out")
    with pytest.raises(Unavailable, match="KAFKA_MAX_RECORD_BYTES"):
        await publisher.publish(topic, b"k", b"x" * 300_000, ())


async def test_a_missing_topic_is_an_outage_until_it_exists(clients: KafkaClients) -> None:
    publisher = new_publisher(clients.bootstrap_servers, timeout_seconds=0.5)
    try:
        with pytest.raises(Unavailable, match="no-such-topic"):
            await publisher.publish("no-such-topic", b"k", b"v", ())
    finally:
        await publisher.stop()


async def test_no_broker_is_an_outage() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="connect"):
        await new_publisher(f"127.0.0.1:{port}", timeout_seconds=0.5).start()


async def test_many_publish_at_once(clients: KafkaClients, publisher: Publisher) -> None:
    topic = await clients.create_topic("out", 3)
    values = [str(number).encode() for number in range(200)]
    await asyncio.gather(*(publisher.publish(topic, value, value, ()) for value in values))
    assert sorted(message.value or b"" for message in await clients.read(topic, 200)) == sorted(values)


async def test_the_look_at_the_topics_reads_their_limits(
    clients: KafkaClients, caplog: pytest.LogCaptureFixture
) -> None:
    names = TopicNames(
        await clients.create_topic("in"), await clients.create_topic("out"), await clients.create_topic("dead")
    )
    client = {"bootstrap_servers": [clients.bootstrap_servers], "request_timeout_ms": 10_000}
    with caplog.at_level(logging.WARNING, "consumer"):
        await warn_about_topics(client, names, 1_048_588, 524_288, timeout_seconds=10)
    (message,) = caplog.messages
    assert names.dead_letters in message
    assert "1114124" in message


async def test_a_look_that_fails_is_only_told(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    client = {"bootstrap_servers": [f"127.0.0.1:{port}"], "request_timeout_ms": 500}
    with caplog.at_level(logging.WARNING, "consumer"):
        await warn_about_topics(client, TopicNames("a", "b", "c"), 1, 1, timeout_seconds=1)
    assert "could not look at the topics" in caplog.text
