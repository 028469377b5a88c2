"""A worker in a process of its own, with work that dies as its key tells: ``python -m tests.support.mortal_worker``.

Delivery is the real one. The work stands for native code: it takes the process to itself where it must, and what it
does follows from the key: ``poison…`` kills the process by SIGSEGV, ``slow…`` goes on until it is told by a file,
``step…`` makes progress in steps and dies after each, everything else is answered at once. Each beginning is a line
on standard output: the key, whether it ran alone, and how many others were running.
"""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from consumer.delivery.commit_metadata import Remembered, State
from consumer.delivery.job import Attempt, Job, Outcome
from consumer.delivery.membership import MembershipOptions
from consumer.errors import Reason, Stage
from tests.support.delivery import Topics, outcome, running_worker
from tests.support.kafka_clients import KafkaClients, kafka_clients

STEPS = 5


class MortalWork:
    """``directory`` holds what outlives the process: progress, and the files that end slow work."""

    def __init__(self, clients: KafkaClients, topics: Topics, directory: Path) -> None:
        self._clients = clients
        self._topics = topics
        self._directory = directory
        self._free = asyncio.Condition()
        self._running = 0
        self._exclusive = False

    async def do(self, job: Job, attempt: Attempt) -> Outcome:
        async with self._free:
            await self._free.wait_for(lambda: not self._exclusive and not (attempt.alone and self._running))
            self._exclusive = attempt.alone
            self._running += 1
        try:
            await attempt.begins()
            told = {"key": job.upload.key, "alone": attempt.alone, "others": self._running - 1}
            print(json.dumps(told), flush=True)
            await self._act(job.upload.key, attempt)
        finally:
            attempt.ends()
            async with self._free:
                self._running -= 1
                self._exclusive = False
                self._free.notify_all()
        return outcome(job)

    async def _act(self, key: str, attempt: Attempt) -> None:
        if key.startswith("poison"):
            os.kill(os.getpid(), signal.SIGSEGV)
        while key.startswith("slow") and not (self._directory / key).exists():
            await asyncio.sleep(0.02)
        progress = self._directory / f"{key}.progress"
        done = int(progress.read_text()) if progress.exists() else 0
        if key.startswith("step") and done < STEPS:
            progress.write_text(str(done + 1))
            attempt.progressed()
            if attempt.alone:
                await self._clients.wait_remembered(self._topics.group_id, self._topics.input, _progressed)
            os.kill(os.getpid(), signal.SIGKILL)

    async def given_up(self, job: Job, reason: Reason, stage: Stage | None, message: str) -> None:
        told = {"key": job.upload.key, "given_up": reason, "stage": stage, "message": message}
        print(json.dumps(told), flush=True)


def _progressed(known: Remembered) -> bool:
    return any(entry.state is State.ALONE_PROGRESSED for entry in known.entries.values())


def _soon_missed(options: MembershipOptions) -> MembershipOptions:
    """A dead member holds its partitions until its session ends."""
    return replace(options, session_timeout_seconds=2)


async def main() -> None:
    servers, names, directory, exactly_once = sys.argv[1:]
    topics = Topics(**json.loads(names))
    async with kafka_clients(servers) as clients:
        work = MortalWork(clients, topics, Path(directory))
        async with running_worker(
            clients, topics, work, exactly_once=exactly_once == "True", change=_soon_missed
        ) as worker:
            await asyncio.wait({worker.running})


if __name__ == "__main__":
    asyncio.run(main())
