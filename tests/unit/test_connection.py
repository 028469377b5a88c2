"""How the brokers are reached, from the settings."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from consumer.delivery.connection import bounded, client_options, connect_timeout_seconds
from consumer.settings import WorkerSettings, load

REQUIRED: dict[str, Any] = {
    "minio_endpoint": "http://store:9000",
    "minio_access_key": "a",
    "minio_secret_key": "s",
    "input_buckets": ("calls",),
    "kafka_bootstrap_servers": ("one:9092", "two:9092"),
}


def options(**changes: Any) -> dict[str, Any]:
    return client_options(load(WorkerSettings, **REQUIRED, **changes))


def test_plain_text() -> None:
    assert options(kafka_request_timeout_seconds=2.5) == {
        "bootstrap_servers": ["one:9092", "two:9092"],
        "client_id": "whisper-consumer",
        "request_timeout_ms": 2500,
        "security_protocol": "PLAINTEXT",
    }


def test_every_bootstrap_server_gets_its_time() -> None:
    assert connect_timeout_seconds(options(kafka_request_timeout_seconds=2)) == 6


def test_passwords() -> None:
    made = options(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="user",
        kafka_sasl_password="secret",
    )
    assert made["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (made["sasl_plain_username"], made["sasl_plain_password"]) == ("user", "secret")
    assert "ssl_context" not in made


def test_tls_checks_the_brokers_name_and_certificate() -> None:
    context = options(kafka_security_protocol="SSL")["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_a_file_that_holds_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError):
        options(kafka_security_protocol="SSL", kafka_ssl_ca_file=tmp_path / "ca.pem")


async def test_a_call_that_does_not_heed_its_cancellation_holds_up_nobody() -> None:
    released = asyncio.Event()

    async def deaf() -> None:
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bounded(deaf(), 0.01), 5)
    released.set()


async def test_a_call_that_is_cancelled_inside_does_not_end_its_caller() -> None:
    async def cancelled_inside() -> None:
        raise asyncio.CancelledError

    with pytest.raises(KafkaError):
        await bounded(cancelled_inside(), 5)


async def test_whoever_is_cancelled_ends_the_call_too() -> None:
    ended = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(bounded(call(), 60))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait_for(ended.wait(), 5)
