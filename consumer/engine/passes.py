"""One window of speech to text, in as few and as short passes of the encoder as it needs. Runs in a thread.

A pass costs by the length of the encoder's context, however little is said in it: of 30 s at full length, of which
a voice message fills five. Rules:

1. A pass has a context fitted to its samples: 1.28 s more than they last, rounded up to what the build of the library
   hears well with (``Traits``).
2. A result that is empty, repeats itself or is unlikely is computed again at full context; the better one is kept:
   one that does not repeat itself, then the likelier one.
3. The model may close its last segment before the samples end. If a second or more is left, that is another pass, with
   a context fitted to the rest. (The library by itself would make one for a tenth of a second, at full length.)
4. Where the language is not known, the first pass is told the one that was heard last on this worker, and its encoding
   tells which one it is. If it was another, the pass is made again; if the language is in doubt, at full context.

Measured figures behind the numbers are in docs/performance.md.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from binding import SAMPLE_RATE_HERTZ, AbortFlag, Parameters, Samples, State, Transcription
from consumer.engine.quality import (
    LEAST_LOG_PROBABILITY,
    MOST_REPEATED_SHARE,
    mean_log_probability,
    repeated_share,
)
from consumer.engine.traits import PUBLISHED, Traits
from consumer.observe.metrics import Doubt

LEAST_REST_SECONDS: Final = 1.0
LEAST_PROGRESS_SECONDS: Final = 0.1

LEAST_LANGUAGE_PROBABILITY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass gave. Times in ``found`` are from ``start_seconds`` of the window on, of ``seconds`` it heard."""

    start_seconds: float
    seconds: float
    found: Transcription


@dataclass(frozen=True, slots=True)
class HeardWindow:
    """What a window gave. ``languages`` are those that it may be in, with their probabilities, best first; none where
    the language was given."""

    passes: tuple[Pass, ...]
    language: str
    languages: Mapping[str, float]
    doubts: Counter[Doubt]


def transcribe_window(
    state: State,
    samples: Samples,
    parameters: Parameters,
    abort: AbortFlag,
    traits: Traits = PUBLISHED,
    *,
    guess: str | None = None,
) -> HeardWindow:
    """Transcribe one window, shape (n,), float32, 16 kHz, n <= 480,000.

    ``guess`` asks for the language to be found out, and says which one is likely; ``parameters.language`` counts where
    it is None. Raises what ``State.transcribe`` raises.
    """
    listener = _Listener(state, abort, traits)
    languages: Mapping[str, float] = {}
    first: Transcription | None = None
    if guess is not None:
        parameters, languages, first = listener.in_its_language(samples, parameters, guess)
    passes: list[Pass] = []
    start = 0
    while True:
        rest = samples[start:]
        found = listener.sound(rest, parameters, first)
        first = None
        seconds = rest.size / SAMPLE_RATE_HERTZ
        passes.append(Pass(start / SAMPLE_RATE_HERTZ, seconds, found))
        heard_seconds = found.segments[-1].end_seconds if found.segments else seconds
        if heard_seconds < LEAST_PROGRESS_SECONDS or seconds - heard_seconds < LEAST_REST_SECONDS:
            return HeardWindow(tuple(passes), parameters.language, languages, listener.doubts)
        start += round(heard_seconds * SAMPLE_RATE_HERTZ)


class _Listener:
    """Makes passes over one window, and counts those that were in doubt."""

    def __init__(self, state: State, abort: AbortFlag, traits: Traits) -> None:
        self._state = state
        self._abort = abort
        self._traits = traits
        self.doubts: Counter[Doubt] = Counter()

    def in_its_language(
        self, samples: Samples, parameters: Parameters, guess: str
    ) -> tuple[Parameters, Mapping[str, float], Transcription | None]:
        """The parameters with the language that is spoken, what it may be, and the pass if that was made in it."""
        parameters = replace(parameters, language=guess)
        found = self._pass(samples, parameters)
        languages = self._state.languages_heard(parameters.n_threads)
        if max(languages.values()) < LEAST_LANGUAGE_PROBABILITY and self._is_shortened(samples):
            self.doubts[Doubt.LANGUAGE] += 1
            self._pass(samples, parameters, full=True)
            languages = self._state.languages_heard(parameters.n_threads)
        language = next(iter(languages))
        if language != guess:
            self.doubts[Doubt.LANGUAGE] += 1
        return replace(parameters, language=language), languages, found if language == guess else None

    def sound(self, samples: Samples, parameters: Parameters, found: Transcription | None) -> Transcription:
        """One pass, if it was not made yet, and another at full context where its result is doubtful (rule 2)."""
        found = found or self._pass(samples, parameters)
        if not self._is_shortened(samples) or (doubt := _doubt(found)) is None:
            return found
        self.doubts[doubt] += 1
        return max(self._pass(samples, parameters, full=True), found, key=_merit)

    def _pass(self, samples: Samples, parameters: Parameters, *, full: bool = False) -> Transcription:
        audio_ctx = 0 if full else self._fitted(samples)
        return self._state.transcribe(samples, replace(parameters, audio_ctx=audio_ctx, one_pass=True), self._abort)

    def _is_shortened(self, samples: Samples) -> bool:
        """Whether a pass over them has less than the full context, so that another may find more."""
        return self._fitted(samples) != 0

    def _fitted(self, samples: Samples) -> int:
        return self._traits.fitted(samples.size / SAMPLE_RATE_HERTZ)


def _doubt(found: Transcription) -> Doubt | None:
    if not found.text:
        return Doubt.EMPTY
    if _repeats(found):
        return Doubt.REPETITIVE
    return Doubt.UNLIKELY if _log_probability(found) < LEAST_LOG_PROBABILITY else None


def _merit(found: Transcription) -> tuple[bool, bool, float]:
    return bool(found.text), not _repeats(found), _log_probability(found)


def _repeats(found: Transcription) -> bool:
    tokens = [token.id for segment in found.segments for token in segment.tokens]
    return repeated_share(tokens) > MOST_REPEATED_SHARE


def _log_probability(found: Transcription) -> float:
    """The mean over all tokens."""
    return mean_log_probability([token.log_probability for segment in found.segments for token in segment.tokens])
