"""The loop that turns records of the input topic into answers, and what it guarantees.

Poll, submit, commit:

1. A record is answered by a transcript, a dead letter or a counted skip, and finished once the broker has
   acknowledged the answer.
2. Only finished records are committed: for each partition the offset below which all are finished.
3. What is an outage is waited for, without end and uncommitted, while the partition is kept.
4. Polling never stops. While as many records are in flight as may be, all partitions are paused and polled
   all the same: a member that does not poll for ``max.poll.interval`` would have to leave the group.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass

from consumer.delivery.job import SourceRecord
from consumer.delivery.membership import CommitRefused, Membership, MembershipOptions
from consumer.delivery.partitions import InFlight, Partitions, TopicPartition
from consumer.delivery.retry import Outages, delays
from consumer.errors import Unavailable
from consumer.observe.metrics import Metrics

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.5  # a poll returns at once when there are records; this bounds the ticks without any
FULL_POLL_SECONDS = 0.25  # how often a worker without a free slot polls; well below any max.poll.interval
COMMIT_TIMEOUT_SECONDS = 10.0  # a commit that took longer is made again later; polling goes on meanwhile
CLOSE_TIMEOUT_SECONDS = 5.0  # each: for cancelled work to end, for the last commit, for leaving the group


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once, and how long the end may take."""

    max_in_flight: int
    shutdown_grace_seconds: float


class Worker:
    """A member of the consumer group that answers records until it is stopped."""

    def __init__(
        self,
        membership: MembershipOptions,
        handle: Callable[[SourceRecord], Coroutine[None, None, None]],
        outages: Outages,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        """``handle`` answers one record and returns once the answer was acknowledged (RecordHandler.handle)."""
        self._membership = Membership(membership, self)
        # While a member gives its partitions back the whole group waits for it.
        self._revoke_budget_seconds = min(COMMIT_TIMEOUT_SECONDS, membership.rebalance_timeout_seconds / 2)
        self._handle = handle
        self._outages = outages
        self._metrics = metrics
        self._limits = limits
        self._partitions = Partitions()
        self._tasks: dict[InFlight, asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._reports: set[asyncio.Task[None]] = set()
        self._commit_lock = asyncio.Lock()
        self._commit_failing = False
        self._progress = asyncio.Event()  # work ended, or the worker is to stop
        self._stopping = asyncio.Event()
        self._defect: BaseException | None = None
        self._rejoin_pauses = delays()
        self.joined = False
        """Whether the group has given this worker an assignment; one without partitions counts too."""
        self.last_tick = time.monotonic()
        """When the loop last turned, on the monotonic clock; at most some 20 s ago unless the worker hangs."""

    def stop(self) -> None:
        """Ask ``run`` to finish what is in flight within the grace, and to return."""
        log.info("stopping with %d records in flight", len(self._tasks))
        self._stopping.set()
        self._progress.set()

    async def run(self) -> None:
        """Join the group and work until ``stop``. Outages are waited for; only a defect ends it by an error."""
        try:
            await self._unless_stopping(self._outages.until_available(self._membership.start))
            while not self._stopping.is_set():
                await self._run_once()
            await self._drain()
        finally:
            await self._close()

    async def _run_once(self) -> None:
        self.last_tick = time.monotonic()
        if self._defect is not None:
            raise self._defect
        for record in await self._poll():
            self._submit(record)
        await self._commit(COMMIT_TIMEOUT_SECONDS)
        self._observe()

    # ---- poll

    async def _poll(self) -> list[SourceRecord]:
        """Read as many records as there are free slots; where there are none, wait a little for one."""
        if not self._free_slots():
            await self._wait_for_progress()
        free = self._free_slots()
        self._pause(everything=not free)
        try:
            records = await self._membership.poll(max(free, 1), IDLE_POLL_SECONDS if free else 0)
        except Unavailable as outage:
            await self._rejoin(outage)
            return []
        self._rejoin_pauses = delays()
        return [] if self._stopping.is_set() else records

    def _free_slots(self) -> int:
        return 0 if self._stopping.is_set() else self._limits.max_in_flight - len(self._tasks)

    def _pause(self, *, everything: bool) -> None:
        paused = self._partitions.assigned if everything else self._partitions.closed
        self._membership.pause_only(paused)
        self._metrics.paused_partitions.set(len(paused))

    async def _wait_for_progress(self) -> None:
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(FULL_POLL_SECONDS):
                await self._progress.wait()

    async def _rejoin(self, outage: Unavailable) -> None:
        """The membership is broken: give it up, and join again. Work in flight goes on meanwhile."""
        if self._stopping.is_set():
            return
        log.warning("left the consumer group, will join again: %s", outage.message)
        self._set_joined(joined=False, partitions=0)
        await self.on_revoked()
        await self._membership.stop(CLOSE_TIMEOUT_SECONDS)
        pause = next(self._rejoin_pauses)
        await self._unless_stopping(asyncio.sleep(pause))
        await self._unless_stopping(self._outages.until_available(self._membership.start))

    async def _unless_stopping(self, call: Awaitable[None]) -> None:
        """Await what may take long: the loop still ticks, and a stop ends it."""
        task = asyncio.ensure_future(call)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            while not task.done() and not stop.done():
                self.last_tick = time.monotonic()
                await asyncio.wait({task, stop}, timeout=IDLE_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_TIMEOUT_SECONDS)
        if not task.cancelled():
            task.result()

    # ---- submit

    def _submit(self, record: SourceRecord) -> None:
        """Start the work on a record, unless that is done or running already."""
        name = TopicPartition(record.topic, record.partition)
        expected = self._partitions.next_offset(name)
        if expected is None:
            return  # closed: it is read again once its partition is open
        if record.offset > expected:
            self._report(self._report_gap(name, expected, record.offset))
        elif record.offset < expected:
            log.error("%s-%d began anew: read offset %d after %d", *name, record.offset, expected - 1)
            self._cancel(self._partitions.restart(name, record.offset))
        taken = self._partitions.take(record, time.monotonic())
        if taken.lost:
            self._cancel([taken.lost])
        if taken.start:
            work = taken.start
            task = asyncio.create_task(self._handle(record), name=f"record {record.topic}-{record.offset}")
            self._tasks[work] = task
            task.add_done_callback(lambda ended: self._ended(work, ended))

    def _ended(self, work: InFlight, task: asyncio.Task[None]) -> None:
        del self._tasks[work]
        self._progress.set()
        if task.cancelled():
            return
        self._defect = self._defect or task.exception()
        if task.exception() is None and not self._partitions.finish(work):
            log.info("answered offset %d of a partition that went to another worker meanwhile", work.record.offset)

    def _cancel(self, lost: Iterable[InFlight]) -> None:
        for work in lost:
            if task := self._tasks.get(work):
                task.cancel()

    # ---- commit

    async def _commit(self, timeout_seconds: float) -> None:
        """Tell the broker what is finished: the one place that commits."""
        async with self._commit_lock:
            epoch, offsets = self._partitions.epoch, self._partitions.to_commit()
            if not offsets:
                return
            try:
                await self._membership.commit(offsets, timeout_seconds)
            except CommitRefused as refusal:
                self._metrics.commit_failures.inc()
                log.info("offsets not committed, the group rebalances: %s", refusal)
            except Unavailable as outage:
                self._metrics.commit_failures.inc()
                if not self._commit_failing:
                    log.warning("offsets not committed, will be tried again: %s", outage.message)
                self._commit_failing = True
            else:
                self._metrics.commits.inc()
                self._commit_failing = False
                self._partitions.committed(offsets, epoch)

    # ---- rebalances (called by the membership)

    async def on_revoked(self) -> None:
        """Commit what is finished; what is not goes on, and is adopted if its partition comes back."""
        self._stop_opening()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._revoke_budget_seconds):
                await self._commit(self._revoke_budget_seconds)
        self._partitions.revoke()

    def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Cancel the work of partitions that are gone, and find out from where to read those that are ours."""
        lost = self._partitions.assign(partitions)
        self._cancel(lost)
        self._metrics.rebalances.inc()
        self._metrics.revoked_while_running.inc(len(lost))
        self._set_joined(joined=True, partitions=len(partitions))
        log.info("assigned %d partitions: %s", len(partitions), sorted(name.partition for name in partitions))
        self._stop_opening()
        self._opening = asyncio.create_task(self._open(partitions))
        self._opening.add_done_callback(self._opened)

    async def _open(self, partitions: frozenset[TopicPartition]) -> None:
        ranges = await self._outages.until_available(lambda: self._membership.log_ranges(partitions))
        for name, known in ranges.items():
            opening = self._partitions.open(name, known)
            self._membership.seek(name, opening.position)
            self._cancel(opening.lost)
            self._report_missing(name, opening.missing)
        self._pause(everything=not self._free_slots())

    def _opened(self, opening: asyncio.Task[None]) -> None:
        if not opening.cancelled():
            self._defect = self._defect or opening.exception()

    def _stop_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    # ---- offsets that are gone

    async def _report_gap(self, name: TopicPartition, expected: int, read: int) -> None:
        """Offsets were passed over: compaction and transactions do that, and so does a log cut off below.

        The client goes on at the earliest offset by itself when its position is out of range, and tells
        nobody; where the log begins now shows which of the two it was.
        """
        try:
            beginning = await self._membership.beginning_offset(name)
        except Unavailable as outage:
            log.warning(
                "%s-%d: offsets %d to %d were passed over; cannot tell why: %s",
                *name,
                expected,
                read - 1,
                outage.message,
            )
            return
        self._report_missing(name, range(expected, min(beginning, read)))

    def _report_missing(self, name: TopicPartition, missing: range) -> None:
        if missing:
            self._metrics.offsets_skipped.inc(len(missing))
            log.error(
                "%s-%d: offsets %d to %d are out of range: deleted before they were read; going on at the "
                "earliest offset",
                *name,
                missing.start,
                missing.stop - 1,
            )

    def _report(self, report: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(report)
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    # ---- the end

    async def _drain(self) -> None:
        """Let work in flight end and commit it, within the grace. Nothing new is taken: no slot is free now."""
        deadline = time.monotonic() + self._limits.shutdown_grace_seconds
        while self._tasks and time.monotonic() < deadline:
            await self._run_once()
        if self._tasks:
            log.warning("grace is over: %d records are left to whoever takes over", len(self._tasks))

    async def _close(self) -> None:
        self._set_joined(joined=False, partitions=0)
        self._stop_opening()
        tasks = {*self._tasks.values(), *self._reports}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_SECONDS)
        await self._commit(CLOSE_TIMEOUT_SECONDS)
        await self._membership.stop(CLOSE_TIMEOUT_SECONDS)
        self._observe()

    def _set_joined(self, *, joined: bool, partitions: int) -> None:
        self.joined = joined
        self._metrics.assigned_partitions.set(partitions)

    def _observe(self) -> None:
        oldest = min((work.since for work in self._tasks), default=None)
        self._metrics.in_flight.set(len(self._tasks))
        self._metrics.oldest_in_flight_seconds.set(0 if oldest is None else time.monotonic() - oldest)
        self._metrics.incomplete_offsets.set(self._partitions.incomplete_offsets)
