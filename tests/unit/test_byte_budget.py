"""The bound on bytes in flight: never exceeded, fair, and never a standstill."""

import asyncio
from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge

from consumer.store.byte_budget import ByteBudget, Share


def budget(max_bytes: int) -> tuple[ByteBudget, Gauge]:
    gauge = Gauge("taken", "Bytes.", registry=CollectorRegistry())
    return ByteBudget(max_bytes, gauge), gauge


def taken(gauge: Gauge) -> float:
    return next(iter(gauge.collect())).samples[0].value


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@given(
    max_bytes=st.integers(1, 20),
    steps=st.lists(st.tuples(st.sampled_from(["take", "end", "cancel"]), st.integers(0, 30)), max_size=40),
)
def test_shares_fit_come_in_order_and_never_stop(max_bytes: int, steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        shares, gauge = budget(max_bytes)
        asked: deque[tuple[int, asyncio.Task[Share]]] = deque()
        held: list[tuple[int, Share]] = []

        async def check() -> None:
            await settled()
            while asked and asked[0][1].done():  # whoever asked first is served first
                n_bytes, task = asked.popleft()
                held.append((n_bytes, task.result()))
            assert not any(task.done() for _, task in asked)
            in_use = sum(n_bytes for n_bytes, _ in held)
            assert taken(gauge) == in_use
            assert in_use <= max_bytes or sum(n_bytes > 0 for n_bytes, _ in held) == 1
            if asked:
                assert held, "somebody waits for nobody"
                assert in_use + asked[0][0] > max_bytes

        for step, number in steps:
            if step == "take":
                asked.append((number, asyncio.create_task(shares.take(number))))
            elif step == "end" and held:
                held.pop(number % len(held))[1].give_back()
            elif step == "cancel" and asked:
                _, task = asked[number % len(asked)]
                del asked[number % len(asked)]
                task.cancel()
            await check()
        for _, task in asked:
            task.cancel()
        await settled()

    asyncio.run(run())


async def test_who_is_cancelled_with_a_share_in_hand_gives_it_back() -> None:
    shares, gauge = budget(10)
    first = await shares.take(10)
    waiting = asyncio.create_task(shares.take(10))
    await settled()
    first.give_back()  # the share is the second one's, who does not know yet
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert taken(gauge) == 0
    with await asyncio.wait_for(shares.take(10), 5):
        assert taken(gauge) == 10


async def test_a_share_that_shrinks_lets_others_in() -> None:
    shares, gauge = budget(10)
    with await shares.take(10) as first:
        waiting = asyncio.create_task(shares.take(5))
        await settled()
        assert not waiting.done()
        first.resize(4)
        with await asyncio.wait_for(waiting, 5) as second:
            second.resize(20)
            assert taken(gauge) == 24
    assert taken(gauge) == 0
