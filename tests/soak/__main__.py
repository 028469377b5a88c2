"""``scripts/soak NAME``: run one proof, print its figures, keep them."""

import asyncio
import json
import sys
from pathlib import Path

from tests.soak import chaos, long_recording, reconcile, resume, throughput
from tests.support.machine import machine

PROOFS = {
    "chaos": chaos.run,
    "long-recording": long_recording.run,
    "reconcile": reconcile.run,
    "resume": resume.run,
    "throughput": throughput.run,
}
FIGURES = Path(__file__).parent / "figures"


def main() -> int:
    """Exit status 0 if the proof holds; its figures are written in either case."""
    if len(sys.argv) != 2 or sys.argv[1] not in PROOFS:
        print(f"usage: scripts/soak {{{','.join(PROOFS)}}}", file=sys.stderr)
        return 2
    name = sys.argv[1]
    figures = {"machine": machine(), **asyncio.run(PROOFS[name]())}
    text = json.dumps(figures, indent=2)
    print(text)
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / f"{name}.json").write_text(text + "\n")
    failed = [what for what, holds in figures["holds"].items() if not holds]
    print(f"{name}: {'does not hold: ' + ', '.join(failed) if failed else 'holds'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
