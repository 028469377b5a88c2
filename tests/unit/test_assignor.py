"""The rules of assignor.py."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.assignor import SteadyAssignor, share_out

names = st.text("abcdefgh", min_size=1, max_size=3)
claims = st.dictionaries(names, st.sets(st.integers(-1, 12)), min_size=1, max_size=6)


@given(st.integers(0, 12), claims)
def test_every_partition_has_one_member_and_shares_differ_by_one_at_most(count: int, told: dict[str, set[int]]) -> None:
    dealt = share_out(range(count), told)
    assert dealt.keys() == told.keys()
    assert sorted(partition for mine in dealt.values() for partition in mine) == list(range(count))
    sizes = [len(mine) for mine in dealt.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 12), claims)
def test_what_is_balanced_stays(count: int, told: dict[str, set[int]]) -> None:
    dealt = share_out(range(count), told)
    assert share_out(range(count), dealt) == dealt


@given(st.integers(1, 12), st.lists(names, min_size=2, max_size=6, unique=True))
def test_a_member_that_joins_takes_only_its_share(count: int, members: list[str]) -> None:
    *before, joining = members
    old = share_out(range(count), dict.fromkeys(before, ()))
    new = share_out(range(count), {**old, joining: ()})
    moved = sum(len(set(old[member]) - set(new[member])) for member in before)
    assert moved == len(new[joining])


@given(st.integers(1, 12), st.lists(names, min_size=2, max_size=6, unique=True))
def test_a_member_that_leaves_moves_only_its_own(count: int, members: list[str]) -> None:
    old = share_out(range(count), dict.fromkeys(members, ()))
    leaving = members[0]
    rest = {member: mine for member, mine in old.items() if member != leaving}
    new = share_out(range(count), rest)
    assert all(set(mine) <= set(new[member]) for member, mine in rest.items())


def test_the_answer_does_not_depend_on_the_order_of_members() -> None:
    told = {"b": {0, 1, 2}, "a": {2, 3}, "c": set[int]()}
    assert share_out(range(5), told) == share_out(range(5), dict(reversed(told.items())))


def cluster(**partitions: int) -> Any:
    return SimpleNamespace(
        partitions_for_topic=lambda topic: set(range(partitions[topic])) if topic in partitions else None
    )


def test_claims_travel_through_the_protocol() -> None:
    first, second = SteadyAssignor(), SteadyAssignor()
    for _ in range(3):
        told = {"x": first.metadata(["t"]), "y": second.metadata(["t"])}
        told = {member: type(metadata).decode(metadata.encode()) for member, metadata in told.items()}
        decided = first.assign(cluster(t=5), told)
        first.on_assignment(type(decided["x"]).decode(decided["x"].encode()))
        second.on_assignment(decided["y"])
        assert sorted((*decided["x"].partitions(), *decided["y"].partitions())) == [("t", n) for n in range(5)]
    joined = {"a": SteadyAssignor().metadata(["t"]), **told}
    assert {p.partition for p in first.assign(cluster(t=5), joined)["x"].partitions()} <= {0, 1, 2}


@pytest.mark.parametrize("user_data", [b"", b"\xff", b"[]", b'{"t": 5}', b'{"t": ["x", null, 99]}', b'{"u": [0]}'])
def test_claims_that_are_not_understood_are_none(user_data: bytes) -> None:
    told = SimpleNamespace(subscription=["t"], user_data=user_data)
    decided = SteadyAssignor().assign(cluster(t=2), {"x": told})
    assert [p.partition for p in decided["x"].partitions()] == [0, 1]


def test_a_topic_that_is_not_known_yet_gives_nothing() -> None:
    told = SteadyAssignor().metadata(["later"])
    assert SteadyAssignor().assign(cluster(), {"x": told})["x"].partitions() == []
