"""Segments cut into cues that can be read: what is on the screen at one time. Pure.

1. A cue is one line or two, of 42 columns at most; a word that is wider by itself has a line of its own.
2. A cue is shown for 1 to 7 s. It begins with its first word and ends with its last, but stays for 1 s at least, and
   for as long as it takes to read (20 columns a second), where the next one leaves the time. Where it does not leave
   the second, the cue begins earlier, in the pause before.
3. Cues end where a sentence does, else a clause, else between words, never inside one, and wherever nothing is said for
   1.5 s. Of all ways to cut, the one that costs least by these rules is taken.
4. The two lines of a cue are broken in the same way, and are as long as each other as far as that allows.
5. Cues follow each other in time, and those of one channel do not overlap. A cue has words of one speaker.

42 columns, two lines and 7 s are those of Netflix's Timed Text Style Guide. The costs were weighed by reading.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import Final

from consumer.formats.words import SENTENCE_ENDS, Break, Piece, columns_of, joined, pieces_of
from schemas import Segment

LINE_COLUMNS: Final = 42
SHORTEST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 7.0
_PAUSE_SECONDS: Final = 1.5
_READ_COLUMNS_A_SECOND: Final = 20.0

# What a cut costs, in units of a cue more.
_CUE_COST: Final = 1.0
_BREAK_COST: Final = {Break.SENTENCE: 0.0, Break.CLAUSE: 0.5, Break.SPACE: 1.5, Break.POOR: 4.0, Break.NEVER: 100.0}
_TOO_SHORT_COST: Final = 6.0
_PAUSE_BONUS: Final = 1.0
"""For a second of pause where it is cut."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One or two lines; ``pieces`` are their words."""

    start_seconds: float
    end_seconds: float
    lines: tuple[tuple[Piece, ...], ...]
    speaker: str | None = None

    @property
    def line(self) -> str:
        """The whole text on one line."""
        return joined(piece for line in self.lines for piece in line)


def cues_of(segments: Iterable[Segment]) -> list[Cue]:
    """The cues of a transcript, in order of time."""
    by_channel: dict[int | None, list[Segment]] = {}
    for segment in segments:
        by_channel.setdefault(segment.channel, []).append(segment)
    cues = [cue for channel in by_channel.values() for cue in _of_channel(channel)]
    return sorted(cues, key=lambda cue: cue.start_seconds)


def label_of(speaker: str | None) -> str:
    """What stands in front of a cue where the format has no place for who speaks."""
    return f"{' '.join(speaker.split())}: " if speaker else ""


def _of_channel(segments: Sequence[Segment]) -> list[Cue]:
    cues = [
        cue
        for speaker, spoken in groupby(segments, key=lambda segment: segment.speaker)
        for stretch in _stretches(spoken)
        for cue in _cut(stretch, speaker)
    ]
    return list(_timed(cues))


def _stretches(segments: Iterable[Segment]) -> Iterator[list[Piece]]:
    """Pieces between pauses; in each they follow one another in time."""
    stretch: list[Piece] = []
    for segment in segments:
        for index, piece in enumerate(pieces_of(segment)):
            if stretch and piece.start_seconds - stretch[-1].end_seconds >= _PAUSE_SECONDS:
                yield stretch
                stretch = []
            stretch.append(_behind(stretch[-1], piece, is_first=index == 0) if stretch else piece)
    if stretch:
        yield stretch


def _behind(before: Piece, piece: Piece, *, is_first: bool) -> Piece:
    """A piece after another, also of another segment: then there is a space, but for scripts that write none."""
    start = max(piece.start_seconds, before.end_seconds)
    timed = replace(piece, start_seconds=start, end_seconds=max(start, piece.end_seconds))
    if not is_first:
        return timed
    wide = columns_of(before.text[-1]) > 1 and columns_of(piece.text[0]) > 1
    place = Break.SENTENCE if before.text[-1] in SENTENCE_ENDS else Break.CLAUSE
    return replace(timed, space="" if wide else " ", before=place)


def _cut(pieces: Sequence[Piece], speaker: str | None) -> list[Cue]:
    """The cheapest way to cut a stretch, found from its beginning on, cue by cue (dynamic programming)."""
    label = columns_of(label_of(speaker))
    widths = list(accumulate((len(piece.space) + piece.columns for piece in pieces), initial=0))
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the pieces before each: cost, and where the last cue begins
    for end in range(1, len(pieces) + 1):
        cost, begin = min(
            (best[begin][0] + _cost(pieces, widths, begin, end, label), begin)
            for begin in _beginnings(pieces, widths, end, label)
        )
        best.append((cost, begin))
    cues: list[Cue] = []
    end = len(pieces)
    while end:
        begin = best[end][1]
        lines = _lines(pieces[begin:end], label)
        cues.append(Cue(pieces[begin].start_seconds, pieces[end - 1].end_seconds, lines, speaker))
        end = begin
    return cues[::-1]


def _beginnings(pieces: Sequence[Piece], widths: Sequence[int], end: int, label: int) -> Iterator[int]:
    """Where a cue that ends with the piece before ``end`` may begin; one piece alone always may."""
    yield end - 1
    for begin in range(end - 2, -1, -1):
        too_long = pieces[end - 1].end_seconds - pieces[begin].start_seconds > LONGEST_SECONDS
        if too_long or _width(pieces, widths, begin, end) + label > 2 * LINE_COLUMNS:
            return
        if _fits(pieces, widths, begin, end, label):
            yield begin


def _width(pieces: Sequence[Piece], widths: Sequence[int], begin: int, end: int) -> int:
    """Columns of pieces on one line; ``widths`` are those before each piece of a stretch, spaces included."""
    return widths[end] - widths[begin] - len(pieces[begin].space)


def _fits(pieces: Sequence[Piece], widths: Sequence[int], begin: int, end: int, label: int) -> bool:
    if _width(pieces, widths, begin, end) + label <= LINE_COLUMNS:
        return True
    return any(
        pieces[middle].before < Break.NEVER
        and _width(pieces, widths, begin, middle) + label <= LINE_COLUMNS
        and _width(pieces, widths, middle, end) <= LINE_COLUMNS
        for middle in range(end - 1, begin, -1)
    )


def _cost(pieces: Sequence[Piece], widths: Sequence[int], begin: int, end: int, label: int) -> float:
    """What it costs that one cue holds the pieces from ``begin`` to before ``end`` (rules 2 and 3)."""
    cost = _CUE_COST
    is_last = end == len(pieces)
    shown_until = pieces[begin].start_seconds + LONGEST_SECONDS if is_last else pieces[end].start_seconds
    seconds = shown_until - pieces[begin].start_seconds
    if seconds < SHORTEST_SECONDS:
        cost += _TOO_SHORT_COST * (1 + SHORTEST_SECONDS - seconds)
    if not is_last:
        pause = pieces[end].start_seconds - pieces[end - 1].end_seconds
        cost += _BREAK_COST[pieces[end].before] - _PAUSE_BONUS * min(pause, _PAUSE_SECONDS)
    if _width(pieces, widths, begin, end) + label > LINE_COLUMNS:
        cost += 0.1  # a second line
    return cost


def _lines(pieces: Sequence[Piece], label: int) -> tuple[tuple[Piece, ...], ...]:
    """One line where it fits, else two (rule 4)."""
    widths = list(accumulate((len(piece.space) + piece.columns for piece in pieces), initial=0))
    end = len(pieces)
    if _width(pieces, widths, 0, end) + label <= LINE_COLUMNS or end == 1:
        return (tuple(pieces),)

    def badness(middle: int) -> tuple[bool, float]:
        first = _width(pieces, widths, 0, middle) + label
        second = _width(pieces, widths, middle, end)
        too_wide = max(first, second) > LINE_COLUMNS
        return too_wide, _BREAK_COST[pieces[middle].before] + abs(first - second) / LINE_COLUMNS * 2

    middle = min(range(1, end), key=badness)
    return tuple(pieces[:middle]), tuple(pieces[middle:])


def _timed(cues: Sequence[Cue]) -> Iterator[Cue]:
    """Each shown for long enough, where its neighbours leave the time (rule 2)."""
    before = 0.0
    for index, cue in enumerate(cues):
        after = cues[index + 1].start_seconds if index + 1 < len(cues) else float("inf")
        start = max(cue.start_seconds, before)
        wanted = max(SHORTEST_SECONDS, columns_of(label_of(cue.speaker) + cue.line) / _READ_COLUMNS_A_SECOND)
        end = min(max(cue.end_seconds, start + wanted), start + LONGEST_SECONDS)
        end = max(start, min(end, after))
        if end - start < SHORTEST_SECONDS:
            start = max(before, end - SHORTEST_SECONDS)
        before = end
        yield replace(cue, start_seconds=start, end_seconds=end)
