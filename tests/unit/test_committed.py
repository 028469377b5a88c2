"""What a coordinator's answers mean, by the client's own types; a real broker's are in tests/contract."""

from typing import Any

import aiokafka
import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError
from aiokafka.protocol.commit import OffsetFetchResponse_v1, OffsetFetchResponse_v3
from aiokafka.structs import OffsetAndMetadata

from consumer.delivery.committed import fetch_committed

PARTITION = aiokafka.TopicPartition("topic", 3)
GOOD = OffsetFetchResponse_v3(0, [("topic", [(3, 7, "seven", 0)])], 0)
LOADING, NOT_COORDINATOR, NOT_AUTHORIZED = 14, 16, 30  # error codes of the Kafka protocol


class Coordinator:
    """Answers what it is given, in turn."""

    group_id = "group"

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.lookups = 0

    async def ensure_coordinator_known(self) -> None:
        pass

    def coordinator_dead(self) -> None:
        self.lookups += 1

    async def _send_req(self, request: Any) -> Any:  # noqa: ARG002 - any question gets the next answer
        return self._answers.pop(0)


def failed(code: int) -> Any:
    return OffsetFetchResponse_v3(0, [], code)


@pytest.mark.parametrize(
    ("first", "lookups"),
    [
        (failed(LOADING), 0),
        (failed(NOT_COORDINATOR), 1),
        (OffsetFetchResponse_v3(0, [("topic", [(3, -1, "", LOADING)])], 0), 0),
        (OffsetFetchResponse_v1([("topic", [(3, -1, "", NOT_COORDINATOR)])]), 1),
    ],
)
async def test_asks_again_while_the_coordinator_moves_or_loads(first: Any, lookups: int) -> None:
    coordinator = Coordinator(first, GOOD)
    assert await fetch_committed(coordinator, [PARTITION]) == {PARTITION: OffsetAndMetadata(7, "seven")}
    assert coordinator.lookups == lookups


@pytest.mark.parametrize(
    "answer", [failed(NOT_AUTHORIZED), OffsetFetchResponse_v3(0, [("topic", [(3, -1, "", NOT_AUTHORIZED)])], 0)]
)
async def test_raises_what_asking_again_does_not_mend(answer: Any) -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await fetch_committed(Coordinator(answer), [PARTITION])


async def test_an_answer_that_leaves_a_partition_out_is_none() -> None:
    with pytest.raises(KafkaError, match="leaves out topic-3"):
        await fetch_committed(Coordinator(OffsetFetchResponse_v3(0, [], 0)), [PARTITION])


async def test_without_a_commit_there_is_none() -> None:
    answer = OffsetFetchResponse_v3(0, [("topic", [(3, -1, "", 0)])], 0)
    assert await fetch_committed(Coordinator(answer), [PARTITION]) == {PARTITION: None}
