"""Looks at committed offsets and checkpoints while a run goes on, with plain clients."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from botocore.exceptions import BotoCoreError, ClientError
from types_aiobotocore_s3 import S3Client

from tests.chaos.facts import Checkpointed, Committed
from tests.chaos.feed import RESULTS_BUCKET

_PAUSE_SECONDS = 0.3
_LOOK_TIMEOUT_SECONDS = 5.0


class Offsets:
    """The offsets of a group as one look after another finds them.

    An offset counts, from the first look that found it, once the next one found no lower: a coordinator tells what it
    has not replicated yet, and may die before it has. Nobody promised such a commit, and its worker makes it again.
    """

    def __init__(self) -> None:
        self.last: dict[int, tuple[int, str]] = {}
        self._once: dict[int, tuple[float, tuple[int, str]]] = {}

    def news(self, partition: int, seen: float, now: tuple[int, str]) -> list[tuple[float, tuple[int, str]]]:
        """Take what a look found, offset and metadata; returns the changes to be noted, with when they were seen."""
        once = self._once.pop(partition, None)
        before = self.last.get(partition)
        if before is not None and now[0] < before[0]:
            self.last[partition] = now
            return [(seen, now)]
        noted = []
        if once is not None and once[1][0] <= now[0]:
            self.last[partition] = once[1]
            noted = [once]
        if now != self.last.get(partition):
            self._once[partition] = (seen, now)
        return noted


class Watch:
    """What was seen of one group; ``commits`` and ``checkpoints`` hold changes alone, in the order of time."""

    def __init__(self, bootstrap_servers: str, group_id: str, topic: str, s3: S3Client) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._group_id = group_id
        self._topic = topic
        self._s3 = s3
        self._offsets = Offsets()
        self._done: dict[str, float] = {}
        self.commits: list[Committed] = []
        self.checkpoints: list[Checkpointed] = []

    async def run(self) -> None:
        """Look again and again, without end; what cannot be seen now is looked at later."""
        await asyncio.gather(_again(self.look_at_commits), _again(self.look_at_checkpoints))

    def committed(self) -> dict[int, int]:
        """The offset of each partition that has one, as it counts."""
        return {partition: offset for partition, (offset, _) in self._offsets.last.items()}

    async def look_at_commits(self) -> None:
        """Note the committed offsets that changed; the last of them needs one more look."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers, request_timeout_ms=5000)
        await admin.start()
        try:
            found: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(self._group_id)
        finally:
            await admin.close()
        seen = time.time()
        for name, committed in sorted(found.items()):
            if name.topic == self._topic and committed.offset >= 0:
                now = (committed.offset, committed.metadata or "")
                for since, (offset, metadata) in self._offsets.news(name.partition, seen, now):
                    self.commits.append(Committed(since, name.partition, offset, len(metadata)))

    async def look_at_checkpoints(self) -> None:
        """Note the checkpoints that are further than when they were seen last."""
        listing = await self._s3.list_objects_v2(Bucket=RESULTS_BUCKET, Prefix="checkpoints/")
        for entry in listing.get("Contents", ()):
            answer = await self._s3.get_object(Bucket=RESULTS_BUCKET, Key=entry["Key"])
            async with answer["Body"] as body:
                document = json.loads(await body.read())
            id_, done = document["transcriptId"], float(document["doneSeconds"])
            if done > self._done.get(id_, 0.0):
                self._done[id_] = done
                self.checkpoints.append(Checkpointed(time.time(), id_, done))


async def _again(look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT_SECONDS):
                await look()
        except (KafkaError, OSError, TimeoutError, ClientError, BotoCoreError):
            pass  # a broker or the store is down just now
        await asyncio.sleep(_PAUSE_SECONDS)
