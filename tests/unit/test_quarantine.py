"""Suspects take turns."""

import asyncio

from consumer.delivery.quarantine import Quarantine


async def test_the_one_with_the_fewest_deaths_goes_first_whoever_came_first() -> None:
    quarantine, order = Quarantine(), list[str]()

    async def suspect(name: str, deaths: int) -> None:
        async with quarantine.turn(suspect=True, deaths=deaths):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(suspect("two", 2), suspect("none", 0), suspect("one", 1), suspect("none too", 0))
    assert order == ["none", "none too", "one", "two"]


async def test_one_at_a_time_and_others_do_not_wait() -> None:
    quarantine = Quarantine()
    async with quarantine.turn(suspect=True, deaths=0):
        async with asyncio.timeout(1), quarantine.turn(suspect=False, deaths=0):
            pass
        second = asyncio.create_task(_once(quarantine))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not second.done()
    await asyncio.wait_for(second, 1)


async def test_a_turn_given_back_early_is_given_back_once() -> None:
    quarantine = Quarantine()
    async with quarantine.turn(suspect=True, deaths=0) as first:
        first.give_back()
        async with asyncio.timeout(1), quarantine.turn(suspect=True, deaths=0):
            first.give_back()
            third = asyncio.create_task(_once(quarantine))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not third.done()
        await asyncio.wait_for(third, 1)


async def test_whoever_gives_up_while_waiting_holds_up_nobody() -> None:
    quarantine = Quarantine()
    async with quarantine.turn(suspect=True, deaths=0):
        waiting = [asyncio.create_task(_once(quarantine)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()  # in the moment in which it may have been called
    await asyncio.wait_for(waiting[2], 1)
    await asyncio.wait_for(_once(quarantine), 1)


async def _once(quarantine: Quarantine) -> None:
    async with quarantine.turn(suspect=True, deaths=0):
        pass
