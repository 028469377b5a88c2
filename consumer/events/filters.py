"""Which recordings are wanted: by what the event tells of them alone. Pure.

1. What the worker writes itself is never wanted: a transcript beside its recording is announced like any upload.
2. Of patterns one must fit, where there are any, and none of those that exclude. They are of keys, or of bucket and key
   where they begin with ``s3://``. They are the shell's: ``*`` and ``?`` stand for anything, slashes too, ``[…]`` for
   one of several characters; capitals are not small letters.
3. A size and a content type that the event does not tell speak for the recording. Patterns of content types are of the
   shell too, and look at the type alone, without parameters, in small letters.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from consumer.events.parsed import Parsed, Skip, SkipKind
from schemas import AudioUploaded

_WITH_BUCKET: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Filters:
    """Without any argument everything is wanted. Sizes in bytes."""

    patterns: Collection[str] = ()
    excluded: Collection[str] = ()
    content_types: Collection[str] = ()
    least_bytes: int = 0
    is_own: Callable[[AudioUploaded], bool] = lambda _: False

    def apply(self, parsed: Parsed) -> Parsed:
        """The uploads that are wanted; where none is, the reason against the first."""
        if isinstance(parsed, Skip):
            return parsed
        reasons = [self._against(upload) for upload in parsed.uploads]
        wanted = tuple(upload for upload, reason in zip(parsed.uploads, reasons, strict=True) if reason is None)
        if not wanted:
            return next(reason for reason in reasons if reason is not None)
        return replace(parsed, uploads=wanted)

    def _against(self, upload: AudioUploaded) -> Skip | None:
        if self.is_own(upload):
            return Skip(SkipKind.OWN_OUTPUT, "written by a worker itself")
        if self.patterns and not _lies_at(upload, self.patterns):
            return _filtered("it fits no pattern of INPUT_PATTERNS")
        if _lies_at(upload, self.excluded):
            return _filtered("it fits a pattern of EXCLUDE_PATTERNS")
        if upload.size_bytes is not None and upload.size_bytes < self.least_bytes:
            return _filtered(f"its {upload.size_bytes} bytes are less than MIN_OBJECT_BYTES")
        kind = (upload.content_type or "").split(";")[0].strip().lower()
        if self.content_types and kind and not any(fnmatchcase(kind, pattern) for pattern in self.content_types):
            return _filtered("its content type fits no pattern of INPUT_CONTENT_TYPES")
        return None


def _lies_at(upload: AudioUploaded, patterns: Collection[str]) -> bool:
    whole = f"{_WITH_BUCKET}{upload.bucket}/{upload.key}"
    return any(fnmatchcase(whole if pattern.startswith(_WITH_BUCKET) else upload.key, pattern) for pattern in patterns)


def _filtered(why: str) -> Skip:
    return Skip(SkipKind.FILTERED, why)
