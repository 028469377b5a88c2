"""The control topic: every worker reads all of it, from what the broker still holds on, outside the group."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

import aiokafka
import orjson
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from consumer.delivery.cancellations import Cancellations
from consumer.delivery.connection import bounded, closed, connect_timeout_seconds
from consumer.outages import delays
from schemas import CancelRequest
from schemas.cancel import CANCEL_TYPE

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 1.0
MAX_REQUEST_BYTES: Final = 64 * 1024


class ControlTopic:
    """Reads requests and hands them on."""

    def __init__(self, client: Mapping[str, Any], topic: str, cancellations: Cancellations) -> None:
        self._client = client
        self._topic = topic
        self._cancellations = cancellations

    async def run(self) -> None:
        """Read, until cancelled; an outage is waited out, and everything is read again after it."""
        pauses = delays()
        while True:
            try:
                await self._read()
            except (KafkaError, OSError, TimeoutError) as error:
                reason = str(error) or type(error).__name__
                log.warning("the control topic %s cannot be read, it is tried again: %s", self._topic, reason)
                await asyncio.sleep(next(pauses))

    async def _read(self) -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            self._topic, **self._client, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        request_seconds = float(self._client["request_timeout_ms"]) / 1000
        try:
            await bounded(consumer.start(), connect_timeout_seconds(self._client))
            while True:
                reading = consumer.getmany(timeout_ms=round(POLL_SECONDS * 1000))
                batches = await bounded(reading, POLL_SECONDS + 2 * request_seconds)
                for record in (record for records in batches.values() for record in records):
                    self._take(record.value, record.timestamp)
        finally:
            await closed(consumer.stop())

    def _take(self, value: bytes | None, timestamp_ms: int) -> None:
        try:
            request = request_in(value)
        except ValueError as error:
            log.warning("a request on the control topic was passed over: %s", error)
            return
        ended = self._cancellations.ask(request, timestamp_ms)
        log.info("asked to cancel", extra={"ended": ended})


def request_in(value: bytes | None) -> CancelRequest:
    """What a record of the control topic asks for. Raises ValueError saying what is wrong, without its words."""
    if value is None or len(value) > MAX_REQUEST_BYTES:
        raise ValueError(f"it has no value, or one of more than {MAX_REQUEST_BYTES} bytes")
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise ValueError("it is not JSON") from None
    if isinstance(document, dict) and "specversion" in document:
        if document.get("type") != CANCEL_TYPE:
            raise ValueError(f"it is a CloudEvent of another type than {CANCEL_TYPE}")
        document = document.get("data")
    try:
        return CancelRequest.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in error.errors())
        raise ValueError(f"it is no {CANCEL_TYPE}: {faults}") from None
