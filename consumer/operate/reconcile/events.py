"""The event that announces a recording once more. Pure."""

from consumer.operate.reconcile.decision import Recording
from consumer.operate.sender import Message
from schemas import AudioUploaded

RECONCILED = "whisper-consumer-reconciled"
"""Header that tells such an event from the store's own."""


def announcement(bucket: str, recording: Recording, topic: str) -> Message:
    """An ``audio.uploaded`` event, with the record's key that the store would have given it."""
    event = AudioUploaded(bucket=bucket, key=recording.key, etag=recording.etag, size_bytes=recording.size_bytes)
    value = event.model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True).encode()
    return Message(topic, f"{bucket}/{recording.key}".encode(), value, ((RECONCILED, b"1"),))
