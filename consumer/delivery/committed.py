"""What a consumer group has committed, offset and metadata, as its coordinator answers it.

Not by aiokafka's own call (0.14): that reads the error of each partition but not that of the whole answer, with which
an answer names no partition at all. A broker that is the group's coordinator no more, or not yet, then looks like one
that knows of no commit, and the partition would be read from its beginning again (found by chaos, after a broker was
killed: a committed offset fell from 7 to 1).
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka import errors
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import OffsetAndMetadata

_RETRY_SECONDS = 0.1

_ELSEWHERE = (errors.NotCoordinatorForGroupError, errors.GroupCoordinatorNotAvailableError)


async def fetch_committed(
    coordinator: Any, partitions: Sequence[aiokafka.TopicPartition]
) -> dict[aiokafka.TopicPartition, OffsetAndMetadata | None]:
    """The commit of each partition; None only where the coordinator says that there is none.

    ``coordinator`` is an aiokafka consumer's, which is untyped. Asks again, without end, while the group's coordinator
    moves or loads: whoever calls sets the limit. Raises KafkaError where asking again is of no use.
    """
    while True:
        await coordinator.ensure_coordinator_known()
        try:
            return await _ask(coordinator, partitions)
        except errors.KafkaError as error:
            if isinstance(error, _ELSEWHERE):
                coordinator.coordinator_dead()
            elif not error.retriable:
                raise
            await asyncio.sleep(_RETRY_SECONDS)


async def _ask(
    coordinator: Any, partitions: Sequence[aiokafka.TopicPartition]
) -> dict[aiokafka.TopicPartition, OffsetAndMetadata | None]:
    by_topic: Mapping[str, list[int]] = defaultdict(list)
    for name in partitions:
        by_topic[name.topic].append(name.partition)
    request = OffsetFetchRequest(coordinator.group_id, list(by_topic.items()))
    response = await coordinator._send_req(request)  # noqa: SLF001
    _check(getattr(response, "error_code", 0))  # brokers before 0.10.2 have none for the whole
    committed: dict[aiokafka.TopicPartition, OffsetAndMetadata | None] = {}
    for topic, answers in response.topics:
        for partition, offset, metadata, error_code in answers:
            _check(error_code)
            name = aiokafka.TopicPartition(topic, partition)
            committed[name] = OffsetAndMetadata(offset, metadata) if offset >= 0 else None
    if missing := set(partitions) - committed.keys():
        unanswered = ", ".join(sorted(f"{name.topic}-{name.partition}" for name in missing))
        raise errors.KafkaError(f"the coordinator's answer leaves out {unanswered}")
    return committed


def _check(error_code: int) -> None:
    """Raises KafkaError where the code is not that of success."""
    kind = errors.for_code(error_code)
    if kind is not errors.NoError:
        raise kind()
