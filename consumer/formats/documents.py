"""The formats that a transcript can be had in, and their names, extensions and media types. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from consumer.formats.cues import cues_of, label_of
from consumer.formats.subtitles import to_lrc, to_srt, to_vtt, to_word_vtt
from consumer.formats.words import one_line
from schemas import Segment


class Format(StrEnum):
    """Names as settings and options have them. JSON is the transcript itself, which needs no rendering."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"
    WORDS_VTT = "words-vtt"
    TSV = "tsv"
    LRC = "lrc"

    @property
    def extension(self) -> str:
        """Of a file in this format, without a dot in front."""
        return {"text": "txt", "words-vtt": "words.vtt"}.get(self.value, self.value)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a format is made and what it is."""

    media_type: str
    of: Callable[[Sequence[Segment]], str]


def to_text(segments: Sequence[Segment]) -> str:
    """One line for each segment that has text; ends with a newline unless there is none at all."""
    lines = ((label_of(segment.speaker), one_line(segment.text)) for segment in segments)
    return "".join(f"{label}{line}\n" for label, line in lines if line)


def to_tsv(segments: Sequence[Segment]) -> str:
    """A table with tabs: start and end in milliseconds, text; a header first. As OpenAI's whisper writes it."""
    rows = ((round(s.start_seconds * 1000), round(s.end_seconds * 1000), one_line(s.text)) for s in segments)
    return "start\tend\ttext\n" + "".join(f"{start}\t{end}\t{text}\n" for start, end, text in rows if text)


FORMATS: Final = {
    Format.TEXT: Kind("text/plain; charset=utf-8", to_text),
    Format.SRT: Kind("application/x-subrip; charset=utf-8", lambda segments: to_srt(cues_of(segments))),
    Format.VTT: Kind("text/vtt; charset=utf-8", lambda segments: to_vtt(cues_of(segments))),
    Format.WORDS_VTT: Kind("text/vtt; charset=utf-8", lambda segments: to_word_vtt(cues_of(segments))),
    Format.TSV: Kind("text/tab-separated-values; charset=utf-8", to_tsv),
    Format.LRC: Kind("text/plain; charset=utf-8", lambda segments: to_lrc(cues_of(segments))),
}


def render(form: Format, segments: Sequence[Segment]) -> str:
    """A transcript's segments as a document. Raises KeyError for JSON."""
    return FORMATS[form].of(segments)
