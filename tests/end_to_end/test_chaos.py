"""Chaos with a ledger: real workers survive two minutes of it, and broken ones do not get past the ledger."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.ledger import Verdict
from tests.chaos.plan import SEED_OF_THE_TEST, Action, Event, Fault, Feed, Plan
from tests.chaos.run import run
from tests.chaos.workers import REAL

ROOT = Path(__file__).parents[2]

EVENTS = [
    (Feed.LONG, "long.wav", 20.0),
    (Feed.SHORT, "one.wav", 3.0),
    (Feed.NOT_AUDIO, "note.wav", 0.0),
    (Feed.DUPLICATE, "one.wav", 3.0),
    (Feed.TOMBSTONE, "gone.wav", 0.0),
    (Feed.SHORT, "two.wav", 4.0),
    (Feed.BAD_JSON, "bad.wav", 0.0),
    (Feed.SHORT, "three.wav", 2.0),
]
UNDISTURBED = Plan(
    seconds=1,
    actions=(),
    events=tuple(
        Event(f"{number}-{kind}", 0.0, kind, 0, key, seconds, number if kind is not Feed.DUPLICATE else 1)
        for number, (kind, key, seconds) in enumerate(EVENTS)
    ),
    workers=("worker-1",),
)
KILLED = replace(UNDISTURBED, actions=(Action(2.5, Fault.KILL, "worker-1", 0.2),))


async def judged(plan: Plan, directory: Path, *command: str) -> Verdict:
    """The verdict on one worker of this kind."""
    return await run(
        plan,
        brokers=1,
        delivery="effectively_once",
        settle_seconds=60,
        directory=directory,
        say=print,
        command=command,
    )


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("artifacts_dir", "kafka_jars", "minio_binary")
async def test_two_minutes_of_chaos(tmp_path: Path) -> None:
    """By the command, as everybody runs it; what it prints is the story of a failure."""
    arguments = (
        "--seed",
        str(SEED_OF_THE_TEST),
        "--minutes",
        "2",
        "--settle-seconds",
        "100",
        "--keep",
        str(tmp_path / "kept"),
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.chaos", *arguments, cwd=ROOT)
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.usefixtures("artifacts_dir", "kafka_jars", "minio_binary")
async def test_a_sound_worker_gets_past_the_ledger(tmp_path: Path) -> None:
    verdict = await judged(KILLED, tmp_path, *REAL)
    assert [row for row in verdict.rows if row.holds is False] == []
    assert verdict.row("events in").figure == str(len(EVENTS))
    assert verdict.row("transcripts").figure == "5"
    assert verdict.row("dead letters").figure == "2 (bad_event 1, not_audio 1)"
    assert verdict.row("skips").figure == "1"


@pytest.mark.parametrize(
    ("mode", "plan", "row"),
    [
        ("early", KILLED, "committed past unfinished records"),
        ("drop", UNDISTURBED, "lost"),
        ("swap", UNDISTURBED, "answers that are not the input's"),
        ("twice", UNDISTURBED, "repeated outputs that differ"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("artifacts_dir", "kafka_jars", "minio_binary")
async def test_a_broken_worker_does_not_get_past_the_ledger(tmp_path: Path, mode: str, plan: Plan, row: str) -> None:
    verdict = await judged(plan, tmp_path, "-m", "tests.chaos.broken", mode)
    assert verdict.row(row).holds is False
    assert not verdict.holds
