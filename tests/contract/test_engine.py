"""consumer/engine/library.py with the real library: turns, suspects, going on, cancellation."""

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from binding import AbortFlag, Context, Library, Parameters, Samples, State
from consumer.engine import native_work
from consumer.engine.artifacts.locate import locate
from consumer.engine.base import Options, Passage
from consumer.engine.deadline import Deadlines
from consumer.engine.options import spoken_after
from consumer.engine.passes import HeardWindow, transcribe_window
from consumer.engine.pool import StatePool
from consumer.observe.metrics import Metrics
from tests.support.watched_engine import (
    RATE,
    Attempt,
    NativeCall,
    RunningEngine,
    WatchedPool,
    as_float,
    blocks,
    joined,
    read_wav,
    running_engine,
)


@pytest.fixture
async def running(artifacts_dir: Path) -> AsyncIterator[RunningEngine]:
    async with running_engine(artifacts_dir) as running:
        yield running


@pytest.fixture(scope="module")
def speech(sample: Path) -> Samples:
    """Eleven seconds: one window."""
    return as_float(read_wav(sample))


@pytest.fixture(scope="module")
def long(sample: Path) -> Samples:
    """A minute: several windows."""
    return as_float(joined(read_wav(sample), 60))


async def _passages(
    running: RunningEngine,
    samples: Samples,
    attempt: Attempt | None = None,
    options: Options | None = None,
    **where: Any,
) -> list[Passage]:
    turn, options = attempt or Attempt(), options or Options("en")
    async with aclosing(running.engine.transcribe(blocks(samples), options, turn=turn, **where)) as passages:
        return [passage async for passage in passages]


def _texts(passage: Passage) -> list[str]:
    return [segment.text for segment in passage.segments]


def _without_times(passages: list[Passage]) -> list[tuple[object, ...]]:
    return [(passage.end_seconds, passage.segments, passage.language) for passage in passages]


def _of(pool: WatchedPool, attempt: Attempt) -> list[NativeCall]:
    return [call for call in pool.calls if getattr(call.owner, "_turn", None) is attempt]


def _overlap(one: NativeCall, other: NativeCall) -> bool:
    return one.began < other.ended and other.began < one.ended


async def test_an_attempt_ends_once_also_where_it_is_given_up(running: RunningEngine, speech: Samples) -> None:
    finished, given_up = Attempt(), Attempt()
    await _passages(running, speech, finished)
    assert (finished.has_begun, finished.has_ended) == (1, 1)
    async with aclosing(running.engine.transcribe(blocks(speech), Options("en"), turn=given_up)) as passages:
        await anext(passages)
    assert (given_up.has_begun, given_up.has_ended) == (1, 1)


async def test_nothing_native_runs_before_the_attempt_is_on_record(running: RunningEngine, speech: Samples) -> None:
    attempt, other = Attempt(), Attempt()
    attempt.may_begin.clear()
    waiting = asyncio.create_task(_passages(running, speech, attempt))
    assert await _passages(running, speech, other)
    assert _of(running.pool, attempt) == []
    attempt.may_begin.set()
    assert await waiting
    assert [call.kind for call in _of(running.pool, attempt)] == ["detection", "window"]
    assert attempt.has_begun == 1
    assert attempt.is_cleared == 0


async def test_an_attempt_that_cannot_be_recorded_touches_nothing_and_holds_up_nobody(
    running: RunningEngine, speech: Samples
) -> None:
    class Refused(Attempt):
        async def begins(self) -> None:
            raise ConnectionError

    suspect = Refused(alone=True)
    with pytest.raises(ConnectionError):
        await _passages(running, speech, suspect)
    assert running.pool.calls == []
    assert await _passages(running, speech)
    assert running.pool.is_at_rest()


async def test_a_suspect_runs_alone(running: RunningEngine, speech: Samples, long: Samples) -> None:
    """Ordinary recordings run before it, while it waits, and after it; another suspect comes too."""
    before = [asyncio.create_task(_passages(running, long)) for _ in range(2)]
    await running.pool.wait_until(lambda: running.metric("states_busy") == 2)
    suspects = [Attempt(alone=True), Attempt(alone=True)]
    recordings = (long, speech)
    tried = [asyncio.create_task(_passages(running, *both)) for both in zip(recordings, suspects, strict=True)]
    await running.pool.wait_until(lambda: bool(_of(running.pool, suspects[0])))
    after = asyncio.create_task(_passages(running, speech))
    found = await asyncio.gather(*tried, *before, after)
    assert _without_times(found[0]) == _without_times(found[2]) == _without_times(found[3])
    assert _without_times(found[1]) == _without_times(found[4])
    for suspect in suspects:
        its = _of(running.pool, suspect)
        assert {call.kind for call in its} == {"detection", "window"}
        others = [call for call in running.pool.calls if call not in its]
        assert not [(mine, other) for mine, other in itertools.product(its, others) if _overlap(mine, other)]
    # It used both states, it did not wait for the others to be through, and they went on after it.
    its = [call for call in _of(running.pool, suspects[0]) if call.kind == "window"]
    assert any(_overlap(one, other) for one, other in itertools.combinations(its, 2))
    ordinary = [call for call in running.pool.calls if call.owner not in {call.owner for call in its}]
    assert any(call.ended <= its[0].began for call in ordinary)
    assert any(call.began >= its[-1].ended for call in ordinary)
    assert running.pool.is_at_rest()


async def test_a_suspect_that_gets_far_goes_on_beside_others(
    running: RunningEngine, speech: Samples, long: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_work, "CLEARED_AFTER_SECONDS", 30.0)
    suspect, after_seconds = Attempt(alone=True), 20.0
    other: asyncio.Task[list[Passage]] | None = None
    ends: list[float] = []
    async with aclosing(
        running.engine.transcribe(blocks(long), Options("en"), turn=suspect, after_seconds=after_seconds)
    ) as passages:
        async for passage in passages:
            assert bool(suspect.is_cleared) == any(end >= after_seconds + 30 for end in ends)
            ends.append(passage.end_seconds)
            other = other or asyncio.create_task(_passages(running, speech))
            if suspect.is_cleared:
                assert await asyncio.wait_for(other, 30), "it was cleared and still holds up others"
                break
            await running.pool.wait_until(lambda: running.metric("states_busy") == 0)
            assert not other.done()
    assert suspect.is_cleared == 1


async def test_a_suspect_that_is_cancelled_lets_others_on(
    running: RunningEngine, speech: Samples, long: Samples
) -> None:
    suspect = Attempt(alone=True)
    trying = asyncio.create_task(_passages(running, long, suspect))
    await running.pool.wait_until(lambda: any(call.kind == "window" for call in _of(running.pool, suspect)))
    other = asyncio.create_task(_passages(running, speech))
    await asyncio.sleep(0)
    trying.cancel()
    assert await asyncio.wait_for(other, 60)
    assert trying.cancelled()
    last = max(call.ended for call in _of(running.pool, suspect))
    first = min(call.began for call in running.pool.calls if call not in _of(running.pool, suspect))
    assert first >= last, "another began while a call of the suspect was still being aborted"
    assert running.pool.is_at_rest()


@pytest.mark.parametrize("alone", [False, True])
async def test_whoever_waits_and_is_cancelled_leaves_nothing_behind(
    running: RunningEngine, long: Samples, alone: bool
) -> None:
    busy = [asyncio.create_task(_passages(running, long)) for _ in range(2)]
    await running.pool.wait_until(lambda: running.metric("states_busy") == 2)
    waiting = [asyncio.create_task(_passages(running, long, Attempt(alone=alone))) for _ in range(3)]
    await running.pool.wait_until(lambda: running.metric("windows_queued") >= 2)
    for task in waiting:
        task.cancel()
    assert all(await asyncio.gather(*busy))
    await asyncio.wait(waiting)
    await running.pool.wait_until(running.pool.is_at_rest)
    assert running.metric("windows_queued") == 0
    assert running.metric("states_busy") == 0


async def test_going_on_from_the_end_of_any_passage_gives_the_rest(running: RunningEngine, long: Samples) -> None:
    whole = await _passages(running, long)
    assert len(whole) >= 4
    for done in (1, len(whole) // 2, len(whole)):
        passage = whole[done - 1]
        before = running.metric("windows_total")
        rest = await _passages(running, long, after_seconds=passage.end_seconds)
        assert _without_times(rest) == _without_times(whole[done:])
        assert running.metric("windows_total") - before == len(whole) - done, "something was transcribed twice"


async def test_context_is_carried_from_window_to_window_and_over_an_interruption(
    running: RunningEngine, long: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []

    def noting(state: State, samples: Samples, parameters: Parameters, *args: Any, **more: Any) -> HeardWindow:
        prompts.append(parameters.initial_prompt)
        return transcribe_window(state, samples, parameters, *args, **more)

    monkeypatch.setattr("consumer.engine.library.transcribe_window", noting)
    options = Options("en", prompt="Names.", carry_context=True)
    whole = await _passages(running, long, options=options, repeatable=True)
    told, prompts[:] = prompts.copy(), []
    assert told[0] == "Names."
    for before, prompt in zip(whole, told[1:], strict=False):
        said = " ".join(segment.text for segment in before.segments if not segment.flags)
        assert prompt.startswith("Names. ")
        assert prompt.endswith(said[-100:])
    text_before = spoken_after("", [segment for passage in whole[:2] for segment in passage.segments])
    rest = await _passages(
        running, long, options=options, after_seconds=whole[1].end_seconds, text_before=text_before, repeatable=True
    )
    assert prompts == told[2:]
    # The text alone: published libraries leave digits of a state's last job in the next one's probabilities.
    assert [_texts(passage) for passage in rest] == [_texts(passage) for passage in whole[2:]]
    prompts.clear()
    await _passages(running, long)
    assert set(prompts) == {""}


async def test_a_window_that_straddles_what_is_done_is_cut_there(running: RunningEngine, long: Samples) -> None:
    """So it is for who goes on with other windows than those before, made by another detector perhaps."""
    whole = await _passages(running, long)
    middle = (whole[0].end_seconds + whole[1].end_seconds) / 2
    rest = await _passages(running, long, after_seconds=middle)
    assert [passage.end_seconds for passage in rest] == [passage.end_seconds for passage in whole[1:]]
    assert all(segment.start_seconds >= middle for passage in rest for segment in passage.segments)
    assert _without_times(rest[1:]) == _without_times(whole[2:])
    nearly = await _passages(running, long, after_seconds=whole[0].end_seconds - 0.1)
    assert _without_times(nearly) == _without_times(whole[1:]), "a tenth of a second is no window"


async def test_short_recordings_take_turns_with_a_long_one(artifacts_dir: Path, speech: Samples) -> None:
    """One state: between two windows of the long one each short one that waits is served, and it is never left out."""
    async with running_engine(artifacts_dir, n_states=1) as running:
        long, shorts = Attempt(), [Attempt() for _ in range(4)]
        all_at_once = [_passages(running, np.tile(speech, 8), long)]
        all_at_once += [_passages(running, speech[: 4 * RATE], short) for short in shorts]
        await asyncio.gather(*all_at_once)
        order = [
            next(index for index, attempt in enumerate([long, *shorts]) if attempt is call.owner._turn)  # type: ignore[attr-defined]
            for call in sorted(running.pool.calls, key=lambda call: call.began)
            if call.kind == "window"
        ]
        assert sorted(order) == sorted([0] * order.count(0) + [1, 2, 3, 4])
        assert order.count(0) >= 3
        last_short = max(index for index, who in enumerate(order) if who)
        assert order[: last_short + 1].count(0) <= 3, f"the long one took more than its turns: {order}"


async def test_the_log_tells_where_native_work_begins_and_how_far_it_came(
    running: RunningEngine, long: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="consumer.engine.native_work")
    whole = await _passages(running, long)
    async with aclosing(
        running.engine.transcribe(
            blocks(long), Options("en"), turn=Attempt(alone=True), after_seconds=whole[0].end_seconds
        )
    ) as passages:
        await anext(passages)
    with pytest.raises(StopAsyncIteration):
        await anext(running.engine.transcribe(blocks(np.zeros(0, np.float32)), Options("en")))
    lines = [
        {name: getattr(record, name, None) for name in ("msg", "from_seconds", "to_seconds", "alone", "segments")}
        for record in caplog.records
    ]
    begin, end, begin_again, abandoned = lines  # and no line of what never began
    assert begin == {
        "msg": "native work begins",
        "from_seconds": 0.0,
        "to_seconds": None,
        "alone": False,
        "segments": None,
    }
    assert end["msg"] == "native work ended"
    assert end["to_seconds"] == whole[-1].end_seconds
    assert end["segments"] == sum(len(passage.segments) for passage in whole)
    assert (begin_again["from_seconds"], begin_again["alone"]) == (whole[0].end_seconds, True)
    assert (abandoned["msg"], abandoned["alone"]) == ("native work abandoned", True)
    assert isinstance(abandoned["to_seconds"], float)
    assert abandoned["to_seconds"] >= whole[1].end_seconds


async def test_a_call_that_does_not_end_is_overdue(running: RunningEngine, speech: Samples) -> None:
    assert running.engine.overdue(1e12) is None
    working = asyncio.create_task(_passages(running, speech))
    late: list[float] = []

    def is_late() -> bool:  # a call begins some time after its state is taken, and one look must do: it ends, too
        seconds = running.engine.overdue(1e12)
        late.extend([] if seconds is None else [seconds])
        return bool(late)

    await running.pool.wait_until(is_late)
    assert late[0] > 1e11
    await working
    assert running.engine.overdue(1e12) is None


async def test_a_window_has_all_threads_to_itself_and_one_where_others_wait(artifacts_dir: Path) -> None:
    artifacts = locate(artifacts_dir, "tiny.en", "auto")
    metrics = Metrics(CollectorRegistry())
    with Context(Library.load(artifacts.directory), artifacts.model) as context:
        pool = StatePool(context, 2, metrics, Deadlines(), n_cpus=2)
        go_on = threading.Event()

        def threads_given(_state: State, _flag: AbortFlag, n_threads: int) -> int:
            assert go_on.wait(60)
            return n_threads

        first, *others = (asyncio.create_task(pool.run(owner, 1.0, threads_given)) for owner in "abc")
        go_on.set()
        assert [await first, *(await asyncio.gather(*others))] == [2, 1, 1]
        assert await pool.run("d", 1.0, threads_given) == 2
        assert await pool.run("e", 1.0, threads_given, repeatable=True) == 1
        await pool.close()

        fewer_states = StatePool(context, 2, metrics, Deadlines(), n_cpus=64)
        assert await fewer_states.run("a", 1.0, threads_given) == 4
        await fewer_states.close()


async def test_threads_are_no_more_than_other_processes_leave(artifacts_dir: Path) -> None:
    artifacts = locate(artifacts_dir, "tiny.en", "auto")
    metrics = Metrics(CollectorRegistry())

    def threads_given(_state: State, _flag: AbortFlag, n_threads: int) -> int:
        return n_threads

    with Context(Library.load(artifacts.directory), artifacts.model) as context:
        for n_states in (1, 2):
            left = iter([4, 1, 2])
            pool = StatePool(context, n_states, metrics, Deadlines(), n_cpus=4, cpus_left=partial(next, left))
            assert [await pool.run("a", 1.0, threads_given) for _ in range(3)] == [4, 1, 2]
            await pool.close()

        pool = StatePool(context, 1, metrics, Deadlines(), n_cpus=4, cpus_left=lambda: 1)
        assert await pool.run("a", 1.0, threads_given, repeatable=True) == 4  # it must be, so that resuming finds it
        await pool.close()
