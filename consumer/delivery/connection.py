"""How every client of this worker reaches the brokers: address, TLS, SASL, time-out."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from consumer.settings import KafkaSettings

T = TypeVar("T")

_CLOSE_TIMEOUT_SECONDS = 5.0


async def bounded(call: Coroutine[Any, Any, T], timeout_seconds: float) -> T:
    """Await a call of the client for so long at most. Raises TimeoutError, and KafkaError where it cancelled itself.

    It runs as a task of its own. So a call that does not heed its cancellation cannot hold up its caller, and one
    inside which something is cancelled (aiokafka does that as it closes) does not look like the caller's own end.
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait({task}, timeout=timeout_seconds)
    finally:
        if not task.done():
            task.add_done_callback(_look_away)
            task.cancel()
    if not task.done():
        raise TimeoutError
    if task.cancelled():
        raise KafkaError("the client gave the call up")
    return task.result()


async def closed(closing: Coroutine[Any, Any, None]) -> None:
    """Await the end of a client that is of no more use, for 5 s at most; that it does not end in order is no matter."""
    with suppress(KafkaError, TimeoutError):
        await bounded(closing, _CLOSE_TIMEOUT_SECONDS)


def _look_away(task: "asyncio.Task[Any]") -> None:
    """Whoever waited was told of a time-out: how the call ended in the end is nobody's business."""
    if not task.cancelled():
        task.exception()


def connect_timeout_seconds(client: Mapping[str, Any]) -> float:
    """How long a first connection may take: each bootstrap server in turn may use up a request's time-out."""
    return (len(client["bootstrap_servers"]) + 1) * float(client["request_timeout_ms"]) / 1000


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that aiokafka's consumer, producer and admin client have in common.

    Raises OSError (ssl.SSLError is one) where a certificate or key cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.kafka_bootstrap_servers),
        "client_id": "whisper-consumer",
        "request_timeout_ms": round(settings.kafka_request_timeout_seconds * 1000),
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = create_ssl_context(
            cafile=settings.kafka_ssl_ca_file,
            certfile=settings.kafka_ssl_cert_file,
            keyfile=settings.kafka_ssl_key_file,
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        password = settings.kafka_sasl_password
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
    return options
