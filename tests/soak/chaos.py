"""Ten minutes of chaos for each of three seeds, in both delivery modes. Holds when every ledger does."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.facts import Facts
from tests.chaos.ledger import judge
from tests.chaos.plan import TRANSCRIPT

SEEDS = (1, 2, 3)
MINUTES = 10
DELIVERIES = ("effectively_once", "exactly_once")


async def run(only: Sequence[str] = (), before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the figures. Facts and logs of each run stay in a temporary directory that is printed.

    ``only`` names runs, as "effectively_once, seed 3"; the others keep their figures of ``before``, and with
    them the commit that these were made on.
    """
    directory = Path(tempfile.mkdtemp(prefix="whisper-consumer-chaos-"))
    print(f"facts and logs: {directory}", file=sys.stderr)
    figures, holds = (dict(before["runs"]), dict(before["holds"])) if only and before else ({}, {})
    for delivery in DELIVERIES:
        for seed in SEEDS:
            name = f"{delivery}, seed {seed}"
            if only and name not in only:
                continue
            kept = directory / f"{delivery}-{seed}"
            started = time.monotonic()
            status = await _chaos(seed, delivery, kept)
            took_seconds = round(time.monotonic() - started)
            figures[name] = {"commit": _commit(), "took_seconds": took_seconds, **_figures(kept)}
            holds[name] = status == 0
    return {"minutes": MINUTES, "runs": figures, "holds": holds}


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()


async def _chaos(seed: int, delivery: str, keep: Path) -> int:
    """A process of its own for each: nothing is carried over, and its table is printed as it comes."""
    arguments = ("--seed", str(seed), "--minutes", str(MINUTES), "--delivery", delivery, "--keep", str(keep))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.chaos", *arguments, stdout=sys.stderr)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise


def _figures(kept: Path) -> dict[str, Any]:
    """What the ledger counted; nothing where the run did not get so far."""
    path = kept / "facts.json"
    if not path.exists():
        return {}
    facts = Facts.load(path)
    rows = {row.name: row.figure for row in judge(facts).rows}
    outcomes = Counter(entry.expected for entry in facts.inputs)
    return {
        **{name: int(rows[name]) for name in ("events in", "transcripts", "skips", "pending", "lost")},
        "dead letters": len({letter.source for letter in facts.letters}),
        "transcripts expected": outcomes[TRANSCRIPT],
        **{name: int(rows[name]) for name in ("inputs with more than one output", "duplicate events")},
        "inputs inferred more than once": int(rows["inputs inferred more than once"]),
        "faults": dict(sorted(Counter(fault.fault for fault in facts.disturbed).items())),
    }
