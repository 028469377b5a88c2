"""What is made of a stored result: documents beside it, and the event that goes out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from consumer.delivery.job import Outcome
from consumer.pipeline.sidecars import Sidecar, Sidecars
from consumer.store.answers import Mode, event_of
from consumer.store.results import StoredResult


@dataclass(frozen=True, slots=True)
class Outputs:
    """An event that would be larger than ``max_event_bytes`` refers to the result; of 0 each does."""

    max_event_bytes: int
    event_mode: Mode = "structured"
    sidecars: Sidecars = field(default_factory=Sidecars)

    def outcome(self, transcript_id: str, stored: StoredResult, sidecars: Sequence[Sidecar]) -> Outcome:
        """The answer to a job, with where the documents lie that were written."""
        references = [{"format": each.form.value, "bucket": each.bucket, "key": each.key} for each in sidecars]
        event = event_of(stored, self.max_event_bytes, mode=self.event_mode, sidecars=references)
        identity = transcript_id.encode()
        return Outcome(
            key=identity,
            value=event.value,
            headers=(*event.headers, ("transcript_id", identity)),
            audio_seconds=float(stored.document.get("durationSeconds") or 0),
        )
