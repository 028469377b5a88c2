"""``scripts/soak NAME``: run one proof, print its figures, keep them."""

import asyncio
import json
import sys
from pathlib import Path

from tests.soak import chaos, events, long_recording, reconcile, resume, throughput
from tests.support.machine import machine

PROOFS = {
    "chaos": chaos.run,
    "events": events.run,
    "long-recording": long_recording.run,
    "reconcile": reconcile.run,
    "resume": resume.run,
    "throughput": throughput.run,
}
FIGURES = Path(__file__).parent / "figures"


def main() -> int:
    """Exit status 0 if the proof holds; its figures are written in either case."""
    name, *only = sys.argv[1:] or [""]
    if name not in PROOFS or (only and name != "chaos"):
        print(f"usage: scripts/soak {{{','.join(PROOFS)}}}, or scripts/soak chaos RUN…", file=sys.stderr)
        return 2
    path = FIGURES / f"{name}.json"
    before = json.loads(path.read_text()) if path.exists() else None
    proof = chaos.run(only, before) if only else PROOFS[name]()
    figures = {"machine": machine(), **asyncio.run(proof)}
    text = json.dumps(figures, indent=2)
    print(text)
    FIGURES.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    failed = [what for what, holds in figures["holds"].items() if not holds]
    print(f"{name}: {'does not hold: ' + ', '.join(failed) if failed else 'holds'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
