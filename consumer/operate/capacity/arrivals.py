"""When recordings arrive, and how long they are.

1. A curve is audio seconds for each minute. It is cut into recordings of one length, and a share of it into long ones.
2. All of the curve arrives, and nothing else: what is left at its end is one shorter recording of each kind.
"""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MINUTE: Final = 60.0
DAY_MINUTES: Final = 1440
_OPENS, _CLOSES = 8 * 60, 18 * 60  # of a business day
_BURST_BEGINS, _BURST_MINUTES, _BURST_TIMES = 12 * 60, 15, 20


@dataclass(frozen=True, slots=True)
class Arrival:
    """A recording: when it is announced, and how long it is, in seconds."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long recordings are, in seconds, and what share of the audio is in long ones."""

    usual: float = 180.0
    long: float = 7200.0
    long_share: float = 0.0


def _steady(_minute: int) -> float:
    return 1.0


def _business_day(minute: int) -> float:
    """Rises to the middle of the day and falls again."""
    if not _OPENS <= minute < _CLOSES:
        return 0.0
    return math.sin(math.pi * (minute + 0.5 - _OPENS) / (_CLOSES - _OPENS))


def _burst(minute: int) -> float:
    return _BURST_TIMES if 0 <= minute - _BURST_BEGINS < _BURST_MINUTES else 1.0


SHAPES: Final[dict[str, Callable[[int], float]]] = {
    "steady": _steady,
    "business-day": _business_day,
    "burst": _burst,
}
"""Weights of the minutes of a day."""


def curve(shape: str, hours_an_hour: float) -> list[float]:
    """A day of audio seconds for each minute, with so many hours of audio in the busiest hour.

    A burst counts apart: the hours are those of the time around it.
    """
    weights = [SHAPES[shape](minute) for minute in range(DAY_MINUTES)]
    hours = [sum(weights[minute : minute + 60]) for minute in range(0, DAY_MINUTES, 60)]
    busiest = 60.0 if shape == "burst" else max(hours)
    return [weight / busiest * hours_an_hour * 3600 for weight in weights]


def read_curve(lines: Iterable[str]) -> list[float]:
    """A CSV of minute and audio seconds, without a heading or with one. Raises ValueError with the number of the line.

    Minutes that are not there have none.
    """
    found: dict[int, float] = {}
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or (number == 1 and not row[0].strip().isdigit()):
            continue
        try:
            minute, seconds = int(row[0]), float(row[1])
        except (ValueError, IndexError):
            raise ValueError(f"line {number} is not a minute and seconds of audio: {','.join(row)}") from None
        if minute < 0 or not 0 <= seconds < math.inf:
            raise ValueError(f"line {number}: neither may be negative, or without end")
        found[minute] = found.get(minute, 0.0) + seconds
    return [found.get(minute, 0.0) for minute in range(max(found, default=-1) + 1)]


def recordings(minutes: Sequence[float], lengths: Lengths) -> list[Arrival]:
    """What arrives, in order of time."""
    usual = _cut([seconds * (1 - lengths.long_share) for seconds in minutes], lengths.usual)
    long = _cut([seconds * lengths.long_share for seconds in minutes], lengths.long)
    return sorted([*usual, *long], key=lambda arrival: arrival.at)


def _cut(minutes: Sequence[float], length: float) -> Iterator[Arrival]:
    """Recordings of one length, each announced when all of its audio has come."""
    held = 0.0
    for minute, seconds in enumerate(minutes):
        before, held = held, held + seconds
        count = int(held // length)
        for number in range(1, count + 1):
            yield Arrival(MINUTE * (minute + (number * length - before) / seconds), length)
        held -= count * length
    if held > 0:
        yield Arrival(MINUTE * len(minutes), held)
