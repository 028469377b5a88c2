"""Every query of the dashboards, and the rules, on a real Prometheus that looks at a real worker at work.

The rules and the alerts are the files that operators get; only how often Prometheus looks, and how long an alert must
hold before it fires, are shorter here.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from types_aiobotocore_s3 import S3Client

from consumer.operate.network import LOOPBACK
from consumer.operate.seaweed_server import SeaweedServer
from tests.chaos.proxy import FaultProxy, Mode
from tests.support.kafka_clients import KafkaClients
from tests.support.prometheus import Programs, Prometheus, running_prometheus
from tests.support.s3 import new_bucket
from tests.support.worker import Deployment, deploy

OPS = Path(__file__).resolve().parents[2] / "ops"
JOB = "whisper-consumer"
OUTAGE = 'ALERTS{alertname="WhisperConsumerDependencyDown",alertstate="firing",dependency="store"}'


def _quick_rules(directory: Path) -> None:
    """The operators' rules, whose alerts need not hold for minutes."""
    for name in ("rules.yml", "alerts.yml"):
        text = (OPS / "prometheus" / name).read_text(encoding="utf-8")
        (directory / name).write_text(re.sub(r"^( +for: )\d+[mh]$", r"\g<1>1s", text, flags=re.MULTILINE))


@asynccontextmanager
async def watching(programs: Programs, directory: Path, worker_port: int) -> AsyncIterator[Prometheus]:
    """Look at a worker every second."""
    _quick_rules(directory)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml", "alerts.yml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [f"{LOOPBACK}:{worker_port}"]}]}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    async with running_prometheus(programs, directory / "prometheus.yml", directory) as prometheus:
        yield prometheus


def queries() -> list[tuple[str, str]]:
    """Title of the panel and expression, as Grafana would send it."""
    found = []
    for path in sorted((OPS / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$job", JOB).replace("$__rate_interval", "1m")
                found.append((f"{path.stem}: {panel['title']}", expression))
    return found


async def test_no_panel_is_empty_and_the_alert_on_an_outage_fires_and_clears(
    clients: KafkaClients,
    s3: SeaweedServer,
    store: S3Client,
    artifacts_dir: Path,
    sample: Path,
    tmp_path: Path,
    prometheus: Programs,
) -> None:
    bucket = await new_bucket(store)
    await store.put_object(Bucket=bucket, Key="a.wav", Body=sample.read_bytes())
    await store.put_object(Bucket=bucket, Key="none.wav", Body=b"no recording")
    store_port = urlsplit(s3.endpoint).port
    assert store_port is not None
    async with FaultProxy(store_port) as network:
        endpoint = f"http://{LOOPBACK}:{network.port}"
        deployment = await deploy(clients, s3, artifacts_dir, tmp_path, buckets=(bucket,), MINIO_ENDPOINT=endpoint)
        async with deployment.worker() as worker, watching(prometheus, tmp_path, worker.port) as watched:
            await _every_panel_has_numbers(deployment, bucket, watched)
            network.set(Mode.CUT)
            await deployment.announce(bucket, "a.wav", options={"language": "en"})
            await watched.wait_until(OUTAGE, bool)
            network.set(Mode.PASS)
            await watched.wait_until(OUTAGE, lambda found: not found)
            await deployment.transcripts(3)


async def _every_panel_has_numbers(deployment: Deployment, bucket: str, watched: Prometheus) -> None:
    """And nothing is wrong with a worker at work."""
    await watched.wait_until("whisper_consumer_ready", bool)
    for key in ("a.wav", "none.wav", "a.wav"):
        await deployment.announce(bucket, key)
    await deployment.transcripts(2)
    await deployment.dead_letters(1)
    await watched.wait_until(
        'increase(whisper_consumer_records_finished_total{outcome="completed"}[1m])',
        lambda found: bool(found) and float(found[0]["value"][1]) > 0,
    )
    for panel, expression in queries():
        try:  # a rate takes two looks at a series
            await watched.wait_until(expression, _is_number, timeout_seconds=15)
        except AssertionError as nothing:
            pytest.fail(f"{panel} has no number: {nothing}")
    for alert in await watched.query("ALERTS"):
        pytest.fail(f"nothing is wrong, and yet there is {alert['metric']}")


def _is_number(found: list[dict[str, Any]]) -> bool:
    return any(series["value"][1] != "NaN" for series in found)
