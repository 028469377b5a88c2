"""Handing recordings to an opponent, so many at a time, and the clock beside it: the same one for all opponents."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Recording = TypeVar("Recording")


class GaveUpError(Exception):
    """A program of an opponent ended before its work was done; the message says how, with its last words."""


@dataclass(frozen=True, slots=True)
class HandedIn:
    """Texts and waits in the order of the recordings; times in seconds."""

    seconds: float
    texts: list[str]
    waits: list[float]


async def hand_in(
    recordings: Sequence[Recording], transcribe: Callable[[Recording], Awaitable[str]], in_hand: int
) -> HandedIn:
    """So many are in hand at any time, in order; 0: all from the start. The first error ends it and is raised."""
    texts, waits = [""] * len(recordings), [0.0] * len(recordings)
    left = iter(enumerate(recordings))
    started = time.perf_counter()

    async def one_after_another() -> None:
        for number, recording in left:
            handed_in = time.perf_counter()
            texts[number] = await transcribe(recording)
            waits[number] = time.perf_counter() - handed_in

    hands = [asyncio.create_task(one_after_another()) for _ in range(in_hand or len(recordings))]
    try:
        await asyncio.gather(*hands)
    finally:
        for hand in hands:
            hand.cancel()
        await asyncio.wait(hands)
    return HandedIn(time.perf_counter() - started, texts, waits)
