"""A loaded model (``Context``) and the working memory of one transcription at a time (``State``).

One context serves any number of states, each used by one thread at a time; this is how whisper.cpp means
it (ggml-org/whisper.cpp issues 341 and 2874). States are made one after another: the first graph that is
built names tensors which all of them share.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from binding.cdef import STRATEGY_BEAM_SEARCH, STRATEGY_GREEDY
from binding.errors import Aborted, InferenceError, ModelInitError, StateInitError
from binding.library import Library
from binding.model_file import check_model_file
from binding.results import Segment, Token, Transcription, words_of
from binding.samples import Samples, checked, padded

# What the return codes of whisper_full_with_state stand for, read off src/whisper.cpp of 1.8.5.
_STAGES: Final = {
    -1: "voice activity detection",
    -2: "mel spectrogram",
    -3: "language detection",
    -4: "decoder count",
    -5: "audio context",
    -6: "encode",
    -7: "key-value cache",
    -8: "prompt decode",
    -9: "decode",
}
# On this one the library has freed the state by itself.
_STATE_IS_FREED: Final = -7
_CENTISECOND: Final = 0.01
# No probability is as high. By default the library drops, without a word, segments in which it takes nobody to speak,
# by a number that it reads wrong (whisper.cpp issues 3945 and 4068).
_NEVER_NO_SPEECH: Final = 2.0


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to decode. The defaults are greedy and never sample: the text depends on the samples alone, but for what
    ``n_threads`` does to the last digits of probabilities.

    ``language`` is one of the library's codes. ``audio_ctx`` is the length of the encoder's context in
    steps of 20 ms, 0 for all of its 1500. ``one_pass`` ends after one pass of the encoder, of up to 30 s, also where
    the model closed its last segment before the end of the samples; else the library makes another pass from there.
    """

    language: str = "en"
    translate: bool = False
    initial_prompt: str = ""
    beam_size: int = 1
    temperature: float = 0.0
    temperature_increment: float = 0.0
    audio_ctx: int = 0
    one_pass: bool = False
    n_threads: int = 1

    @property
    def samples(self) -> bool:
        """Whether decoding draws random numbers, whose generator is seeded once a state.

        Then the text depends on what the state did before, unless it is fresh.
        """
        return self.beam_size > 1 or self.temperature > 0 or self.temperature_increment > 0


class AbortFlag:
    """Ends a running call from another thread: set it and the library stops before its next step.

    Inside an encoder pass nothing is asked, so a stop takes up to one pass.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(2)

    def set(self) -> None:
        """Ask the call that was given this flag to end; it raises Aborted."""
        self._buffer[0] = 1

    def is_set(self) -> bool:
        """Whether ``set`` was called."""
        return self._buffer[0] != 0


class Context:
    """One model in memory, shared by its states. Close it after them."""

    def __init__(self, library: Library, model: Path) -> None:
        """Load ``model``, a ggml file. Raises ModelInitError saying what is wrong with it."""
        check_model_file(model)
        self.library = library
        params = library.lib.whisper_context_default_params_by_ref()
        try:
            params.use_gpu = False
            self._pointer = library.lib.whisper_init_from_file_with_params_no_state(str(model).encode(), params[0])
        finally:
            library.lib.whisper_free_context_params(params)
        if not self._pointer:
            raise ModelInitError(f"whisper.cpp refused the model {model}; its log lines say why")
        self._end_of_text = int(library.lib.whisper_token_eot(self._pointer))
        self._making_state = threading.Lock()
        self.is_multilingual = bool(library.lib.whisper_is_multilingual(self._pointer))
        self.model_type = library.text(library.lib.whisper_model_type_readable(self._pointer))

    @property
    def pointer(self) -> Any:
        """The C pointer. Raises ValueError once the context is closed."""
        if not self._pointer:
            raise ValueError("the context is closed")
        return self._pointer

    def new_state(self) -> "State":
        """Make a state. Raises StateInitError where there is no memory for it."""
        with self._making_state:
            pointer = self.library.lib.whisper_init_state(self.pointer)
        if not pointer:
            raise StateInitError("whisper.cpp could not make another state; there may be no memory left for it")
        return State(self, pointer)

    def is_text(self, token_id: int) -> bool:
        """Whether a token is text; special tokens and timestamps come after the end-of-text token."""
        return token_id < self._end_of_text

    def close(self) -> None:
        """Free the model. Its states must be closed before."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self.library.lib.whisper_free(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class State:
    """The working memory of one transcription at a time: not for two threads at once."""

    def __init__(self, context: Context, pointer: Any) -> None:
        self._context = context
        self._library = context.library
        self._pointer = pointer

    @property
    def is_closed(self) -> bool:
        """True after ``close``, and after an error in which the library freed the state by itself."""
        return not self._pointer

    def transcribe(self, samples: Samples, parameters: Parameters, abort: AbortFlag | None = None) -> Transcription:
        """Transcribe ``samples`` (shape (n,), float32, 16 kHz) in the calling thread, with the GIL released.

        Parameters that sample run on a fresh state, made and freed here, so that the text never depends on
        what ran before.

        Raises ValueError for samples or a language that C must not see, Aborted when ``abort`` was set,
        InferenceError with stage and code for anything that the library reports.
        """
        if parameters.samples:
            with self._context.new_state() as fresh:
                return fresh._transcribe(samples, parameters, abort)  # noqa: SLF001 - of the same class
        return self._transcribe(samples, parameters, abort)

    def languages_heard(self, n_threads: int = 1) -> dict[str, float]:
        """Probabilities of the languages of what the encoder heard last, most likely first. One step of the decoder.

        Ask after a ``transcribe`` of one pass that raised nothing: its encoding does not depend on the language that
        it was told. Raises ValueError for a model that knows one language, InferenceError if the library fails.
        """
        if not self._context.is_multilingual:
            raise ValueError("this model knows English only; there is no language to detect")
        lib, context = self._library.lib, self._context.pointer
        start = self._library.ffi.new("int32_t[]", [lib.whisper_token_sot(context)])
        code = lib.whisper_decode_with_state(context, self._open(), start, 1, 0, n_threads)
        if code:
            raise InferenceError("language detection", code)
        logits = lib.whisper_get_logits_from_state(self._open())
        # The library knows more languages than an older model has tokens for: the next one means "translate".
        end = lib.whisper_token_translate(context)
        tokens = [lib.whisper_token_lang(context, language) for language in range(lib.whisper_lang_max_id() + 1)]
        scores = np.array([logits[token] for token in tokens if token < end], np.float64)
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        ranked = np.argsort(-shares, kind="stable")
        return {self._library.text(lib.whisper_lang_str(int(i))): float(shares[int(i)]) for i in ranked}

    def close(self) -> None:
        """Free the state."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._library.lib.whisper_free_state(pointer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        if not self._pointer:
            raise ValueError("the state is closed")
        return self._pointer

    def _transcribe(self, samples: Samples, parameters: Parameters, abort: AbortFlag | None) -> Transcription:
        ffi, lib = self._library.ffi, self._library.lib
        # whisper_full takes an unknown language without an error and goes on in one of its own.
        if self._library.lib.whisper_lang_id(parameters.language.encode()) < 0:
            raise ValueError(f"whisper.cpp knows no language {parameters.language!r}")
        samples = padded(checked(samples))
        # Everything that C only borrows has a name here, so that it outlives the call.
        data = ffi.from_buffer("float[]", samples)
        language = ffi.new("char[]", parameters.language.encode())
        prompt = ffi.new("char[]", parameters.initial_prompt.encode())
        flag = ffi.from_buffer("char[]", (abort or AbortFlag())._buffer)  # noqa: SLF001
        passes = ffi.new("int *", 0)
        strategy = STRATEGY_BEAM_SEARCH if parameters.beam_size > 1 else STRATEGY_GREEDY
        params = lib.whisper_full_default_params_by_ref(strategy)
        try:
            params.n_threads = parameters.n_threads
            params.language = language
            params.translate = parameters.translate
            params.initial_prompt = prompt if parameters.initial_prompt else ffi.NULL
            params.audio_ctx = parameters.audio_ctx
            params.beam_search.beam_size = parameters.beam_size
            params.temperature = parameters.temperature
            params.temperature_inc = parameters.temperature_increment
            params.greedy.best_of = 5 if parameters.samples else 1  # candidates only matter where they differ
            # Nothing of the job before, nor of this one: text carried into a second pass over a window can loop,
            # and takes up to 46 MB more in each state. Zero would drop the prompt too.
            params.no_context = True
            params.no_speech_thold = _NEVER_NO_SPEECH
            params.n_max_text_ctx = params.n_max_text_ctx if parameters.initial_prompt else 0
            params.token_timestamps = True
            params.print_progress = False
            params.print_timestamps = False
            if parameters.one_pass:
                params.encoder_begin_callback = self._library.first_pass_only
                params.encoder_begin_callback_user_data = passes
            params.abort_callback = self._library.abort_when_set
            params.abort_callback_user_data = flag
            code = lib.whisper_full_with_state(self._context.pointer, self._open(), params[0], data, samples.size)
        finally:
            lib.whisper_free_params(params)
        if code == _STATE_IS_FREED:
            self._pointer = None
        if code:
            stage = _STAGES.get(code, "unknown")
            raise (Aborted(stage, code) if abort is not None and abort.is_set() else InferenceError(stage, code))
        return self._result()

    def _result(self) -> Transcription:
        """Copy the result out of the state: the next call overwrites it."""
        lib, state = self._library.lib, self._open()
        language = self._library.text(lib.whisper_lang_str(lib.whisper_full_lang_id_from_state(state)))
        n_segments = lib.whisper_full_n_segments_from_state(state)
        return Transcription(tuple(self._segment(i, language) for i in range(n_segments)), language)

    def _segment(self, index: int, language: str) -> Segment:
        lib, state = self._library.lib, self._open()
        tokens = tuple(self._tokens(index))
        start = lib.whisper_full_get_segment_t0_from_state(state, index) * _CENTISECOND
        end = lib.whisper_full_get_segment_t1_from_state(state, index) * _CENTISECOND
        return Segment(
            start_seconds=start,
            end_seconds=max(start, end),
            # Of the tokens' bytes, not the library's text: that is cut where a character is split.
            text=b"".join(token.text for token in tokens).decode("utf-8", errors="replace"),
            average_log_probability=sum(token.log_probability for token in tokens) / max(1, len(tokens)),
            no_speech_probability=float(lib.whisper_full_get_segment_no_speech_prob_from_state(state, index)),
            tokens=tokens,
            words=words_of(tokens, language),
        )

    def _tokens(self, segment: int) -> list[Token]:
        lib, state = self._library.lib, self._open()
        tokens = []
        for index in range(lib.whisper_full_n_tokens_from_state(state, segment)):
            data = lib.whisper_full_get_token_data_from_state(state, segment, index)
            if not self._context.is_text(data.id):
                continue
            text = lib.whisper_full_get_token_text_from_state(self._context.pointer, state, segment, index)
            tokens.append(
                Token(
                    id=data.id,
                    text=self._library.bytes(text),
                    start_seconds=data.t0 * _CENTISECOND,
                    end_seconds=data.t1 * _CENTISECOND,
                    probability=data.p,
                    log_probability=data.plog,
                )
            )
        return tokens
