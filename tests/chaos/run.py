"""One chaos run: start everything, feed and break it for the plan's time, mend it, let it settle, judge."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer.operate.kafka_jars import ensure_kafka_jars
from tests.chaos import collect, disk, ledger
from tests.chaos.cluster import Services, running_services
from tests.chaos.facts import Facts
from tests.chaos.faults import Faults
from tests.chaos.feed import BUCKET, RESULTS_BUCKET, send_all, upload
from tests.chaos.plan import EXTRA_WORKER, OBJECT_RETRY_SECONDS, SESSION_SECONDS, Plan
from tests.chaos.watch import Watch
from tests.chaos.workers import REAL, Fleet
from tests.support.built import prebuilt_artifacts
from tests.support.cache import CACHE_DIR
from tests.support.minio import find_binary
from tests.support.s3 import s3_client

PARTITIONS = 6
GRACE_SECONDS = 6.0
STOP_SECONDS = GRACE_SECONDS + 20.0  # its longest way out: grace, then time-outs of whatever is broken
_POLL_SECONDS = 0.2

Say = Callable[[str], None]


@dataclass(frozen=True)
class Topics:
    """Names of one run."""

    input: str
    output: str
    dead_letters: str
    group_id: str


async def run(
    plan: Plan,
    *,
    brokers: int,
    delivery: str,
    settle_seconds: float,
    directory: Path,
    say: Say,
    command: Sequence[str] = REAL,
) -> ledger.Verdict:
    """Run a plan and judge what came of it. ``command`` is what Python is told to run as a worker.

    Facts and the workers' logs are kept in ``directory``. Raises RuntimeError where there is no MinIO, ProcessError
    where something does not start.
    """
    minio = find_binary()
    if minio is None:
        raise RuntimeError("there is no MinIO; `python -m tests.support.minio` builds it (needs Go)")
    artifacts_dir = await asyncio.to_thread(prebuilt_artifacts)
    jars = await asyncio.to_thread(ensure_kafka_jars, CACHE_DIR)
    data, logs_dir = directory / "data", directory / "logs"
    logs_dir.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, data, ignore_errors=True)
        services = await stack.enter_async_context(running_services(jars, minio, data, brokers))
        say("brokers and store run")
        s3 = await stack.enter_async_context(s3_client(services.store))
        data.mkdir(exist_ok=True)
        gone_etags = await upload(s3, plan.events, data)
        topics = await _topics(services)
        settings = _settings(services, topics, artifacts_dir, delivery)
        disks, why_no_disks = disk.mount_disks(data / "spool", (*plan.workers, EXTRA_WORKER))
        stack.callback(disk.unmount, disks.values())
        fleet = Fleet(settings, logs_dir, disks, stop_seconds=STOP_SECONDS, command=command)
        stack.callback(fleet.destroy)
        faults = Faults(services, fleet, plan.workers, disks, why_no_disks, say)
        watch = Watch(services.cluster.bootstrap_servers, topics.group_id, topics.input, s3)
        for name in plan.workers:
            fleet.start(name)
        await fleet.wait_until_ready()
        say(f"everything runs: {len(plan.events)} events and {len(plan.actions)} faults in {plan.seconds:.0f} s")
        async with _beside(watch.run(), fleet.supervise()):
            began = time.monotonic()
            feeding = send_all(services.cluster.bootstrap_servers, topics.input, plan.events, gone_etags, began)
            await asyncio.gather(feeding, faults.run(plan.actions, began))
            await faults.mend()
            say("all is mended, waiting until all is done")
            settled = await _settled(watch, services, topics, settle_seconds)
            say("all is done" if settled else f"not all was done after {settle_seconds:.0f} s")
        await fleet.stop()
        say("the workers have ended, reading what is there")
        for _ in range(2):  # what the first one finds counts with the second
            await watch.look_at_commits()
        bootstrap = services.cluster.bootstrap_servers
        exactly_once = delivery == "exactly_once"
        records = await collect.read_topic(bootstrap, topics.output, committed_only=exactly_once)
        inputs = collect.inputs_of(await collect.read_topic(bootstrap, topics.input), plan.events)
        facts = Facts(
            exactly_once=exactly_once,
            inputs=inputs,
            ends=dict(collect.ends_of(inputs)),
            answers=await collect.answers_of(records, s3),
            answers_uncommitted=len(await collect.read_topic(bootstrap, topics.output)),
            letters=collect.letters_of(
                await collect.read_topic(bootstrap, topics.dead_letters, committed_only=exactly_once)
            ),
            commits=tuple(watch.commits),
            stored=await collect.stored_results(s3),
            inferred=collect.inferred_in(logs_dir),
            checkpoints=tuple(watch.checkpoints),
            disturbed=tuple(faults.disturbed),
            ended=tuple(fleet.ended),
        )
        facts.save(directory / "facts.json")
        return ledger.judge(facts)


@asynccontextmanager
async def _beside(*endless: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these meanwhile. One that fails shows when the block ends."""
    tasks = [asyncio.create_task(one) for one in endless]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)


async def _topics(services: Services) -> Topics:
    suffix = uuid.uuid4().hex[:8]
    topics = Topics(f"audio.uploaded-{suffix}", f"audio.transcripts-{suffix}", f"dead-{suffix}", f"chaos-{suffix}")
    large = {"max.message.bytes": "2097152"}
    await services.cluster.create_topic(topics.input, partitions=PARTITIONS)
    await services.cluster.create_topic(topics.output, partitions=PARTITIONS, configs=large)
    await services.cluster.create_topic(topics.dead_letters, configs=large)
    return topics


def _settings(services: Services, topics: Topics, artifacts_dir: Path, delivery: str) -> dict[str, str]:
    """Time-outs short enough that faults of seconds matter; everything on the network goes through the proxies."""
    store = services.store
    return {
        "KAFKA_BOOTSTRAP_SERVERS": services.cluster.bootstrap_servers_for_workers,
        "KAFKA_GROUP_ID": topics.group_id,
        "KAFKA_INPUT_TOPIC": topics.input,
        "KAFKA_OUTPUT_TOPIC": topics.output,
        "KAFKA_DEAD_LETTER_TOPIC": topics.dead_letters,
        "KAFKA_SESSION_TIMEOUT_SECONDS": f"{SESSION_SECONDS:g}",
        "KAFKA_REBALANCE_TIMEOUT_SECONDS": "10",
        "KAFKA_REQUEST_TIMEOUT_SECONDS": "12",  # a join is answered when the rebalance is over
        "KAFKA_MAX_POLL_INTERVAL_SECONDS": "30",
        "MINIO_ENDPOINT": store.endpoint_for_workers,
        "MINIO_ACCESS_KEY": store.access_key,
        "MINIO_SECRET_KEY": store.secret_key,
        "MINIO_CONNECT_TIMEOUT_SECONDS": "3",
        "MINIO_READ_TIMEOUT_SECONDS": "5",
        "INPUT_BUCKETS": BUCKET,
        "RESULTS_BUCKET": RESULTS_BUCKET,
        "OBJECT_RETRY_SECONDS": f"{OBJECT_RETRY_SECONDS:g}",
        "DELIVERY": delivery,
        "SHUTDOWN_GRACE_SECONDS": f"{GRACE_SECONDS:g}",
        "MAX_IN_FLIGHT": "4",
        "MAX_IN_FLIGHT_BYTES": "134217728",  # the disks are in memory, and smaller than the default
        "WHISPER_STATES": "1",
        "WHISPER_MODEL_SIZE": "tiny.en",
        "WHISPER_ARTIFACTS_DIR": str(artifacts_dir),
        "CHECKPOINT_AUDIO_SECONDS": "60",
        "HTTP_HOST": "127.0.0.1",
    }


async def _settled(watch: Watch, services: Services, topics: Topics, timeout_seconds: float) -> bool:
    """Wait until the group has committed all that was fed; False where it has not in time."""
    records = await collect.read_topic(services.cluster.bootstrap_servers, topics.input)
    ends = {partition: offset + 1 for partition, offset in ((each.partition, each.offset) for each in records)}
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        committed = watch.committed()
        if all(committed.get(partition, 0) >= end for partition, end in ends.items()):
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False
