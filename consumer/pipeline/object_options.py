"""Options that stand with the object: in its metadata and its tags, as far as the operator allows. Pure.

The event's own come first, then metadata, then tags, then the settings. What is not allowed is nobody's mistake, and
passed over in silence; what is allowed and cannot be followed is noted.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from schemas import JobOptions
from schemas.job_options import Origin

PREFIX: Final = "whisper-"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Names of options that may be set so."""

    in_metadata: Collection[str] = ()
    in_tags: Collection[str] = ()

    def read(self, own: JobOptions, metadata: Mapping[str, str], tags: Mapping[str, str]) -> JobOptions:
        """All options of one recording; ``own`` are its event's."""
        found = _found(metadata, self.in_metadata, "metadata")
        return own.or_else(found.or_else(_found(tags, self.in_tags, "tags")))


def _found(texts: Mapping[str, str], allowed: Collection[str], origin: Origin) -> JobOptions:
    named = {name.removeprefix(PREFIX): text for name, text in texts.items() if name.startswith(PREFIX)}
    return JobOptions.read({name: text for name, text in named.items() if name in allowed}, origin)
