"""Which member gets which partitions: balanced, and with as few moves as balance allows.

A partition that moves throws away work in progress, so every rebalance should leave partitions where they are.
aiokafka's round-robin assignor deals them anew each time, and its sticky one can keep a group from ever
settling (aiokafka #1175, #1176). This one is small enough to be proven:

1. Of each topic every subscribed member gets its equal share, or one partition more.
2. A member keeps what it had, up to its share; those that had most get the larger shares.
3. What is left over goes to the members that lack most, in order.
4. The outcome depends on nothing but the members' claims: any leader decides the same.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Any

import orjson
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


def share_out(partitions: Collection[int], claims: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """Deal the partitions of one topic to members; ``claims`` holds what each member had before.

    Of two claims on one partition that of the member first by name counts.
    """
    kept = _undisputed(partitions, claims)
    by_holdings = sorted(claims, key=lambda member: (-len(kept[member]), member))
    share, larger_shares = divmod(len(partitions), len(claims)) if claims else (0, 0)
    room = {member: share + (rank < larger_shares) for rank, member in enumerate(by_holdings)}
    dealt = {member: kept[member][: room[member]] for member in claims}
    spare = iter(sorted(set(partitions).difference(*dealt.values())))
    for member in by_holdings:
        dealt[member] += islice(spare, room[member] - len(dealt[member]))
    return {member: sorted(mine) for member, mine in dealt.items()}


def _undisputed(partitions: Collection[int], claims: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """Existing partitions that each member had, each counted for one member only."""
    free = set(partitions)
    kept = {}
    for member in sorted(claims):
        kept[member] = sorted(free.intersection(claims[member]))
        free.difference_update(kept[member])
    return kept


class SteadyAssignor:
    """``share_out`` in the shape that aiokafka wants; one for each consumer, since it remembers its claims."""

    name = "whisper-consumer-steady"
    version = 0

    def __init__(self) -> None:
        self._claims: dict[str, list[int]] = {}

    def metadata(self, topics: Iterable[str]) -> Any:
        """What this member tells the leader: its topics, and what it has."""
        return ConsumerProtocolMemberMetadata(self.version, list(topics), orjson.dumps(self._claims))

    def on_assignment(self, assignment: Any) -> None:
        """Remember what the leader decided."""
        self._claims = {topic: list(partitions) for topic, partitions in assignment.assignment}

    def assign(self, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
        """Decide for all members, as the group's leader."""
        dealt: dict[str, list[tuple[str, list[int]]]] = {member: [] for member in members}
        for topic in sorted({topic for told in members.values() for topic in told.subscription}):
            claims = {
                member: _claims(told.user_data, topic) for member, told in members.items() if topic in told.subscription
            }
            for member, mine in share_out(cluster.partitions_for_topic(topic) or (), claims).items():
                dealt[member].append((topic, mine))
        return {member: ConsumerProtocolMemberAssignment(self.version, topics, b"") for member, topics in dealt.items()}


def _claims(user_data: bytes, topic: str) -> list[int]:
    """A member's claims on a topic; none where it told nothing that can be understood."""
    try:
        told = orjson.loads(user_data)[topic]
        return [partition for partition in told if type(partition) is int]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return []
