"""One window of speech to text, in as few and as short passes of the encoder as it needs. Runs in a thread.

A pass costs by the length of the encoder's context, however little is said in it: of 30 s at full length, of which
a voice message fills five. Rules:

1. A pass has a context fitted to its samples: 1.28 s more than they last, rounded up to what the build of the library
   hears well with (``Contexts``).
2. A result that is empty, repeats itself or is unlikely is computed again at full context; the better one is kept:
   one that does not repeat itself, then the likelier one.
3. The model may close its last segment before the samples end. If a second or more is left, that is another pass, with
   a context fitted to the rest. (The library by itself would make one for a tenth of a second, at full length.)
4. Where the language is not known, the first pass is told the one that was heard last on this worker, and its encoding
   tells which one it is. If it was another, the pass is made again; if the language is in doubt, at full context.

Measured figures behind the numbers are in docs/performance.md.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from binding import SAMPLE_RATE_HERTZ, AbortFlag, Parameters, Samples, State, Transcription
from consumer.engine.artifacts.manifest import Manifest
from consumer.observe.metrics import Doubt

STEPS_A_SECOND: Final = 50
FULL_STEPS: Final = 1500
CONTEXT_MARGIN_STEPS: Final = 64

LEAST_REST_SECONDS: Final = 1.0
LEAST_PROGRESS_SECONDS: Final = 0.1

LEAST_LOG_PROBABILITY: Final = -1.0
"""As ``logprob_threshold`` of OpenAI's whisper/transcribe.py."""
REPEATED_RUN_TOKENS: Final = 5
MOST_REPEATED_SHARE: Final = 0.25
LEAST_LANGUAGE_PROBABILITY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Contexts:
    """Which lengths of the encoder's context a build of the library hears well with, in steps of 20 ms."""

    unit_steps: int
    least_steps: int

    def fitted(self, seconds: float) -> int:
        """Steps for so much audio, as ``Parameters.audio_ctx``: 0 means all of them (rule 1)."""
        needed = seconds * STEPS_A_SECOND + CONTEXT_MARGIN_STEPS
        fitted = max(self.least_steps, self.unit_steps * math.ceil(needed / self.unit_steps))
        return fitted if fitted < FULL_STEPS else 0


PADDED: Final = Contexts(unit_steps=256, least_steps=512)
"""Of a library as it is published: it pads the keys of its attention to multiples of 256, and what lies in the padding
is zeros or left over from earlier jobs. The less of that the better: under 512 the model loops."""
EXACT: Final = Contexts(unit_steps=32, least_steps=384)
"""Of a library with our patch for it."""
UNPADDED_CONTEXT: Final = "unpadded-context.patch"


def contexts_of(manifest: Manifest | None) -> Contexts:
    """Those of the libraries in a directory of artifacts; without a manifest they count as published."""
    patches = manifest.engine.patches if manifest else ()
    return EXACT if any(patch.startswith(f"{UNPADDED_CONTEXT}:") for patch in patches) else PADDED


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass gave. Times in ``found`` are from ``start_seconds`` of the window on, of ``seconds`` it heard."""

    start_seconds: float
    seconds: float
    found: Transcription


@dataclass(frozen=True, slots=True)
class HeardWindow:
    """What a window gave. ``language_probability`` is None where the language was given."""

    passes: tuple[Pass, ...]
    language: str
    language_probability: float | None
    doubts: Counter[Doubt]


def transcribe_window(
    state: State,
    samples: Samples,
    parameters: Parameters,
    abort: AbortFlag,
    contexts: Contexts = PADDED,
    *,
    guess: str | None = None,
) -> HeardWindow:
    """Transcribe one window, shape (n,), float32, 16 kHz, n <= 480,000.

    ``guess`` asks for the language to be found out, and says which one is likely; ``parameters.language`` counts where
    it is None. Raises what ``State.transcribe`` raises.
    """
    listener = _Listener(state, abort, contexts)
    probability = None
    first: Transcription | None = None
    if guess is not None:
        parameters, probability, first = listener.in_its_language(samples, parameters, guess)
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
            return HeardWindow(tuple(passes), parameters.language, probability, listener.doubts)
        start += round(heard_seconds * SAMPLE_RATE_HERTZ)


def repeated_share(tokens: Sequence[int]) -> float:
    """The share of runs of five tokens that occurred before, [0, 1]: 0 where there are none.

    Of tokens, not of characters, so that it means the same in every script. Ordinary speech stays under an eighth
    (announcements that list options reach it), a loop is over a third.
    """
    runs = [tuple(tokens[i : i + REPEATED_RUN_TOKENS]) for i in range(len(tokens) - REPEATED_RUN_TOKENS + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


class _Listener:
    """Makes passes over one window, and counts those that were in doubt."""

    def __init__(self, state: State, abort: AbortFlag, contexts: Contexts) -> None:
        self._state = state
        self._abort = abort
        self._contexts = contexts
        self.doubts: Counter[Doubt] = Counter()

    def in_its_language(
        self, samples: Samples, parameters: Parameters, guess: str
    ) -> tuple[Parameters, float, Transcription | None]:
        """The parameters with the language that is spoken, how likely it is, and the pass if that was made in it."""
        parameters = replace(parameters, language=guess)
        found = self._pass(samples, parameters)
        language, probability = self._likeliest(parameters)
        if probability < LEAST_LANGUAGE_PROBABILITY and self._is_shortened(samples):
            self.doubts[Doubt.LANGUAGE] += 1
            self._pass(samples, parameters, full=True)
            language, probability = self._likeliest(parameters)
        if language != guess:
            self.doubts[Doubt.LANGUAGE] += 1
        return replace(parameters, language=language), probability, found if language == guess else None

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

    def _likeliest(self, parameters: Parameters) -> tuple[str, float]:
        """The language that the pass before this heard, and how likely it is."""
        return next(iter(self._state.languages_heard(parameters.n_threads).items()))

    def _is_shortened(self, samples: Samples) -> bool:
        """Whether a pass over them has less than the full context, so that another may find more."""
        return self._fitted(samples) != 0

    def _fitted(self, samples: Samples) -> int:
        return self._contexts.fitted(samples.size / SAMPLE_RATE_HERTZ)


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
    """The mean over all tokens; minus infinity where there are none."""
    logs = [token.log_probability for segment in found.segments for token in segment.tokens]
    return sum(logs) / len(logs) if logs else -math.inf
