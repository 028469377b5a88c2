"""Kafka: whether a broker answers, and whether the topics are there and fit for their messages."""

from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumer.delivery.connection import client_options
from consumer.delivery.deadletters import HEADER_BYTES
from consumer.operate.doctor.check import Check
from consumer.settings import KafkaSettings, WorkerSettings


async def check_kafka(settings: KafkaSettings) -> list[Check]:
    """Connect as the worker does, and look at its topics. Creates nothing."""
    servers = ", ".join(settings.kafka_bootstrap_servers)
    try:
        admin = AIOKafkaAdminClient(**client_options(settings))
    except OSError as error:
        return [Check("Kafka", False, str(error), "check the files of KAFKA_SSL_*")]
    try:
        await admin.start()
        # All topics: a broker may create one that is asked for by name.
        partitions = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        topics = [_check_topic(topic, partitions) for topic in _topics(settings)]
        if settings.kafka_dead_letter_topic in partitions:
            topics.append(await _check_dead_letter_size(admin, settings))
    except (KafkaError, OSError) as error:
        advice = "check KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL and the credentials"
        return [Check("Kafka", False, f"{servers}: {error}", advice)]
    finally:
        await admin.close()
    return [Check("Kafka", True, f"{servers} answers"), *topics]


def _topics(settings: KafkaSettings) -> tuple[str, ...]:
    needed = (settings.kafka_input_topic, settings.kafka_output_topic, settings.kafka_dead_letter_topic)
    optional = (settings.kafka_failed_topic, settings.kafka_progress_topic, settings.kafka_control_topic)
    return (*needed, *(topic for topic in optional if topic is not None))


def _check_topic(topic: str, partitions: dict[str, int]) -> Check:
    if topic in partitions:
        return Check(f"topic {topic}", True, f"{partitions[topic]} partitions")
    return Check(f"topic {topic}", False, "missing, or not to be seen with these credentials", "create it")


async def _check_dead_letter_size(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> Check:
    """A dead letter is its record and some headers: the largest must fit."""
    topic = settings.kafka_dead_letter_topic
    needed = settings.kafka_max_record_bytes + HEADER_BYTES
    limit = await _config(admin, topic, "max.message.bytes")
    name = f"size limit of {topic}"
    if limit is None:
        return Check(name, None, "not to be seen with these credentials", "allow DescribeConfigs on the topic")
    found = f"max.message.bytes is {limit}, the largest dead letter has {needed}"
    if limit >= needed:
        return Check(name, True, found)
    return Check(name, False, found, f"set max.message.bytes of the topic to {needed}")


async def check_retention(settings: WorkerSettings) -> list[Check]:
    """Whether an event outlasts the work on it: the longest recording, as slow as it is spoken, and once again."""
    topic, needed_seconds = settings.kafka_input_topic, 2 * settings.max_duration_seconds
    name = f"retention of {topic}"
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        retention_ms = await _config(admin, topic, "retention.ms")
    except (KafkaError, OSError):
        return [Check(name, None, "not looked at: see the check of Kafka")]
    finally:
        await admin.close()
    if retention_ms is None:
        return [Check(name, None, "not to be seen with these credentials", "allow DescribeConfigs on the topic")]
    if retention_ms < 0:
        return [Check(name, True, "events are kept for ever")]
    found = f"events are kept for {_hours(retention_ms / 1000)}, work on one may take {_hours(needed_seconds)}"
    if retention_ms / 1000 >= needed_seconds:
        return [Check(name, True, found)]
    return [Check(name, False, found, "raise retention.ms of the topic, or lower MAX_DURATION_SECONDS")]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h"


async def _config(admin: AIOKafkaAdminClient, topic: str, name: str) -> int | None:
    """A number of the topic's configuration; None where it is not to be seen."""
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
    responses: list[Any] = await admin.describe_configs([resource])
    entries = [entry for _, _, _, _, config in responses[0].resources for entry in config]
    return next((int(entry[1]) for entry in entries if entry[0] == name), None)
