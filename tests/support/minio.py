"""A real MinIO with a Kafka notification target, and its client. Test tools only (AGPL-3.0): never part of the product.

No package registry carries the programs, so ``python -m tests.support.minio`` builds them once with the Go toolchain of
the machine, pinned, into the cache; that takes some minutes and is what ``scripts/test`` does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess, Service
from tests.support.cache import CACHE_DIR

# The newest commit; the module proxy serves none of the releases.
_PACKAGES = {
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
    "mc": "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9",
}
_BINARIES = CACHE_DIR / "bin"
_BUILD_TIMEOUT_SECONDS = 1800
_START_TIMEOUT_SECONDS = 60
_TARGET = "TESTS"


def find_binary(name: str = "minio") -> Path | None:
    """The server, or its client ``mc``, if it has been built."""
    binary = _BINARIES / name
    return binary if os.access(binary, os.X_OK) else None


def build(name: str) -> None:
    """Build a program into the cache. Raises RuntimeError where that cannot be done, saying why."""
    go_install(_PACKAGES[name], name, _BINARIES / name)


def go_install(package: str, name: str, target: Path) -> None:
    """Build the program ``name`` of a Go package to ``target``. Raises RuntimeError where that cannot be done."""
    go = shutil.which("go")
    if go is None:
        raise RuntimeError(f"{name} is built by Go, and there is no `go` on the PATH")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as build_dir:
        command = [go, "install", "-trimpath", "-ldflags", "-s -w", package]
        environment = {**os.environ, "GOBIN": build_dir, "GOFLAGS": "-mod=mod"}
        try:
            subprocess.run(command, cwd=build_dir, env=environment, check=True, timeout=_BUILD_TIMEOUT_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f"building {name} failed: {error}") from error
        (Path(build_dir) / name).replace(target)


class MinioServer(Service):
    """A MinIO under ``data_dir`` that announces changes on the Kafka topic ``topic``.

    A bucket announces once its notification configuration names ``notification_arn``. Without a
    ``queue_dir`` an event is on the topic 10 ms after the put, and lost when Kafka is down; with one it
    takes seconds and survives. MinIO does not create the topic.
    """

    access_key = "minio-tests"
    secret_key = "minio-tests-secret"
    notification_arn = f"arn:minio:sqs::{_TARGET}:kafka"

    def __init__(
        self,
        binary: Path,
        *,
        data_dir: Path,
        kafka_bootstrap_servers: str,
        topic: str,
        queue_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``environment`` takes the place of the target that is made of the other arguments."""
        self._target = environment
        self.topic = topic
        self._binary = binary
        self._data_dir = data_dir.resolve()
        self._kafka_bootstrap_servers = kafka_bootstrap_servers
        self._queue_dir = queue_dir
        self._port = free_ports(1)[0]
        self._process: ChildProcess | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        """Start it; return once it answers. Raises ProcessError."""
        storage_dir = self._data_dir / "storage"
        storage_dir.mkdir(parents=True, exist_ok=True)
        self._process = ChildProcess.start(
            "MinIO",
            [self._binary, "server", "--quiet", "--address", f"{LOOPBACK}:{self._port}", storage_dir],
            log_path=self._data_dir / "minio.log",
            environment=self._environment(),
        )
        await self._process.wait_until_ready(
            lambda: answers_ok(f"{self.endpoint}/minio/health/ready"), timeout_seconds=_START_TIMEOUT_SECONDS
        )

    def stop(self, *, grace_seconds: float = 0) -> None:
        if self._process is not None:
            self._process.stop(grace_seconds=grace_seconds)
            self._process = None

    def _environment(self) -> dict[str, str]:
        environment = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
            "GOMEMLIMIT": "512MiB",
        }
        if self._target is not None:
            return environment | dict(self._target)
        environment |= {
            f"MINIO_NOTIFY_KAFKA_ENABLE_{_TARGET}": "on",
            f"MINIO_NOTIFY_KAFKA_BROKERS_{_TARGET}": self._kafka_bootstrap_servers,
            f"MINIO_NOTIFY_KAFKA_TOPIC_{_TARGET}": self.topic,
        }
        if self._queue_dir is not None:
            self._queue_dir.mkdir(parents=True, exist_ok=True)
            # A relative path would make the target silently not exist.
            environment[f"MINIO_NOTIFY_KAFKA_QUEUE_DIR_{_TARGET}"] = str(self._queue_dir.resolve())
        return environment


def _build_missing() -> None:
    for name in _PACKAGES:
        if find_binary(name) is None:
            print(f"Building {name} for the tests, once: this takes some minutes.", file=sys.stderr)
            build(name)


if __name__ == "__main__":
    try:
        _build_missing()
    except RuntimeError as problem:
        sys.exit(str(problem))
