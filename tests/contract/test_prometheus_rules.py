"""Prometheus' own tools find no fault with its configuration, the rules, and what is tried with them."""

from pathlib import Path

import pytest

from tests.support.prometheus import Programs

OPS = Path(__file__).resolve().parents[2] / "ops"
PROMETHEUS = OPS / "prometheus"


def test_the_configuration_and_its_rules_are_right(prometheus: Programs) -> None:
    assert "SUCCESS" in prometheus.check("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("file", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_are_silent_when_not(prometheus: Programs, file: Path) -> None:
    assert "SUCCESS" in prometheus.check("promtool", "test", "rules", file)


def test_an_alert_that_does_not_fire_is_found(prometheus: Programs, tmp_path: Path) -> None:
    for path in PROMETHEUS.rglob("*.yml"):
        copy = tmp_path / path.relative_to(PROMETHEUS)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(
            path.read_text().replace("whisper_consumer_intake_stopped) == 1", "whisper_consumer_intake_stopped) == 2")
        )
    with pytest.raises(AssertionError, match="WhisperConsumerIntakeStopped"):
        prometheus.check("promtool", "test", "rules", tmp_path / "tests" / "alerts.yml")


def test_the_alertmanagers_configuration_is_right(prometheus: Programs) -> None:
    assert "SUCCESS" in prometheus.check("amtool", "check-config", OPS / "alertmanager" / "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [(["alertname=WhisperConsumerDown", "severity=page"], "page"), (["severity=ticket"], "ticket"), ([], "ticket")],
)
def test_pages_and_tickets_go_where_they_belong(prometheus: Programs, labels: list[str], receiver: str) -> None:
    config = OPS / "alertmanager" / "alertmanager.yml"
    told = prometheus.check("amtool", "config", "routes", "test", f"--config.file={config}", *labels)
    assert told.strip() == receiver
