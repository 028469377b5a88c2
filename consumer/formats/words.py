"""A segment's text as the smallest pieces that a line may be broken between. Pure.

1. Pieces joined, with the white space in front of each, are the segment's text: white space and control characters are
   one space, and ``-->``, which subtitles reserve, is an arrow.
2. Where the segment has words, pieces are these, with their times. Else the text is cut at its spaces (scripts that
   write none: at any character), and each piece gets its share of the segment's time, by columns.
3. A piece may begin a line if white space is in front of it, or if it is of a script without spaces on both sides:
   Chinese and Japanese anywhere but before what must not begin a line or after what must not end one (JIS X 4051's
   kinsoku); Thai, Lao, Burmese and Khmer, whose words only a dictionary tells apart, at spaces alone unless a line
   would not fit.
4. An East Asian wide character takes up two columns, a combining one none (UAX #11).
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from schemas import Segment

_NEVER_FIRST: Final = frozenset(
    "、。，．・：；？！ヽヾゝゞ々ー）］｝〕〉》」』】’”ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ,.:;?!)]}%…‥～"
)
_NEVER_LAST: Final = frozenset("（［｛〔〈《「『【‘“([{¿¡")
_CLOSING: Final = frozenset("\"')]}»”’」』）】〉》")
SENTENCE_ENDS: Final = frozenset(".?!…。？！．؟۔।॥။")
_CLAUSE_ENDS: Final = frozenset(",;:、，；：،؛–—")


class Break(IntEnum):
    """How good a place in front of a piece is to break at, best first."""

    SENTENCE = 0
    CLAUSE = 1
    SPACE = 2
    POOR = 3
    """Inside what may be a word, of a script whose words nobody can tell apart."""
    NEVER = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """``space`` is what stands in front of it unless it begins a line. Times in seconds."""

    text: str
    space: str
    start_seconds: float
    end_seconds: float
    before: Break

    @property
    def columns(self) -> int:
        """Columns of its text."""
        return columns_of(self.text)


def pieces_of(segment: Segment) -> list[Piece]:
    """The pieces of one segment; none where it has no text. The first one's ``before`` is SENTENCE."""
    text = one_line(segment.text).replace("-->", "→")
    spans = _spans_of_words(segment, text) or _spans_in_proportion(segment, text)
    pieces: list[Piece] = []
    end = 0
    for first, last, start_seconds, end_seconds in spans:
        before = Break.SENTENCE if not pieces else _break_between(text[end - 1], text[end:first], text, first)
        earliest = pieces[-1].end_seconds if pieces else 0.0
        starts = max(earliest, start_seconds)
        pieces.append(Piece(text[first:last], text[end:first], starts, max(starts, end_seconds), before))
        end = last
    return pieces


def columns_of(text: str) -> int:
    """How wide text is, in columns of a fixed-width font (rule 4)."""
    return sum(_columns_of_character(character) for character in text)


def one_line(text: str) -> str:
    """White space and control characters as one space each run, none at the ends."""
    # Not str.isprintable: it refuses the joiners that Persian and Hindi words are written with.
    controls = ("Cc", "Cs")
    spaced = "".join(" " if unicodedata.category(character) in controls else character for character in text)
    return " ".join(spaced.split())


def _columns_of_character(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


_Span = tuple[int, int, float, float]
"""First character and the one after the last, beginning and end in seconds."""


def _spans_of_words(segment: Segment, text: str) -> list[_Span]:
    """Where the words lie in the text; none where they are not its words. What lies between two belongs to the second,
    but for white space."""
    spans: list[_Span] = []
    end = 0
    for word in segment.words:
        wanted = one_line(word.text).replace("-->", "→")
        found = text.find(wanted, end) if wanted else -1
        if found < 0:
            continue
        first = end + len(text[end:found]) - len(text[end:found].lstrip())
        end = found + len(wanted)
        spans.append((first, end, word.start_seconds, word.end_seconds))
    if not spans or sum(last - first for first, last, *_ in spans) < len(text.replace(" ", "")) / 2:
        return []
    first, _, start_seconds, end_seconds = spans[-1]
    return [*spans[:-1], (first, len(text), start_seconds, end_seconds)]


def _spans_in_proportion(segment: Segment, text: str) -> list[_Span]:
    places: list[tuple[int, int]] = []
    first = 0
    for index, character in enumerate(text):
        if character == " ":
            places.append((first, index))
            first = index + 1
        elif index > first and (_is_unspaced(text[index - 1]) or _is_unspaced(character)) and not _joins(character):
            places.append((first, index))
            first = index
    if first < len(text):
        places.append((first, len(text)))
    total = sum(columns_of(text[first:last]) for first, last in places) or 1
    seconds = max(0.0, segment.end_seconds - segment.start_seconds)
    spans: list[_Span] = []
    done = 0
    for first, last in places:
        begins = segment.start_seconds + seconds * done / total
        done += columns_of(text[first:last])
        spans.append((first, last, begins, segment.start_seconds + seconds * done / total))
    return spans


def _break_between(last: str, space: str, text: str, first: int) -> Break:
    """How good a place is between two pieces: after the character ``last``, before the one at ``first``."""
    following = text[first]
    if not space:
        if following in _NEVER_FIRST or last in _NEVER_LAST or _joins(following):
            return Break.NEVER
        if not (_is_unspaced(last) or _is_unspaced(following)):
            return Break.NEVER
        if _has_no_known_words(last) or _has_no_known_words(following):
            return Break.POOR
    before = text[: first - len(space)].rstrip("".join(_CLOSING))
    mark = before[-1:] or last
    if mark in SENTENCE_ENDS:
        return Break.SENTENCE
    return Break.CLAUSE if mark in _CLAUSE_ENDS else Break.SPACE


def _joins(character: str) -> bool:
    return unicodedata.category(character)[0] == "M" or character in "\u200c\u200d"


_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x303F),  # CJK radicals and punctuation
    (0x3040, 0x31FF),  # kana, bopomofo
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFF65),  # full-width forms
    (0x20000, 0x323AF),
)
_LAST_WITHOUT_KNOWN_WORDS: Final = 0x17FF


def _is_unspaced(character: str) -> bool:
    code = ord(character)
    return code >= _UNSPACED[0][0] and any(low <= code <= high for low, high in _UNSPACED)


def _has_no_known_words(character: str) -> bool:
    return _is_unspaced(character) and ord(character) <= _LAST_WITHOUT_KNOWN_WORDS


def joined(pieces: Iterable[Piece]) -> str:
    """The pieces as one line."""
    return "".join(piece.text if index == 0 else piece.space + piece.text for index, piece in enumerate(pieces))
