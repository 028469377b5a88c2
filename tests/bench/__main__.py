"""``scripts/bench``: measurements that are kept."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any, get_args

from consumer.settings import ModelSize
from tests.bench import compare, contexts, report, scale, seed, worker
from tests.bench.plots import draw
from tests.support.machine import machine

MEASUREMENTS = ("compare", "worker", "contexts", "seed", "scale")


def main() -> int:
    """Print Markdown and, where asked, write JSON and pictures."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="compare", choices=MEASUREMENTS)
    parser.add_argument("--size", choices=get_args(ModelSize), help="base; seed: all that it knows")
    parser.add_argument("--rounds", type=int, help="3, or 2 with --quick")
    parser.add_argument("--quick", action="store_true", help="compare: under ten minutes; scale: without the largest")
    parser.add_argument("--against", choices=compare.OPPONENTS, help="compare: one opponent alone")
    parser.add_argument("--only", choices=scale.ITEMS, help="scale: one item alone")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="compare, scale: write PNG pictures there")
    options = parser.parse_args()
    figures: dict[str, Any] = {"machine": machine(), **_measured(options)}
    print(_table(options.what, figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.plots:
        print(*draw(figures, options.plots), sep="\n", file=sys.stderr)
    return 0


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    size: ModelSize = options.size or "base"
    rounds = options.rounds or (2 if options.quick else 3)
    match options.what:
        case "worker":
            return asyncio.run(worker.measure(size, rounds))
        case "contexts":
            return contexts.measure(size)
        case "seed":
            sizes = [options.size] if options.size else seed.SIZES
            return asyncio.run(seed.measure(sizes, fresh=options.fresh))
        case "scale":
            return asyncio.run(scale.measure(options.quick, options.only, fresh=options.fresh))
        case _:
            return asyncio.run(
                compare.measure(size, rounds, quick=options.quick, fresh=options.fresh, against=options.against)
            )


def _table(what: str, figures: dict[str, Any]) -> str:
    tables = {
        "compare": report.table,
        "worker": worker.table,
        "contexts": contexts.table,
        "seed": seed.table,
        "scale": scale.table,
    }
    return tables[what](figures)


if __name__ == "__main__":
    sys.exit(main())
