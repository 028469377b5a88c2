"""A real Prometheus, promtool and amtool: Debian's packages, unpacked into the cache.

``python -m tests.support.prometheus`` fetches them. Nothing is installed and nobody need be root: apt verifies what it
fetches against Debian's signed lists, which are read into the cache as well.
"""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from consumer.engine.artifacts.files import locked
from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess
from tests.support.cache import CACHE_DIR

_PACKAGES = ("prometheus", "prometheus-alertmanager")
_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Programs:
    """Where they lie."""

    directory: Path

    def __getitem__(self, name: str) -> Path:
        return self.directory / "usr" / "bin" / name

    def check(self, name: str, *arguments: str | Path) -> str:
        """Run a tool and return what it says. Raises AssertionError with that where it finds a fault."""
        command = [self[name], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def ensure_prometheus(cache_dir: Path) -> Programs:
    """Fetch and unpack them, once. Raises RuntimeError saying why where that cannot be done."""
    directory = cache_dir / "prometheus"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with locked(cache_dir / ".prometheus.lock"):
        if not directory.is_dir():
            if shutil.which("apt-get") is None:
                raise RuntimeError("Prometheus is fetched by apt-get, and there is none on the PATH")
            unpacked = cache_dir / ".prometheus"
            shutil.rmtree(unpacked, ignore_errors=True)
            (unpacked / "lists" / "partial").mkdir(parents=True)
            apt = ["apt-get", "-qq", "-o", f"Dir::State::lists={unpacked}/lists", "-o", f"Dir::Cache={unpacked}/cache"]
            for command in ([*apt, "update"], [*apt, "download", *_PACKAGES]):
                _run(command, unpacked)
            for package in unpacked.glob("*.deb"):
                _run(["dpkg-deb", "--extract", str(package), str(unpacked / "root")], unpacked)
            (unpacked / "root").rename(directory)
            shutil.rmtree(unpacked)
    return Programs(directory)


def _run(command: list[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:1])} failed: {done.stderr.strip()[-300:]}")


@dataclass
class Prometheus:
    """One that runs."""

    url: str

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now. Raises AssertionError where it is none."""
        async with aiohttp.ClientSession() as session:
            timeout = aiohttp.ClientTimeout(30)
            async with session.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=timeout) as got:
                answer = await got.json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        assert not answer.get("warnings"), answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def wait_until(
        self, expression: str, holds: Callable[[list[dict[str, Any]]], bool], timeout_seconds: float = 60
    ) -> list[dict[str, Any]]:
        """What an expression gives, once that is as it should be."""
        found: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(timeout_seconds):
                while not holds(found := await self.query(expression)):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"{expression}: after {timeout_seconds:g} s still {json.dumps(found)[:500]}") from None
        return found


@asynccontextmanager
async def running_prometheus(
    programs: Programs, config: Path, data_dir: Path, *arguments: str
) -> AsyncIterator[Prometheus]:
    """A Prometheus with this configuration, on a port of its own."""
    port = free_ports(1)[0]
    process = ChildProcess.start(
        "Prometheus",
        [
            str(programs["prometheus"]),
            f"--config.file={config}",
            f"--storage.tsdb.path={data_dir / 'prometheus'}",
            f"--web.listen-address={LOOPBACK}:{port}",
            *arguments,
        ],
        log_path=data_dir / "prometheus.log",
    )
    try:
        url = f"http://{LOOPBACK}:{port}"
        await process.wait_until_ready(lambda: answers_ok(f"{url}/-/ready"), timeout_seconds=60)
        yield Prometheus(url)
    finally:
        process.stop(grace_seconds=10)


if __name__ == "__main__":
    try:
        ensure_prometheus(CACHE_DIR)
    except RuntimeError as error:
        sys.exit(str(error))
