"""Dead letters on a real broker: looked at, put back, each once, whatever comes between."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console

from consumer.delivery.deadletters import HEADER_BYTES, headers_of, verdict_on
from consumer.delivery.job import Headers, SourceRecord
from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.redrive import (
    Filters,
    Position,
    RedriveOptions,
    list_letters,
    redrive_letters,
    show_letter,
)
from consumer.operate.redrive.letters import REDRIVES
from consumer.settings import KafkaSettings, load
from tests.support.delivery import Topics
from tests.support.kafka_clients import KafkaClients, kafka_clients

ALL = Filters()


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as clients:
        yield clients


@dataclass
class Cluster:
    """Topics of one test, and the commands on them."""

    clients: KafkaClients
    topics: Topics
    settings: KafkaSettings
    capture: pytest.CaptureFixture[str]
    notes: str = ""

    async def die(
        self,
        key: str = "a.wav",
        reason: Reason = Reason.FORBIDDEN,
        *,
        topic: str | None = None,
        headers: Headers = (),
        value: bytes | None = None,
        partition: int = 0,
    ) -> Position:
        """Write the dead letter that the worker would write."""
        value = orjson.dumps({"bucket": "calls", "key": key}) if value is None else value
        original = SourceRecord(topic or self.topics.input, 0, 7, 1, key.encode(), value, headers)
        verdict = verdict_on(Rejected(reason, Stage.FETCH, f"no {key}"), attempts=1)
        told = headers_of(original, verdict, self.topics.group_id)
        offset = await self.clients.send(
            self.topics.dead_letters,
            value,
            key=original.key,
            partition=partition,
            headers=told,  # type: ignore[arg-type]
        )
        return Position(partition, offset)

    async def listed(self, filters: Filters = ALL, **how: Any) -> list[list[str]]:
        """The lines of ``redrive list`` in a pipe, as fields."""
        asked = {"limit": None, "as_json": False, **how}
        return await self._lines(list_letters, self.settings, filters, **asked, console=Console())

    async def redrive(self, filters: Filters = ALL, **how: Any) -> list[str]:
        """The letters that ``redrive run`` names in a pipe."""
        asked = {"to_topic": None, "limit": None, "per_second": 1000, "again": False, "dry_run": False, **how}
        lines = await self._lines(redrive_letters, self.settings, filters, RedriveOptions(**asked), console=Console())
        return [line[0] for line in lines]

    async def redriven(self, count: int, topic: str | None = None) -> list[Any]:
        """What is in the input topic, which must be so many records."""
        topic = topic or self.topics.input
        assert await self.clients.size(topic) == count
        return await self.clients.read(topic, count)

    async def _lines(self, command: Any, *arguments: Any, **how: Any) -> list[list[str]]:
        self.capture.readouterr()
        notes = StringIO()
        try:
            assert await command(*arguments, **how, notes=Console(file=notes, width=500)) == 0
        finally:
            self.notes = notes.getvalue()
        return [line.split("\t") for line in self.capture.readouterr().out.splitlines()]


def settings_of(clients: KafkaClients, topics: Topics, **others: Any) -> KafkaSettings:
    return load(
        KafkaSettings,
        kafka_bootstrap_servers=clients.bootstrap_servers,
        kafka_input_topic=topics.input,
        kafka_output_topic=topics.output,
        kafka_dead_letter_topic=topics.dead_letters,
        kafka_group_id=topics.group_id,
        **others,
    )


@pytest.fixture
async def cluster(clients: KafkaClients, capsys: pytest.CaptureFixture[str]) -> Cluster:
    topics = await Topics.create(clients)
    return Cluster(clients, topics, settings_of(clients, topics), capsys)


async def test_a_letter_goes_back_as_it_came_and_once(cluster: Cluster) -> None:
    own = (("trace", b"\x00\xff"), ("trace", b""), ("none", None), ("kafka_dlt-original-topic", b"its own"))
    value = b'{"bucket": "calls",  "key": "a b.wav"}'
    await cluster.die("a b.wav", value=value, headers=own)
    assert await cluster.redrive() == ["0:0"]
    (message,) = await cluster.redriven(1)
    assert (message.key, message.value) == (b"a b.wav", value)
    assert message.headers == (*own, (REDRIVES, b"1"))

    assert await cluster.redrive() == []
    assert "1 dead letter redriven before" in cluster.notes
    await cluster.redriven(1)

    assert await cluster.redrive(again=True) == ["0:0"]
    assert (await cluster.redriven(2))[1].headers == message.headers


async def test_a_record_that_dies_again_is_a_new_letter_and_is_counted(cluster: Cluster) -> None:
    await cluster.die("a.wav")
    await cluster.redrive()
    (first,) = await cluster.redriven(1)
    await cluster.die("a.wav", headers=first.headers)
    assert [(line[0], line[5], line[6]) for line in await cluster.listed()] == [
        ("0:0", "0", "redriven"),
        ("0:1", "1", "pending"),
    ]
    assert await cluster.redrive() == ["0:1"]
    assert (await cluster.redriven(2))[1].headers == ((REDRIVES, b"2"),)


async def test_the_list_in_a_pipe(cluster: Cluster) -> None:
    await cluster.die("a\tb\n.wav")
    await cluster.die("c.wav", Reason.NOT_AUDIO)
    await cluster.clients.send(cluster.topics.dead_letters, b"{}", headers=[("x", b"1")])
    first, second = await cluster.listed()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first[1])
    origin = f"{cluster.topics.input}-0-7"
    assert first[2:] == ["forbidden", "fetch", "1", "0", "pending", origin, "calls/a\\tb\\n.wav", "no a\\tb\\n.wav"]
    assert second[0:1] + second[2:3] == ["0:1", "not_audio"]
    assert f"2 dead letters in {cluster.topics.dead_letters}: 1 forbidden, 1 not_audio." in cluster.notes
    assert "1 dead letter of others there" in cluster.notes
    assert len(await cluster.listed(limit=1)) == 1
    assert "1 not_audio" in cluster.notes


async def test_the_list_as_json(cluster: Cluster) -> None:
    await cluster.die("a\nb.wav")
    ((line,),) = await cluster.listed(as_json=True)
    document = orjson.loads(line)
    assert document["objects"] == ["calls/a\nb.wav"]
    assert document["original"] == {"topic": cluster.topics.input, "partition": 0, "offset": 7}
    assert (document["letter"], document["reason"], document["redriven"]) == ("0:0", "forbidden", False)


async def test_the_list_on_a_terminal(cluster: Cluster) -> None:
    await cluster.die("a\x1b[2J.wav")
    await cluster.die("b.wav", Reason.EMPTY)
    await cluster.redrive(Filters(frozenset({Reason.EMPTY})))
    screen = Console(file=StringIO(), force_terminal=True, width=160, color_system=None)
    await list_letters(cluster.settings, Filters(), limit=None, as_json=False, console=screen, notes=screen)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert re.search(r"0:0 .* forbidden +fetch +calls/a\\x1b\[2J.wav", shown)
    assert re.search(r"0:1 .* empty +fetch +yes +calls/b.wav", shown)
    assert "\x1b[2J" not in shown


async def test_one_letter_in_full(cluster: Cluster) -> None:
    position = await cluster.die("a.wav", headers=(("trace", b"\xff"), ("who", "ü".encode())))
    await cluster.die("b.wav")
    screen = Console(file=StringIO(), width=200)
    assert await show_letter(cluster.settings, position, screen) == 0
    shown = screen.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "no a.wav" in shown
    assert "trace: 0xff" in shown
    assert "who: ü" in shown
    assert '"key": "a.wav"' in shown
    assert "whisper-consumer-reason: forbidden" in shown
    assert "b.wav" not in shown
    for nowhere in (Position(0, 2), Position(0, 10**9)):
        with pytest.raises(Unavailable, match=f"no dead letter {nowhere}"):
            await show_letter(cluster.settings, nowhere, screen)
    with pytest.raises(Unavailable, match="no partition 5"):
        await show_letter(cluster.settings, Position(5, 0), screen)


async def test_filters_limit_and_what_is_left_for_later(cluster: Cluster) -> None:
    for number in range(4):
        await cluster.die(f"in/{number}.wav")
        await cluster.die(f"out/{number}.wav", Reason.NOT_AUDIO)
    assert await cluster.redrive(Filters(frozenset({Reason.NOT_AUDIO})), limit=2) == ["0:1", "0:3"]
    assert await cluster.redrive(Filters(key_glob="out/*"), dry_run=True) == ["0:5", "0:7"]
    assert "2 dead letters would be redriven." in cluster.notes
    await cluster.redriven(2)
    assert await cluster.redrive(Filters(key_glob="calls/*/3.wav")) == ["0:6", "0:7"]
    assert await cluster.redrive() == ["0:0", "0:2", "0:4", "0:5"]
    assert len({message.key for message in await cluster.redriven(8)}) == 8
    assert await cluster.redrive(Filters(frozenset({Reason.CRASHED}))) == []
    assert "No dead letter" in cluster.notes


async def test_times(cluster: Cluster) -> None:
    await cluster.die("before.wav")
    soon = datetime.now(UTC) + timedelta(milliseconds=2)
    between = soon.replace(microsecond=soon.microsecond // 1000 * 1000)  # as exact as Kafka's times
    while datetime.now(UTC) < between:
        await asyncio.sleep(0)
    await cluster.die("after.wav")
    assert [line[0] for line in await cluster.listed(Filters(since=between))] == ["0:1"]
    assert [line[0] for line in await cluster.listed(Filters(until=between))] == ["0:0"]
    assert await cluster.listed(Filters(since=datetime.now(UTC) + timedelta(hours=1))) == []
    assert len(await cluster.listed(Filters(since=datetime(1969, 1, 1, tzinfo=UTC)))) == 2


async def test_partitions(clients: KafkaClients, cluster: Cluster) -> None:
    cluster.topics.dead_letters = await clients.create_topic("dead", partitions=3)
    cluster.settings = settings_of(clients, cluster.topics)
    for partition in (0, 2, 2):
        await cluster.die(f"{partition}.wav", partition=partition)
    assert await cluster.redrive(Filters(partition=2)) == ["2:0", "2:1"]
    assert await cluster.redrive(Filters(partition=1)) == []
    assert await cluster.redrive() == ["0:0"]


async def test_a_header_sends_nothing_to_a_topic_of_its_choice(clients: KafkaClients, cluster: Cluster) -> None:
    elsewhere = await clients.create_topic("elsewhere")
    await cluster.die("a.wav", topic=elsewhere)
    assert await cluster.redrive() == []
    assert "1 dead letter left: they came from another topic" in cluster.notes
    assert await clients.size(elsewhere) == 0
    assert await cluster.redrive(to_topic=elsewhere) == ["0:0"]
    await cluster.redriven(1, elsewhere)
    await cluster.redriven(0)


async def test_what_cannot_be_named(clients: KafkaClients, cluster: Cluster) -> None:
    await cluster.die()
    with pytest.raises(Unavailable, match=r"'not-there' does not exist.*--to"):
        await cluster.redrive(to_topic="not-there")
    missing = cluster.settings.model_copy(update={"kafka_dead_letter_topic": "not-there"})
    with pytest.raises(Unavailable, match=r"'not-there' does not exist.*KAFKA_DEAD_LETTER_TOPIC"):
        await list_letters(missing, Filters(), limit=None, as_json=False, console=Console(), notes=Console())
    with pytest.raises(Unavailable, match="no partition 9, only 0 to 0"):
        await cluster.listed(Filters(partition=9))


async def test_the_largest_record_goes_back(clients: KafkaClients, cluster: Cluster) -> None:
    largest = 3_000_000
    cluster.topics.input = await clients.create_topic("in", max_message_bytes=str(largest + HEADER_BYTES))
    cluster.topics.dead_letters = await clients.create_topic("dead", max_message_bytes=str(largest + HEADER_BYTES))
    cluster.settings = settings_of(clients, cluster.topics, kafka_max_record_bytes=largest)
    value = os.urandom(largest - 1000)
    clients._producer._max_request_size = largest + HEADER_BYTES
    await cluster.die(value=value)
    assert await cluster.redrive() == ["0:0"]
    (message,) = await cluster.redriven(1)
    assert message.value == value


async def test_a_letter_that_the_topic_does_not_take_keeps_no_mark(clients: KafkaClients, cluster: Cluster) -> None:
    cluster.topics.input = await clients.create_topic("in", max_message_bytes="2000")
    cluster.settings = settings_of(clients, cluster.topics)
    for name, size in (("a", 10), ("b", 10), ("large", 5000), ("c", 10)):
        await cluster.die(name, value=b"x" * size)
    with pytest.raises(Unavailable, match=r"raise the topic's max\.message\.bytes"):
        await cluster.redrive(per_second=10)
    assert "2 dead letters redriven." in cluster.notes
    assert [line[6] for line in await cluster.listed()] == ["redriven", "redriven", "pending", "pending"]


async def test_what_others_wrote_and_what_was_never_committed_are_passed_over(
    clients: KafkaClients, cluster: Cluster
) -> None:
    await cluster.die("a.wav")
    await clients.send_undecodable(cluster.topics.dead_letters, [b"1"], [b"2"])
    await cluster.die("b.wav")
    await clients.send_in_transactions(cluster.topics.dead_letters, [b"3"])  # a marker is the last of the topic
    assert await cluster.redrive() == ["0:0", "0:4"]


async def test_what_dies_during_a_run_waits_for_the_next(cluster: Cluster) -> None:
    await cluster.die("a.wav")
    cluster.settings = cluster.settings.model_copy(update={"kafka_input_topic": cluster.topics.dead_letters})
    await cluster.die("b.wav", topic=cluster.topics.dead_letters)
    assert await cluster.redrive() == ["0:1"]  # its redrive lands where it is read from
    assert await cluster.clients.size(cluster.topics.dead_letters) == 3


async def test_two_runs_at_once_forget_nothing(cluster: Cluster) -> None:
    for number in range(40):
        await cluster.die(f"{number}.wav")
    both = [
        redrive_letters(
            cluster.settings,
            Filters(),
            RedriveOptions(None, None, 100, again=False, dry_run=False),
            Console(file=StringIO()),
            Console(file=StringIO()),
        )
        for _ in range(2)
    ]
    assert await asyncio.gather(*both) == [0, 0]
    size = await cluster.clients.size(cluster.topics.input)
    assert {message.key for message in await cluster.redriven(size)} == {f"{n}.wav".encode() for n in range(40)}
    assert await cluster.redrive() == []


@asynccontextmanager
async def _started(cluster: Cluster, *arguments: str) -> AsyncIterator["subprocess.Popen[str]"]:
    """The command as a process of its own, which does not outlive the block."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": cluster.clients.bootstrap_servers,
        "KAFKA_INPUT_TOPIC": cluster.topics.input,
        "KAFKA_DEAD_LETTER_TOPIC": cluster.topics.dead_letters,
    }
    known = {name.upper() for name in KafkaSettings.model_fields}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    with subprocess.Popen(  # noqa: ASYNC220 - started at once
        [sys.executable, "-m", "consumer", "redrive", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, **settings},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _ran(cluster: Cluster, *arguments: str) -> tuple[int, Sequence[str], str]:
    async with _started(cluster, *arguments) as process:
        return await _ended(process)


async def _ended(process: "subprocess.Popen[str]") -> tuple[int, Sequence[str], str]:
    out, notes = await asyncio.to_thread(process.communicate, timeout=60)
    return process.returncode, out.splitlines(), notes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_run_that_ends_early_is_gone_on_with(cluster: Cluster, number: signal.Signals) -> None:
    count, per_second = 60, 20
    for index in range(count):
        await cluster.die(f"{index}.wav")
    async with _started(cluster, "run", "--rate", str(per_second)) as process:
        await cluster.clients.wait_size(cluster.topics.input, 10)
        process.send_signal(number)
        status, lines, notes = await _ended(process)
    assert len(lines) < count
    if number is signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 128 + number
        assert f"{len(lines)} dead letters redriven." in notes
        assert "goes on from here" in notes
        assert await cluster.clients.size(cluster.topics.input) == len(lines)

    status, more, notes = await _ran(cluster, "run", "--rate", "1000")
    assert (status, len(set(lines) & set(more))) == (0, 0)
    total = await cluster.clients.size(cluster.topics.input)
    seen = Counter(message.key for message in await cluster.redriven(total))
    assert set(seen) == {f"{index}.wav".encode() for index in range(count)}
    repeated = total - count
    assert repeated <= (per_second // 10 if number is signal.SIGKILL else 0)


async def test_the_command_line(cluster: Cluster) -> None:
    await cluster.die("a.wav")
    status, lines, notes = await _ran(cluster, "list", "--since", "1h", "--key", "*.wav")
    assert (status, len(lines)) == (0, 1)
    assert "1 forbidden" in notes
    status, lines, notes = await _ran(cluster, "run", "--until", "1h")
    assert (status, lines) == (0, [])
    assert "No dead letter" in notes
    status, _, notes = await _ran(cluster, "show", "0:9")
    assert (status, notes.count("\n")) == (1, 1)
    assert "no dead letter 0:9" in notes
