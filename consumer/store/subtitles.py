"""A transcript as plain text, SubRip (SRT) or WebVTT. Pure: segments in, a document out.

Rules of both subtitle formats here:

1. A cue is one segment, in the order and at the times of the transcript, rounded to milliseconds.
2. A segment without text gives no cue.
3. A cue ends at least one millisecond after it begins: players drop or refuse cues of no length.
4. A cue is one line: a blank line would end it. White space and control characters become one space.
5. Text never holds ``-->``, which both formats reserve for the line of times.
6. Text is never taken for markup. WebVTT has escapes for ``&``, ``<`` and ``>``. SubRip has none, but players
   honour tags (``<i>``) and commands (``{\\an8}``, ``\\N``): there the five characters that make them become
   the nearest harmless ones.

SubRip has no standard; WebVTT is https://www.w3.org/TR/webvtt1/.
"""

import unicodedata
from collections.abc import Iterable, Iterator

from schemas import Segment

_SRT_HARMLESS = str.maketrans("<>{}\\", "‹›()/")
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def to_text(segments: Iterable[Segment]) -> str:
    """One line for each segment that has text; ends with a newline unless there is none at all."""
    lines = (_one_line(segment.text) for segment in segments)
    return "".join(f"{line}\n" for line in lines if line)


def to_srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered cues with times as ``hh:mm:ss,mmm``; empty where there was no speech."""
    cues = []
    for number, (start_ms, end_ms, text) in enumerate(_cues(segments), start=1):
        times = f"{_clock(start_ms, ',')} --> {_clock(end_ms, ',')}"
        cues.append(f"{number}\n{times}\n{text.translate(_SRT_HARMLESS)}\n")
    return "\n".join(cues)


def to_vtt(segments: Iterable[Segment]) -> str:
    """WebVTT: the header, then cues with times as ``hh:mm:ss.mmm``."""
    blocks = ["WEBVTT\n"]
    for start_ms, end_ms, text in _cues(segments):
        times = f"{_clock(start_ms, '.')} --> {_clock(end_ms, '.')}"
        blocks.append(f"{times}\n{text.translate(_VTT_ESCAPES)}\n")
    return "\n".join(blocks)


def _cues(segments: Iterable[Segment]) -> Iterator[tuple[int, int, str]]:
    for segment in segments:
        line = _one_line(segment.text)
        if line:
            start_ms = round(segment.start_seconds * 1000)
            yield start_ms, max(start_ms + 1, round(segment.end_seconds * 1000)), line.replace("-->", "→")


def _one_line(text: str) -> str:
    # Not str.isprintable: it refuses the joiners that Persian and Hindi words are written with.
    controls = ("Cc", "Cs")
    spaced = "".join(" " if unicodedata.category(character) in controls else character for character in text)
    return " ".join(spaced.split())


def _clock(milliseconds: int, decimal_mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{milliseconds:03}"
