"""Carries out the faults of a plan, each at its time, and undoes each; ``mend`` undoes all."""

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from tests.chaos import disk
from tests.chaos.cluster import Services
from tests.chaos.facts import Disturbed
from tests.chaos.plan import EXTRA_WORKER, Action, Fault
from tests.chaos.proxy import Mode
from tests.chaos.workers import Fleet

_DELAY_SECONDS = 0.4
_BOUNCE_GRACE_SECONDS = 5.0
_MODES = {Fault.CUT: Mode.CUT, Fault.LATENCY: Mode.LATENCY, Fault.HALF_OPEN: Mode.HALF_OPEN}


class Faults:
    """What can be broken, and what was: ``disturbed`` holds each fault as it really came."""

    def __init__(
        self,
        services: Services,
        fleet: Fleet,
        workers: Collection[str],
        disks: Mapping[str, Path],
        why_no_disks: str,
        say: Callable[[str], None],
    ) -> None:
        self._services = services
        self._fleet = fleet
        self._workers = workers
        self._disks = disks
        self._why_no_disks = why_no_disks
        self._say = say
        self._one_broker = asyncio.Lock()
        self.disturbed: list[Disturbed] = []

    async def run(self, actions: Iterable[Action], began: float) -> None:
        """Return once all faults came and went; ``began`` is ``time.monotonic`` at the plan's beginning."""
        async with asyncio.TaskGroup() as tasks:
            for action in actions:
                tasks.create_task(self._carry_out(action, began))

    async def mend(self) -> None:
        """Whatever is broken works again; all workers run."""
        for target in ("store", "brokers"):
            for proxy in self._services.proxies(target):
                proxy.set(Mode.PASS)
        self._services.store.thaw()
        for path in self._disks.values():
            disk.free(path)
        await self._services.cluster.start_again()
        for name in (*self._workers, EXTRA_WORKER):
            self._fleet.send(name, signal.SIGCONT)
        for name in self._workers:
            self._fleet.start(name)

    async def _carry_out(self, action: Action, began: float) -> None:
        await asyncio.sleep(max(0.0, began + action.at_seconds - time.monotonic()))
        note = ""
        if action.fault is Fault.DISK_FULL and not self._disks:
            note = f"left out: {self._why_no_disks}"
        self._say(f"{action.at_seconds:6.1f} s  {action.fault} of {action.target}, {action.for_seconds:g} s  {note}")
        started = time.time()
        if not note:
            await self._break(action)
        self.disturbed.append(Disturbed(action.fault, action.target, started, time.time(), note))

    async def _break(self, action: Action) -> None:
        target, fleet = action.target, self._fleet
        match action.fault:
            case Fault.KILL | Fault.TERM | Fault.REMOVE:
                await (fleet.kill(target) if action.fault is Fault.KILL else fleet.terminate(target))
                await asyncio.sleep(action.for_seconds)
                fleet.start(target)
            case Fault.STOP | Fault.ZOMBIE:
                fleet.send(target, signal.SIGSTOP)
                await asyncio.sleep(action.for_seconds)
                fleet.send(target, signal.SIGCONT)
            case Fault.ADD:
                fleet.start(target)
                await asyncio.sleep(action.for_seconds)
                await fleet.terminate(target)
            case Fault.BROKER_KILL | Fault.BROKER_BOUNCE:
                async with self._one_broker:  # on a busy machine one takes longer to come back than was planned
                    await self._broker(action)
            case Fault.CUT | Fault.LATENCY | Fault.HALF_OPEN:
                proxies = self._services.proxies(target)
                for proxy in proxies:
                    proxy.set(_MODES[action.fault], _DELAY_SECONDS)
                await asyncio.sleep(action.for_seconds)
                for proxy in proxies:
                    proxy.set(Mode.PASS)
            case Fault.STORE_OUTAGE:
                self._services.store.freeze()
                await asyncio.sleep(action.for_seconds)
                self._services.store.thaw()
            case Fault.DISK_FULL:
                await asyncio.to_thread(disk.fill, self._disks[target])
                await asyncio.sleep(action.for_seconds)
                disk.free(self._disks[target])

    async def _broker(self, action: Action) -> None:
        cluster, node = self._services.cluster, int(action.target.removeprefix("broker-"))
        if action.fault is Fault.BROKER_BOUNCE:
            cluster.nodes[node].send_signal(signal.SIGTERM)
            deadline = time.monotonic() + _BOUNCE_GRACE_SECONDS
            while cluster.nodes[node].exit_code is None and time.monotonic() < deadline:
                await asyncio.sleep(0.1)
        cluster.stop_node(node, grace_seconds=0)
        await asyncio.sleep(action.for_seconds)
        await cluster.start_again()
