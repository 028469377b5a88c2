"""What the operator's commands ask a cluster, with its errors as messages for the operator."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from consumer.delivery.connection import bounded, closed, connect_timeout_seconds
from consumer.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Topic:
    """What the cluster tells of a topic."""

    partitions: tuple[int, ...]
    """Their numbers, in order."""
    replication_factor: int


@contextmanager
def broker_errors(doing: str) -> Iterator[None]:
    """Turn what Kafka and the network raise into Unavailable; ``doing`` says what was tried, as an infinitive."""
    try:
        yield
    except (KafkaError, OSError) as error:  # a time-out is an OSError too
        why = str(error) or type(error).__name__
        raise Unavailable("broker", f"cannot {doing}: {why}; 'whisper-consumer doctor' looks closer") from error


async def all_topics(client: Mapping[str, Any]) -> dict[str, Topic]:
    """Every topic that these credentials may see. Raises Unavailable.

    All are asked for: a broker may create a topic that is asked for by name.
    """
    async with _admin(client) as admin:
        with broker_errors("list the topics"):
            found = await admin.describe_topics()
    return {
        topic["topic"]: Topic(
            partitions=tuple(sorted(partition["partition"] for partition in topic["partitions"])),
            replication_factor=max((len(partition["replicas"]) for partition in topic["partitions"]), default=1),
        )
        for topic in found
    }


def known_topic(topics: Mapping[str, Topic], name: str, advice: str) -> Topic:
    """A topic that must be there. Raises Unavailable with the advice where it is not."""
    if name not in topics:
        raise Unavailable("broker", f"topic {name!r} does not exist, or these credentials may not see it: {advice}")
    return topics[name]


async def create_compacted_topic(client: Mapping[str, Any], name: str, replication_factor: int) -> None:
    """Create a topic that keeps the last record of each key for ever, unless it is there. Raises Unavailable."""
    wanted = NewTopic(name, 1, replication_factor, topic_configs={"cleanup.policy": "compact"})
    async with _admin(client) as admin:
        with broker_errors(f"create topic {name!r}; create it by hand, with cleanup.policy=compact"):
            answer = await admin.create_topics([wanted])
            for _, code, *_ in answer.topic_errors:
                if code not in (NoError.errno, TopicAlreadyExistsError.errno):
                    raise for_code(code)


@asynccontextmanager
async def _admin(client: Mapping[str, Any]) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(**client)
    try:
        with broker_errors(f"connect to Kafka at {', '.join(client['bootstrap_servers'])}"):
            await bounded(admin.start(), connect_timeout_seconds(client))
        yield admin
    finally:
        await closed(admin.close())
