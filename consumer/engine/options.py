"""Options of a job against what the model can do: the same check for every engine."""

from dataclasses import replace

from consumer.engine.base import Options
from consumer.errors import Reason, Rejected, Stage
from schemas.languages import LANGUAGES


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
