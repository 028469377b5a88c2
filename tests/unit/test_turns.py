"""The rules of whose native call begins next (numbered in ``consumer.engine.turns``)."""

import asyncio
from collections import Counter, deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from consumer.engine.places import Places
from consumer.engine.turns import Turns

PLACES = {"window": 5, "detection": 1}
WIDEST = 3
OWNERS = st.sampled_from("abcde")
RANKS = {"a": 1, "b": 1, "e": -1}
KINDS = st.sampled_from(sorted(PLACES))


class _Model(RuleBasedStateMachine):
    """Recordings ask, withdraw, end and want to be alone in any order; what the rules say is checked at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[tuple[str, str, int]] = Turns(PLACES)
        self.n_asked = 0
        self.waiting: dict[tuple[str, str], deque[int]] = {}
        self.running: list[tuple[str, str, int]] = []  # (kind, owner, places)
        self.suspects: list[str] = []
        self.alone: str | None = None
        self.drains = False
        # (kind, who waits, who was served): how often since the first began to wait without being served
        self.served: Counter[tuple[str, str, str]] = Counter()

    def _quiet(self, owner: str) -> bool:
        waits = any(queue for (_, other), queue in self.waiting.items() if other == owner)
        return not waits and owner not in {other for _, other, _ in self.running}

    @rule(kind=KINDS, owner=OWNERS, calls=st.integers(1, 4))
    def ask(self, kind: str, owner: str, calls: int) -> None:
        if owner in self.suspects:
            return
        for _ in range(calls):
            self.n_asked += 1
            self.waiting.setdefault((kind, owner), deque()).append(self.n_asked)
            widest = WIDEST if self.n_asked % 3 else 1
            self.turns.ask(kind, owner, (kind, owner, self.n_asked), widest, RANKS.get(owner, 0))
        self._advance()

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        kind, owner = data.draw(st.sampled_from(sorted(name for name, queue in self.waiting.items() if queue)))
        queue = self.waiting[kind, owner]
        number = data.draw(st.sampled_from(list(queue)))
        queue.remove(number)
        self.turns.withdraw(kind, owner, (kind, owner, number))
        if not queue:
            self._waits_no_longer(kind, owner)
        self._advance()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        kind, _, places = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.turns.ended(kind, places)
        self._advance()

    @rule(owner=OWNERS)
    def ask_alone(self, owner: str) -> None:
        if owner in self.suspects or owner == self.alone or not self._quiet(owner):
            return
        self.suspects.append(owner)
        self.turns.ask_alone(owner, ("alone", owner, 0))
        self._advance()

    @rule(owner=OWNERS)
    def give_back(self, owner: str) -> None:
        if owner in self.suspects:
            self.suspects.remove(owner)
        if owner == self.alone:
            self.alone, self.drains = None, True
        self.turns.give_back(owner)
        self._advance()

    def _taken(self, kind: str) -> int:
        return sum(places for its_kind, _, places in self.running if its_kind == kind)

    def _waits_no_longer(self, kind: str, owner: str) -> None:
        for key in [key for key in self.served if key[:2] == (kind, owner)]:
            del self.served[key]

    def _advance(self) -> None:
        while found := self.turns.next():
            (kind, owner, number), places = found
            if kind == "alone":
                assert not self.running, "alone beside others (rule 4)"
                assert self.alone is None, "two alone at once (rule 4)"
                assert self.suspects.pop(0) == owner, "suspects out of turn (rule 4)"
                self.alone, self.drains = owner, False
                continue
            free = PLACES[kind] - self._taken(kind)
            rivals = sum(
                len(queue)
                for (its_kind, other), queue in self.waiting.items()
                if its_kind == kind and self.alone in (None, other)
            )
            widest = WIDEST if number % 3 else 1
            assert 1 <= places <= widest, "too many places for one call (rule 8)"
            assert places == 1 or places * rivals <= free, "more than its share, while others wait (rule 8)"
            assert rivals > 1 or places == min(free, widest), "a place stays free beside a call alone (rule 8)"
            assert self.waiting[kind, owner].popleft() == number, "calls of one recording out of order (rule 1)"
            assert self.alone in (None, owner), "a call beside a suspect (rule 4)"
            if self.alone is None:
                assert not self.suspects, "a call went before a suspect (rule 4)"
                assert not (self.drains and self.running), "others began beside calls of who was alone (rule 5)"
                self.drains = False
                self._waits_no_longer(kind, owner)
                for (waits_for, other), queue in self.waiting.items():
                    if waits_for == kind and other != owner and queue and RANKS.get(other, 0) == RANKS.get(owner, 0):
                        self.served[kind, other, owner] += 1
            self.running.append((kind, owner, places))
        assert not self.served or max(self.served.values()) <= 1, "served twice while another waited (rule 2)"

    @invariant()
    def no_place_stays_free_in_vain(self) -> None:
        assert all(self._taken(kind) <= places for kind, places in PLACES.items())
        if self.alone is None and (self.suspects or self.drains) and self.running:
            return
        assert self.alone is not None or not self.suspects
        for (kind, owner), queue in self.waiting.items():
            if queue and self.alone in (None, owner):
                assert self._taken(kind) == PLACES[kind], "a place is free that somebody waits for (rule 3)"

    @invariant()
    def nothing_is_left_behind(self) -> None:
        """Rule 6: what is held is what waits."""
        held = {(kind, owner) for kind, owners in self.turns._waiting.items() for owner in owners}
        assert held == {name for name, queue in self.waiting.items() if queue}
        assert list(self.turns._suspects) == self.suspects
        assert self.turns._running == len(self.running)


TestTurns = _Model.TestCase
TestTurns.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_a_long_recording_gets_its_share_beside_ten_short_ones_and_no_more() -> None:
    """Short ones come without end, each as one before it was served, and the long one always has calls waiting."""
    turns: Turns[str] = Turns({"window": 1})
    for number in range(10):
        turns.ask("window", f"short {number}", "short")
    for _ in range(3):
        turns.ask("window", "long", "long")
    served: list[str] = []
    for number in range(10, 341):
        begun = turns.next()
        assert begun is not None
        served.append(begun.waiter)
        turns.ask("window", "long" if served[-1] == "long" else f"short {number}", served[-1])
        turns.ended("window", begun.places)
    assert served == (["short"] * 10 + ["long"]) * 30 + ["short"]


def test_who_has_a_higher_rank_goes_first_and_the_others_get_on_all_the_same() -> None:
    """One place for which each always has a call waiting."""
    turns: Turns[str] = Turns({"window": 1})
    ranks = {"low": -1, "normal": 0, "other": 0, "high": 1}
    for owner, rank in ranks.items():
        turns.ask("window", owner, owner, rank=rank)
    served: Counter[str] = Counter()
    for _ in range(400):
        begun = turns.next()
        assert begun is not None
        served[begun.waiter] += 1
        turns.ask("window", begun.waiter, begun.waiter, rank=ranks[begun.waiter])
        turns.ended("window", begun.places)
        if served.total() == 3:
            assert set(served) == {"high"}
    assert served["high"] == 300
    assert min(served.values()) >= 30


@pytest.fixture
def places() -> Places:
    return Places({"window": 1})


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_is_cancelled_while_waiting_leaves_nothing_behind(places: Places) -> None:
    await places.take("window", "a")
    waiters = [asyncio.create_task(places.take("window", owner)) for owner in "bcd"]
    await _settled()
    waiters[0].cancel()
    await _settled()
    places.free("window")
    await waiters[1]
    assert waiters[0].cancelled()
    assert not waiters[2].done()
    waiters[2].cancel()
    places.free("window")
    await asyncio.wait_for(places.take("window", "e"), 1)


async def test_who_is_cancelled_just_as_its_turn_comes_gives_the_place_on(places: Places) -> None:
    await places.take("window", "a")
    one, other = (asyncio.create_task(places.take("window", owner)) for owner in "bc")
    await _settled()
    places.free("window")  # it is the turn of one, which has not run yet
    one.cancel()
    await asyncio.wait_for(other, 1)
    assert one.cancelled()


async def test_a_suspect_waits_for_what_runs_and_holds_up_what_comes(places: Places) -> None:
    await places.take("window", "a")
    suspect = asyncio.create_task(places.be_alone("suspect"))
    await _settled()
    other = asyncio.create_task(places.take("window", "b"))
    await _settled()
    assert not suspect.done()
    places.free("window")
    await asyncio.wait_for(suspect, 1)
    await places.take("window", "suspect")
    places.free("window")
    await _settled()
    assert not other.done()
    places.give_back("suspect")
    await asyncio.wait_for(other, 1)


@pytest.mark.parametrize("its_turn_came", [False, True])
async def test_a_suspect_that_is_cancelled_holds_up_nobody(places: Places, its_turn_came: bool) -> None:
    await places.take("window", "a")
    suspect = asyncio.create_task(places.be_alone("suspect"))
    await _settled()
    other = asyncio.create_task(places.take("window", "b"))
    await _settled()
    if its_turn_came:
        places.free("window")
        suspect.cancel()
    else:
        suspect.cancel()
        await _settled()
        assert not other.done()
        places.free("window")
    await asyncio.wait_for(other, 1)
    assert suspect.cancelled()
