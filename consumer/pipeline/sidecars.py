"""Documents of a transcript beside its recording, or wherever a template puts them: their names and their bytes. Pure.

A template is a key with fields in braces: ``{key}`` of the recording, ``{stem}``, which is the key without its
extension, ``{name}``, which is the stem without directories, ``{bucket}``, ``{transcript_id}``, and ``{extension}`` of
the format.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import orjson

from consumer.formats import FORMATS, Format, render
from consumer.store.results import StoredResult
from schemas import AudioUploaded, Segment, SidecarFormat

MAX_KEY_BYTES: Final = 1024  # as S3 has it


@dataclass(frozen=True, slots=True)
class Sidecar:
    """One document and where it goes."""

    form: Format
    bucket: str
    key: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Which formats for each result, in which bucket (None: the recording's), under which keys.

    ``choices`` are formats that a job may ask for beside these.
    """

    formats: Sequence[Format] = ()
    bucket: str | None = None
    template: str = "{stem}.{extension}"
    choices: Sequence[Format] = ()

    def wanted(self, asked: Sequence[SidecarFormat] | None) -> list[Format]:
        """The formats that a job asks for, as far as it may; those for each result where it asks for none by name."""
        if asked is None:
            return list(self.formats)
        return [Format(name) for name in dict.fromkeys(asked) if name in (*self.formats, *self.choices)]

    def of(self, stored: StoredResult, formats: Sequence[Format]) -> list[Sidecar]:
        """Documents of a stored result."""
        segments = [Segment.model_validate(segment) for segment in stored.document.get("segments", ())]
        source = stored.document["source"]
        return [
            Sidecar(
                form=form,
                bucket=self.bucket or source["bucket"],
                key=self._key(form, source["bucket"], source["key"], stored.document["transcriptId"]),
                media_type="application/json" if form == Format.JSON else FORMATS[form].media_type,
                body=_pretty(stored.body) if form == Format.JSON else render(form, segments).encode(),
            )
            for form in formats
        ]

    def is_own(self, upload: AudioUploaded) -> bool:
        """Whether an object may be one of these documents: it lies in their bucket and has one of their extensions."""
        if self.bucket not in (None, upload.bucket):
            return False
        return any(upload.key.endswith(f".{form.extension}") for form in (*self.formats, *self.choices))

    def _key(self, form: Format, bucket: str, key: str, transcript_id: str) -> str:
        stem = key.removesuffix(PurePosixPath(key).suffix)
        fields = {
            "key": key,
            "stem": stem,
            "name": stem.rsplit("/", 1)[-1],
            "bucket": bucket,
            "transcript_id": transcript_id,
            "extension": form.extension,
        }
        named = self.template.format_map(fields)
        if len(named.encode()) > MAX_KEY_BYTES:  # of a recording whose own key is nearly as long
            named = self.template.format_map(fields | dict.fromkeys(("key", "stem", "name"), transcript_id))
        return named


def _pretty(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
