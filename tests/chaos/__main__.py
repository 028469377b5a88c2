"""``scripts/chaos``: a run from the command line. Exit status 0 only if the whole ledger holds."""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.chaos.disk import go_apart
from tests.chaos.plan import make_plan
from tests.chaos.report import show
from tests.chaos.run import run

DELIVERIES = ("effectively_once", "exactly_once")


def main() -> int:
    """Parse the arguments, run, print the table."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same faults and events")
    parser.add_argument("--minutes", type=float, default=2, help="how long things are broken")
    parser.add_argument("--brokers", type=int, default=3, choices=(1, 3))
    parser.add_argument("--delivery", choices=DELIVERIES, default=DELIVERIES[0])
    parser.add_argument("--settle-seconds", type=float, default=None, help="how long the rest may take afterwards")
    parser.add_argument("--keep", type=Path, default=None, help="a new directory for facts and logs")
    arguments = parser.parse_args()
    go_apart("tests.chaos", sys.argv[1:])
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that brokers are down is what we want
    directory = arguments.keep or Path(tempfile.mkdtemp(prefix="whisper-consumer-chaos-"))
    plan = make_plan(arguments.seed, arguments.minutes, brokers=arguments.brokers)
    settle_seconds = arguments.settle_seconds or 60 + 0.2 * plan.seconds
    console, started = Console(), time.monotonic()

    def say(line: str) -> None:
        console.print(f"[{time.monotonic() - started:6.1f}] {line}", markup=False, highlight=False, soft_wrap=True)

    async def interruptible() -> bool:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        verdict = await run(
            plan,
            brokers=arguments.brokers,
            delivery=arguments.delivery,
            settle_seconds=settle_seconds,
            directory=directory,
            say=say,
        )
        show(verdict, f"chaos, seed {arguments.seed}, {arguments.minutes:g} min, {arguments.delivery}", console)
        return verdict.holds

    try:
        holds = asyncio.run(interruptible())
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("interrupted")
        return 130
    finally:
        say(f"facts and logs: {directory}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
