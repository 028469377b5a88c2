"""What all message types share. This package imports pydantic and the standard library only."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A part of a message: immutable, camelCase on the wire.

    Unknown fields of an incoming message are ignored: within a version, changes only add.
    """

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        ser_json_inf_nan="null",
        hide_input_in_errors=True,  # an error that is logged must not show words of a transcript
    )
