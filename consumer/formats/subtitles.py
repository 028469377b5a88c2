"""Cues as SubRip (SRT), WebVTT and LRC. Pure.

1. Cues are in order, with times rounded to milliseconds (LRC: to hundredths of a second).
2. A cue ends at least one millisecond after it begins: players drop or refuse cues of no length.
3. Text is never taken for markup. WebVTT has escapes for ``&``, ``<`` and ``>``. SubRip has none, but players
   honour tags (``<i>``) and commands (``{\\an8}``, ``\\N``): there the five characters that make them become
   the nearest harmless ones. In LRC a time in brackets at the beginning of a line would be one: brackets become braces.
4. WebVTT has a place for who speaks; in the others the name stands in front.
5. Words of a word-timed WebVTT carry the time at which they begin, where it lies inside the cue and after the word's
   before: players light them up one by one.

SubRip and LRC have no standard; WebVTT is https://www.w3.org/TR/webvtt1/.
"""

from collections.abc import Iterable, Iterator

from consumer.formats.cues import Cue, label_of
from consumer.formats.words import Piece, joined

_SRT_HARMLESS = str.maketrans("<>{}\\", "‹›()/")
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LRC_HARMLESS = str.maketrans("[]<>", "()‹›")


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered cues with times as ``hh:mm:ss,mmm``; empty where there was no speech."""
    blocks = []
    for number, cue in enumerate(cues, start=1):
        text = label_of(cue.speaker) + "\n".join(joined(line) for line in cue.lines)
        blocks.append(f"{number}\n{_times(cue, ',')}\n{text.translate(_SRT_HARMLESS)}\n")
    return "\n".join(blocks)


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT: the header, then cues with times as ``hh:mm:ss.mmm``."""
    return _vtt((cue, "\n".join(joined(line).translate(_VTT_ESCAPES) for line in cue.lines)) for cue in cues)


def to_word_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT in which each word has its time."""
    return _vtt((cue, "\n".join(_with_times(cue))) for cue in cues)


def to_lrc(cues: Iterable[Cue]) -> str:
    """LRC, as players of music show it: a line for each cue with the time at which it begins."""
    return "".join(f"[{_lrc_clock(cue.start_seconds)}]{_lrc_text(cue)}\n" for cue in cues)


def _lrc_text(cue: Cue) -> str:
    return (label_of(cue.speaker) + cue.line).translate(_LRC_HARMLESS)


def _vtt(cues: Iterable[tuple[Cue, str]]) -> str:
    blocks = ["WEBVTT\n"]
    for cue, text in cues:
        name = (cue.speaker or "").translate(_VTT_ESCAPES)
        voice = f"<v {' '.join(name.split())}>" if name.strip() else ""
        blocks.append(f"{_times(cue, '.')}\n{voice}{text}\n")
    return "\n".join(blocks)


def _with_times(cue: Cue) -> Iterator[str]:
    shown_ms, last_ms = _milliseconds(cue)
    for line in cue.lines:
        text = ""
        for index, piece in enumerate(line):
            start_ms = round(piece.start_seconds * 1000)
            if shown_ms < start_ms < last_ms:
                text += f"{piece.space if index else ''}<{_clock(start_ms, '.')}>{_word(piece)}"
                shown_ms = start_ms
            else:
                text += f"{piece.space if index else ''}{_word(piece)}"
        yield text


def _word(piece: Piece) -> str:
    return f"<c>{piece.text.translate(_VTT_ESCAPES)}</c>"


def _times(cue: Cue, decimal_mark: str) -> str:
    start_ms, end_ms = _milliseconds(cue)
    return f"{_clock(start_ms, decimal_mark)} --> {_clock(end_ms, decimal_mark)}"


def _milliseconds(cue: Cue) -> tuple[int, int]:
    start_ms = round(cue.start_seconds * 1000)
    return start_ms, max(start_ms + 1, round(cue.end_seconds * 1000))


def _clock(milliseconds: int, decimal_mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{milliseconds:03}"


def _lrc_clock(seconds: float) -> str:
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{minutes:02}:{hundredths // 100:02}.{hundredths % 100:02}"
