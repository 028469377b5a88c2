"""Records out at a bounded rate, each acknowledged by all in-sync replicas before the next batch goes."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from consumer.delivery.connection import bounded, closed, connect_timeout_seconds
from consumer.delivery.job import Headers
from consumer.errors import Unavailable
from consumer.operate.broker import broker_errors

_BATCH_SECONDS = 0.1
_LARGEST_BATCH = 200


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = ()


class Pace:
    """Says how long to wait before each batch, so that no more go out than ``per_second`` on average. Pure."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._free_at = float("-inf")

    @property
    def batch_size(self) -> int:
        """Messages to send at once: what a tenth of a second allows."""
        return max(1, min(_LARGEST_BATCH, round(self._per_second * _BATCH_SECONDS)))

    def wait_seconds(self, count: int, now: float) -> float:
        """Seconds to wait at ``now`` before ``count`` messages may go; time that was not used is not saved up."""
        starts = max(now, self._free_at)
        self._free_at = starts + count / self._per_second
        return starts - now


class Sender:
    """An idempotent producer with a bounded rate. Use it as a context manager."""

    def __init__(self, client: Mapping[str, Any], max_message_bytes: int, per_second: int) -> None:
        """``client`` is what ``client_options`` gives; its request time-out bounds each acknowledgement."""
        self._client = client
        self._max_message_bytes = max_message_bytes
        self._timeout_seconds = float(client["request_timeout_ms"]) / 1000
        self._pace = Pace(per_second)
        self._producer: Any = None

    @property
    def batch_size(self) -> int:
        return self._pace.batch_size

    async def __aenter__(self) -> Self:
        """Connect. Raises Unavailable."""
        self._producer = AIOKafkaProducer(
            **self._client, acks="all", enable_idempotence=True, max_request_size=self._max_message_bytes
        )
        try:
            with broker_errors(f"connect to Kafka at {', '.join(self._client['bootstrap_servers'])}"):
                await bounded(self._producer.start(), connect_timeout_seconds(self._client))
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def send(self, messages: Sequence[Message]) -> list[Unavailable | None]:
        """Wait until the rate allows it and send; for each message why it was not acknowledged, None where it was.

        A message without acknowledgement may have been written all the same.
        """
        await asyncio.sleep(self._pace.wait_seconds(len(messages), time.monotonic()))
        return await self.send_at_once(messages)

    async def send_at_once(self, messages: Sequence[Message]) -> list[Unavailable | None]:
        """As ``send``, without a look at the rate."""
        return await asyncio.gather(*(self._send(message) for message in messages))

    async def _send(self, message: Message) -> Unavailable | None:
        try:
            sending = self._producer.send_and_wait(
                message.topic, value=message.value, key=message.key, headers=list(message.headers)
            )
            await bounded(sending, self._timeout_seconds)
        except TimeoutError:
            why = f"no acknowledgement from topic {message.topic!r} within {self._timeout_seconds:g} s"
        except MessageSizeTooLargeError:
            why = (
                f"topic {message.topic!r} or KAFKA_MAX_RECORD_BYTES is too small for a message with a value of "
                f"{len(message.value or b'')} bytes: raise the topic's max.message.bytes, and the setting"
            )
        except KafkaError as error:
            why = f"cannot publish to topic {message.topic!r}: {str(error) or type(error).__name__}"
        else:
            return None
        return Unavailable("broker", why)

    async def _stop(self) -> None:
        """Close the connections; what was not acknowledged is abandoned, since flushing may wait for ever."""
        await closed(self._producer.stop())
