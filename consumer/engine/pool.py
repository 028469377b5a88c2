"""States and threads: N windows are transcribed at once, each on a state and a thread of its own.

N states with one thread each do more in total than one state with N threads (measured: 1.1 to 1.3 times),
because the decoder's small matrices do not divide well.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from binding import AbortFlag, Context, State
from consumer.observe.metrics import Metrics

T = TypeVar("T")


class StatePool:
    """Hands out states in the order they were asked for; whoever asks for many waits behind who asks for one."""

    def __init__(self, context: Context, n_states: int, metrics: Metrics) -> None:
        """Make ``n_states`` states one after another. Raises StateInitError where memory is short."""
        self._context = context
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(n_states, thread_name_prefix="whisper")
        self._free: asyncio.Queue[State] = asyncio.Queue()
        self._running: set[AbortFlag] = set()
        for _ in range(n_states):
            self._free.put_nowait(context.new_state())
        self.n_states = n_states
        metrics.states.set(n_states)

    async def run(self, work: Callable[[State, AbortFlag], T]) -> T:
        """Run ``work`` in a thread with a state that nobody else uses.

        When the caller is cancelled the work is told to abort, and the state goes back to the pool once the
        thread has really let go of it.
        """
        self._metrics.windows_queued.inc()
        try:
            state = await self._free.get()
        finally:
            self._metrics.windows_queued.dec()
        flag = AbortFlag()
        self._running.add(flag)
        self._metrics.states_busy.inc()
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._in_thread, work, state, flag)
        future.add_done_callback(lambda done: self._release(flag, state, done))
        try:
            _, result = await asyncio.shield(future)
        except asyncio.CancelledError:
            flag.set()
            raise
        return result

    def _in_thread(self, work: Callable[[State, AbortFlag], T], state: State, flag: AbortFlag) -> tuple[State, T]:
        if state.is_closed:  # the library freed it in an earlier error
            state = self._context.new_state()
        return state, work(state, flag)

    def _release(self, flag: AbortFlag, state: State, done: "asyncio.Future[tuple[State, T]]") -> None:
        self._running.discard(flag)
        self._metrics.states_busy.dec()
        failed = done.cancelled() or done.exception() is not None
        self._free.put_nowait(state if failed else done.result()[0])

    async def close(self) -> None:
        """Abort what runs, wait for the threads, free the states."""
        for flag in self._running:
            flag.set()
        await asyncio.to_thread(self._executor.shutdown)
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._free.get_nowait().close()
