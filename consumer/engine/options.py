"""Options of a job against what the model can do: the same check for every engine."""

from dataclasses import replace
from typing import Final

from consumer.engine.base import Options
from consumer.errors import Reason, Rejected, Stage

LANGUAGES: Final = frozenset(
    """
    af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr
    ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc
    pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue
    zh
    """.split()
)
"""The codes of the languages that Whisper was trained on, as in its tokenizer; models differ in none of them
but ``yue``, which came with large-v3."""


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
