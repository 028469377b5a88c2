"""The library on real speech."""

import gc
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from binding import Aborted, AbortFlag, Context, InferenceError, Parameters, Samples, State

WORDS = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"


@pytest.fixture
def state(context: Context) -> Iterator[State]:
    with context.new_state() as state:
        yield state


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isalnum() or character == " ").strip()


def test_the_words_are_right_and_their_times_plausible(state: State, speech: Samples) -> None:
    found = state.transcribe(speech, Parameters())
    assert _plain(found.text).lower() == WORDS.lower()
    assert found.language == "en"
    words = [word for segment in found.segments for word in segment.words]
    assert _plain(" ".join(word.text for word in words)).lower() == WORDS.lower()
    times = [moment for word in words for moment in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert 0 <= times[0] < 1
    assert 9 < times[-1] <= 11.0
    by_text = {word.text.lower().strip(",."): word for word in words}
    assert by_text["fellow"].start_seconds == pytest.approx(1.0, abs=0.6)  # as one hears it
    assert by_text["not"].start_seconds == pytest.approx(4.0, abs=0.7)
    for segment in found.segments:
        assert segment.start_seconds < segment.end_seconds
        assert -1.0 < segment.average_log_probability < 0
        assert 0 <= segment.no_speech_probability < 0.5
        assert all(0 < token.probability <= 1 for token in segment.tokens)


def test_two_states_at_once_give_what_each_gives_alone(context: Context, speech: Samples) -> None:
    halves = [speech[: 5 * 16_000], speech[5 * 16_000 :]]
    with context.new_state() as one, context.new_state() as two:
        alone = [one.transcribe(half, Parameters()) for half in halves]
        with ThreadPoolExecutor(2) as threads:
            for _ in range(3):
                together = list(
                    threads.map(lambda state, half: state.transcribe(half, Parameters()), (one, two), halves)
                )
                assert [found.text for found in together] == [found.text for found in alone]
                assert together == alone


def test_a_silent_job_after_a_speaking_one_gives_no_text(state: State, speech: Samples) -> None:
    spoken = state.transcribe(speech, Parameters())
    silent = state.transcribe(np.zeros(10 * 16_000, np.float32), Parameters())
    assert "country" in spoken.text
    assert not set(_plain(silent.text).lower().split()) & set(WORDS.lower().split())
    assert state.transcribe(speech, Parameters()) == spoken


def test_a_job_shorter_than_a_frame_is_padded(state: State) -> None:
    assert state.transcribe(np.zeros(1, np.float32), Parameters()) is not None


def test_abort_ends_within_one_encoder_pass(multilingual: Context, speech: Samples) -> None:
    """Base, ten times the sample: aborted in the middle, it must end long before it is through."""
    long = np.tile(speech, 10)
    with multilingual.new_state() as state:
        started = time.perf_counter()
        state.transcribe(speech, Parameters(one_pass=True))
        one_pass = time.perf_counter() - started
        flag = AbortFlag()
        timer = threading.Timer(one_pass * 1.5, flag.set)
        timer.start()
        with pytest.raises(Aborted):
            state.transcribe(long, Parameters(), flag)
        timer.join()
        late = time.perf_counter() - started - one_pass - timer.interval
        assert late < 2 * one_pass + 0.5
        assert "country" in state.transcribe(speech, Parameters()).text  # the state is as good as before


def test_what_samples_does_not_depend_on_what_ran_before(context: Context, speech: Samples) -> None:
    sampling = Parameters(temperature=0.8)
    with context.new_state() as state:
        first = state.transcribe(speech[: 4 * 16_000], sampling)
        state.transcribe(speech, Parameters())
        assert state.transcribe(speech[: 4 * 16_000], sampling) == first


def test_beam_search_gives_the_words(state: State, speech: Samples) -> None:
    assert _plain(state.transcribe(speech, Parameters(beam_size=3)).text).lower() == WORDS.lower()


def test_an_audio_context_beyond_the_models_is_an_error_with_its_stage(state: State, speech: Samples) -> None:
    with pytest.raises(InferenceError, match="audio context") as caught:
        state.transcribe(speech, Parameters(audio_ctx=3000))
    assert caught.value.code == -5


@pytest.mark.parametrize("told", ["en", "ru"])
def test_the_language_is_heard_whatever_the_pass_was_told(multilingual: Context, speech: Samples, told: str) -> None:
    with multilingual.new_state() as state:
        state.transcribe(speech, Parameters(language=told, one_pass=True))
        probabilities = state.languages_heard()
        assert state.languages_heard() == probabilities
    assert next(iter(probabilities)) == "en"
    assert probabilities["en"] > 0.8
    assert "yue" not in probabilities  # the model is older than this language
    assert sum(probabilities.values()) == pytest.approx(1.0)


def test_an_english_model_hears_no_language(state: State, speech: Samples) -> None:
    state.transcribe(speech, Parameters(one_pass=True))
    with pytest.raises(ValueError, match="English only"):
        state.languages_heard()


def test_one_pass_ends_where_the_model_closed_its_last_segment(
    state: State, speech: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    """A minute of speech takes more than one pass of 30 s, of which one gives what is in the first."""
    minute = np.tile(speech, 6)
    whole = state.transcribe(minute, Parameters())
    caplog.clear()
    one = state.transcribe(minute, Parameters(one_pass=True))
    assert one.segments == whole.segments[: len(one.segments)]
    assert 11 < one.segments[-1].end_seconds <= 30 < whole.segments[-1].end_seconds
    assert not caplog.records  # the library calls it an error


def test_several_threads_find_the_same_words(state: State, speech: Samples) -> None:
    alone, together = (state.transcribe(speech, Parameters(n_threads=threads)) for threads in (1, 2))
    assert together.text == alone.text


def test_a_closed_state_says_so(context: Context, speech: Samples) -> None:
    state = context.new_state()
    state.close()
    state.close()
    with pytest.raises(ValueError, match="closed"):
        state.transcribe(speech, Parameters())


def test_log_lines_of_the_library_go_to_logging(
    context: Context, artifacts_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="whisper.cpp"), context.new_state():
        pass
    lines = [record for record in caplog.records if record.name == "whisper.cpp"]
    assert any("kv" in record.message for record in lines)
    assert all("\n" not in record.message for record in lines)


def test_three_hundred_jobs_leave_memory_as_it_was(state: State, speech: Samples) -> None:
    """A short context makes the jobs quick; what could leak does so all the same."""
    process = psutil.Process()
    quick = Parameters(audio_ctx=256)

    def run(jobs: int) -> int:
        for job in range(jobs):
            state.transcribe(speech[: 16_000 + 160 * (job % 100)], quick)
        gc.collect()
        return process.memory_info().rss

    before = run(30)
    assert run(300) <= before * 1.05
