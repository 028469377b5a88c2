"""The README's section "Connect your pipeline", as it is written: its commands are run where their program is here."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from botocore import xform_name
from botocore.model import OperationModel, StructureShape
from botocore.validate import ParamValidator

from consumer.events import Uploads, parse
from consumer.operate.kafka_server import KafkaServer
from tests.support.kafka_clients import KafkaClients, Message
from tests.support.minio import MinioServer
from tests.support.s3 import s3_client

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SECTION = README.split("### Connect your pipeline\n")[1].split("\n### ")[0]
TOPIC = "audio.uploaded"
"""As the README has it."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """The words of each command of the section, without the prompt and comments."""
    lines = "\n".join(blocks("console")).replace("\\\n", " ").splitlines()
    split = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [words for words in split if words[:1] == [program]]


async def _ran(environment: Mapping[str, str], *command: str | Path) -> subprocess.CompletedProcess[str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return await asyncio.to_thread(run)


@pytest.fixture
async def topic(kafka: KafkaServer) -> str:
    """The topic of the README, which other tests of this file use too."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        if TOPIC not in await admin.list_topics():
            await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()
    return TOPIC


async def announced(clients: KafkaClients, bucket: str, key: str) -> Message:
    """The record that announces an object; others may come before it."""
    count = 0
    async with asyncio.timeout(60):
        while True:
            count += 1
            message = (await clients.read(TOPIC, count))[-1]
            parsed = parse(message.headers, message.key, message.value)
            if isinstance(parsed, Uploads) and (parsed.uploads[0].bucket, parsed.uploads[0].key) == (bucket, key):
                return message


async def test_minio_announces_as_it_is_told_to(
    clients: KafkaClients, topic: str, minio_binary: Path, mc_binary: Path, tmp_path: Path
) -> None:
    exported = dict(word.split("=", 1) for words in commands("export") for word in words[1:])
    assert exported["MINIO_NOTIFY_KAFKA_TOPIC_PRIMARY"] == topic
    assert exported["MINIO_NOTIFY_KAFKA_BROKERS_PRIMARY"] == "kafka:9092"
    exported["MINIO_NOTIFY_KAFKA_BROKERS_PRIMARY"] = clients.bootstrap_servers
    queue_dir = tmp_path / exported["MINIO_NOTIFY_KAFKA_QUEUE_DIR_PRIMARY"].removeprefix("/")
    queue_dir.mkdir()
    exported["MINIO_NOTIFY_KAFKA_QUEUE_DIR_PRIMARY"] = str(queue_dir)
    minio = MinioServer(
        minio_binary,
        data_dir=tmp_path / "minio",
        kafka_bootstrap_servers=clients.bootstrap_servers,
        topic=topic,
        environment=exported,
    )
    address = minio.endpoint.removeprefix("http://")
    environment = {
        **os.environ,
        "PATH": f"{mc_binary.parent}:{os.environ['PATH']}",
        "MC_CONFIG_DIR": str(tmp_path / "mc"),
        "MC_HOST_myminio": f"http://{minio.access_key}:{minio.secret_key}@{address}",
        "MINIO_URL": minio.endpoint,
        "MINIO_ROOT_USER": minio.access_key,
        "MINIO_ROOT_PASSWORD": minio.secret_key,
        "WORKER_ACCESS_KEY": "worker",
        "WORKER_SECRET_KEY": "worker-secret",
    }

    async def run(*command: str | Path) -> None:
        ran = await _ran(environment, *command)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    (add_event,) = commands("mc")
    async with minio, s3_client(minio) as client:
        await client.create_bucket(Bucket="recordings")
        await run(*add_event)
        await client.put_object(Bucket="recordings", Key="calls/by hand.ogg", Body=b"x")
        await announced(clients, "recordings", "calls/by hand.ogg")
        for _ in range(2):  # what is there already is no obstacle
            await run(REPOSITORY / "ops" / "minio" / "setup")
        await client.put_object(Bucket="recordings", Key="calls/set up.ogg", Body=b"x")
        await announced(clients, "recordings", "calls/set up.ogg")


async def test_the_producer_announces(clients: KafkaClients, topic: str, tmp_path: Path) -> None:
    (program,) = blocks("python")
    path = tmp_path / "producer.py"
    path.write_text(program, encoding="utf-8")
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": clients.bootstrap_servers}
    ran = await _ran(environment, sys.executable, path)
    assert (ran.returncode, ran.stderr) == (0, "")
    message = await announced(clients, "recordings", "calls/42.ogg")
    assert message.key == b"calls/42.ogg"


def values(model: OperationModel, words: list[str]) -> Iterator[tuple[str, Any]]:
    """Arguments of a command of AWS, as its operation takes them: JSON, lists, Id=queue,Arn=…, or text."""
    shape = model.input_shape
    assert isinstance(shape, StructureShape)
    by_option = {f"--{xform_name(name, '-')}": (name, member) for name, member in shape.members.items()}
    for option, text in zip(words[::2], words[1::2], strict=True):
        name, member = by_option[option]
        if text.startswith("{") and member.type_name in ("structure", "map"):
            yield name, json.loads(text)
        elif member.type_name == "list":
            yield name, [dict(pair.split("=", 1) for pair in text.split(","))]
        else:
            yield name, text


@pytest.mark.parametrize("words", commands("aws"), ids=lambda words: " ".join(words[1:5]))
def test_commands_for_aws_and_ceph_are_such_that_the_api_takes_them(words: list[str]) -> None:
    """There is neither here: names and shapes are checked by the model of the API that its own client has."""
    if words[1] == "--endpoint-url":
        words = [words[0], *words[3:]]
    _, service, operation, *arguments = words
    model = botocore.session.get_session().get_service_model("s3" if service == "s3api" else service)
    named = {xform_name(name, "-"): name for name in model.operation_names}
    operation_model = model.operation_model(named[operation])
    parameters = dict(values(operation_model, arguments))
    assert operation_model.input_shape is not None
    report = ParamValidator().validate(parameters, operation_model.input_shape)
    assert not report.has_errors(), report.generate_report()
    if pattern := parameters.get("EventPattern"):
        assert json.loads(pattern)["source"] == ["aws.s3"]


def test_the_connectors_configuration_is_json_for_the_topic() -> None:
    (configuration,) = blocks("json")
    assert json.loads(configuration)["config"]["topics"] == TOPIC
