"""What a seed stands for: which faults come when, and which events are fed when. Pure.

1. The same seed, length and number of brokers give the same plan, on every machine.
2. Every kind of fault comes once, those of the network on both sides, in an order that the seed shuffles, as far as
   there is time; then all come again in another order.
3. A target has one fault at a time, and a rest after it. At most one broker is down, and it has time to catch up.
4. Every fault has ended when the time is over.
5. Every kind of event is fed at least once, long recordings early, so that faults hit them at work.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

WORKERS = ("worker-1", "worker-2", "worker-3")
EXTRA_WORKER = "worker-4"
STORE = "store"
BROKERS = "brokers"
"""The way from the workers to all brokers."""

SESSION_SECONDS = 6.0
"""Session time-out of the workers in their group: a worker that is stopped for longer is put out of it."""
OBJECT_RETRY_SECONDS = 5.0

_LEAD_SECONDS = 4.0  # work is in flight before the first fault
_GAP_SECONDS = (2.0, 7.0)
_LONG_RUN_SECONDS = 300.0
_GAP_OF_A_LONG_RUN_SECONDS = (3.0, 12.0)
_REST_SECONDS = 4.0
_CATCH_UP_SECONDS = 15.0  # a broker that comes back has to be in sync again before another one goes
_SECONDS_AN_EVENT = 2.2
_BURST_SECONDS = 0.2
_PIECES = 12
_SHORT_SECONDS = (2.0, 4.0, 6.0, 9.0)  # few, so that equal sound comes under many names: its words must be equal


class Fault(StrEnum):
    """What befalls a target."""

    KILL = "kill"  # SIGKILL, started again after a while
    TERM = "term"  # SIGTERM, started again after a while
    STOP = "stop"  # SIGSTOP for a moment
    ZOMBIE = "zombie"  # SIGSTOP for longer than its session, then SIGCONT
    ADD = "add"  # one more member for a while
    REMOVE = "remove"  # SIGTERM, and away for long
    BROKER_KILL = "broker_kill"  # SIGKILL, started again after a while
    BROKER_BOUNCE = "broker_bounce"  # SIGTERM, started again at once
    CUT = "cut"  # connections are reset and refused
    LATENCY = "latency"  # every byte comes late
    HALF_OPEN = "half_open"  # connections stay open and carry nothing, now and for ever
    STORE_OUTAGE = "store_outage"  # SIGSTOP of the store
    DISK_FULL = "disk_full"  # not a byte is left for spooled recordings


# Shortest and longest time in seconds, by fault.
_LASTS = {
    Fault.KILL: (1, 4),
    Fault.TERM: (1, 4),
    Fault.STOP: (1, SESSION_SECONDS / 2),
    Fault.ZOMBIE: (SESSION_SECONDS + 3, SESSION_SECONDS + 8),
    Fault.ADD: (12, 25),
    Fault.REMOVE: (8, 16),
    Fault.BROKER_KILL: (5, 12),
    Fault.BROKER_BOUNCE: (0.5, 2),
    Fault.CUT: (2, 10),
    Fault.LATENCY: (5, 12),
    Fault.HALF_OPEN: (8, 15),
    Fault.STORE_OUTAGE: (10, 60),
    Fault.DISK_FULL: (6, 12),
}
_OF_A_WORKER = (Fault.KILL, Fault.TERM, Fault.STOP, Fault.ZOMBIE, Fault.REMOVE, Fault.DISK_FULL)
_OF_A_NETWORK = (Fault.CUT, Fault.LATENCY, Fault.HALF_OPEN)
_OF_A_BROKER = (Fault.BROKER_KILL, Fault.BROKER_BOUNCE)


@dataclass(frozen=True, slots=True)
class Action:
    """One fault; times in seconds from the beginning."""

    at_seconds: float
    fault: Fault
    target: str
    for_seconds: float

    @property
    def until_seconds(self) -> float:
        return self.at_seconds + self.for_seconds


class Feed(StrEnum):
    """What an event is about."""

    SHORT = "short"
    LONG = "long"
    DUPLICATE = "duplicate"  # an object that was announced before
    OVERWRITTEN = "overwritten"  # names an ETag that is gone
    TRUNCATED = "truncated"  # broken, yet some of it can be heard
    HEADER_ONLY = "header_only"  # begins like a recording and holds no sample
    NOT_AUDIO = "not_audio"
    EMPTY = "empty"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    ELSEWHERE = "elsewhere"  # a bucket that is not for us
    BAD_JSON = "bad_json"
    BAD_OPTION = "bad_option"
    REMOVED = "removed"  # a notification of a delete
    TOMBSTONE = "tombstone"


TRANSCRIPT = "transcript"
SKIP = "skip"

EXPECTED = {
    Feed.SHORT: TRANSCRIPT,
    Feed.LONG: TRANSCRIPT,
    Feed.DUPLICATE: TRANSCRIPT,
    Feed.TRUNCATED: TRANSCRIPT,
    Feed.OVERWRITTEN: "superseded",
    Feed.HEADER_ONLY: "not_audio",
    Feed.NOT_AUDIO: "not_audio",
    Feed.EMPTY: "empty",
    Feed.MISSING: "missing",
    Feed.FORBIDDEN: "forbidden",
    Feed.ELSEWHERE: "bucket_not_allowed",
    Feed.BAD_JSON: "bad_event",
    Feed.BAD_OPTION: "bad_option",
    Feed.REMOVED: SKIP,
    Feed.TOMBSTONE: SKIP,
}
"""How each must end: TRANSCRIPT, SKIP, or the reason of its dead letter."""

_OFTEN_FED = (*(Feed.SHORT,) * 24, *(Feed.DUPLICATE,) * 6, *(kind for kind in Feed if kind is not Feed.LONG))


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the input topic. ``key`` names its object; a duplicate has that of an earlier event."""

    name: str
    at_seconds: float
    kind: Feed
    partition: int
    key: str
    seconds: float
    """Length of its recording; 0 where there is none."""
    piece: int
    """Which recording: equal numbers are equal sound."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    seconds: float
    actions: tuple[Action, ...]
    events: tuple[Event, ...]
    workers: tuple[str, ...] = WORKERS
    """Who runs from the beginning to the end."""


SEED_OF_THE_TEST = 4
"""Whose two minutes are part of ``scripts/test``."""


def make_plan(seed: int, minutes: float, *, brokers: int = 3, partitions: int = 6) -> Plan:
    """The plan of one run."""
    seconds = minutes * 60
    return Plan(
        seconds,
        tuple(_schedule(random.Random(f"schedule {seed}"), seconds, brokers)),
        tuple(_feed(random.Random(f"feed {seed}"), seconds, partitions)),
    )


def _schedule(draw: random.Random, seconds: float, brokers: int) -> Iterator[Action]:
    deck = _deck(draw, brokers)
    free_from: dict[str, float] = {}
    now = _LEAD_SECONDS
    gap = _GAP_SECONDS if seconds < _LONG_RUN_SECONDS else _GAP_OF_A_LONG_RUN_SECONDS
    while now < seconds:
        drawn = next((card for card in deck if free_from.get(_exclusive(*card), 0.0) <= now), None)
        if drawn is not None:
            deck.remove(drawn)
            fault, target = drawn
            shortest, longest = _LASTS[fault]
            lasts = round(draw.uniform(shortest, min(longest, max(shortest, seconds / 8))), 1)
            if now + lasts <= seconds:
                yield Action(now, fault, target, lasts)
                rest = _CATCH_UP_SECONDS if fault in _OF_A_BROKER else _REST_SECONDS
                free_from[_exclusive(fault, target)] = now + lasts + rest
        if not deck:
            deck = _deck(draw, brokers)
        now = round(now + draw.uniform(*gap), 1)


def _deck(draw: random.Random, brokers: int) -> list[tuple[Fault, str]]:
    """Every fault, those of the network once for each side, with a target, in an order of its own."""
    sides = [(fault, side) for fault in _OF_A_NETWORK for side in (BROKERS, STORE)]
    others = [(fault, draw.choice(_targets(fault, brokers))) for fault in Fault if fault not in _OF_A_NETWORK]
    again = [(Fault.KILL, draw.choice(WORKERS))]
    return draw.sample([*sides, *others, *again], len(sides) + len(others) + len(again))


def _targets(fault: Fault, brokers: int) -> list[str]:
    if fault in _OF_A_WORKER:
        return list(WORKERS)
    if fault in _OF_A_BROKER:
        return [f"broker-{number}" for number in range(1, brokers + 1)]
    return [EXTRA_WORKER] if fault is Fault.ADD else [STORE]


def _exclusive(fault: Fault, target: str) -> str:
    """What has one fault at a time: a target, or all brokers together."""
    return "any broker" if fault in _OF_A_BROKER else target


def _feed(draw: random.Random, seconds: float, partitions: int) -> Iterator[Event]:
    count = max(len(Feed), int(0.9 * seconds / _SECONDS_AN_EVENT))
    long_ones = [150.0] if seconds < _LONG_RUN_SECONDS else [300.0, 600.0]
    rare: list[Feed] = [kind for kind in Feed if kind not in (Feed.SHORT, Feed.LONG)]
    kinds: list[Feed] = [*rare, *(draw.choice(_OFTEN_FED) for _ in range(count - len(rare) - len(long_ones) - 1))]
    draw.shuffle(kinds)
    kinds.insert(0, Feed.SHORT)  # there is something to announce twice
    step = 0.9 * seconds / count
    for index in range(len(long_ones)):
        kinds.insert(2 + index * int(0.4 * seconds / step), Feed.LONG)
    announced: list[Event] = []
    for number, kind in enumerate(kinds):
        burst = draw.random() < 0.1  # some come at the heels of the one before
        at = round(max(0.0, (number - 1) * step + _BURST_SECONDS) if burst else number * step, 2)
        name = f"{number:04d}-{kind}"
        partition = draw.randrange(partitions)
        piece = draw.randrange(_PIECES)
        length = draw.choice(_SHORT_SECONDS)
        if kind is Feed.DUPLICATE:
            first = draw.choice(announced[-8:])
            event = Event(name, at, kind, partition, first.key, first.seconds, first.piece)
        else:
            if kind is Feed.LONG:
                length = long_ones.pop(0)
            folder = "forbidden/" if kind is Feed.FORBIDDEN else ""
            heard = EXPECTED[kind] == TRANSCRIPT
            event = Event(name, at, kind, partition, f"{folder}{name}.wav", length if heard else 0.0, piece)
            if heard and kind is not Feed.TRUNCATED:
                announced.append(event)
        yield event
