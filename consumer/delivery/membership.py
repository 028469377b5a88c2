"""This worker as a member of its consumer group: the one place that talks to aiokafka's consumer.

aiokafka is untyped and some of its calls wait for ever while brokers are away (#1101, #647), so every call is
bounded here, and what comes out is typed: records, offsets, ``Unavailable``, ``CommitRefused``.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import aiokafka
from aiokafka.errors import (
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata

from consumer.delivery.assignor import SteadyAssignor
from consumer.delivery.committed import fetch_committed
from consumer.delivery.connection import bounded, connect_timeout_seconds
from consumer.delivery.job import SourceRecord
from consumer.delivery.partitions import Commit, LogRange, TopicPartition
from consumer.delivery.reading import Reader
from consumer.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

STOP_TIMEOUT_SECONDS = 5.0  # for what is left of a start that failed


class CommitRefused(Exception):
    """The group has rebalanced: the offsets are no longer ours to commit."""


_REQUESTS_IN_ONE_CALL = 3
"""How many may time out, one after the other: that to the coordinator, that for a coordinator, and the call's own."""


class Rebalanced(Protocol):
    """Whoever wants to know what the group decides. Neither call may take long: the whole group waits."""

    async def on_revoked(self) -> None:
        """All partitions are about to be taken away; offsets may still be committed."""

    def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions are ours, paused until they are resumed."""


@dataclass(frozen=True, slots=True)
class MembershipOptions:
    """How the group is joined. Durations in seconds; ``client`` is what ``client_options`` gives."""

    client: Mapping[str, Any]
    group_id: str
    topic: str
    request_timeout_seconds: float
    session_timeout_seconds: float
    rebalance_timeout_seconds: float
    max_poll_interval_seconds: float
    max_record_bytes: int


class Membership:
    """Joins the group, reads records, commits offsets. All calls come from one event loop."""

    def __init__(self, options: MembershipOptions, listener: Rebalanced) -> None:
        self._options = options
        self._listener = listener
        self._consumer: Any = None
        self._reader: Reader | None = None
        self._poll: asyncio.Task[list[SourceRecord]] | None = None
        self._listener_fault: Exception | None = None
        self._generation = -1  # of the group, when it gave us our partitions

    async def start(self) -> None:
        """Connect and ask to join; partitions are told to the listener. Raises Unavailable."""
        options = self._options
        consumer = aiokafka.AIOKafkaConsumer(
            **options.client,
            group_id=options.group_id,
            enable_auto_commit=False,
            # Positions are sought explicitly when a partition is opened; this decides only for a position
            # that falls out of the log while it is read.
            auto_offset_reset="earliest",
            session_timeout_ms=_ms(options.session_timeout_seconds),
            heartbeat_interval_ms=_ms(options.session_timeout_seconds / 10),
            rebalance_timeout_ms=_ms(options.rebalance_timeout_seconds),
            max_poll_interval_ms=_ms(options.max_poll_interval_seconds),
            max_partition_fetch_bytes=options.max_record_bytes,
            partition_assignment_strategy=(SteadyAssignor(),),
        )
        self._consumer = consumer
        self._reader = Reader(consumer)
        try:
            # Subscribed only afterwards: with a subscription, start() waits until partitions are assigned.
            await self._bounded(consumer.start(), "connect to Kafka", connect_timeout_seconds(options.client))
            consumer.subscribe([options.topic], listener=self._listener_of(consumer))
        except BaseException:
            await self.stop(STOP_TIMEOUT_SECONDS)
            raise

    async def stop(self, timeout_seconds: float) -> None:
        """Leave the group and close the connections, or give up after the time-out."""
        consumer, self._consumer, self._reader = self._consumer, None, None
        poll, self._poll = self._poll, None
        if consumer is not None:
            try:
                await bounded(consumer.stop(), timeout_seconds)
            except (TimeoutError, KafkaError) as error:
                log.warning("could not leave the consumer group in order: %s", str(error) or type(error).__name__)
        if poll is not None:
            poll.cancel()
            await asyncio.wait({poll})

    async def poll(self, max_records: int, timeout_seconds: float) -> list[SourceRecord]:
        """Read up to ``max_records``; returns as soon as there are any, or none after the time-out.

        A poll that the client holds back (it does, without bound, during a rebalance) is never cancelled,
        which would end its membership watch, but awaited again by the next call. Raises Unavailable where
        the membership is broken: stop, and start again.
        """
        if self._listener_fault is not None:
            raise self._listener_fault
        if self._poll is None:
            self._poll = asyncio.create_task(self._connected_reader().read(max_records, _ms(timeout_seconds)))
        done, _ = await asyncio.wait({self._poll}, timeout=timeout_seconds + 0.1)
        if not done:
            return []
        finished, self._poll = self._poll, None
        try:
            return finished.result()
        except KafkaError as error:
            raise Unavailable("broker", f"cannot read topic {self._options.topic!r}: {error}") from error

    def pause_only(self, partitions: Collection[TopicPartition]) -> None:
        """Read all assigned partitions but these."""
        if self._consumer is None:
            return
        assigned = self._consumer.assignment()
        wanted = {aiokafka.TopicPartition(*name) for name in partitions} & assigned
        paused = self._consumer.paused()
        self._consumer.pause(*(wanted - paused))
        self._consumer.resume(*(paused - wanted))

    async def log_ranges(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, LogRange]:
        """Committed offset with its metadata, first and end offset of each partition. Raises Unavailable."""
        names = [aiokafka.TopicPartition(*name) for name in partitions]
        consumer = self._connected()
        fetch = fetch_committed(consumer._coordinator, names)  # noqa: SLF001
        committed = await self._bounded(fetch, "read committed offsets")
        beginning = await self._log_offsets(names, "beginning")
        end = await self._log_offsets(names, "end")
        return {TopicPartition(*name): _log_range(committed[name], beginning[name], end[name]) for name in names}

    async def beginning_offset(self, partition: TopicPartition) -> int:
        """The lowest offset that the partition still holds. Raises Unavailable."""
        name = aiokafka.TopicPartition(*partition)
        offsets = await self._log_offsets([name], "beginning")
        return int(offsets[name])

    async def end_offsets(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition will have. Raises Unavailable."""
        found = await self._log_offsets([aiokafka.TopicPartition(*name) for name in partitions], "end")
        return {TopicPartition(*name): offset for name, offset in found.items()}

    async def _log_offsets(self, names: Sequence[Any], which: Literal["beginning", "end"]) -> dict[Any, int]:
        """An end of the log of each partition. Raises Unavailable.

        Not by the public call, whose own limit is that of its request (see ``_bounded``).
        """
        fetcher = self._connected()._fetcher  # noqa: SLF001
        ask = {"beginning": fetcher.beginning_offsets, "end": fetcher.end_offsets}[which]
        longer_than_bounded = 2 * _REQUESTS_IN_ONE_CALL * self._options.request_timeout_seconds
        call = ask(names, _ms(longer_than_bounded))
        found: dict[Any, int] = await self._bounded(call, f"read {which} offsets")
        return found

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read an assigned partition from this offset on; nothing happens if a rebalance has just taken it."""
        with suppress(IllegalStateError):
            self._connected_reader().seek(aiokafka.TopicPartition(*partition), offset)

    async def commit(self, commits: Mapping[TopicPartition, Commit], timeout_seconds: float) -> None:
        """Commit the next offset to read for each partition, with its metadata.

        Raises CommitRefused after a rebalance, Unavailable where the broker did not accept it in time.
        """
        try:
            await bounded(self._commit(commits), timeout_seconds)
        except (UnknownMemberIdError, IllegalGenerationError, RebalanceInProgressError) as error:
            raise CommitRefused(str(error) or type(error).__name__) from error
        except (KafkaError, TimeoutError) as error:
            raise Unavailable("broker", f"cannot commit offsets: {str(error) or type(error).__name__}") from error

    async def _commit(self, commits: Mapping[TopicPartition, Commit]) -> None:
        """One attempt, as the member that was given these partitions and as nobody else.

        The client's own commit() sends whatever generation it has by then. Where the group has forgotten this member
        that is none at all, and the broker takes such a commit if the group is empty: a worker that slept through the
        end of everybody's session set the offset back (found by chaos).
        """
        coordinator = self._connected()._coordinator  # noqa: SLF001
        await coordinator.ensure_coordinator_known()
        if not coordinator.member_id or coordinator.generation != self._generation:
            raise UnknownMemberIdError("the group knows this member no more")
        offsets = {
            aiokafka.TopicPartition(*name): OffsetAndMetadata(commit.offset, commit.metadata)
            for name, commit in commits.items()
        }
        await coordinator._do_commit_offsets(None, offsets)  # noqa: SLF001

    def _connected(self) -> Any:
        if self._consumer is None:
            raise _not_connected()
        return self._consumer

    def _connected_reader(self) -> Reader:
        if self._reader is None:
            raise _not_connected()
        return self._reader

    async def _bounded(self, call: Coroutine[Any, Any, T], purpose: str, timeout_seconds: float | None = None) -> T:
        """Await a call; by default for longer than its requests may take, which must fail by themselves.

        Only so does the client close the connection on which nothing came, and try another. A call that is given up
        before leaves it open, and the next one waits there again, for ever (found by chaos).
        """
        if timeout_seconds is None:
            timeout_seconds = _REQUESTS_IN_ONE_CALL * self._options.request_timeout_seconds
        try:
            return await bounded(call, timeout_seconds)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable("broker", f"cannot {purpose}: {str(error) or type(error).__name__}") from error

    def _listener_of(self, consumer: Any) -> Any:
        """What aiokafka calls at a rebalance; a consumer that was given up is not listened to."""
        membership = self

        class Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
            async def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002 - always all of them
                if membership._consumer is consumer:
                    with membership._faults_kept():
                        await membership._listener.on_revoked()

            async def on_partitions_assigned(self, assigned: Any) -> None:
                if membership._consumer is consumer:
                    with membership._faults_kept():
                        membership._assigned(frozenset(TopicPartition(*name) for name in assigned))

        return Listener()

    def _assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self._connected_reader().forget()
        self._generation = self._connected()._coordinator.generation  # noqa: SLF001
        self.pause_only(partitions)
        self._listener.on_assigned(partitions)

    @contextmanager
    def _faults_kept(self) -> Iterator[None]:
        """aiokafka logs and forgets what a listener raises; kept, it comes to light at the next poll."""
        try:
            yield
        except Exception as fault:
            self._listener_fault = fault
            raise


def _log_range(committed: OffsetAndMetadata | None, beginning: int, end: int) -> LogRange:
    if committed is None:
        return LogRange(None, beginning, end)
    return LogRange(committed.offset, beginning, end, committed.metadata)


def _not_connected() -> Unavailable:
    return Unavailable("broker", "not connected to Kafka")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
