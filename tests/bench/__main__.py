"""``scripts/bench``: measurements that are kept."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from tests.bench import compare, worker
from tests.support.machine import machine


def main() -> int:
    """Print a Markdown table and, where asked, write JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="compare", choices=["worker", "compare"])
    parser.add_argument("--size", default="base", choices=["tiny.en", "base"])
    parser.add_argument("--rounds", type=int, help="3, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="compare: no screening, under ten minutes")
    parser.add_argument(
        "--against", choices=compare.OPPONENTS, help="compare: one opponent alone (so far there is one)"
    )
    parser.add_argument("--fresh", action="store_true", help="compare: measure again what was measured before")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rounds = options.rounds or (2 if options.quick else 3)
    figures: dict[str, Any] = {"machine": machine()}
    if options.what == "worker":
        figures |= asyncio.run(worker.measure(options.size, rounds))
        text = worker.table(figures)
    else:
        figures |= asyncio.run(compare.measure(options.size, rounds, quick=options.quick, fresh=options.fresh))
        text = compare.table(figures)
    print(text)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
