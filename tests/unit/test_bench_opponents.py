"""Opponents of the benchmark: how recordings are handed to them, and what their modes ask for."""

import asyncio
import os

import pytest

from tests.bench.opponents import Opponent, faster_whisper, pywhispercpp, whisper_cpp
from tests.bench.opponents.handing_in import GaveUpError, hand_in
from tests.bench.opponents.usage import cpu_seconds, peak_megabytes, resident_megabytes

OPPONENTS: list[Opponent] = [faster_whisper, pywhispercpp, whisper_cpp]


@pytest.mark.parametrize(("in_hand", "most"), [(0, 7), (1, 1), (3, 3), (9, 7)])
async def test_so_many_recordings_are_in_hand(in_hand: int, most: int) -> None:
    held: set[int] = set()
    seen = []

    async def transcribe(number: int) -> str:
        held.add(number)
        seen.append(len(held))
        await asyncio.sleep(0.001 * (1 + number % 3))
        held.discard(number)
        return f"text {number}"

    found = await hand_in(range(7), transcribe, in_hand)

    assert found.texts == [f"text {number}" for number in range(7)]
    assert max(seen) == most
    assert len(found.waits) == 7
    assert all(0.001 <= wait <= found.seconds for wait in found.waits)


async def test_a_wait_holds_the_time_in_the_queue() -> None:
    place = asyncio.Semaphore(1)

    async def transcribe(_: int) -> str:
        async with place:
            await asyncio.sleep(0.02)
        return ""

    all_at_once = await hand_in(range(3), transcribe, 0)
    in_turn = await hand_in(range(3), transcribe, 1)

    assert all_at_once.waits[2] >= 0.06
    assert sum(in_turn.waits) <= in_turn.seconds


async def test_the_first_error_ends_all() -> None:
    unfinished = []

    async def transcribe(number: int) -> str:
        if number == 1:
            raise GaveUpError("it ended")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            unfinished.append(number)
            raise
        return ""

    with pytest.raises(GaveUpError, match="it ended"):
        await hand_in(range(3), transcribe, 0)
    assert unfinished == [0, 2]


def test_usage_is_that_of_the_kernel() -> None:
    own = os.getpid()
    assert 1 < resident_megabytes([own]) <= peak_megabytes([own]) * 1.01
    assert peak_megabytes([own, own]) == pytest.approx(2 * peak_megabytes([own]), rel=0.01)
    assert peak_megabytes([2**22 + 1]) == 0  # above the highest pid of Linux
    assert cpu_seconds([own]) > 0


@pytest.mark.parametrize("opponent", OPPONENTS, ids=lambda opponent: opponent.__name__.rpartition(".")[2])
@pytest.mark.parametrize("n_cpus", [1, 2, 16])
def test_modes_are_told_apart_and_use_all_cores(opponent: Opponent, n_cpus: int) -> None:
    modes = opponent.modes(n_cpus)
    assert len({str(mode) for mode in modes}) == len(modes)
    assert {mode.at_once for mode in modes} == {1, n_cpus}
    for n_recordings in (1, 100):
        favourites = opponent.favourites(n_cpus, n_recordings)
        assert 1 <= len(favourites) <= 2
        assert {str(mode) for mode in favourites} <= {str(mode) for mode in modes}
    assert str(opponent.as_it_comes(n_cpus)) not in {str(mode) for mode in modes}


def test_whisper_cli_as_it_comes_is_given_no_options() -> None:
    assert whisper_cpp.as_it_comes(2).options(None) == []


def test_whisper_cli_decodes_greedily_in_other_modes() -> None:
    assert whisper_cpp.Cli("stock", "q8_0", 2, 1).options("en") == [
        "-bs",
        "1",
        "-bo",
        "1",
        "-nf",
        "-t",
        "1",
        "-l",
        "en",
    ]


def test_the_text_is_what_stands_behind_the_times() -> None:
    output = (
        "\n[00:00:00.000 --> 00:00:04.500]   And so, my fellow\n"
        "[01:00:04.500 --> 01:00:07.000]   [Music] Americans.\n"
        "whisper_print_timings: [no segment]\n"
    )
    assert whisper_cpp.spoken(output) == "And so, my fellow [Music] Americans."
