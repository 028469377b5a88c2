"""A real S3 server on this machine, for the demo and the tests: SeaweedFS out of its wheel, no Docker.

It answers S3 requests, conditional ones and versions included, but sends no events to Kafka.
"""

import json
import sysconfig
from pathlib import Path

from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess, Service

_START_TIMEOUT_SECONDS = 60


class SeaweedServer(Service):
    """A SeaweedFS server under ``data_dir`` with one user who may do everything."""

    def __init__(self, *, data_dir: Path, access_key: str, secret_key: str) -> None:
        self.access_key = access_key
        self.secret_key = secret_key
        self._data_dir = data_dir.resolve()
        self._ports = free_ports(8)
        self._process: ChildProcess | None = None

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self._ports[0]}"

    async def start(self) -> None:
        """Start it; return once it answers. Raises ProcessError."""
        storage_dir = self._data_dir / "storage"
        storage_dir.mkdir(parents=True, exist_ok=True)
        config_path = self._data_dir / "s3.json"
        config_path.touch(mode=0o600)
        config_path.write_text(json.dumps(self._config()), encoding="utf-8")
        command = [str(_weed()), "server", *self._options(storage_dir, config_path)]
        self._process = ChildProcess.start(
            "SeaweedFS", command, log_path=self._data_dir / "seaweed.log", cwd=storage_dir
        )
        await self._process.wait_until_ready(
            lambda: answers_ok(f"{self.endpoint}/healthz"), timeout_seconds=_START_TIMEOUT_SECONDS
        )

    def stop(self) -> None:
        """Kill it: asked politely it takes half a minute, and its data here is thrown away anyway."""
        if self._process is not None:
            self._process.stop(grace_seconds=0)
            self._process = None

    def _config(self) -> dict[str, object]:
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        return {"identities": [{"name": "admin", "credentials": credentials, "actions": ["Admin"]}]}

    def _options(self, storage_dir: Path, config_path: Path) -> list[str]:
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._ports
        return [
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-dir={storage_dir}",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=5000",  # every bucket takes several volumes (they are sparse); too few and puts answer 500
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-filer.localSocket=filer.sock",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            f"-s3.config={config_path}",
            "-s3.localSocket=s3.sock",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]


def _weed() -> Path:
    """The program that the wheel put beside this Python."""
    return Path(sysconfig.get_path("scripts")) / "weed"
