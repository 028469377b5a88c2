"""A million mutated events: nothing but the parser's own error escapes, and none takes a tenth of a second.

Time is the process's own, with the garbage collector at work as it is in a worker.
"""

import sys
import time
from collections import Counter
from typing import Any

from consumer.errors import Rejected
from consumer.events import Uploads, parse
from tests.support.events import mutations

EVENTS = 1_000_000
MOST_SECONDS = 0.1


async def run() -> dict[str, Any]:
    """Returns how many were taken for what, what escaped, and the longest time that one took."""
    outcomes: Counter[str] = Counter()
    escaped: list[str] = []
    longest_seconds, began = 0.0, time.monotonic()
    for number, (headers, value) in enumerate(mutations(seed=2, count=EVENTS), 1):
        started = time.process_time()
        try:
            parsed = parse(headers, None, value)
            outcomes["uploads" if isinstance(parsed, Uploads) else f"skip, {parsed.kind}"] += 1
        except Rejected as rejection:
            outcomes[f"reject, {rejection.reason}"] += 1
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            outcomes["escaped"] += 1
            escaped.append(f"{error!r} of {headers!r} {value!r}")
        longest_seconds = max(longest_seconds, time.process_time() - started)
        if number % 100_000 == 0:
            print(f"{number:,} of {EVENTS:,}: {dict(outcomes)}", file=sys.stderr)
    return {
        "events": EVENTS,
        "outcomes": dict(sorted(outcomes.items())),
        "escaped": escaped[:10],
        "longest_milliseconds": round(1000 * longest_seconds, 2),
        "seconds": round(time.monotonic() - began, 1),
        "holds": {
            "nothing escapes": not escaped,
            "none takes 100 ms": longest_seconds < MOST_SECONDS,
            "each way is gone": {"uploads", "reject, bad_event", "skip, removed"} <= outcomes.keys(),
        },
    }
