"""All checks at once, each bounded in time; none keeps another from running."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic_settings import BaseSettings

from consumer.operate.doctor.artifacts import check_artifacts
from consumer.operate.doctor.check import Check
from consumer.operate.doctor.collector import check_collector
from consumer.operate.doctor.host import check_cpu, check_memory, check_spool
from consumer.operate.doctor.kafka import check_kafka, check_retention
from consumer.operate.doctor.registry import check_registry
from consumer.operate.doctor.store import check_buckets, check_store
from consumer.settings import (
    EngineSettings,
    KafkaSettings,
    RegistrySettings,
    SettingsError,
    StoreSettings,
    WorkerSettings,
    load,
)

NETWORK_TIMEOUT_SECONDS = 15.0
ARTIFACTS_TIMEOUT_SECONDS = 120.0  # a large model is read from end to end

S = TypeVar("S", bound=BaseSettings)


async def examine() -> list[Check]:
    """Look at settings, host, artifacts, object store, Kafka, and what else the settings name.

    What the settings are not enough for is listed as not looked at. Raises nothing that a wrong setup causes.
    """
    store = _load(StoreSettings)

    async def artifacts(engine: EngineSettings) -> list[Check]:
        return await check_artifacts(engine, store)

    async def host(engine: EngineSettings) -> list[Check]:
        return [check_cpu(), check_memory(engine.whisper_model_size)]

    async def spool(worker: WorkerSettings) -> list[Check]:
        return [check_spool(worker)]

    groups = await asyncio.gather(
        _with(EngineSettings, "host", host, NETWORK_TIMEOUT_SECONDS),
        _with(WorkerSettings, "spool", spool, NETWORK_TIMEOUT_SECONDS),
        _with(EngineSettings, "artifacts", artifacts, ARTIFACTS_TIMEOUT_SECONDS),
        _with(StoreSettings, "object store", check_store, NETWORK_TIMEOUT_SECONDS),
        _with(WorkerSettings, "buckets", check_buckets, NETWORK_TIMEOUT_SECONDS),
        _with(KafkaSettings, "Kafka", check_kafka, NETWORK_TIMEOUT_SECONDS),
        _with(WorkerSettings, "retention", check_retention, NETWORK_TIMEOUT_SECONDS),
        _with(RegistrySettings, "schema registry", check_registry, NETWORK_TIMEOUT_SECONDS),
        _with(WorkerSettings, "span collector", check_collector, NETWORK_TIMEOUT_SECONDS),
    )
    return [_check_settings(), *(check for group in groups for check in group)]


def _load(kind: type[S]) -> S | None:
    try:
        return load(kind)
    except SettingsError:
        return None


def _check_settings() -> Check:
    try:
        load(WorkerSettings)
    except SettingsError as error:
        return Check("settings", False, str(error), "set these variables in the worker's environment")
    return Check("settings", True, "complete")


async def _with(
    kind: type[S], name: str, look: Callable[[S], Awaitable[list[Check]]], timeout_seconds: float
) -> list[Check]:
    """Look, if there are the settings for it, and for so long."""
    settings = _load(kind)
    if settings is None:
        return [Check(name, None, "not looked at: settings are wrong or missing")]
    try:
        return await asyncio.wait_for(look(settings), timeout_seconds)
    except TimeoutError:
        found = f"no result within {timeout_seconds:g} s"
        return [Check(name, False, found, "check address, network and firewall")]
    except Exception as error:  # noqa: BLE001 - one check that fails must not keep the others from being seen
        return [Check(name, False, f"{type(error).__name__}: {error}")]
