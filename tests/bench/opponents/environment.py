"""Python environments of opponents: one each, made of a lock file with digests."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from tests.bench.opponents.kept import kept
from tests.support.cache import CACHE_DIR

_REQUIREMENTS = Path(__file__).parents[3] / "requirements"


def environment(name: str) -> Path:
    """The Python of an environment made of ``requirements/bench-NAME.txt`` once and kept.

    Raises RuntimeError where there is no uv.
    """
    lock = _REQUIREMENTS / f"bench-{name}.txt"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]

    def make(directory: Path) -> None:
        uv, python = _uv(), directory / "bin" / "python"
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(directory)], check=True)
        command = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)]
        subprocess.run(command, check=True)

    return kept(f"{name}-{digest}-py{sys.version_info[0]}.{sys.version_info[1]}", make) / "bin" / "python"


def _uv() -> str:
    for candidate in (shutil.which("uv"), *sorted(map(str, CACHE_DIR.glob("uv-*/bin/uv")), reverse=True)):
        if candidate is not None:
            return candidate
    raise RuntimeError("there is no uv: run scripts/bootstrap, which installs one into the cache")
