"""A million keys through what ``whisper-consumer reconcile`` does with a listing: its memory must not show how many.

The listing is generated, so the figures are of the command's own work and not of a store's; what a page costs there is
in the requests. ``tests/unit/test_reconcile.py`` shows that never more than two pages are held.
"""

import time
from collections import Counter
from typing import Any

from consumer.memory import resident_bytes
from consumer.operate.interruption import Interruption
from consumer.operate.reconcile.decision import Decision, Rules
from consumer.operate.reconcile.run import uncovered
from tests.support.listing import DAY, NOW, LongListing

KEYS = 1_000_000
WARM_UP = 100_000
"""Keys that are looked at before memory is measured."""

MOST_GROWTH = 1.05


async def run() -> dict[str, Any]:
    """Returns the figures."""
    tally: Counter[Decision] = Counter()
    started = time.monotonic()
    warm_bytes = peak_bytes = 0
    async for page in uncovered(LongListing(KEYS), Rules(NOW, min_age=DAY), tally, Interruption()):
        tally[Decision.ENQUEUE] += len(page)
        now_bytes = resident_bytes()
        if tally.total() <= WARM_UP:
            warm_bytes = max(warm_bytes, now_bytes)
        peak_bytes = max(peak_bytes, now_bytes)
    growth = peak_bytes / warm_bytes
    return {
        "keys": tally.total(),
        "took_seconds": round(time.monotonic() - started, 1),
        "decisions": {str(decision): count for decision, count in tally.items()},
        "resident_megabytes": {"first_100000_keys": round(warm_bytes / 1e6, 1), "peak": round(peak_bytes / 1e6, 1)},
        "growth": round(growth, 4),
        "holds": {
            "all keys were judged": tally.total() == KEYS and tally[Decision.ENQUEUE] == KEYS // 10,
            "memory is flat": growth < MOST_GROWTH,
        },
    }
