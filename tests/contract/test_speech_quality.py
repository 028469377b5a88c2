"""What comes out as text, with base on real speech and on what is none: nothing invented, lost, doubled or mixed up."""

from collections.abc import AsyncIterator
from pathlib import Path

import jiwer
import numpy as np
import pytest

from consumer.engine.base import Options
from consumer.transcriber import Heard, Transcriber
from tests.support.speech import Recording, corpus_set, samples_of, word_error_rate, words, write_stereo, write_wav
from tests.support.watched_engine import running_engine, running_transcriber

RATE = 16_000


@pytest.fixture
async def transcriber(artifacts_dir: Path) -> AsyncIterator[Transcriber]:
    async with (
        running_engine(artifacts_dir, 2, "base") as running,
        running_transcriber(running, speakers=("agent", "customer")) as made,
    ):
        yield made


async def heard(transcriber: Transcriber, path: Path, options: Options | None = None) -> Heard:
    with path.open("rb") as file:
        return await transcriber.transcribe(file, path.name, options or Options())


@pytest.mark.parametrize("name", ["silence", "noise", "music"])
async def test_not_one_word_is_invented_where_nobody_speaks(transcriber: Transcriber, corpus: Path, name: str) -> None:
    for recording in corpus_set(corpus, name):
        found = await heard(transcriber, recording.path)
        assert (found.text, found.language, found.language_probability) == ("", None, None), recording.path.name
        assert all(segment.flags for segment in found.suppressed)


async def test_two_speakers_on_two_channels_are_kept_apart(
    transcriber: Transcriber, corpus: Path, tmp_path: Path
) -> None:
    """They talk in turns, at the same time, and each leaves an echo on the other's channel, 30 dB down."""
    agent, customer = _speakers(corpus_set(corpus, "lsother"))[:2]
    left, right = [], []
    for one, other in zip(agent[:3], customer[:3], strict=True):
        a, b = samples_of(one.path), samples_of(other.path)
        left += [a, np.zeros(b.size + RATE // 2, np.int16)]
        right += [np.zeros(a.size, np.int16), b, np.zeros(RATE // 2, np.int16)]
    a, b = samples_of(agent[3].path), samples_of(customer[3].path)
    length = max(a.size, b.size)
    left.append(np.pad(a, (0, length - a.size)))
    right.append(np.pad(b, (0, length - b.size)))
    channels = [np.concatenate(parts).astype(np.float32) for parts in (left, right)]
    echoed = np.stack([own + 0.03 * other for own, other in (channels, reversed(channels))])
    call = write_stereo(tmp_path / "call.wav", np.clip(echoed, -32768, 32767).astype(np.int16))
    found = await heard(transcriber, call, Options("en", channels="split"))
    assert [segment.start_seconds for segment in found.segments] == sorted(
        segment.start_seconds for segment in found.segments
    )
    for channel, (speaker, recordings) in enumerate((("agent", agent), ("customer", customer))):
        own = [segment for segment in found.segments if segment.channel == channel]
        assert {segment.speaker for segment in own} == {speaker}
        singly = [(await heard(transcriber, recording.path, Options("en"))).text for recording in recordings[:4]]
        assert word_error_rate(" ".join(singly), " ".join(segment.text for segment in own)) <= 0.05


async def test_a_silent_channel_gives_nothing(transcriber: Transcriber, sample: Path, tmp_path: Path) -> None:
    speech = samples_of(sample)
    call = write_stereo(tmp_path / "call.wav", np.stack([np.zeros_like(speech), speech]))
    found = await heard(transcriber, call, Options("en", channels="split"))
    assert {segment.channel for segment in found.segments} == {1}
    assert words(found.text) == words((await heard(transcriber, sample, Options("en"))).text)


@pytest.mark.parametrize("pause_seconds", [0.0, 1.0])
async def test_no_word_is_lost_or_doubled_at_a_seam(
    transcriber: Transcriber, corpus: Path, tmp_path: Path, pause_seconds: float
) -> None:
    recordings = corpus_set(corpus, "lsother")[:20]
    singly = [(await heard(transcriber, recording.path, Options("en"))).text for recording in recordings]
    pause = np.zeros(round(pause_seconds * RATE), np.int16)
    parts = [part for recording in recordings for part in (samples_of(recording.path), pause)]
    joined = await heard(transcriber, write_wav(tmp_path / "joined.wav", np.concatenate(parts)), Options("en"))
    # A window of several recordings is heard with other words here and there, more of them right than wrong.
    spoken = words(" ".join(recording.text for recording in recordings))
    singly_errors, joined_errors = (
        jiwer.process_words(spoken, words(text)) for text in (" ".join(singly), joined.text)
    )
    n_words = len(spoken.split())
    assert joined_errors.wer <= singly_errors.wer + 0.01
    assert joined_errors.deletions <= singly_errors.deletions + 0.01 * n_words  # lost
    assert joined_errors.insertions <= singly_errors.insertions + 0.01 * n_words  # doubled


@pytest.mark.parametrize("name", ["ast-es", "ast-fr", "ast-it", "ast-ru"])
async def test_the_language_is_found_out(transcriber: Transcriber, corpus: Path, name: str) -> None:
    for recording in corpus_set(corpus, name):
        found = await heard(transcriber, recording.path)
        assert found.language == name.removeprefix("ast-"), recording.path.name
        assert found.language_candidates[0].language == found.language
        assert len(found.language_candidates) == 5


def _speakers(recordings: list[Recording]) -> list[list[Recording]]:
    """Recordings of each speaker, those with the most first; the speaker's number stands in the name."""
    by_speaker: dict[str, list[Recording]] = {}
    for recording in recordings:
        by_speaker.setdefault(recording.path.name.split("-")[1], []).append(recording)
    return sorted(by_speaker.values(), key=len, reverse=True)
