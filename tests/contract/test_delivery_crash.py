"""Workers die: what was finished is not repeated, and what kills them is found, on a real broker."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from consumer.operate.kafka_server import KafkaServer
from tests.support.delivery import Topics, event
from tests.support.kafka_clients import KafkaClients, kafka_clients

MODES = pytest.mark.parametrize("exactly_once", [False, True], ids=["effectively_once", "exactly_once"])


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


class Mortal:
    """A worker that may die; restarted as a container would be."""

    def __init__(self, clients: KafkaClients, topics: Topics, directory: Path, *, exactly_once: bool) -> None:
        self._arguments = [clients.bootstrap_servers, json.dumps(asdict(topics)), str(directory), str(exactly_once)]
        self.told: list[dict[str, Any]] = []
        self.deaths = 0

    @asynccontextmanager
    async def run(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.mortal_worker", *self._arguments, stdout=asyncio.subprocess.PIPE
        )
        listening = asyncio.create_task(self._listen(process))
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await listening
            await process.wait()

    async def until(self, holds: Callable[[], bool], *, kill_when: Callable[[], bool] = lambda: False) -> None:
        """Restart it until something holds; it is killed from outside whenever ``kill_when`` holds."""
        async with asyncio.timeout(120):
            while not holds():
                async with self.run() as process:
                    while process.returncode is None and not holds():
                        if kill_when():
                            process.kill()
                        await asyncio.sleep(0.01)
                    self.deaths += process.returncode is not None

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.told.append(json.loads(line))

    def begun(self, key: str) -> list[dict[str, Any]]:
        return [told for told in self.told if told["key"] == key and "given_up" not in told]


async def feed(clients: KafkaClients, topics: Topics, *keys: str) -> None:
    for key in keys:
        await clients.send(topics.input, event(key))


@MODES
async def test_what_finished_before_a_kill_is_not_repeated(
    clients: KafkaClients, tmp_path: Path, *, exactly_once: bool
) -> None:
    topics = await Topics.create(clients)
    mortal = Mortal(clients, topics, tmp_path, exactly_once=exactly_once)
    await feed(clients, topics, "slow", "a", "b", "c")
    async with mortal.run() as process:
        await clients.read(topics.output, 3)
        await clients.wait_remembered(topics.group_id, topics.input, lambda known: known.finished == {1, 2, 3})
        process.send_signal(signal.SIGKILL)
        await process.wait()
    (tmp_path / "slow").touch()
    async with mortal.run():
        await clients.wait_committed(topics.group_id, topics.input, 4)
    assert [told["key"] for told in mortal.told] == ["slow", "a", "b", "c", "slow"]
    assert mortal.told[-1]["alone"]
    assert len(await clients.read_all(topics.output)) == 4


@MODES
async def test_a_recording_that_kills_is_given_up_and_its_neighbours_are_answered(
    clients: KafkaClients, tmp_path: Path, *, exactly_once: bool
) -> None:
    topics = await Topics.create(clients)
    mortal = Mortal(clients, topics, tmp_path, exactly_once=exactly_once)
    await feed(clients, topics, "slow-1", "poison", "slow-2", "b")
    for key in ("slow-1", "slow-2"):
        (tmp_path / key).touch()
    letters = asyncio.create_task(clients.read(topics.dead_letters, 1, timeout_seconds=110))
    await mortal.until(letters.done)
    (letter,) = await letters
    assert letter.header("whisper-consumer-reason") == "crashed"
    assert letter.header("whisper-consumer-attempts") == "3"
    assert [told["key"] for told in mortal.told if told.get("given_up") == "crashed"] == ["poison"]
    async with mortal.run():
        await clients.wait_committed(topics.group_id, topics.input, 4)
    # With others once perhaps, which proves nothing; then three times with the process to itself.
    alone = [told for told in mortal.begun("poison") if told["alone"]]
    assert len(alone) == 3
    assert all(told["others"] == 0 for told in mortal.told if told.get("alone"))
    answers = await clients.read(topics.output, 3)
    assert {answer.key for answer in answers} == {b"slow-1", b"slow-2", b"b"}


async def test_an_innocent_recording_survives_kills_from_outside(clients: KafkaClients, tmp_path: Path) -> None:
    topics = await Topics.create(clients)
    mortal = Mortal(clients, topics, tmp_path, exactly_once=False)
    await feed(clients, topics, "slow-1", "slow-2", "slow-3")
    seen = 0

    def all_open() -> bool:
        """Whenever anything new has begun and nothing but innocents is running."""
        nonlocal seen
        fresh = len(mortal.told) > seen and mortal.deaths < 5
        seen = len(mortal.told)
        return fresh

    answered = asyncio.create_task(clients.read(topics.output, 3, timeout_seconds=110))

    def release() -> bool:
        if mortal.deaths >= 5:
            for number in (1, 2, 3):
                (tmp_path / f"slow-{number}").touch()
        return answered.done()

    await mortal.until(release, kill_when=all_open)
    assert {answer.key for answer in await answered} == {b"slow-1", b"slow-2", b"slow-3"}
    assert not await clients.read_all(topics.dead_letters)


async def test_deaths_with_progress_do_not_count(clients: KafkaClients, tmp_path: Path) -> None:
    topics = await Topics.create(clients)
    mortal = Mortal(clients, topics, tmp_path, exactly_once=False)
    await feed(clients, topics, "step")
    answered = asyncio.create_task(clients.read(topics.output, 1, timeout_seconds=110))
    await mortal.until(answered.done)
    assert len(mortal.begun("step")) == 6
    assert not await clients.read_all(topics.dead_letters)
