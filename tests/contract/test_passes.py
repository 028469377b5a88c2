"""consumer/engine/passes.py on real speech, with the real library."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from binding import AbortFlag, Context, Library, Parameters, Samples, State
from consumer.engine import passes, traits
from consumer.engine.artifacts.locate import locate
from consumer.engine.passes import HeardWindow, transcribe_window
from consumer.engine.traits import Traits
from consumer.observe.metrics import Doubt
from tests.support.speech import SAMPLE_TEXT, word_error_rate
from tests.support.watched_engine import RATE, as_float, joined, read_wav


@pytest.fixture(scope="module")
def base(artifacts_dir: Path) -> Iterator[Context]:
    library = Library.load(locate(artifacts_dir, "tiny.en", "auto").directory)
    with Context(library, locate(artifacts_dir, "base", "auto").model) as context:
        yield context


@pytest.fixture
def state(base: Context) -> Iterator[State]:
    with base.new_state() as state:
        yield state


SHORT = Traits(unit_steps=64, least_steps=64, tells_no_speech=False)


@pytest.fixture(scope="module")
def speech(sample: Path) -> Samples:
    return as_float(read_wav(sample))


def _text(heard: HeardWindow) -> str:
    return " ".join(one.found.text for one in heard.passes)


def test_a_short_recording_takes_one_pass_without_doubt(state: State, speech: Samples) -> None:
    heard = transcribe_window(state, speech, Parameters(), AbortFlag())
    assert word_error_rate(SAMPLE_TEXT, _text(heard)) == 0
    assert [one.start_seconds for one in heard.passes] == [0.0]
    assert (heard.language, heard.languages, heard.doubts.total()) == ("en", {}, 0)


def test_what_the_model_leaves_is_heard_in_another_pass(state: State, sample: Path) -> None:
    """Windows full of speech to their last sample, as the model often leaves the end of."""
    speech = as_float(joined(read_wav(sample), 60))
    rests = 0
    for start in range(0, speech.size - 24 * RATE, 12 * RATE):
        window = speech[start : start + 24 * RATE]
        heard = transcribe_window(state, window, Parameters(), AbortFlag())
        end = 0.0
        for one in heard.passes:
            assert one.start_seconds == pytest.approx(end, abs=1e-3)
            assert one.start_seconds + one.seconds == pytest.approx(24.0)
            assert one.seconds >= 1.0
            end = one.start_seconds + one.found.segments[-1].end_seconds if one.found.segments else 24.0
        assert end > 24.0 - 1.0
        rests += len(heard.passes) - 1
    assert rests > 0


def test_a_doubtful_result_is_computed_again_and_the_better_one_is_kept(
    state: State, speech: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A context so short that the model loops or loses words: what the least length of rule 1 is for."""
    monkeypatch.setattr(traits, "CONTEXT_MARGIN_STEPS", -400)
    monkeypatch.setattr(passes, "LEAST_LOG_PROBABILITY", -0.25)
    heard = transcribe_window(state, speech, Parameters(), AbortFlag(), SHORT)
    assert heard.doubts.total() >= 1
    assert word_error_rate(SAMPLE_TEXT, _text(heard)) == 0


def test_silence_gives_no_word(state: State) -> None:
    heard = transcribe_window(state, np.zeros(5 * RATE, np.float32), Parameters(), AbortFlag())
    assert _text(heard) in ("", "[BLANK_AUDIO]")


def test_the_language_costs_nothing_where_the_guess_is_right_and_one_pass_where_not(
    state: State, speech: Samples
) -> None:
    right, wrong = (transcribe_window(state, speech, Parameters(), AbortFlag(), guess=guess) for guess in ("en", "de"))
    assert right.doubts.total() == 0
    assert wrong.doubts == {Doubt.LANGUAGE: 1}
    for heard in (right, wrong):
        assert heard.language == next(iter(heard.languages)) == "en"
        assert heard.languages["en"] > 0.8
    assert _text(right) == _text(wrong)
    assert right.languages == wrong.languages
