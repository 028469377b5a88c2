"""``scripts/bench``: measurements that are kept."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from tests.bench import worker
from tests.support.machine import machine


def main() -> int:
    """Print a Markdown table and, where asked, write JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("what", choices=["worker"])
    parser.add_argument("--size", default="base", choices=["tiny.en", "base"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = {"machine": machine(), **asyncio.run(worker.measure(options.size, options.rounds))}
    print(worker.table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
