"""The event that goes out, from a stored result. Pure.

The bytes of the event are a function of the stored bytes (and of ``MAX_EVENT_BYTES``, which a fleet has in common):
a repetition, a duplicate event and another version of the worker all send the same. So whatever changes here later must
leave the bytes of results as they are that have been stored before.
"""

import hashlib
from urllib.parse import quote

import orjson

from consumer.store.results import StoredResult


def event_of(stored: StoredResult, max_event_bytes: int) -> bytes:
    """A transcript.completed event with the transcript, or with a reference to it where it would be too large."""
    whole = _event(stored, {"transcript": orjson.Fragment(stored.body), "reference": None})
    if len(whole) <= max_event_bytes:
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
    return _event(stored, {"transcript": None, "reference": reference})


def _event(stored: StoredResult, data: dict[str, object]) -> bytes:
    document = stored.document
    source = document["source"]
    return orjson.dumps(
        {
            "specversion": "1.0",
            "type": "transcript.completed.v1",
            "id": document["transcriptId"],
            "source": "/" + quote(f"{source['bucket']}/{source['key']}"),
            "subject": source["key"],
            "time": document["completedAt"],
            "datacontenttype": "application/json",
            "data": data,
        }
    )
