"""Recordings for tests, made of the corpus and the sample, and what they should say."""

import json
import re
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import jiwer
import numpy as np
from numpy.typing import NDArray

SAMPLE_TEXT = (
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
)
_SPELLED_OUT = {"mr": "mister", "mrs": "missus", "dr": "doctor"}


@dataclass(frozen=True)
class Recording:
    """One recording of the corpus."""

    path: Path
    text: str
    seconds: float


def corpus_set(corpus: Path, name: str) -> list[Recording]:
    """The recordings of one set of the corpus."""
    lines = map(json.loads, (corpus / "corpus.jsonl").read_text().splitlines())
    return [
        Recording(corpus / line["file"], line["text"] or "", line.get("seconds", 0.0))
        for line in lines
        if line["set"] == name
    ]


def corpus_languages(corpus: Path) -> dict[str, str]:
    """The language of each set of the corpus."""
    lines = map(json.loads, (corpus / "corpus.jsonl").read_text().splitlines())
    return {line["set"]: line["lang"] for line in lines}


def word_error_rate(expected: str, heard: str) -> float:
    """Word error rate between the words alone, titles spelled out: enough for a test, too simple for a benchmark."""

    def plain(text: str) -> str:
        return " ".join(_SPELLED_OUT.get(word, word) for word in words(text).split())

    return float(jiwer.wer(plain(expected), plain(heard)))


def words(text: str) -> str:
    """Lower-case words alone, one space between them."""
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def samples_of(path: Path) -> NDArray[np.int16]:
    """Mono PCM of a file at 16 kHz, shape (n,)."""
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(path)) as container:
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def write_wav(path: Path, samples: NDArray[np.int16]) -> Path:
    """Write mono PCM at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def write_stereo(path: Path, samples: NDArray[np.int16]) -> Path:
    """Write PCM of shape (2, n) at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.T.tobytes())
    return path


def write_long_recording(path: Path, recordings: list[Recording], seconds: float) -> list[str]:
    """Join recordings, with pauses of 0.3 to 1.5 s, over and over until ``seconds`` are full; returns their texts."""
    pauses = np.random.default_rng(7)
    pcm = [samples_of(recording.path) for recording in recordings]
    texts: list[str] = []
    written = 0
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        while written < seconds * 16_000:
            index = len(texts) % len(recordings)
            pause = np.zeros(int(pauses.uniform(0.3, 1.5) * 16_000), np.int16)
            for part in (pcm[index], pause):
                file.writeframesraw(part.tobytes())
                written += part.size
            texts.append(recordings[index].text)
    return texts
