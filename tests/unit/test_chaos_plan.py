"""The plan of a chaos run follows its own rules, whatever the seed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import (
    EXPECTED,
    SEED_OF_THE_TEST,
    SESSION_SECONDS,
    TRANSCRIPT,
    Action,
    Fault,
    Feed,
    Plan,
    make_plan,
)

PLANS = st.builds(make_plan, st.integers(0, 10**6), st.sampled_from([0.5, 2, 10]), brokers=st.sampled_from([1, 3]))
FIRST_ACTIONS = [(4.0, "latency", "brokers"), (9.9, "broker_bounce", "broker-2"), (16.9, "zombie", "worker-2")]
FIRST_EVENTS = [("0000-short", 0), ("0001-bad_option", 2), ("0002-long", 0)]
BROKER_FAULTS = {Fault.BROKER_KILL, Fault.BROKER_BOUNCE}


def overlap(one: Action, other: Action) -> bool:
    return one.at_seconds < other.until_seconds and other.at_seconds < one.until_seconds


@given(st.integers(), st.sampled_from([0.5, 2, 10]))
def test_the_same_seed_gives_the_same_plan(seed: int, minutes: float) -> None:
    assert make_plan(seed, minutes) == make_plan(seed, minutes)


def test_a_plan_is_the_same_on_every_machine_and_in_every_year() -> None:
    """Figures that were kept name a seed: what it stands for must not change unseen."""
    plan = make_plan(1, 2)
    assert [(action.at_seconds, action.fault.value, action.target) for action in plan.actions[:3]] == FIRST_ACTIONS
    assert [(event.name, event.partition) for event in plan.events[:3]] == FIRST_EVENTS


def test_other_seeds_give_other_plans() -> None:
    plans = [make_plan(seed, 2) for seed in range(20)]
    assert len({plan.actions for plan in plans}) == len({plan.events for plan in plans}) == 20


@given(PLANS)
def test_everything_is_over_in_time(plan: Plan) -> None:
    assert all(action.until_seconds <= plan.seconds for action in plan.actions)
    assert all(event.at_seconds <= plan.seconds for event in plan.events)


@given(PLANS)
def test_a_target_has_one_fault_at_a_time_and_one_broker_is_down_at_most(plan: Plan) -> None:
    for index, one in enumerate(plan.actions):
        for other in plan.actions[index + 1 :]:
            if one.target == other.target or {one.fault, other.fault} <= BROKER_FAULTS:
                assert not overlap(one, other)


@given(st.integers(0, 10**6))
def test_ten_minutes_hold_every_fault_of_both_sides(seed: int) -> None:
    _holds_every_fault(make_plan(seed, 10))


def test_so_do_the_two_minutes_that_are_always_run() -> None:
    """Of all seeds, one in 400 has no room for the last of them."""
    _holds_every_fault(make_plan(SEED_OF_THE_TEST, 2))


def _holds_every_fault(plan: Plan) -> None:
    assert {action.fault for action in plan.actions} == set(Fault)
    for fault in (Fault.CUT, Fault.LATENCY, Fault.HALF_OPEN):
        assert {action.target for action in plan.actions if action.fault is fault} == {"brokers", "store"}


@given(PLANS)
def test_a_stop_is_shorter_than_the_session_and_a_zombie_longer(plan: Plan) -> None:
    for action in plan.actions:
        if action.fault is Fault.STOP:
            assert action.for_seconds < SESSION_SECONDS
        if action.fault is Fault.ZOMBIE:
            assert action.for_seconds > SESSION_SECONDS


@given(PLANS)
def test_every_kind_is_fed_in_the_order_of_time(plan: Plan) -> None:
    kinds = Counter(event.kind for event in plan.events)
    assert kinds.keys() == set(Feed)
    assert kinds[Feed.SHORT] + kinds[Feed.DUPLICATE] > len(plan.events) / 8
    times = [event.at_seconds for event in plan.events]
    assert times == sorted(times)
    assert len({event.name for event in plan.events}) == len(plan.events)


@given(PLANS)
def test_a_duplicate_names_what_was_announced_before(plan: Plan) -> None:
    announced: dict[str, tuple[float, int]] = {}
    for event in plan.events:
        if event.kind is Feed.DUPLICATE:
            assert announced[event.key] == (event.seconds, event.piece)
        else:
            assert event.key not in announced
            if EXPECTED[event.kind] == TRANSCRIPT:
                announced[event.key] = (event.seconds, event.piece)


@given(st.integers(0, 10**6))
def test_long_recordings_come_while_there_are_faults(seed: int) -> None:
    for minutes, lengths in ((2, [150]), (10, [300, 600])):
        plan = make_plan(seed, minutes)
        long_ones = [event for event in plan.events if event.kind is Feed.LONG]
        assert [event.seconds for event in long_ones] == lengths
        assert all(event.at_seconds < plan.seconds / 2 for event in long_ones)
