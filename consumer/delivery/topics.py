"""A look at the topics before work begins: what will not fit is told while somebody is watching."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumer.delivery.connection import bounded
from consumer.delivery.deadletters import HEADER_BYTES

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicNames:
    input: str
    output: str
    dead_letters: str
    others: tuple[str, ...] = ()
    """Those that are optional and asked for: failures, progress, control."""


async def warn_about_topics(
    client: Mapping[str, Any], names: TopicNames, max_record_bytes: int, max_event_bytes: int, timeout_seconds: float
) -> None:
    """Log what is wrong with the topics and what to do about it.

    Never raises and never takes longer than the time-out: a look that fails is no reason not to work.
    """
    try:
        limits = await bounded(_max_message_bytes(client, names), timeout_seconds)
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("could not look at the topics: %s", str(error) or type(error).__name__)
        return
    for warning in warnings_about(names, limits, max_record_bytes, max_event_bytes):
        log.warning("%s", warning)


def warnings_about(
    names: TopicNames, max_message_bytes: Mapping[str, int], max_record_bytes: int, max_event_bytes: int
) -> list[str]:
    """What is wrong, in words. ``max_message_bytes`` holds the limit of each topic that exists."""
    warnings = [
        f"topic {name!r} does not exist: create it"
        for name in (names.input, names.output, names.dead_letters, *names.others)
        if name not in max_message_bytes
    ]
    largest_input = max_message_bytes.get(names.input, 0)
    if largest_input > max_record_bytes:
        warnings.append(
            f"topic {names.input!r} takes records of {largest_input} bytes, KAFKA_MAX_RECORD_BYTES is "
            f"{max_record_bytes}: raise it, or such a record can neither be read nor dead-lettered"
        )
    for name, needed in (
        (names.dead_letters, min(largest_input, max_record_bytes) + HEADER_BYTES),
        (names.output, max_event_bytes + HEADER_BYTES),
    ):
        limit = max_message_bytes.get(name)
        if limit is not None and limit < needed:
            warnings.append(
                f"topic {name!r} takes messages of at most {limit} bytes, the largest may need {needed}: set its "
                f"max.message.bytes to {needed} or more, or such a message waits until that is done"
            )
    return warnings


async def _max_message_bytes(client: Mapping[str, Any], names: TopicNames) -> dict[str, int]:
    """``max.message.bytes`` of each of the topics that exists."""
    admin = AIOKafkaAdminClient(**client)
    try:
        await admin.start()
        wanted = [
            ConfigResource(ConfigResourceType.TOPIC, name, configs={"max.message.bytes": None})
            for name in dict.fromkeys((names.input, names.output, names.dead_letters, *names.others))
        ]
        responses = await admin.describe_configs(wanted)
        return {
            name: int(value)
            for response in responses
            for error_code, _, _, name, entries in response.resources
            if error_code == 0
            for _, value, *_ in entries
        }
    finally:
        await admin.close()
