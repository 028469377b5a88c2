"""The command."""

import asyncio
import logging
import sys
from collections import Counter
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.text import Text

from consumer.delivery.connection import client_options
from consumer.delivery.deadletters import HEADER_BYTES
from consumer.engine.artifacts.locate import locate
from consumer.operate.broker import all_topics, known_topic
from consumer.operate.interruption import Interruption
from consumer.operate.printable import on_one_line
from consumer.operate.reconcile.decision import Decision, Recording, Rules
from consumer.operate.reconcile.events import announcement
from consumer.operate.reconcile.run import uncovered
from consumer.operate.reconcile.store import StoreListing
from consumer.operate.reconcile.view import Counting, tell_tally
from consumer.operate.sender import Sender
from consumer.settings import WorkerSettings
from consumer.store.boto import open_client

PAGE_KEYS = 1000


@dataclass(frozen=True, slots=True)
class ReconcileOptions:
    """Which recordings are looked at, and how they are announced."""

    bucket: str
    prefix: str
    since: datetime | None
    """Only what changed then or later."""
    min_age: timedelta
    stale_model: bool
    """Results of other models do not count."""
    dry_run: bool
    per_second: int
    page_keys: int = PAGE_KEYS


async def reconcile_bucket(
    settings: WorkerSettings, options: ReconcileOptions, console: Console, notes: Console
) -> int:
    """Announce what has neither result nor dead letter; a line for each in a pipe or a dry run, a summary on ``notes``.

    Returns the exit status: that of the signal, if one ended it early. Raises Unavailable, and ArtifactError where
    the present model is to be known and is not there.
    """
    # What goes wrong is told in one message; aiokafka's own lines would only stand around it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    rules = Rules(datetime.now(UTC), options.min_age, options.since, await _wanted_weights(settings, options))
    tally: Counter[Decision] = Counter()
    place = on_one_line(f"{options.bucket}/{options.prefix}")
    interruption = Interruption()
    try:
        async with AsyncExitStack() as stack:
            sender = None if options.dry_run else await _sender(settings, options, stack)
            client = await stack.enter_async_context(open_client(settings))
            listing = StoreListing(
                client,
                options.bucket,
                options.prefix,
                settings.results_bucket,
                with_weights=options.stale_model,
                page_keys=options.page_keys,
            )
            counting = stack.enter_context(Counting(notes))
            stack.enter_context(interruption.listening())
            says_each = options.dry_run or not console.is_terminal
            pages = await stack.enter_async_context(aclosing(uncovered(listing, rules, tally, interruption)))
            async for page in pages:
                counting.update(tally)
                size = sender.batch_size if sender else PAGE_KEYS
                for start in range(0, len(page), size):
                    batch = page[start : start + size]
                    if sender:
                        await _announce(batch, options.bucket, settings.kafka_input_topic, sender)
                    tally[Decision.ENQUEUE] += len(batch)
                    counting.update(tally)
                    if says_each:
                        _write_names(batch, options.bucket)
                    if interruption:
                        break
    finally:
        if tally:
            tell_tally(tally, place, dry_run=options.dry_run, console=notes)
    if not tally:
        notes.print(Text(f"There is nothing in {place}."), soft_wrap=True)
    if interruption:
        notes.print(Text("Interrupted; run it again to look at the rest."), soft_wrap=True)
    return interruption.exit_status


async def _wanted_weights(settings: WorkerSettings, options: ReconcileOptions) -> str | None:
    """Digest of the present model's weights, where results of others do not count. Raises ArtifactError."""
    if not options.stale_model:
        return None
    found = await asyncio.to_thread(
        locate, settings.whisper_artifacts_dir, settings.whisper_model_size, settings.whisper_precision
    )
    return found.weights_sha256


async def _sender(settings: WorkerSettings, options: ReconcileOptions, stack: AsyncExitStack) -> Sender:
    client = client_options(settings)
    known_topic(await all_topics(client), settings.kafka_input_topic, "correct KAFKA_INPUT_TOPIC, or create it")
    sender = Sender(client, settings.kafka_max_record_bytes + HEADER_BYTES, options.per_second)
    return await stack.enter_async_context(sender)


async def _announce(batch: list[Recording], bucket: str, topic: str, sender: Sender) -> None:
    """Send, and raise the first fault."""
    for fault in await sender.send([announcement(bucket, recording, topic) for recording in batch]):
        if fault is not None:
            raise fault


def _write_names(batch: list[Recording], bucket: str) -> None:
    sys.stdout.writelines(on_one_line(f"{bucket}/{recording.key}") + "\n" for recording in batch)
    sys.stdout.flush()
