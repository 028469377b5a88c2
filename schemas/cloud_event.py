"""What the worker's CloudEvents 1.0 have in common (https://github.com/cloudevents/spec), structured mode."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import AwareDatetime, ConfigDict, Field

from schemas.base import Message

STRUCTURED_HEADERS: Final = (("content-type", b"application/cloudevents+json; charset=utf-8"),)
"""Of a Kafka record that holds a whole event; the protocol's binding tells its two modes apart by this."""


def source_of(bucket: str, key: str) -> str:
    """The attribute ``source`` of events about a recording: /bucket/key, percent-encoded."""
    return "/" + quote(f"{bucket}/{key}")


class CloudEvent(Message):
    """The envelope around ``data``. Each event narrows ``type`` and ``data`` to its own, in this order on the wire."""

    # CloudEvents requires the first four; the constants among them have defaults for who writes the event only.
    model_config = ConfigDict(
        json_schema_extra={"required": ["specversion", "id", "source", "type", "subject", "time", "data"]}
    )

    specversion: Literal["1.0"] = "1.0"
    type: str
    id: Annotated[str, Field(min_length=1)]
    source: Annotated[
        str,
        Field(
            description="Of the recording: /bucket/key, percent-encoded.", json_schema_extra={"format": "uri-reference"}
        ),
    ]
    subject: Annotated[str, Field(description="Object key of the recording.")]
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: Any
