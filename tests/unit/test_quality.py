"""What speaks against a segment, rule by rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.quality import Evidence, Judgement, compression_ratio, judge
from schemas import Flag

SPEECH = "There's iron, they say, in all our blood, and a grain or two perhaps is good."


def judged(
    text: str, *, tokens: list[int] | None = None, log_probability: float = -0.3, no_speech: float | None = 0.01
) -> Judgement:
    return judge(Evidence(text, tokens or list(range(len(text.split()))), log_probability, no_speech))


def test_nothing_speaks_against_speech() -> None:
    assert judged(SPEECH) == Judgement((), True)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [(SPEECH, [1, 2, 3, 4, 5, 6] * 4), ("ha " * 60, None), ("ご視聴" * 40, None)],
    ids=["tokens", "letters", "unspaced"],
)
def test_a_loop_is_flagged_and_kept(text: str, tokens: list[int] | None) -> None:
    assert judged(text, tokens=tokens) == Judgement(("repetition",), True)


def test_doubt_is_flagged_and_kept() -> None:
    assert judged(SPEECH, log_probability=-1.2) == Judgement(("low_confidence",), True)
    assert judged(SPEECH, log_probability=-1.2, no_speech=None) == Judgement(("low_confidence",), True)
    assert judged(SPEECH, no_speech=0.99) == Judgement((), True)


def test_doubt_where_nobody_seems_to_speak_is_silence() -> None:
    assert judged(SPEECH, log_probability=-1.2, no_speech=0.7) == Judgement(("low_confidence", "likely_silence"), False)


@pytest.mark.parametrize(
    "text",
    ["[Music]", " (upbeat music) ", "♪♪", "♪ la la la", "*sighs*", "[BLANK_AUDIO]", "...", "[Music] (applause)", "- -"],
)
def test_captions_of_sounds_are_silence(text: str) -> None:
    assert judged(text) == Judgement(("likely_silence",), False)


@pytest.mark.parametrize(
    "text", ["(laughs) I told you so.", "He said [sic] yes.", "Five (5) apples.", "♪ music ♪ and then I left", "5", "я"]
)
def test_words_beside_them_are_speech(text: str) -> None:
    assert judged(text).is_speech


@pytest.mark.parametrize(
    "text",
    [
        "Subtitles by the Amara.org community",
        "Untertitel der Amara.org-Community",
        "СУБТИТРЫ СДЕЛАЛ DIMATORZOK",
        "Sous-titrage ST' 501",
        "字幕by索兰娅",
    ],
)
def test_credits_are_never_speech(text: str) -> None:
    assert judged(text, log_probability=-0.1, no_speech=0.0) == Judgement(("boilerplate",), False)


@pytest.mark.parametrize("text", ["Thank you.", "thanks for watching!", "ご視聴ありがとうございました。", "You"])
def test_sign_offs_are_speech_unless_something_speaks_against_them(text: str) -> None:
    assert judged(text) == Judgement(("boilerplate",), True)
    assert judged(text, no_speech=None) == Judgement(("boilerplate",), True)
    assert judged(text, no_speech=0.9, log_probability=-0.2) == Judgement(("boilerplate",), True)
    assert judged(text, no_speech=0.3, log_probability=-0.4) == Judgement(("boilerplate",), False)
    assert not judged(text, log_probability=-1.1).is_speech
    assert judged(f"{text} said the captain", no_speech=0.3, log_probability=-0.4).is_speech


@given(st.text(), st.lists(st.integers(0, 51_000)), st.floats(-20, 0), st.none() | st.floats(0, 1))
def test_any_segment_is_judged_by_the_same_flags(
    text: str, tokens: list[int], log_probability: float, no_speech: float | None
) -> None:
    judgement = judge(Evidence(text, tokens, log_probability, no_speech))
    order: list[Flag] = ["repetition", "low_confidence", "boilerplate", "likely_silence"]
    assert list(judgement.flags) == [flag for flag in order if flag in judgement.flags]
    assert judgement.is_speech or judgement.flags


def test_the_compression_ratio_is_that_of_whisper() -> None:
    """len(text) / len(zlib.compress(text)), as in whisper/utils.py."""
    assert compression_ratio("a" * 100) > 5
    assert compression_ratio(SPEECH) < 1.2
