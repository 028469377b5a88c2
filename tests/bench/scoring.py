"""Word error rate as it is published: Whisper's normalisers, errors by alignment, a confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Final

import jiwer
import numpy as np
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Score:
    """Errors for each word that was said, as shares; ``low`` and ``high`` bound 95 % of resampled corpora."""

    wer: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.wer:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def score(said: Sequence[str], heard: str, language: str = "en") -> Score:
    """Score the text of a whole work against what was said in each of its utterances, in their order.

    Normalised texts are aligned as a whole, so that it does not matter who cut the audio where; an error belongs to the
    utterance whose word it meets, an insertion to that of the word before it. Utterances are resampled with replacement
    (bootstrap, percentiles; a fixed seed). Raises ValueError where nothing was said.
    """
    references = [words for one in said if (words := _normalised(one, language))]
    if not references:
        raise ValueError("there is no word to score against")
    lengths = np.array([len(words) for words in references])
    errors = _errors(references, _normalised(heard, language))
    drawn = np.random.default_rng(0).integers(0, lengths.size, (RESAMPLES, lengths.size))
    shares = errors[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(shares, [tail, 100 - tail])
    return Score(round(float(errors.sum() / lengths.sum()), 4), round(float(low), 4), round(float(high), 4))


def _errors(references: list[list[str]], heard: list[str]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Errors of each utterance, shape (n,), int64."""
    ends = list(accumulate(len(words) for words in references))
    owner = np.repeat(np.arange(len(ends)), [len(words) for words in references])
    errors = np.zeros(len(ends), np.int64)
    if not heard:
        return np.array([len(words) for words in references])
    aligned = jiwer.process_words(" ".join(word for words in references for word in words), " ".join(heard))
    for chunk in aligned.alignments[0]:
        if chunk.type == "insert":
            errors[owner[max(0, chunk.ref_start_idx - 1)]] += chunk.hyp_end_idx - chunk.hyp_start_idx
        elif chunk.type != "equal":
            np.add.at(errors, owner[chunk.ref_start_idx : chunk.ref_end_idx], 1)
    return errors


def _normalised(text: str, language: str) -> list[str]:
    return str(_normaliser(english=language == "en")(text)).split()


@cache
def _normaliser(*, english: bool) -> EnglishTextNormalizer | BasicTextNormalizer:
    return EnglishTextNormalizer() if english else BasicTextNormalizer()
