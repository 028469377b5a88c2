"""Alerts, rules, their tests and the runbook agree with each other and with the worker's metrics."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from consumer.observe.metrics import Metrics

OPS = Path(__file__).resolve().parents[2] / "ops"
PROMETHEUS = OPS / "prometheus"
SEVERITIES = {"page", "ticket"}
FROM_ELSEWHERE = {"process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules(file: str) -> list[dict[str, Any]]:
    return [rule for group in read(PROMETHEUS / file)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDED = {rule["record"] for rule in rules("rules.yml")}
RUNBOOK = (OPS / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def exported() -> set[str]:
    """Names of all series that a worker has, whether it has worked or not."""
    metrics = Metrics(CollectorRegistry())
    metrics.audio_by_language_seconds.labels("en")
    metrics.model_info.info({})
    metrics.build_info.info({})
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


def used(expression: str) -> set[str]:
    """The series that an expression names."""
    recorded = set(re.findall(r"\bjob:[\w:]+", expression))
    names = re.findall(r"\b(?:whisper_consumer|process)_\w+", re.sub(r"\bjob:[\w:]+", "", expression))
    return recorded | set(names)


@pytest.mark.parametrize("rule", [*rules("rules.yml"), *rules("alerts.yml")], ids=lambda rule: rule.get("alert", ""))
def test_rules_are_about_series_that_exist(rule: dict[str, Any]) -> None:
    assert used(rule["expr"]) - exported() - RECORDED - FROM_ELSEWHERE == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in SEVERITIES
    assert set(alert["annotations"]) == {"summary", "description", "dashboard", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"ops/runbook.md#{name.lower()}"
    dashboards = {read(path)["uid"] for path in (OPS / "grafana" / "dashboards").glob("*.json")}
    assert alert["annotations"]["dashboard"] in dashboards


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert set(SECTIONS) == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_section_leads_from_the_symptom_to_the_proof(name: str) -> None:
    assert re.findall(r"^\*\*(\w+)\*\*", SECTIONS[name], re.MULTILINE) == ["Symptom", "Cause", "Look", "Act", "Verify"]
    known = exported() | RECORDED | FROM_ELSEWHERE
    families = {name.removesuffix(suffix) for name in known for suffix in ("_bucket", "_count", "_sum")}
    assert used(SECTIONS[name]) - known - families == set()


@pytest.mark.parametrize("name", ALERTS)
def test_for_each_alert_it_is_tried_that_it_fires_and_that_it_does_not(name: str) -> None:
    cases = [case for path in (PROMETHEUS / "tests").glob("*.yml") for case in read(path)["tests"]]
    named = [case for case in cases if case["name"].startswith(f"{name} ")]
    firing = [case for case in named if case["name"].startswith(f"{name} fires ")]
    silent = [case for case in named if case["name"].startswith(f"{name} is silent ")]
    assert firing
    assert silent
    assert all(name in str(case["promql_expr_test"][-1]["exp_samples"]) for case in firing)
    assert all(not checked["exp_samples"] for case in silent for checked in case["promql_expr_test"])


def test_the_alertmanager_knows_every_severity() -> None:
    config = read(OPS / "alertmanager" / "alertmanager.yml")
    route = config["route"]
    routed = {severity for each in route["routes"] for severity in SEVERITIES if severity in str(each["matchers"])}
    assert routed | {route["receiver"]} == SEVERITIES
    assert {receiver["name"] for receiver in config["receivers"]} == SEVERITIES


def test_what_inhibits_and_is_inhibited_exists() -> None:
    text = (OPS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8")
    for name in re.findall(r"WhisperConsumer\w+", text):
        assert any(alert.startswith(name) for alert in ALERTS), name
