"""A setting that needs an optional extra says so, and before anything else of the worker is started."""

import sys
from typing import Any

import pytest

from consumer import app
from consumer.settings import SettingsError, WorkerSettings


@pytest.mark.parametrize(
    ("setting", "package", "extra"),
    [
        ({"schema_registry_url": "http://registry"}, "confluent_kafka.schema_registry", "registry"),
        ({"otel_exporter_otlp_endpoint": "http://collector"}, "opentelemetry.sdk.resources", "tracing"),
    ],
)
async def test_a_missing_extra_is_told_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any], package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "consumer.delivery.schema_registry", raising=False)

    async def start(*_: object) -> None:
        raise AssertionError("artifacts, model and group come later")

    monkeypatch.setattr(app, "_start", start)
    settings = WorkerSettings(
        minio_endpoint="http://store",
        minio_access_key="key",
        minio_secret_key="secret",
        kafka_bootstrap_servers=("kafka:9092",),
        input_buckets=("recordings",),
        http_port=0,
        **setting,
    )
    with pytest.raises(SettingsError, match=rf"pip install 'whisper-consumer\[{extra}\]'"):
        await app.run_worker(settings)
