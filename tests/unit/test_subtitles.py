"""Subtitles keep the rules at the top of subtitles.py, by this project's reading and by FFmpeg's."""

import html
import io
import re
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st

from consumer.store.subtitles import to_srt, to_text, to_vtt
from schemas import Segment
from tests.support.transcripts import make_segment

SPEECH = [
    make_segment(0.0, 1.25, " And so, my fellow Americans,"),
    make_segment(3599.9996, 3600.5, "ask not <i>what</i> & when --> then"),
    make_segment(36_000.0, 36_000.0, "no length"),
    make_segment(36_001.0, 36_002.0, "  \n "),
    make_segment(36_003.0, 36_004.0, "two\n\nlines"),
]


def test_text() -> None:
    assert to_text(SPEECH) == (
        "And so, my fellow Americans,\nask not <i>what</i> & when --> then\nno length\ntwo lines\n"
    )


def test_srt() -> None:
    assert to_srt(SPEECH) == (
        "1\n00:00:00,000 --> 00:00:01,250\nAnd so, my fellow Americans,\n\n"
        "2\n01:00:00,000 --> 01:00:00,500\nask not ‹i›what‹/i› & when → then\n\n"
        "3\n10:00:00,000 --> 10:00:00,001\nno length\n\n"
        "4\n10:00:03,000 --> 10:00:04,000\ntwo lines\n"
    )


def test_vtt() -> None:
    assert to_vtt(SPEECH) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.250\nAnd so, my fellow Americans,\n\n"
        "01:00:00.000 --> 01:00:00.500\nask not &lt;i&gt;what&lt;/i&gt; &amp; when → then\n\n"
        "10:00:00.000 --> 10:00:00.001\nno length\n\n"
        "10:00:03.000 --> 10:00:04.000\ntwo lines\n"
    )


def test_silence() -> None:
    assert (to_text([]), to_srt([]), to_vtt([])) == ("", "", "WEBVTT\n")


def test_joiners_inside_words_stay() -> None:
    persian = "می\u200cخواهم"
    assert persian in to_srt([make_segment(0, 1, persian)])


words = st.text(st.characters()) | st.text(st.sampled_from("-> <&;\n\r\t\u2028\x0b\x00{}\\Ni/0123456789#NOTE"))


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    """Segments up to 100 hours into a recording, in order, of any length from none to the next one's start.

    No two begin at the same millisecond: FFmpeg drops a cue equal to the one before in text and time.
    """
    starts_ms = sorted(draw(st.lists(st.integers(0, 360_000_000), max_size=16, unique=True)))
    return [
        make_segment(start / 1000, draw(st.floats(start / 1000, end / 1000)), draw(words))
        for start, end in pairwise(starts_ms)
    ]


def open_subtitles(document: str, form: str) -> InputContainer:
    container = av.open(io.BytesIO(document.encode()), format=form)
    assert isinstance(container, InputContainer)
    return container


def ffmpeg_reads(document: str, form: str) -> list[tuple[int, int, str]]:
    """Cues as FFmpeg's demuxer finds them: start and length in milliseconds, raw text."""
    with open_subtitles(document, form) as container:
        assert container.streams.subtitles[0].time_base == Fraction(1, 1000)
        packets = container.demux(subtitles=0)
        return [(p.pts, p.duration or 0, bytes(p).decode()) for p in packets if p.pts is not None]


def visible(segment: Segment) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", segment.text).split())


@given(segments())
def test_srt_is_read_by_ffmpeg_as_it_was_meant(spoken: list[Segment]) -> None:
    expected = [s for s in spoken if visible(s)]
    document = to_srt(spoken)
    assert not expected or not re.search(r"[<{}\\]", document)
    cues = ffmpeg_reads(document, "srt") if expected else []
    assert [text for _, _, text in cues] == [
        visible(s).replace("-->", "→").translate(str.maketrans("<>{}\\", "‹›()/")) for s in expected
    ]
    for (start_ms, length_ms, _), segment in zip(cues, expected, strict=True):
        assert abs(start_ms - segment.start_seconds * 1000) <= 0.51
        assert length_ms >= 1
        assert length_ms == 1 or abs(start_ms + length_ms - segment.end_seconds * 1000) <= 0.51


@given(segments())
def test_vtt_is_read_by_ffmpeg_as_it_was_meant(spoken: list[Segment]) -> None:
    expected = [s for s in spoken if visible(s)]
    document = to_vtt(spoken)
    cues = ffmpeg_reads(document, "webvtt") if expected else []
    assert [html.unescape(text) for _, _, text in cues] == [visible(s).replace("-->", "→") for s in expected]
    for (start_ms, length_ms, raw), segment in zip(cues, expected, strict=True):
        assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", raw)
        assert abs(start_ms - segment.start_seconds * 1000) <= 0.51
        assert length_ms >= 1


@given(segments())
def test_arrows_stand_in_lines_of_times_alone(spoken: list[Segment]) -> None:
    cues = sum(1 for segment in spoken if visible(segment))
    for document in (to_srt(spoken), to_vtt(spoken)):
        assert document.count("-->") == cues


@pytest.mark.parametrize("text", ["{\\an8}up", "<b>bold</b>", "a\\Nb", "{hidden}"])
def test_srt_text_is_never_a_command(text: str) -> None:
    document = to_srt([make_segment(0, 1, text)])
    with open_subtitles(document, "srt") as container:
        (packet,) = (p for p in container.demux(subtitles=0) if p.pts is not None)
        (event,) = packet.decode()
    assert isinstance(event, av.subtitles.subtitle.AssSubtitle)
    assert event.ass.endswith(text.translate(str.maketrans("<>{}\\", "‹›()/")).encode())
