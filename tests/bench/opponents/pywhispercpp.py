"""pywhispercpp as an opponent: a binding of the same whisper.cpp, in Python, as its wheel comes.

Its libraries are made for AVX2, with OpenMP. It reads WAV by itself and all else through an ffmpeg, so files are
converted to WAV before the clock starts. At once it works on as many recordings as it has Models, each in a thread of
its own.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from consumer.engine.artifacts.models import Precision
from consumer.settings import ModelSize
from tests.bench.opponents.environment import environment
from tests.bench.opponents.ggml_models import ggml_model
from tests.bench.opponents.handing_in import GaveUpError
from tests.bench.opponents.run_alone import run_alone
from tests.bench.runs import Run
from tests.support.speech import samples_of, write_wav

_ENGINE = Path(__file__).with_name("pywhispercpp_alone.py")


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run it, greedy."""

    precision: Precision
    workers: int
    threads: int
    processors: int = 1
    """Parts that a recording is cut into, worked on at once; ``threads`` are those of each part."""
    defaults: bool = False
    """Nothing but the model is given, and files, not samples."""

    def __str__(self) -> str:
        if self.defaults:
            return "pywhispercpp as it comes"
        parts = f", cut in {self.processors}" if self.processors > 1 else ""
        return f"pywhispercpp {self.precision}, {self.workers} x {self.threads}{parts}"

    @property
    def at_once(self) -> int:
        """See ``opponents.Mode``."""
        return self.workers

    async def run(self, size: ModelSize, files: Sequence[Path], language: str | None, in_hand: int = 0) -> Run | None:
        """See ``opponents.Mode``."""
        request = {
            **asdict(self),
            "model": str(ggml_model(size, self.precision)),
            "language": language,
            "decoded": not self.defaults,
        }
        python = environment("pywhispercpp")
        with tempfile.TemporaryDirectory(prefix="whisper-consumer-") as name:
            directory = Path(name)
            wavs = await asyncio.to_thread(_converted, files, directory)
            try:
                return await run_alone(python, _ENGINE, request, wavs, in_hand, {})
            except GaveUpError as gave_up:
                print(f"{self} is not measured: {gave_up}", file=sys.stderr)
                return None


def _converted(files: Sequence[Path], directory: Path) -> list[Path]:
    return [write_wav(directory / f"{number}.wav", samples_of(file)) for number, file in enumerate(files)]


def modes(n_cpus: int) -> list[Mode]:
    """See ``opponents.Opponent``."""
    precisions: tuple[Precision, ...] = ("q8_0", "q5_1")
    shapes = sorted({(1, n_cpus, 1), (n_cpus, 1, 1), (1, 1, n_cpus)})
    return [Mode(precision, *shape) for precision in precisions for shape in shapes]


def favourites(n_cpus: int, n_recordings: int) -> list[Mode]:
    """See ``opponents.Opponent``."""
    if n_recordings > 1:
        return [Mode("q8_0", n_cpus, 1)]
    return [Mode("q8_0", 1, 1, n_cpus)]


def as_it_comes(n_cpus: int) -> Mode:
    """See ``opponents.Opponent``: f16 is what it downloads by a model's name; greedy, best of 5, up to 4 threads."""
    return Mode("f16", 1, 0, defaults=True)
