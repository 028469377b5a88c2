"""The event that goes out, from a stored result. Pure.

The bytes of the event are a function of the stored bytes (and of settings that a fleet has in common):
a repetition, a duplicate event and another version of the worker all send the same. So whatever changes here later must
leave the bytes of results as they are that have been stored before.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from consumer.store.results import StoredResult
from schemas.cloud_event import STRUCTURED_HEADERS, source_of

JSON: Final = "application/json"

Mode = Literal["structured", "binary"]


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent as a Kafka record has it: headers and value."""

    headers: tuple[tuple[str, bytes], ...]
    value: bytes


def event_of(
    stored: StoredResult,
    max_event_bytes: int,
    *,
    mode: Mode = "structured",
    sidecars: Sequence[Mapping[str, str]] = (),
) -> Event:
    """A transcript.completed event with the transcript, or with a reference to it where it would be too large.

    ``sidecars`` are the documents that were written beside it, as ``schemas.SidecarReference`` has them.
    """
    beside = {"sidecars": sidecars} if sidecars else {}
    whole = _event(stored, {"transcript": orjson.Fragment(stored.body), "reference": None, **beside}, mode)
    if len(whole.value) <= max_event_bytes:
        return whole
    document = stored.document
    reference = {name: document.get(name) for name in ("transcriptId", "language", "noSpeech", "durationSeconds")}
    reference |= {
        "source": document["source"],
        "bucket": stored.bucket,
        "key": stored.key,
        "sizeBytes": len(stored.body),
        "sha256": hashlib.sha256(stored.body).hexdigest(),
    }
    return _event(stored, {"transcript": None, "reference": reference, **beside}, mode)


def _event(stored: StoredResult, data: dict[str, object], mode: Mode) -> Event:
    document = stored.document
    source = document["source"]
    attributes = {
        "specversion": "1.0",
        "type": "transcript.completed.v1",
        "id": document["transcriptId"],
        "source": source_of(source["bucket"], source["key"]),
        "subject": source["key"],
        "time": document["completedAt"],
    }
    if mode == "binary":
        # Kafka's binding has the attributes as they are, in UTF-8; a lone surrogate is none.
        headers = [(f"ce_{name}", text.encode(errors="replace")) for name, text in attributes.items()]
        return Event((("content-type", JSON.encode()), *headers), orjson.dumps(data))
    value = orjson.dumps({**attributes, "datacontenttype": JSON, "data": data})
    return Event(STRUCTURED_HEADERS, value)
