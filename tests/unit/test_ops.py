"""What is shipped beside the code agrees with it."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from consumer.delivery.deadletters import HEADER_BYTES
from consumer.settings import KafkaSettings

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
