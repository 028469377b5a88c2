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
    parser.add_argument("what", choices=["worker", "compare"])
    parser.add_argument("--size", default="base", choices=["tiny.en", "base"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen: Any = {"worker": worker, "compare": compare}[options.what]
    figures = {"machine": machine(), **asyncio.run(chosen.measure(options.size, options.rounds))}
    print(chosen.table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
