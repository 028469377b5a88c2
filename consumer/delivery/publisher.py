"""Records out: a message is published once all in-sync replicas have acknowledged it.

The producer is idempotent, so its own retries neither repeat nor reorder anything. A producer that failed or
timed out is thrown away: after a refused batch an idempotent one answers every later batch with "out of order
sequence", and one that cannot reach a broker may wait for ever (aiokafka #1101, #647).
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consumer.delivery.connection import bounded, connect_timeout_seconds
from consumer.delivery.job import Headers
from consumer.errors import Unavailable
from consumer.observe.metrics import Metrics

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_SECONDS = 5.0


class Publisher:
    """Sends messages and waits for their acknowledgement; safe for any number of tasks at once."""

    def __init__(
        self, options: Mapping[str, Any], max_record_bytes: int, timeout_seconds: float, metrics: Metrics
    ) -> None:
        """``options`` are those of ``client_options``; ``timeout_seconds`` bounds each acknowledgement."""
        self._options = dict(options)
        self._max_record_bytes = max_record_bytes
        self._timeout_seconds = timeout_seconds
        self._metrics = metrics
        self._producer: AIOKafkaProducer | None = None
        self._changing = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises Unavailable where no broker answers."""
        await self._ready_producer()

    async def publish(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Send one message and return once it is acknowledged.

        Raises Unavailable where it was not, for whatever reason: also a topic that is missing or takes no
        message of this size is put right outside, and the message then goes through. A message that was not
        acknowledged in time may have been written all the same; to repeat it is harmless, since its id is
        the same.
        """
        producer = await self._ready_producer()
        started = time.monotonic()
        try:
            sending = producer.send_and_wait(topic, value=value, key=key, headers=list(headers))
            await bounded(sending, self._timeout_seconds)
        except TimeoutError as error:
            await self._discard(producer)
            raise Unavailable(
                "broker", f"no acknowledgement from topic {topic!r} within {self._timeout_seconds:g} s"
            ) from error
        except MessageSizeTooLargeError as error:
            await self._discard(producer)
            raise Unavailable(
                "broker",
                f"topic {topic!r} or KAFKA_MAX_RECORD_BYTES is too small for a message with a value of "
                f"{len(value or b'')} bytes: raise the topic's max.message.bytes and, for a dead letter, the setting",
            ) from error
        except KafkaError as error:
            await self._discard(producer)
            raise Unavailable("broker", f"cannot publish to topic {topic!r}: {error}") from error
        self._metrics.publish_seconds.observe(time.monotonic() - started)

    async def stop(self) -> None:
        """Close the connections; bounded in time. Whatever was not acknowledged is abandoned."""
        async with self._changing:
            producer, self._producer = self._producer, None
        if producer is not None:
            await abandon(producer)

    async def _ready_producer(self) -> AIOKafkaProducer:
        async with self._changing:
            if self._producer is None:
                self._producer = await self._connect()
            return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._options, acks="all", enable_idempotence=True, max_request_size=self._max_record_bytes
        )
        try:
            await bounded(producer.start(), connect_timeout_seconds(self._options))
        except (KafkaError, OSError, TimeoutError) as error:
            await abandon(producer)
            raise Unavailable("broker", f"cannot connect to Kafka: {str(error) or type(error).__name__}") from error
        except BaseException:
            await abandon(producer)
            raise
        return producer

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        """Take a producer that failed out of use; the next message gets a fresh one."""
        async with self._changing:
            if self._producer is not producer:
                return
            self._producer = None
        await abandon(producer)


async def abandon(producer: Any) -> None:
    """Close a producer (aiokafka's) without waiting for what it could not deliver.

    Its public ``stop`` flushes first, which hangs while no broker answers. So the task that sends is ended
    and everything unsent is failed before; aiokafka has no public way to do either.
    """
    sender = producer._sender  # noqa: SLF001
    if sender.sender_task is not None:
        # The first cancellation ends its loop, the second one what the loop still waits for. Awaited here: the client's
        # own stop() would let the CancelledError of the second one out to us, as if we were to end.
        for _ in range(2):
            sender.sender_task.cancel()
            await asyncio.wait({sender.sender_task}, timeout=0.1)
    producer._message_accumulator.fail_all(KafkaError("the producer was closed"))  # noqa: SLF001
    ended = producer._txn_manager and producer._txn_manager._transaction_waiter  # noqa: SLF001
    if ended and ended.done() and not ended.cancelled():
        ended.exception()  # whoever waited for the transaction was told before
    try:
        await bounded(producer.stop(), CLOSE_TIMEOUT_SECONDS)
    except (TimeoutError, KafkaError) as error:
        log.warning("a Kafka producer did not close in order: %s", str(error) or type(error).__name__)
