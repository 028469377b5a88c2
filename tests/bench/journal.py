"""What was measured so far, so that a measurement of an hour can be taken up again where it was broken off."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench.runs import Run
from tests.support.cache import CACHE_DIR
from tests.support.machine import machine

_ROOT = Path(__file__).parents[2]


class Journal:
    """Runs by name, kept in a file of the cache that belongs to this machine and to this state of the code."""

    def __init__(self, *, fresh: bool) -> None:
        """``fresh`` forgets what is there."""
        self._path = CACHE_DIR / "bench" / f"runs-{_state()[:16]}.json"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = not fresh and self._path.exists()
        self._runs: dict[str, dict[str, object] | None] = json.loads(self._path.read_text()) if kept else {}

    async def once(self, name: str, run: Callable[[], Awaitable[Run | None]]) -> Run | None:
        """The run of that name, made where there is none yet."""
        if name not in self._runs:
            made = await run()
            self._runs[name] = asdict(made) if made else None
            self._path.write_text(json.dumps(self._runs))
        found = self._runs[name]
        return Run(**found) if found else None  # type: ignore[arg-type]  # as asdict made it

    async def needed(self, name: str, run: Callable[[], Awaitable[Run]]) -> Run:
        """As ``once``, where there is no machine that cannot."""
        made = await self.once(name, run)
        assert made is not None
        return made


def _state() -> str:
    """Digest of the machine and of all that affects a figure."""
    digest = hashlib.sha256(json.dumps(machine()).encode())
    for directory in ("consumer", "binding", "schemas", "requirements", "tests/bench", "tests/support"):
        for path in sorted((_ROOT / directory).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(_ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
