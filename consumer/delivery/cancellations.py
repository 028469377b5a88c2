"""Which recordings are no longer wanted, and the work on them that is under way. No broker, no clock.

1. A request concerns what was announced before it: an upload of the same object that is announced later, or a dead
   letter that is put back, is worked on.
2. It ends work that runs, and work that begins later on an older record: so it reaches recordings that wait in the
   topic too. The newest ``MOST_REMEMBERED`` requests are remembered.
3. What was cancelled raises Rejected: CANCELLED. Its progress is kept: putting the dead letter back goes on from there.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from consumer.errors import Reason, Rejected, Stage
from schemas import AudioUploaded, CancelRequest

T = TypeVar("T")

MOST_REMEMBERED: Final = 10_000

_Target = tuple[str, str] | str
"""Bucket and key, or a transcript's id."""


class Cancellations:
    """Of one worker."""

    def __init__(self) -> None:
        self._asked: OrderedDict[_Target, int] = OrderedDict()  # when last, in milliseconds of the broker's clock
        self._running: set[Watched] = set()

    def ask(self, request: CancelRequest, timestamp_ms: int) -> int:
        """Take a request, written at this time; returns how much work that ended."""
        targets: list[_Target] = []
        if request.transcript_id is not None:
            targets.append(request.transcript_id)
        if request.bucket is not None and request.key is not None:
            targets.append((request.bucket, request.key))
        for target in targets:
            self._asked[target] = max(timestamp_ms, self._asked.pop(target, 0))
        while len(self._asked) > MOST_REMEMBERED:
            self._asked.popitem(last=False)
        return sum(watched.look() for watched in tuple(self._running))

    def watch(self, upload: AudioUploaded, timestamp_ms: int) -> "Watched":
        """Watch the work on an upload, announced by a record of this time."""
        return Watched(upload, timestamp_ms, self._asked, self._running)


class Watched:
    """The work on one job."""

    def __init__(
        self, upload: AudioUploaded, timestamp_ms: int, asked: "OrderedDict[_Target, int]", running: "set[Watched]"
    ) -> None:
        self._targets: list[_Target] = [(upload.bucket, upload.key)]
        self._timestamp_ms = timestamp_ms
        self._asked = asked
        self._running = running
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def named(self, transcript_id: str) -> None:
        """The transcript's id is known now."""
        self._targets.append(transcript_id)
        self.look()

    def look(self) -> bool:
        """Cancel the work if that is asked for; whether it was now."""
        if self._is_cancelled or not any(self._asked.get(it, -1) >= self._timestamp_ms for it in self._targets):
            return False
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()
        return True

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work. Raises what it raises, and Rejected: CANCELLED."""
        task = asyncio.create_task(work)
        self._task = task
        self._running.add(self)
        self.look()
        try:
            return await task
        except asyncio.CancelledError:
            if not self._is_cancelled or is_being_cancelled():
                raise
        finally:
            self._running.discard(self)
        raise Rejected(
            Reason.CANCELLED, Stage.TRANSCRIBE, "cancelled by a request on the control topic; redrive it to go on"
        )


def is_being_cancelled() -> bool:
    """Whether it is the caller that is to end, and not what it waits for alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
