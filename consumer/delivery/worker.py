"""The loop that turns records of the input topic into answers, and what it guarantees.

Poll, submit, settle:

1. A record is answered by a transcript, a dead letter or a counted skip, and finished once the broker has
   acknowledged the answer.
2. Only finished records are committed: for each partition the offset below which all are finished, and with it,
   in the commit's metadata, those that are finished above it.
3. What is an outage is waited for, without end and uncommitted, while the partition is kept and nothing new is taken.
4. Polling never stops. While as many records are in flight as may be, all partitions are paused and polled
   all the same: a member that does not poll for ``max.poll.interval`` would have to leave the group.
5. Native code touches a recording once the broker has the attempt on record. Recordings that were open when a
   worker died are suspects: one at a time, with the process to itself, until it is known which of them it was.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from consumer.delivery.attempt import RecordAttempt
from consumer.delivery.breaker import OWN_FAULTS, Breaker
from consumer.delivery.handling import Answer
from consumer.delivery.job import Attempt, SourceRecord
from consumer.delivery.membership import Membership, MembershipOptions
from consumer.delivery.partitions import InFlight, Opening, Overview, Partitions, TopicPartition
from consumer.delivery.quarantine import Quarantine
from consumer.errors import Unavailable
from consumer.observe import spans
from consumer.observe.logs import bind
from consumer.observe.metrics import Metrics, Promptness, RecordOutcome
from consumer.observe.objective import is_prompt
from consumer.outages import Outages, delays

log = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 0.5  # a poll returns at once when there are records; this bounds the ticks without any
FULL_POLL_SECONDS = 0.25  # how often a worker without a free slot polls; well below any max.poll.interval
HAND_BACK_TIMEOUT_SECONDS = 10.0
LAG_INTERVAL_SECONDS = 15.0  # as often as a Prometheus looks by default
CLOSE_TIMEOUT_SECONDS = 5.0  # each: for cancelled work to end, for the last commit, for leaving the group
MAX_PARKED = 1000  # records that wait for their own object; beyond, they take up slots like all others


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once, and how long the end may take."""

    max_in_flight: int
    shutdown_grace_seconds: float


class Settlement(Protocol):
    """How answers and offsets reach the broker; one object for each mode of delivery."""

    async def run(self) -> None:
        """Work in the background, without end. Raises only for a defect."""

    async def prepare(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are ours, and their offsets are about to be read. Raises Unavailable."""

    def touch(self) -> None:
        """There may be something to commit."""

    async def on_record(self, work: InFlight) -> None:
        """Return once the broker has the attempt that began."""

    async def settle(self, work: InFlight, answer: Answer) -> bool:
        """Send the answer; return once the broker has it and the record is finished. False: the work was lost."""

    async def hand_back(self) -> None:
        """Commit for the last time before partitions are given back; is cancelled when that takes too long.

        Never raises for an outage.
        """


Settles = Callable[[Partitions, Membership, Callable[[TopicPartition], None]], Settlement]
"""Makes the settlement of a worker; what it is given last has one partition opened anew."""


class Worker:
    """A member of the consumer group that answers records until it is stopped."""

    def __init__(
        self,
        membership: MembershipOptions,
        handle: Callable[[SourceRecord, Attempt], Coroutine[None, None, Answer]],
        settles: Settles,
        breaker: Breaker,
        outages: Outages,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        """``handle`` does what one record asks for (RecordHandler.handle)."""
        self._partitions = Partitions()
        self._membership = Membership(membership, self)
        self._settlement = settles(self._partitions, self._membership, self._reopen)
        # While a member gives its partitions back the whole group waits for it.
        self._revoke_budget_seconds = min(HAND_BACK_TIMEOUT_SECONDS, membership.rebalance_timeout_seconds / 2)
        self._handle = handle
        self._breaker = breaker
        self._outages = outages
        self._metrics = metrics
        self._limits = limits
        self._quarantine = Quarantine()
        self._tasks: dict[InFlight, asyncio.Task[None]] = {}
        self._parked: set[InFlight] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()  # work ended, or the worker is to stop
        self._opened_anew = asyncio.Event()  # partitions, so that the lag is another
        self._stopping = asyncio.Event()
        self._defect: BaseException | None = None
        self._rejoin_pauses = delays()
        self._ends: dict[TopicPartition, int] = {}  # of partitions, as they were last told
        self.running = False
        """Whether ``run`` is under way, and ``last_tick`` therefore moves."""
        self.joined = False
        """Whether the group has given this worker an assignment; one without partitions counts too."""
        self.last_tick = time.monotonic()
        """When the loop last turned, on the monotonic clock; at most some 20 s ago unless the worker hangs."""

    @property
    def stopped_because(self) -> str | None:
        """Why no more work is taken, where too much of it ends by the worker's own fault."""
        return self._breaker.tripped

    @property
    def partitions(self) -> list[Overview]:
        """Those that are assigned, and how far they are."""
        return self._partitions.overview()

    def stop(self) -> None:
        """Ask ``run`` to finish what is in flight within the grace, and to return."""
        log.info("stopping with %d records in flight", len(self._tasks))
        self._stopping.set()
        self._progress.set()

    async def run(self) -> None:
        """Join the group and work until ``stop``. Outages are waited for; only a defect ends it by an error."""
        self.running, self.last_tick = True, time.monotonic()
        self._start(self._settlement.run(), self._background)
        self._start(self._watch_lag(), self._background)
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
        beyond: set[TopicPartition] = set()
        for record in await self._poll():
            self._submit(record, beyond)
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
        """How many more records may be taken: none while the worker stops, or waits for something outside."""
        if self._stopping.is_set() or self._breaker.tripped or self._outages.waiting:
            return 0
        taking_slots = len(self._tasks) - min(len(self._parked), MAX_PARKED)
        return max(0, self._limits.max_in_flight - taking_slots)

    def _pause(self, *, everything: bool) -> None:
        partitions = self._partitions
        paused = partitions.assigned if everything else partitions.closed | partitions.full
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

    def _submit(self, record: SourceRecord, beyond: set[TopicPartition]) -> None:
        """Start the work on a record, unless that is done or running already.

        ``beyond`` collects partitions whose window is full: what else was read from them is read again.
        """
        name = TopicPartition(record.topic, record.partition)
        expected = self._partitions.next_offset(name)
        if expected is None or name in beyond:
            return  # read again once its partition is open, or has room
        if record.offset > expected:
            self._start(self._report_gap(name, expected, record.offset), self._background)
        elif record.offset < expected:
            log.error("%s-%d began anew: read offset %d after %d", *name, record.offset, expected - 1)
            self._cancel(self._partitions.restart(name, record.offset))
        taken = self._partitions.take(record, time.monotonic())
        if taken.beyond:
            beyond.add(name)
            self._membership.seek(name, record.offset)
        if taken.lost:
            self._cancel([taken.lost])
        if taken.start:
            work = taken.start
            task = asyncio.create_task(self._work(work), name=f"record {record.topic}-{record.offset}")
            self._tasks[work] = task
            task.add_done_callback(lambda ended: self._ended(work, ended))
        else:
            self._settlement.touch()  # what was finished before it was read may now be passed by the commit

    async def _work(self, work: InFlight) -> None:
        record = work.record
        with (
            spans.received(),
            bind(
                job_id=f"{record.topic}-{record.partition}-{record.offset}",
                partition=record.partition,
                offset=record.offset,
            ),
        ):
            async with self._quarantine.turn(suspect=work.suspect, deaths=work.deaths) as turn:
                attempt = RecordAttempt(work, self._partitions, self._settlement, turn, self._parked)
                answer = await self._handle(record, attempt)
                attempt.ends()
            spans.answered(answer.outcome, answer.reason)
            with spans.span("publish", messages=len(answer.messages)):
                is_settled = await self._settlement.settle(work, answer)
            if is_settled:
                self._count(record, answer)
            else:
                log.info("answered a record of a partition that went to another worker meanwhile")

    def _count(self, record: SourceRecord, answer: Answer) -> None:
        self._metrics.records_finished.labels(answer.outcome).inc()
        if answer.reason is not None:
            self._metrics.dead_letters.labels(answer.reason).inc()
        self._measure_promptness(record, answer)
        if answer.outcome is not RecordOutcome.SKIPPED:
            was_tripped = self._breaker.tripped
            self._breaker.note(answer.reason)
            if self._breaker.tripped and not was_tripped:
                self._metrics.intake_stopped.set(1)
                log.critical("no more work is taken: %s", self._breaker.tripped)

    def _measure_promptness(self, record: SourceRecord, answer: Answer) -> None:
        """How long the answer took, against what is promised. A record may have no timestamp."""
        seconds = max(0.0, time.time() - record.timestamp_ms / 1000)
        outcomes = [Promptness.MISSED] if answer.reason in OWN_FAULTS else []
        if record.timestamp_ms > 0 and answer.audio_seconds:
            exemplar = {"trace_id": answer.trace_id} if answer.trace_id else None
            self._metrics.event_to_transcript_seconds.observe(seconds, exemplar)
            prompt = (is_prompt(seconds, audio_seconds) for audio_seconds in answer.audio_seconds)
            outcomes += [Promptness.MET if in_time else Promptness.MISSED for in_time in prompt]
        for outcome in outcomes:
            self._metrics.objective.labels(outcome).inc()

    def _ended(self, work: InFlight, task: asyncio.Task[None]) -> None:
        del self._tasks[work]
        self._parked.discard(work)
        self._progress.set()
        if task.cancelled():
            self._partitions.abandon(work)
        else:
            self._defect = self._defect or task.exception()

    def _cancel(self, lost: Iterable[InFlight]) -> None:
        for work in lost:
            if task := self._tasks.get(work):
                task.cancel()

    # ---- rebalances (called by the membership)

    async def on_revoked(self) -> None:
        """Commit what is finished; what is not goes on, and is adopted if its partition comes back."""
        self._stop_opening()
        await self._hand_back(self._revoke_budget_seconds)
        self._partitions.revoke()

    async def _hand_back(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._settlement.hand_back()
        except TimeoutError:
            log.warning("offsets not committed within %g s before partitions are given back", timeout_seconds)

    def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Cancel the work of partitions that are gone, and find out from where to read those that are ours."""
        lost = self._partitions.assign(partitions)
        self._cancel(lost)
        self._metrics.rebalances.inc()
        self._metrics.revoked_while_running.inc(len(lost))
        self._set_joined(joined=True, partitions=len(partitions))
        log.info("assigned %d partitions: %s", len(partitions), sorted(name.partition for name in partitions))
        self._stop_opening()
        self._start(self._open(partitions), self._opening)

    def _reopen(self, name: TopicPartition) -> None:
        """The broker may know better than we do how far one partition is: read it anew."""
        if name in self._partitions.assigned:
            self._partitions.close(name)
            self._start(self._open(frozenset({name})), self._opening)

    async def _open(self, partitions: frozenset[TopicPartition]) -> None:
        await self._outages.until_available(lambda: self._settlement.prepare(partitions))
        ranges = await self._outages.until_available(lambda: self._membership.log_ranges(partitions))
        for name, known in ranges.items():
            self._opened(name, self._partitions.open(name, known))
        self._pause(everything=not self._free_slots())
        self._settlement.touch()
        self._opened_anew.set()

    def _opened(self, name: TopicPartition, opening: Opening) -> None:
        self._membership.seek(name, opening.position)
        self._cancel(opening.lost)
        self._report_missing(name, opening.missing)
        if opening.foreign_metadata:
            log.warning("%s-%d: the metadata of the commit is not ours: %s", *name, opening.foreign_metadata)
        if opening.deaths:
            self._metrics.crashed_attempts.inc(opening.deaths)
            log.error("%s-%d: a worker died while it worked on one recording alone", *name)

    def _stop_opening(self) -> None:
        for opening in self._opening:
            opening.cancel()

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

    # ---- the end

    async def _drain(self) -> None:
        """Let work in flight end, within the grace. Nothing new is taken: no slot is free now.

        Records that wait for their own object are not waited for: nothing is lost when they are tried elsewhere.
        """
        began, grace_seconds = time.monotonic(), self._limits.shutdown_grace_seconds
        while self._tasks.keys() - self._parked and time.monotonic() < began + grace_seconds:
            await self._run_once()
            self._metrics.drain_seconds.set(time.monotonic() - began)
        if self._tasks:
            log.warning("%d records are left to whoever takes over", len(self._tasks))

    async def _close(self) -> None:
        self._set_joined(joined=False, partitions=0)
        self._stop_opening()
        await _end(self._tasks.values())
        await self._hand_back(CLOSE_TIMEOUT_SECONDS)
        await _end(self._background)
        await self._membership.stop(CLOSE_TIMEOUT_SECONDS)
        self._observe()
        self.running = False

    # ---- tasks and figures

    def _start(self, work: Coroutine[None, None, None], group: set[asyncio.Task[None]]) -> None:
        """Run something beside the loop; what it raises ends the worker."""
        task = asyncio.create_task(work)
        group.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            group.discard(task)
            if not task.cancelled():
                self._defect = self._defect or task.exception()

        task.add_done_callback(ended)

    def _set_joined(self, *, joined: bool, partitions: int) -> None:
        self.joined = joined
        self._metrics.assigned_partitions.set(partitions)

    async def _watch_lag(self) -> None:
        """Ask for the ends of the partitions: while they are paused nothing else tells how they grow."""
        while True:
            if names := self._partitions.assigned - self._partitions.closed:
                with suppress(Unavailable):  # told by whoever cannot do without the broker
                    self._ends = await self._membership.end_offsets(names)
            self._opened_anew.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LAG_INTERVAL_SECONDS):
                    await self._opened_anew.wait()

    def _observe(self) -> None:
        oldest = min((work.since for work in self._tasks), default=None)
        self._metrics.in_flight.set(len(self._tasks))
        self._metrics.lag.set(self._partitions.unanswered(self._ends))
        self._metrics.waiting_objects.set(len(self._parked))
        self._metrics.suspects.set(sum(work.suspect for work in self._tasks))
        self._metrics.oldest_in_flight_seconds.set(0 if oldest is None else time.monotonic() - oldest)
        self._metrics.incomplete_offsets.set(self._partitions.incomplete_offsets)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(set(tasks), timeout=CLOSE_TIMEOUT_SECONDS)
