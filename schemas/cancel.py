"""``transcript.cancel`` v1: what is asked for on the control topic, bare or as the data of a CloudEvent."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.base import Message

CANCEL_TYPE = "transcript.cancel.v1"


class CancelRequest(Message):
    """No transcript is wanted of what was announced before this: named by its object, or by the transcript's id."""

    # The rule of the validator below, for those who read the JSON Schema.
    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["bucket", "key"]}, {"required": ["transcriptId"]}]}
    )

    bucket: Annotated[str | None, Field(min_length=3, max_length=63)] = None
    key: Annotated[str | None, Field(min_length=1, max_length=1024, description="Not escaped in any way.")] = None
    transcript_id: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$", description="As progress events have it.")] = (
        None
    )

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.transcript_id is None and (self.bucket is None or self.key is None):
            raise ValueError("it must name bucket and key, or transcriptId")
        return self
