"""What a person types wrongly is told before any broker or store is asked."""

import pytest
from typer.testing import CliRunner

from consumer.cli import app
from consumer.settings import KafkaSettings, SettingsError, WorkerSettings


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["redrive", "list", "--since", "gestern"], "ISO 8601"),
        (["redrive", "run", "--until", "10:30"], "ISO 8601"),
        (["redrive", "run", "--reason", "bad_luck"], "forbidden"),
        (["redrive", "run", "--rate", "0"], "--rate"),
        (["redrive", "run", "--limit", "0"], "--limit"),
        (["redrive", "show", "41"], "3:41"),
        (["reconcile", "--bucket", "calls", "--min-age", "24"], "24h"),
        (["reconcile", "--bucket", "calls", "--since", "1h30m"], "ISO 8601"),
        (["reconcile"], "--bucket"),
    ],
)
def test_wrong_options(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert told in result.output


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["redrive", "list"], {"KAFKA_BOOTSTRAP_SERVERS"}),
        (["redrive", "show", "0:1"], {"KAFKA_BOOTSTRAP_SERVERS"}),
        (["redrive", "run"], {"KAFKA_BOOTSTRAP_SERVERS"}),
        (
            ["reconcile", "--bucket", "calls"],
            {"KAFKA_BOOTSTRAP_SERVERS", "INPUT_BUCKETS", "MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"},
        ),
    ],
)
def test_each_asks_for_the_settings_that_it_needs_and_no_others(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], missing: set[str]
) -> None:
    names = {name.upper() for kind in (KafkaSettings, WorkerSettings) for name in kind.model_fields}
    for name in names:
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SettingsError)
    assert {name for name in names if f"{name} is not set" in str(result.exception)} == missing
