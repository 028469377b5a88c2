"""The worker's guarantees on a real broker, around work of the tests' own."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from consumer.delivery.handling import SOURCE
from consumer.delivery.job import Job, Outcome
from consumer.delivery.membership import MembershipOptions
from consumer.errors import Reason, Rejected, Stage, Unavailable
from consumer.operate.kafka_server import KafkaServer
from tests.support.delivery import GatedWork, Plain, Topics, event, outcome, running_worker
from tests.support.kafka_clients import KafkaClients, kafka_clients


@pytest.fixture
async def clients(kafka: KafkaServer) -> AsyncIterator[KafkaClients]:
    async with kafka_clients(kafka.bootstrap_servers) as connected:
        yield connected


async def test_an_upload_is_answered_and_then_committed(clients: KafkaClients) -> None:
    topics = await Topics.create(clients)
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, GatedWork()) as worker:
        (message,) = await clients.read(topics.output, 1)
        assert (message.key, message.value, message.headers) == (
            b"a",
            b"0:0",
            (("done", b"yes"), (SOURCE, f"{topics.input}-0-0".encode())),
        )
        await clients.wait_committed(topics.group_id, topics.input, 1)
        assert worker.worker.joined
        assert worker.metric("records_finished_total", outcome="completed") == 1
        assert worker.metric("publish_seconds_count") == 1


async def test_an_answer_is_timed_from_its_event_on(clients: KafkaClients) -> None:
    async def long_ago(job: Job) -> Outcome:
        if job.upload.key == "defect":
            raise RuntimeError("a defect of the worker")
        return replace(outcome(job), audio_seconds=10)

    topics, trace_id = await Topics.create(clients), "4bf92f3577b34da6a3ce929d0e0e4736"
    parent = (("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01".encode()),)
    now_ms = round(time.time() * 1000)
    await clients.send(topics.input, event("prompt"), headers=parent)
    await clients.send(topics.input, event("late"), timestamp_ms=now_ms - 91_000)
    await clients.send(topics.input, event("defect"))
    async with running_worker(clients, topics, Plain(long_ago)) as worker:
        await worker.wait_metric("objective_total", lambda value: value == 2, outcome="missed")
        await worker.wait_metric("objective_total", lambda value: value == 1, outcome="met")
        assert worker.metric("event_to_transcript_seconds_count") == 2
        assert worker.metric("event_to_transcript_seconds_sum") > 91
        (family,) = worker.metrics.event_to_transcript_seconds.collect()
        assert [each.exemplar.labels for each in family.samples if each.exemplar] == [{"trace_id": trace_id}]


async def test_the_lag_is_what_is_not_answered(clients: KafkaClients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.delivery.worker.LAG_INTERVAL_SECONDS", 0.1)
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("b")
    for key in "abcd":
        await clients.send(topics.input, event(key))
    async with running_worker(clients, topics, work) as worker:
        await worker.wait_metric("lag", lambda value: value == 1)
        work.release("b")
        await worker.wait_metric("lag", lambda value: value == 0)


async def test_out_of_order_completion_never_commits_past_an_unfinished_record(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("b")
    for key in "abcd":
        await clients.send(topics.input, event(key))
    async with running_worker(clients, topics, work) as worker:
        await clients.read(topics.output, 3)
        await clients.wait_committed(topics.group_id, topics.input, 1)
        await worker.wait_metric("incomplete_offsets", lambda value: value == 1)
        assert await clients.committed(topics.group_id, topics.input) == 1
        work.release("b")
        await clients.wait_committed(topics.group_id, topics.input, 4)


async def test_nothing_is_committed_before_the_answer_is_acknowledged(clients: KafkaClients) -> None:
    topics = await Topics.create(clients)
    topics.output = "no-such-topic"
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, GatedWork(), grace_seconds=0, publish_timeout_seconds=0.5) as worker:
        await worker.wait_metric("retries_total", lambda value: value > 0, dependency="broker")
        assert not await clients.committed(topics.group_id, topics.input)
    assert not await clients.committed(topics.group_id, topics.input)


async def test_what_can_never_succeed_becomes_a_dead_letter_byte_for_byte(clients: KafkaClients) -> None:
    async def reject(job: Job) -> Outcome:
        raise Rejected(Reason.NOT_AUDIO, Stage.DECODE, f"no audio in {job.upload.key}")

    topics = await Topics.create(clients)
    value, headers = event("ü"), (("trace", b"\x00\xff"), ("trace", b""), ("x", b"1"))
    await clients.send(topics.input, value, key=b"\xfe\x00", headers=headers)
    async with running_worker(clients, topics, Plain(reject)) as worker:
        (letter,) = await clients.read(topics.dead_letters, 1)
        await clients.wait_committed(topics.group_id, topics.input, 1)
        assert worker.metric("dead_letters_total", reason="not_audio") == 1
    assert (letter.key, letter.value, letter.headers[:3]) == (b"\xfe\x00", value, headers)
    assert letter.header("kafka_dlt-original-topic") == topics.input
    assert letter.header("kafka_dlt-original-offset") == "0"
    assert letter.header("whisper-consumer-reason") == "not_audio"
    assert letter.header("whisper-consumer-stage") == "decode"
    assert letter.header("whisper-consumer-attempts") == "1"
    assert await clients.size(topics.output) == 0


async def test_a_defect_of_the_work_is_a_dead_letter_and_the_worker_goes_on(clients: KafkaClients) -> None:
    async def fail_once(job: Job) -> Outcome:
        if job.upload.key == "bad":
            raise ZeroDivisionError("secret words")
        return outcome(job)

    topics = await Topics.create(clients)
    await clients.send(topics.input, event("bad"))
    await clients.send(topics.input, event("good"))
    async with running_worker(clients, topics, Plain(fail_once)):
        (letter,) = await clients.read(topics.dead_letters, 1)
        await clients.wait_committed(topics.group_id, topics.input, 2)
    assert letter.header("whisper-consumer-reason") == "internal"
    assert "ZeroDivisionError" in letter.header("kafka_dlt-exception-message")
    assert "secret" not in letter.header("kafka_dlt-exception-message")


async def test_work_that_cancels_itself_is_a_defect_not_a_hang(clients: KafkaClients) -> None:
    async def cancel_itself(job: Job) -> Outcome:
        raise asyncio.CancelledError

    topics = await Topics.create(clients)
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, Plain(cancel_itself)):
        (letter,) = await clients.read(topics.dead_letters, 1)
        await clients.wait_committed(topics.group_id, topics.input, 1)
    assert letter.header("whisper-consumer-reason") == "internal"


async def test_other_buckets_are_refused_before_any_work(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    await clients.send(topics.input, event("a", bucket="whisper-artifacts"))
    async with running_worker(clients, topics, work):
        (letter,) = await clients.read(topics.dead_letters, 1)
    assert letter.header("whisper-consumer-reason") == "bucket_not_allowed"
    assert letter.header("whisper-consumer-attempts") == "0"
    assert not work.started


async def test_an_outage_is_waited_for_and_not_committed(clients: KafkaClients) -> None:
    attempts, down = 0, asyncio.Event()

    async def unavailable_at_first(job: Job) -> Outcome:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Unavailable("store", "connection refused")
        await down.wait()
        return outcome(job)

    topics = await Topics.create(clients)
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, Plain(unavailable_at_first)) as worker:
        await worker.wait_until(lambda: attempts == 3)
        assert worker.metric("retries_total", dependency="store") == 2
        assert not await clients.committed(topics.group_id, topics.input)
        down.set()
        await clients.wait_committed(topics.group_id, topics.input, 1)
        assert await clients.size(topics.dead_letters) == 0


async def test_long_work_keeps_the_partition_by_polling_while_paused(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("long")
    await clients.send(topics.input, event("long"))
    await clients.send(topics.input, event("next"))

    def impatient(options: MembershipOptions) -> MembershipOptions:
        return replace(options, max_poll_interval_seconds=1, session_timeout_seconds=2)

    async with running_worker(clients, topics, work, max_in_flight=1, change=impatient) as worker:
        await work.wait_started("long")
        await worker.wait_metric("paused_partitions", lambda value: value == 1)
        await worker.wait_metric("oldest_in_flight_seconds", lambda value: value > 4)
        work.release("long")
        await clients.wait_committed(topics.group_id, topics.input, 2)
        assert worker.metric("rebalances_total") == 1
        assert work.started == {"long": 1, "next": 1}


async def test_a_worker_without_a_free_slot_takes_nothing_more(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    keys = [f"k{number}" for number in range(6)]
    work.hold(*keys)
    for key in keys:
        await clients.send(topics.input, event(key))
    async with running_worker(clients, topics, work, max_in_flight=2) as worker:
        await work.wait_started("k1")
        await worker.wait_metric("paused_partitions", lambda value: value == 1)
        assert sum(work.started.values()) == 2
        work.release("k0")
        await work.wait_started("k2")
        assert "k3" not in work.started
        work.release(*keys[1:])
        await clients.wait_committed(topics.group_id, topics.input, 6)


async def test_stop_waits_for_work_in_flight_and_commits_it(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("a")
    await clients.send(topics.input, event("a"))
    async with running_worker(clients, topics, work) as worker:
        await work.wait_started("a")
        worker.worker.stop()
        await clients.send(topics.input, event("late"))
        work.release("a")
        await worker.stop()
        assert not worker.worker.joined
    assert await clients.committed(topics.group_id, topics.input) == 1
    assert "late" not in work.started


async def test_stop_gives_up_after_the_grace_and_leaves_the_rest_uncommitted(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients), GatedWork()
    work.hold("b")
    await clients.send(topics.input, event("a"))
    await clients.send(topics.input, event("b"))
    async with running_worker(clients, topics, work, grace_seconds=0.2) as worker:
        await clients.read(topics.output, 1)
        await work.wait_started("b")
        await worker.stop()
    assert work.cancelled == {"b": 1}
    assert await clients.committed(topics.group_id, topics.input) == 1


async def test_a_worker_started_before_its_topic_waits_for_it(clients: KafkaClients) -> None:
    topics = Topics("unused", await clients.create_topic("out"), await clients.create_topic("dead"))
    topics.input = f"{topics.output}-later"
    async with running_worker(clients, topics, GatedWork()) as worker:
        await worker.wait_until(lambda: worker.worker.last_tick > 0)
        await worker.stop()


async def test_poison_of_any_kind_never_stops_the_worker(clients: KafkaClients) -> None:
    topics = await Topics.create(clients)
    poison = [
        b"", b"\xff\xfe\x00", b"{", b"[" * 3000, b"null", b"[]", b'"text"', b"{}", b'{"Records": [[]]}',
        b'{"Records": [{"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": [], "object": {"key": "%E9"}}}]}',
        b'{"specversion": "1.0", "type": {"a": 1}}', b'{"bucket": {}, "key": []}',
        b'{"key": "\\ud800", "bucket": "calls"}',
    ]  # fmt: skip
    for value in poison:
        await clients.send(topics.input, value, key=b"\xff", headers=[("ü", b"\xff"), ("ü", b"")])
    await clients.send(topics.input, None, key=b"tombstone")
    await clients.send(topics.input, event("good"))
    async with running_worker(clients, topics, GatedWork()) as worker:
        await clients.wait_committed(topics.group_id, topics.input, len(poison) + 2)
        letters = await clients.read(topics.dead_letters, len(poison))
        assert worker.metric("events_total", kind="tombstone") == 1
    assert sorted(letter.value or b"" for letter in letters) == sorted(poison)
    assert {letter.header("whisper-consumer-reason") for letter in letters} == {"bad_event"}
    (answer,) = await clients.read(topics.output, 1)
    assert answer.key == b"good"


async def test_every_record_is_answered_when_there_are_many(clients: KafkaClients) -> None:
    topics = await Topics.create(clients, partitions=3)
    keys = [f"k{number}" for number in range(300)]
    await asyncio.gather(*(clients.send(topics.input, event(key), partition=None) for key in keys))
    async with running_worker(clients, topics, GatedWork(), max_in_flight=16):
        answers = await clients.read(topics.output, len(keys))
    assert sorted((answer.key or b"").decode() for answer in answers) == sorted(keys)
    assert await clients.size(topics.output) == len(keys)


async def test_a_record_that_the_client_cannot_decode_does_not_hold_up_its_partition(clients: KafkaClients) -> None:
    topics, work = await Topics.create(clients, partitions=2), GatedWork()
    for key in ("elsewhere-0", "elsewhere-1"):
        await clients.send(topics.input, event(key), partition=1)
    await clients.send_undecodable(topics.input, before=[event("before-0"), event("before-1")], after=[event("behind")])
    await clients.send(topics.input, event("next batch"))
    async with running_worker(clients, topics, work, max_in_flight=16):
        letters = await clients.read(topics.dead_letters, 2)
        await clients.wait_committed(topics.group_id, topics.input, 5, 0)
        await clients.wait_committed(topics.group_id, topics.input, 2, 1)
    assert work.started == dict.fromkeys(["elsewhere-0", "elsewhere-1", "before-0", "before-1", "next batch"], 1)
    assert sorted(letter.header("kafka_dlt-original-offset") for letter in letters) == ["2", "3"]
    for letter in letters:
        assert letter.header("whisper-consumer-reason") == "bad_event"
        assert "UTF-8" in letter.header("whisper-consumer-unreadable")
