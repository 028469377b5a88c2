"""Pictures of the figures, drawn by ``plots_alone.py`` in an environment of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.bench.opponents.environment import environment

_PROGRAM: Final = Path(__file__).with_name("plots_alone.py")


def draw(figures: dict[str, Any], directory: Path) -> list[Path]:
    """Write PNGs of what there is among the figures; returns their paths.

    ``work`` gives ``speed.png``, ``errors.png`` and ``memory.png``; ``curves`` give ``curves.png``. Raises RuntimeError
    where there is no uv, and CalledProcessError where drawing fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    python = environment("plots")
    answer = subprocess.run(
        [python, "-P", _PROGRAM, directory],
        input=json.dumps(figures).encode(),
        stdout=subprocess.PIPE,
        env={**os.environ, "MPLCONFIGDIR": str(python.parents[1] / "matplotlib")},  # its cache of fonts
        check=True,
    )
    return [directory / name for name in json.loads(answer.stdout)]


if __name__ == "__main__":  # FIGURES.json DIRECTORY
    print(*draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])), sep="\n")
