"""Documents for players and people keep the rules of their modules, by this project's reading and by others'."""

import csv
import html
import io
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st

from consumer.formats import Format, render
from consumer.formats.cues import LINE_COLUMNS, LONGEST_SECONDS, SHORTEST_SECONDS, Cue, cues_of
from consumer.formats.words import columns_of, joined
from schemas import Segment, Word
from tests.support.transcripts import make_segment

SPEECH = [
    make_segment(0.0, 1.25, " And so, my fellow Americans,"),
    make_segment(3599.9996, 3601.5, "ask not <i>what</i> & when --> then"),
    make_segment(36_001.0, 36_002.0, "  \n "),
    make_segment(36_003.0, 36_004.0, "two\n\nlines"),
]


def spoken(start_seconds: float, text: str, seconds_a_word: float = 0.3, **facts: object) -> Segment:
    """A segment in which each word takes so long; words are what spaces part, or single characters without any."""
    parts = text.split() if " " in text else list(text)
    words = [
        Word(
            text=part,
            start_seconds=start_seconds + index * seconds_a_word,
            end_seconds=start_seconds + (index + 1) * seconds_a_word,
            probability=0.9,
        )
        for index, part in enumerate(parts)
    ]
    segment = make_segment(start_seconds, words[-1].end_seconds, text)
    return segment.model_copy(update={"words": tuple(words), **facts})


def shown(cue: Cue) -> list[str]:
    return [joined(line) for line in cue.lines]


def test_text() -> None:
    assert render(Format.TEXT, SPEECH) == (
        "And so, my fellow Americans,\nask not <i>what</i> & when --> then\ntwo lines\n"
    )


def test_srt() -> None:
    assert render(Format.SRT, SPEECH) == (
        "1\n00:00:00,000 --> 00:00:01,400\nAnd so, my fellow Americans,\n\n"
        "2\n01:00:00,000 --> 01:00:01,650\nask not ‹i›what‹/i› & when → then\n\n"
        "3\n10:00:03,000 --> 10:00:04,000\ntwo lines\n"
    )


def test_vtt() -> None:
    assert render(Format.VTT, SPEECH) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.400\nAnd so, my fellow Americans,\n\n"
        "01:00:00.000 --> 01:00:01.650\nask not &lt;i&gt;what&lt;/i&gt; &amp; when → then\n\n"
        "10:00:03.000 --> 10:00:04.000\ntwo lines\n"
    )


def test_word_timed_vtt() -> None:
    assert render(Format.WORDS_VTT, [spoken(1, "Ask not, friends!")]) == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n<c>Ask</c> <00:00:01.300><c>not,</c> <00:00:01.600><c>friends!</c>\n"
    )


def test_lrc() -> None:
    assert render(Format.LRC, [*SPEECH[:2], spoken(6001.005, "[00:01.00] ends")]) == (
        "[00:00.00]And so, my fellow Americans,\n"
        "[60:00.00]ask not ‹i›what‹/i› & when → then\n"
        "[100:01.00](00:01.00) ends\n"
    )


def test_silence() -> None:
    empty = {form: render(form, []) for form in Format if form != Format.JSON}
    assert empty == {
        Format.TEXT: "",
        Format.SRT: "",
        Format.VTT: "WEBVTT\n",
        Format.WORDS_VTT: "WEBVTT\n",
        Format.TSV: "start\tend\ttext\n",
        Format.LRC: "",
    }


def test_joiners_inside_words_stay() -> None:
    persian = "می\u200cخواهم"
    assert persian in render(Format.SRT, [make_segment(0, 1, persian)])


def test_who_speaks_is_told() -> None:
    call = [
        spoken(0, "Good morning.", channel=0, speaker="agent"),
        spoken(2, "Hello, Ms <Smith>.", channel=1, speaker="a & b"),
    ]
    assert render(Format.TEXT, call) == "agent: Good morning.\na & b: Hello, Ms <Smith>.\n"
    assert "agent: Good morning." in render(Format.SRT, call)
    vtt = render(Format.VTT, call)
    assert "\n<v agent>Good morning.\n" in vtt
    assert "\n<v a &amp; b>Hello, Ms &lt;Smith&gt;.\n" in vtt
    assert "[00:02.00]a & b: Hello" in render(Format.LRC, call)


def test_cues_end_with_sentences_and_clauses() -> None:
    segment = spoken(
        0,
        "There's iron, they say, in all our blood, and a grain or two perhaps is good. But his, he makes me "
        "harshly feel, has got a little too much of steel in it.",
    )
    assert [shown(cue) for cue in cues_of([segment])] == [
        ["There's iron, they say, in all our blood,", "and a grain or two perhaps is good."],
        ["But his, he makes me harshly feel,", "has got a little too much of steel in it."],
    ]


def test_scripts_without_spaces_are_broken_where_they_may_be() -> None:
    japanese = (
        "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
    )
    cues = cues_of([spoken(0, japanese, 0.1)])
    assert "".join(cue.line for cue in cues) == japanese
    for line in (line for cue in cues for line in shown(cue)):
        assert columns_of(line) <= LINE_COLUMNS
        assert line[0] not in "。、っゃゅょー"
    assert [shown(cue)[-1][-1] for cue in cues] == ["。"] * len(cues)
    thai = "สวัสดีครับ วันนี้อากาศดีมาก เราจะไปเดินเล่นที่สวนสาธารณะ แล้วกลับบ้านตอนเย็น"
    lines = [line for cue in cues_of([make_segment(0, 6, thai)]) for line in shown(cue)]
    assert " ".join(lines) == thai


def test_two_speakers_at_once_overlap_and_each_keeps_order() -> None:
    call = [
        spoken(0, "one two three four five six seven eight nine ten eleven", channel=0, speaker="a"),
        spoken(0.5, "uno dos tres", channel=1, speaker="b"),
    ]
    cues = cues_of(call)
    assert [cue.start_seconds for cue in cues] == sorted(cue.start_seconds for cue in cues)
    assert {cue.speaker for cue in cues} == {"a", "b"}


WORDS = st.text(st.sampled_from("abcdefghij.,?!"), min_size=1, max_size=12)
UNSPACED = st.text(st.sampled_from("天地玄黃宇宙洪荒のはがで。、？"), min_size=1, max_size=60)


@st.composite
def speeches(draw: st.DrawFn) -> list[Segment]:
    """Segments with words of 0.1 to 1.2 s, with pauses between, in order."""
    segments = []
    start = draw(st.floats(0, 100))
    for _ in range(draw(st.integers(0, 6))):
        text = draw(st.lists(WORDS, min_size=1, max_size=40).map(" ".join) | UNSPACED)
        segment = spoken(start, text, draw(st.floats(0.1, 1.2)))
        segments.append(segment)
        start = segment.end_seconds + draw(st.sampled_from([0.0, 0.3, 5.0]))
    return segments


def characters(texts: Sequence[str]) -> str:
    return "".join("".join(text.split()) for text in texts)


@given(speeches())
def test_cues_keep_every_word_in_order_and_can_be_read(segments: list[Segment]) -> None:
    cues = cues_of(segments)
    assert characters([cue.line for cue in cues]) == characters([segment.text for segment in segments])
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        for line in cue.lines:
            assert columns_of(joined(line)) <= LINE_COLUMNS or len(line) == 1
        assert cue.end_seconds - cue.start_seconds <= LONGEST_SECONDS + 1e-6
    for cue, following in pairwise(cues):
        assert cue.end_seconds <= following.start_seconds + 1e-6
    if len(cues) == 1:
        assert cues[0].end_seconds - cues[0].start_seconds >= SHORTEST_SECONDS - 1e-6


@given(speeches())
def test_words_of_texts_with_spaces_are_never_cut(segments: list[Segment]) -> None:
    spaced = [segment for segment in segments if " " in segment.text]
    words = [word for segment in spaced for word in segment.text.split()]
    assert [word for cue in cues_of(spaced) for line in shown(cue) for word in line.split()] == words


@given(speeches())
def test_short_cues_are_rare_where_speech_leaves_the_time(segments: list[Segment]) -> None:
    """At a word each 0.3 s or slower, nothing forces a cue under a second but what stands alone between pauses."""
    slow = [spoken(segment.start_seconds * 10, segment.text, 0.5) for segment in segments]
    for cue in cues_of(slow):
        assert cue.end_seconds - cue.start_seconds >= SHORTEST_SECONDS - 1e-6


words = st.text(st.characters()) | st.text(st.sampled_from("-> <&;\n\r\t\u2028\x0b\x00{}\\Ni/0123456789#NOTE[]:."))


@st.composite
def anything(draw: st.DrawFn) -> list[Segment]:
    """Segments up to 100 hours into a recording, in order, of any text and length, and at least a second apart."""
    starts = sorted(draw(st.lists(st.integers(0, 360_000), max_size=16, unique=True)))
    return [
        make_segment(start, draw(st.floats(start, end)), draw(words)) for start, end in pairwise([*starts, 360_001])
    ]


def open_subtitles(document: str, form: str) -> InputContainer:
    container = av.open(io.BytesIO(document.encode()), format=form)
    assert isinstance(container, InputContainer)
    return container


def ffmpeg_reads(document: str, form: str) -> list[tuple[int, int, str]]:
    """Cues as FFmpeg's demuxer finds them: start and length in milliseconds, raw text."""
    with open_subtitles(document, form) as container:
        base = container.streams.subtitles[0].time_base
        assert base is not None
        packets = container.demux(subtitles=0)
        return [
            (round(p.pts * base * 1000), round((p.duration or 0) * base * 1000), bytes(p).decode())
            for p in packets
            if p.pts is not None
        ]


def plain(text: str) -> str:
    return " ".join(text.split())


@given(anything())
def test_srt_is_read_by_ffmpeg_as_it_was_meant(segments: list[Segment]) -> None:
    cues = cues_of(segments)
    document = render(Format.SRT, segments)
    assert not cues or not re.search(r"[<{}\\]", document)
    found = ffmpeg_reads(document, "srt") if cues else []
    harmless = str.maketrans("<>{}\\", "‹›()/")
    assert [plain(text) for _, _, text in found] == [plain("\n".join(shown(cue))).translate(harmless) for cue in cues]
    assert_times(found, cues)


@given(anything())
def test_vtt_is_read_by_ffmpeg_as_it_was_meant(segments: list[Segment]) -> None:
    cues = cues_of(segments)
    for form in (Format.VTT, Format.WORDS_VTT):
        found = ffmpeg_reads(render(form, segments), "webvtt") if cues else []
        bare = [re.sub(r"<(/?c|[\d:.]+)>", "", text) for _, _, text in found]
        assert not any(re.search(r"[<>]|&(?!(amp|lt|gt);)", text) for text in bare)
        assert [plain(html.unescape(text)) for text in bare] == [plain("\n".join(shown(cue))) for cue in cues]
        assert_times(found, cues)


@given(anything())
def test_lrc_is_read_by_ffmpeg_as_it_was_meant(segments: list[Segment]) -> None:
    cues = cues_of(segments)
    found = ffmpeg_reads(render(Format.LRC, segments), "lrc") if cues else []
    harmless = str.maketrans("[]<>", "()‹›")
    assert [plain(text) for _, _, text in found] == [plain(cue.line.translate(harmless)) for cue in cues]
    for (start_ms, _, _), cue in zip(found, cues, strict=True):
        assert abs(start_ms - cue.start_seconds * 1000) <= 5.1


@given(anything())
def test_tsv_is_read_by_csv_as_it_was_meant(segments: list[Segment]) -> None:
    document = render(Format.TSV, segments)
    rows = list(csv.DictReader(io.StringIO(document), delimiter="\t", quoting=csv.QUOTE_NONE))
    written = [segment for segment in segments if render(Format.TEXT, [segment])]
    assert [row["text"] for row in rows] == [render(Format.TEXT, [segment])[:-1] for segment in written]
    for row, segment in zip(rows, written, strict=True):
        assert abs(int(row["start"]) - segment.start_seconds * 1000) <= 0.51
        assert abs(int(row["end"]) - segment.end_seconds * 1000) <= 0.51


def assert_times(found: list[tuple[int, int, str]], cues: list[Cue]) -> None:
    for (start_ms, length_ms, _), cue in zip(found, cues, strict=True):
        assert abs(start_ms - cue.start_seconds * 1000) <= 0.51
        assert length_ms >= 1
        assert length_ms == 1 or abs(start_ms + length_ms - cue.end_seconds * 1000) <= 0.51


def test_ffmpeg_counts_in_milliseconds() -> None:
    with open_subtitles(render(Format.SRT, SPEECH), "srt") as container:
        assert container.streams.subtitles[0].time_base == Fraction(1, 1000)


@given(anything())
def test_arrows_stand_in_lines_of_times_alone(segments: list[Segment]) -> None:
    cues = len(cues_of(segments))
    for form in (Format.SRT, Format.VTT, Format.WORDS_VTT):
        assert render(form, segments).count("-->") == cues


@pytest.mark.parametrize("text", ["{\\an8}up", "<b>bold</b>", "a\\Nb", "{hidden}"])
def test_srt_text_is_never_a_command(text: str) -> None:
    document = render(Format.SRT, [make_segment(0, 1, text)])
    with open_subtitles(document, "srt") as container:
        (packet,) = (p for p in container.demux(subtitles=0) if p.pts is not None)
        (event,) = packet.decode()
    assert isinstance(event, av.subtitles.subtitle.AssSubtitle)
    assert event.ass.endswith(text.translate(str.maketrans("<>{}\\", "‹›()/")).encode())
