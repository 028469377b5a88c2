"""The checkpoint of a long recording: what is finished of it, for whoever goes on with it."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Message
from schemas.transcript import Probability, Seconds, Segment


class Checkpoint(Message):
    """Everything before ``done_seconds`` is transcribed; ``segments`` are what that gave."""

    format: Literal[1] = 1
    transcript_id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    done_seconds: Seconds
    language: Annotated[str | None, Field(description="As the first window had it; None before there was one.")]
    language_probability: Probability | None = None
    inference_seconds: Annotated[float, Field(ge=0, description="Time in the model so far, of all attempts.")]
    segments: tuple[Segment, ...]
