"""What a breaker recalls, on a real broker: the latest answers of its group, in order, and never an error."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import aiokafka
import pytest

from consumer.delivery.breaker import Breaker
from consumer.delivery.deadletters import REASON, headers_of, verdict_on
from consumer.delivery.job import SourceRecord
from consumer.delivery.recent_letters import recent_answers
from consumer.delivery.topics import TopicNames
from consumer.errors import Reason, Rejected, Stage
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import free_ports
from tests.support.kafka_clients import Header, KafkaClients, kafka_clients

HOUR_SECONDS = 3600


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


def letter_headers(reason: str, group: str = "group", before: tuple[Header, ...] = ()) -> list[Header]:
    """As the worker writes them, with a reason that it may not know."""
    record = SourceRecord("in", 0, 0, 0, b"key", b"value", before)
    headers = headers_of(record, verdict_on(Rejected(Reason.MISSING, Stage.FETCH, "gone"), 1), group)
    return [(name, value or b"") for name, value in headers if (name, value) != (REASON, b"missing")] + [
        (REASON, reason.encode())
    ]


class Answers:
    """Writes answers as workers do, each a little later than the one before."""

    def __init__(self, clients: KafkaClients, topics: TopicNames) -> None:
        self.topics = topics
        self._clients = clients
        self._now_ms = round(time.time() * 1000) - 10_000

    async def transcripts(self, count: int = 1, *, partition: int = 0) -> None:
        for _ in range(count):
            await self._send(self.topics.output, partition, ())

    async def letter(
        self,
        reason: str,
        *,
        group: str = "group",
        partition: int = 0,
        age_seconds: float = 0,
        before: tuple[Header, ...] = (),
    ) -> None:
        """``before`` are headers that the record came with."""
        await self._send(self.topics.dead_letters, partition, letter_headers(reason, group, before), age_seconds)

    async def _send(self, topic: str, partition: int, headers: Any, age_seconds: float = 0) -> None:
        self._now_ms += 2
        await self._clients._producer.send_and_wait(
            topic,
            value=b"{}",
            partition=partition,
            headers=list(headers),
            timestamp_ms=self._now_ms - round(age_seconds * 1000),
        )

    async def recent(self, **options: Any) -> list[Reason | None]:
        client = {"bootstrap_servers": [self._clients.bootstrap_servers], "request_timeout_ms": 10_000}
        return await recent_answers(client, self.topics, "group", timeout_seconds=20, **options)


@pytest.fixture
async def answers(clients: KafkaClients) -> Answers:
    return Answers(
        clients, TopicNames("in", await clients.create_topic("out", 2), await clients.create_topic("dead", 2))
    )


async def test_answers_come_in_the_order_in_which_they_were_given(answers: Answers) -> None:
    await answers.transcripts(3)  # older than every letter: not told
    await answers.letter("crashed", partition=1)
    await answers.transcripts(2)
    await answers.transcripts(1, partition=1)
    await answers.letter("not_audio")
    await answers.letter("internal", partition=1)
    await answers.transcripts(1)
    expected = [Reason.CRASHED, None, None, None, Reason.NOT_AUDIO, Reason.INTERNAL, None]
    assert await answers.recent() == expected


async def test_the_latest_are_told(answers: Answers) -> None:
    for reason in ("internal", "crashed", "crashed", "not_audio"):
        await answers.letter(reason)
        await answers.transcripts()
    assert await answers.recent(most=3) == [None, Reason.NOT_AUDIO, None]


async def test_no_more_than_the_tail_is_read(answers: Answers) -> None:
    await answers.letter("crashed")
    for _ in range(3):
        await answers.letter("internal", group="another")
    assert await answers.recent(most=3) == []
    assert await answers.recent(most=4) == [Reason.CRASHED]


async def test_many_transcripts_since_leave_no_letter_among_the_latest(answers: Answers) -> None:
    await answers.letter("crashed")
    await answers.transcripts(5)
    assert await answers.recent(most=4) == [None] * 4
    assert await answers.recent(most=6) == [Reason.CRASHED, *[None] * 5]


async def test_another_group_and_old_letters_count_for_nothing(answers: Answers) -> None:
    await answers.letter("crashed", group="another")
    await answers.letter("crashed", age_seconds=HOUR_SECONDS)
    await answers.letter("internal")
    assert await answers.recent() == [Reason.INTERNAL]
    assert await answers.recent(younger_than_seconds=2 * HOUR_SECONDS) == [Reason.CRASHED, Reason.INTERNAL]


async def test_the_last_header_of_a_name_is_ours(answers: Answers) -> None:
    """A letter that was put back by another tool, headers and all, and became a letter again."""
    before = ((REASON, b"internal"), ("kafka_dlt-original-consumer-group", b"another"))
    await answers.letter("too_long", before=before)
    assert await answers.recent() == [Reason.TOO_LONG]


async def test_a_reason_of_a_later_version_is_no_fault_of_ours(answers: Answers) -> None:
    await answers.letter("of_a_later_version")
    assert await answers.recent() == [None]


async def test_a_letter_of_a_transaction_that_was_aborted_is_none(answers: Answers, clients: KafkaClients) -> None:
    """And a marker of a transaction, the last there is, is waited for by nobody."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=clients.bootstrap_servers, transactional_id=answers.topics.dead_letters
    )
    async with producer:
        for reason, ends in (("crashed", producer.commit_transaction), ("internal", producer.abort_transaction)):
            await producer.begin_transaction()
            headers = letter_headers(reason)
            await producer.send_and_wait(answers.topics.dead_letters, b"{}", partition=0, headers=headers)
            await ends()
    assert await answers.recent() == [Reason.CRASHED]


async def test_what_cannot_be_decoded_is_passed_over(answers: Answers, clients: KafkaClients) -> None:
    await clients.send_undecodable(answers.topics.dead_letters, [], [])
    await answers.letter("crashed")
    assert await answers.recent() == [Reason.CRASHED]


async def test_recalled_crashes_trip_a_breaker_at_the_next_one(answers: Answers) -> None:
    """Each process gives up one recording, and dies over the next."""
    for _ in range(9):
        await answers.letter("crashed")
    breaker = Breaker(0.5)
    for reason in await answers.recent():
        breaker.recall(reason)
    assert breaker.tripped is None
    breaker.note(Reason.CRASHED)
    assert breaker.tripped


async def test_a_few_crashes_among_many_transcripts_trip_nothing(answers: Answers) -> None:
    for _ in range(10):
        await answers.letter("crashed")
        await answers.transcripts(3)
    breaker = Breaker(0.5)
    for reason in await answers.recent():
        breaker.recall(reason)
    breaker.note(Reason.CRASHED)
    assert breaker.tripped is None


async def test_topics_that_are_missing_are_empty(answers: Answers, clients: KafkaClients) -> None:
    await answers.letter("crashed")
    answers.topics = TopicNames("in", "no-such-output", answers.topics.dead_letters)
    assert await answers.recent() == [Reason.CRASHED]
    answers.topics = TopicNames("in", "no-such-output", "no-such-topic")
    assert await answers.recent() == []
    assert "no-such-topic" not in await clients._admin.list_topics()


async def test_a_broker_that_is_away_is_only_told(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    client = {"bootstrap_servers": [f"127.0.0.1:{port}"], "request_timeout_ms": 500}
    with caplog.at_level(logging.WARNING, "consumer"):
        assert await recent_answers(client, TopicNames("a", "b", "c"), "group", timeout_seconds=5) == []
    assert "could not look at recent dead letters" in caplog.text


async def test_a_broker_that_says_nothing_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    connections: list[asyncio.Task[None]] = []

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client hangs up
        writer.close()
        await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.create_task(say_nothing(reader, writer)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server, asyncio.timeout(5):
        port = server.sockets[0].getsockname()[1]
        client = {"bootstrap_servers": [f"127.0.0.1:{port}"], "request_timeout_ms": 30_000}
        assert await recent_answers(client, TopicNames("a", "b", "c"), "group", timeout_seconds=0.5) == []
        await asyncio.gather(*connections)
    assert connections
    assert "could not look at recent dead letters" in caplog.text
