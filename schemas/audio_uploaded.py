"""``audio.uploaded`` v1: the project's own input event, and what every other dialect is parsed into."""

from typing import Annotated

from pydantic import AliasChoices, BeforeValidator, Field

from schemas.base import Message
from schemas.job_options import JobOptions


def _none_if_empty(text: object) -> object:
    return None if text == "" else text


def _without_quotes(etag: object) -> object:
    """As it is compared: some senders keep the quotes that it has in the header."""
    return _none_if_empty(etag.strip('"')) if isinstance(etag, str) else etag


class AudioUploaded(Message):
    """One recording lies in the object store."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, description="Bucket of the recording.")]
    key: Annotated[str, Field(min_length=1, max_length=1024, description="Object key, not escaped in any way.")]
    version_id: Annotated[
        Annotated[str, Field(max_length=1024)] | None,
        BeforeValidator(_none_if_empty),
        Field(description="Version, if the bucket has versions."),
    ] = None
    etag: Annotated[
        Annotated[str, Field(max_length=1024)] | None,
        BeforeValidator(_without_quotes),
        Field(
            validation_alias=AliasChoices("eTag", "etag"),
            serialization_alias="eTag",
            description="ETag without quotes; the fetch is pinned to it.",
        ),
    ] = None
    size_bytes: Annotated[
        int | None,
        Field(
            ge=0,
            validation_alias=AliasChoices("size", "sizeBytes", "size_bytes"),
            serialization_alias="size",
            description="Size of the object, in bytes.",
        ),
    ] = None
    content_type: Annotated[str | None, Field(max_length=256, description="Media type; a hint, never trusted.")] = None
    options: JobOptions = JobOptions()
