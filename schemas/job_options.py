"""What one recording may ask for, in its event, or in the metadata or tags of its object."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from schemas.base import Message
from schemas.languages import LANGUAGES

Task = Literal["transcribe", "translate"]
Channels = Literal["mix", "split"]
Priority = Literal["low", "normal", "high"]
SidecarFormat = Literal["text", "json", "srt", "vtt", "words-vtt", "tsv", "lrc"]
Origin = Literal["event", "metadata", "tags"]

MAX_OPTIONS = 50
"""Looked at, of one origin."""


class IgnoredOption(Message):
    """An option that was not followed, and why."""

    name: Annotated[str, Field(max_length=100)]
    origin: Annotated[Origin, Field(description="Where it was asked for.")]
    why: str


def _known_language(code: str) -> str:
    if code != "auto" and code not in LANGUAGES:
        raise ValueError("Whisper knows no such language; expected a code like 'en' or 'de', or 'auto'")
    return code


def range_seconds(text: str) -> tuple[float, float]:
    """Beginning and end of a range like '90-150', in seconds; the end is infinite where there is none.

    Raises ValueError.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)-(\d{1,6}(?:\.\d{1,3})?)?", text, re.ASCII)
    if match is None:
        raise ValueError("expected seconds like '90-150', or '90-'")
    start, end = float(match[1]), float(match[2] or "inf")
    if end <= start:
        raise ValueError("its end must come after its beginning")
    return start, end


def _known_range(text: str) -> str:
    range_seconds(text)
    return text


def _listed(value: Any) -> Any:
    """Metadata and tags are texts: their lists are separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class JobOptions(Message):
    """Whatever is absent follows the worker's settings."""

    language: Annotated[
        Annotated[str, Field(max_length=16), AfterValidator(_known_language)] | None,
        Field(description="Whisper's language code (en, de, ...) or 'auto'.", examples=["en"]),
    ] = None
    task: Annotated[Task | None, Field(description="'translate' gives English text.")] = None
    prompt: Annotated[str | None, Field(max_length=2000, description="Words to expect: names, products, spelling.")] = (
        None
    )
    vocabulary: Annotated[
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(max_length=100)] | None,
        BeforeValidator(_listed),
        Field(description="Words to expect, one by one; they go into the prompt."),
    ] = None
    channels: Annotated[
        Channels | None, Field(description="'split' transcribes each channel on its own, as for calls.")
    ] = None
    formats: Annotated[
        Annotated[tuple[SidecarFormat, ...], Field(max_length=7)] | None,
        BeforeValidator(_listed),
        Field(description="Documents to write beside the transcript; none for an empty list."),
    ] = None
    words: Annotated[bool | None, Field(description="Whether the transcript has the times of words.")] = None
    range: Annotated[
        Annotated[str, AfterValidator(_known_range)] | None,
        Field(
            description="What is transcribed, in seconds: '90-150', or '90-' to the end. All by default.",
            examples=["90-150"],
        ),
    ] = None
    priority: Annotated[
        Priority | None, Field(description="Who is worked on first, of recordings that a worker has in hand.")
    ] = None
    ignored: Annotated[SkipJsonSchema[tuple[IgnoredOption, ...]], Field(exclude=True)] = ()
    """Of those that were asked for; made by ``read`` alone."""

    @classmethod
    def read(cls, asked: Mapping[str, object], origin: Origin) -> Self:
        """The options that can be followed, and in ``ignored`` those that cannot. Raises nothing."""
        names = {field.alias or name: name for name, field in cls.model_fields.items() if name != "ignored"}
        followed: dict[str, object] = {}
        ignored: list[IgnoredOption] = []
        for name, value in list(asked.items())[:MAX_OPTIONS]:
            if name not in names:
                why = f"there is no such option; expected one of {', '.join(sorted(names))}"
            else:
                try:
                    cls.model_validate({name: value})
                except ValidationError as error:
                    why = "; ".join(fault["msg"] for fault in error.errors(include_input=False, include_url=False))
                else:
                    followed[name] = value
                    continue
            ignored.append(IgnoredOption(name=name[:100], origin=origin, why=why))
        return cls.model_validate({**followed, "ignored": ignored})

    def or_else(self, other: "JobOptions") -> "JobOptions":
        """These, and the other's where these have none; ignored ones of both."""
        own = {name: value for name in JobOptions.model_fields if (value := getattr(self, name)) is not None}
        return other.model_copy(update={**own, "ignored": (*self.ignored, *other.ignored)})
