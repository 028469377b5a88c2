"""The checkpoint of a long recording: what is finished of it, for whoever goes on with it."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Message
from schemas.transcript import LanguageCandidate, Seconds, Segment


class Checkpoint(Message):
    """Everything before ``done_seconds`` is transcribed; both kinds of segments are what that gave."""

    format: Literal[1] = 1
    transcript_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    done_seconds: Seconds
    language: Annotated[
        str | None, Field(description="As the first window of speech had it; None before there was one.")
    ]
    language_candidates: tuple[LanguageCandidate, ...] = ()
    inference_seconds: Annotated[float, Field(ge=0, description="Time in the model so far, of all attempts.")]
    segments: tuple[Segment, ...]
    suppressed_segments: tuple[Segment, ...] = ()
