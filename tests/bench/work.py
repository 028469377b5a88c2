"""What is transcribed in comparisons: recordings of the corpus, and longer ones and calls made of them."""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from tests.bench.runs import Run
from tests.bench.scoring import Score, score
from tests.support.speech import Recording, corpus_set, samples_of, words, write_long_recording
from tests.support.stack import CORPUS_DIR

LONG_SECONDS: Final = 14 * 60
TWO_HOURS_SECONDS: Final = 2 * 3600
SCREENED_CLIPS: Final = 20
CALLS: Final = 5
CALL_CLIPS: Final = 10
TELEPHONE_HERTZ: Final = 8_000
LANGUAGES: Final = {"Spanish": "es", "French": "fr", "Italian": "it", "Russian": "ru"}


@dataclass(frozen=True, slots=True)
class Work:
    """Recordings that are done together, how many of them show a mode's speed, and what was said in them."""

    name: str
    recordings: tuple[Recording, ...]
    said: tuple[str, ...]
    """Each utterance, in order; none where nobody speaks."""
    screened: int = 1
    language: str = "en"

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.recordings)

    def score(self, run: Run) -> Score | None:
        """Errors in the words of a run; None where nobody speaks."""
        return score(self.said, " ".join(run.texts), self.language) if self.said else None

    def invented(self, run: Run) -> int | None:
        """Words that were heard where nobody speaks; None where somebody does."""
        return None if self.said else len(words(" ".join(run.texts)).split())


def short_and_long(directory: Path) -> list[Work]:
    """The 50 read clips, and the same joined to 14 minutes, which is written into ``directory``."""
    clips = corpus_set(CORPUS_DIR, "lsother")
    short = Work("short", tuple(clips), tuple(clip.text for clip in clips), SCREENED_CLIPS)
    return [short, _joined("long", clips, LONG_SECONDS, directory)]


def others(directory: Path) -> list[Work]:
    """Calls, speech in noise, no speech at all, and other languages than English."""
    noisy = corpus_set(CORPUS_DIR, "noisy")
    nobody = [one for name in ("silence", "noise", "music") for one in corpus_set(CORPUS_DIR, name)]
    return [
        _calls(corpus_set(CORPUS_DIR, "lsother"), directory),
        Work("noisy", tuple(noisy), tuple(one.text for one in noisy)),
        Work("nobody speaks", tuple(nobody), ()),
        *(
            Work(name, tuple(spoken), tuple(one.text for one in spoken), language=language)
            for name, language in LANGUAGES.items()
            for spoken in (corpus_set(CORPUS_DIR, f"ast-{language}"),)
        ),
    ]


def two_hours(directory: Path) -> Work:
    """The clips joined to two hours."""
    return _joined("two hours", corpus_set(CORPUS_DIR, "lsother"), TWO_HOURS_SECONDS, directory)


def _joined(name: str, clips: list[Recording], seconds: int, directory: Path) -> Work:
    path = directory / f"{name.replace(' ', '-')}.wav"
    texts = write_long_recording(path, clips, seconds)
    with wave.open(str(path)) as file:
        written = file.getnframes() / file.getframerate()
    return Work(name, (Recording(path, " ".join(texts), written),), tuple(texts))


def _calls(clips: Sequence[Recording], directory: Path) -> Work:
    """Calls at 8 kHz in stereo: each side of a call on a channel of its own, and half of the time nobody speaks."""
    calls: list[Recording] = []
    for number in range(CALLS):
        spoken = clips[number * CALL_CLIPS : (number + 1) * CALL_CLIPS]
        sides: list[list[NDArray[np.int16]]] = [[], []]
        for turn, clip in enumerate(spoken):
            pcm = _telephone(samples_of(clip.path))
            silence = np.zeros(2 * pcm.size, np.int16)
            sides[turn % 2] += [pcm, silence[: pcm.size]]
            sides[1 - turn % 2] += [silence]
        stereo = np.stack([np.concatenate(side) for side in sides], axis=1)
        path = directory / f"call-{number}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((2, 2, TELEPHONE_HERTZ, 0, "NONE", ""))
            file.writeframes(stereo.tobytes())
        calls.append(Recording(path, " ".join(clip.text for clip in spoken), stereo.shape[0] / TELEPHONE_HERTZ))
    return Work("calls", tuple(calls), tuple(clip.text for clip in clips[: CALLS * CALL_CLIPS]))


def _telephone(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    """16 kHz to 8 kHz, shape (n,) to (about n / 2,)."""
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 16_000
    resampler = av.AudioResampler("s16", "mono", TELEPHONE_HERTZ)
    return np.concatenate([out.to_ndarray()[0] for part in (frame, None) for out in resampler.resample(part)])
