"""Options of a job against what the model can do: the same check for every engine."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consumer.engine.base import Options
from consumer.errors import Reason, Rejected, Stage
from schemas import Segment
from schemas.languages import LANGUAGES

CARRIED_CHARACTERS: Final = 200
"""Of the text before, some 50 tokens: Whisper takes 224 of a prompt, and what the user wrote must not be pushed out."""


def with_context(options: Options, text_before: str) -> str:
    """The prompt of a window: the job's, and the end of what was said before it where context is carried over."""
    if not options.carry_context or not text_before:
        return options.prompt
    tail = text_before[-CARRIED_CHARACTERS:]
    if len(text_before) > CARRIED_CHARACTERS:
        tail = tail.partition(" ")[2] or tail  # from a whole word on
    return f"{options.prompt} {tail}".strip()


def spoken_after(text_before: str, segments: Iterable[Segment]) -> str:
    """The end of what was said, for ``with_context``: without segments that something speaks against, which the model
    would go on with."""
    texts = [text_before, *(segment.text for segment in segments if not segment.flags)]
    return " ".join(filter(None, texts))[-2 * CARRIED_CHARACTERS :]


def checked_options(options: Options, is_multilingual: bool) -> Options:
    """Return the options with the language settled where the model leaves no choice.

    Raises Rejected(BAD_OPTION): a language that Whisper does not know, another language than English or a
    translation asked of a model that knows English only.
    """
    if options.language is not None and options.language not in LANGUAGES:
        raise Rejected(
            Reason.BAD_OPTION,
            Stage.TRANSCRIBE,
            f"Whisper knows no language {options.language!r}; expected a code like 'en' or 'de', or 'auto'",
        )
    if is_multilingual:
        return options
    if options.language not in (None, "en") or options.task == "translate":
        raise Rejected(
            Reason.BAD_OPTION,
            Stage.TRANSCRIBE,
            f"asked for language {options.language or 'auto'!r}, task {options.task!r}, but the loaded model knows "
            "English only; use a model without '.en'",
        )
    return replace(options, language="en")
