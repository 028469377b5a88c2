"""Goes through a listing page by page, looks at many recordings at once, and hands out those to be announced."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from consumer.operate.interruption import Interruption
from consumer.operate.reconcile.decision import Decision, Recording, Rules, decide, decide_unseen
from consumer.operate.reconcile.store import Listing

CONCURRENCY = 32


async def uncovered(
    listing: Listing, rules: Rules, tally: Counter[Decision], interruption: Interruption
) -> AsyncGenerator[list[Recording], None]:
    """The recordings to be announced, those of a page at a time; all others are counted in ``tally``.

    Ends early once ``interruption`` is true. Raises Unavailable.
    """
    looking = asyncio.Semaphore(CONCURRENCY)

    async def judge(recording: Recording) -> Decision:
        unseen = decide_unseen(recording, rules)
        if unseen is not None:
            return unseen
        async with looking:
            return decide(recording, await listing.entries(recording), rules)

    async with aclosing(listing.recordings()) as pages:
        async for page in pages:
            decisions = await _together([judge(recording) for recording in page])
            tally.update(decision for decision in decisions if decision is not Decision.ENQUEUE)
            yield [found for found, decision in zip(page, decisions, strict=True) if decision is Decision.ENQUEUE]
            if interruption:
                return


async def _together(work: list[Coroutine[Any, Any, Decision]]) -> list[Decision]:
    """Await all; the first fault ends the others before it goes on."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
