"""States and threads: every call that computes on a recording is made here, and none without a turn.

N windows are transcribed at once, each on a state and a thread of its own, and one more thread looks for speech beside
them. N states with one thread each do more in total than one state with N threads (measured: 1.1 to 1.3 times),
because the decoder's small matrices do not divide well. But a window that nobody waits behind gets the threads of
those that are not there: that is decided for each call, as it begins (rule 8 of ``turns``).
"""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from binding import AbortFlag, Context, State
from consumer.engine.deadline import Deadlines
from consumer.engine.places import Places
from consumer.observe.metrics import Metrics

T = TypeVar("T")

MOST_THREADS: Final = 4
"""Of one call, as whisper.cpp's own command line has it; what more would bring was not measured."""

WINDOW: Final = "window"
DETECTION: Final = "detection"


class StatePool:
    """Hands states and threads to recordings in rotation, or to one suspect alone (see ``turns``).

    An ``owner`` is whatever stands for one recording; it is told from others by its hash.
    """

    def __init__(
        self,
        context: Context,
        n_states: int,
        metrics: Metrics,
        deadlines: Deadlines,
        *,
        n_cpus: int = 1,
        cpus_left: Callable[[], int] | None = None,
        places: Places | None = None,
    ) -> None:
        """Make ``n_states`` states one after another. Raises StateInitError where memory is short.

        ``n_cpus``: how many threads may compute at once; where there are fewer states, each has several.
        ``cpus_left`` tells how many of them other processes leave at present; all, where it is not given.
        ``places`` are those of another pool with as many states, which this one is to share turns with.
        """
        self._context = context
        self._metrics = metrics
        self._deadlines = deadlines
        self._threads_a_place = min(max(1, n_cpus // n_states), MOST_THREADS)
        self._widest = max(1, min(n_cpus, MOST_THREADS) // self._threads_a_place)
        self._cpus_left = cpus_left or (lambda: n_cpus)
        self.places = places or Places({WINDOW: n_states, DETECTION: 1})
        self._executor = ThreadPoolExecutor(n_states + 1, thread_name_prefix="whisper")
        self._free = [context.new_state() for _ in range(n_states)]
        self._running: set[AbortFlag] = set()
        self.n_states = n_states
        metrics.states.set(n_states)

    async def run(
        self,
        owner: Hashable,
        audio_seconds: float,
        work: Callable[[State, AbortFlag, int], T],
        *,
        repeatable: bool = False,
        rank: int = 0,
    ) -> T:
        """Run ``work`` on so much audio in a thread with a state that nobody else uses, and a number of threads.

        Of several that wait, who has a higher ``rank`` goes first.

        The number is that of one place where the result must be ``repeatable`` to the last digit, else it depends on
        who waits, and on what other processes leave of the CPUs.

        When the caller is cancelled the work is told to abort, and the state goes back to the pool once the
        thread has really let go of it.
        """
        left = self._cpus_left()
        widest = 1 if repeatable else max(1, min(self._widest, left // self._threads_a_place))
        with self._metrics.windows_queued.track_inprogress():
            places = await self.places.take(WINDOW, owner, widest, rank)
        n_threads = places * self._threads_a_place
        if not repeatable:
            n_threads = min(n_threads, left)
        state, flag = self._free.pop(), AbortFlag()
        self._running.add(flag)
        self._metrics.states_busy.inc()

        def call() -> tuple[State, T]:
            usable = self._context.new_state() if state.is_closed else state  # the library freed it in an earlier error
            return usable, work(usable, flag, n_threads)

        def release(done: "asyncio.Future[tuple[State, T]]") -> None:
            self._running.discard(flag)
            self._metrics.states_busy.dec()
            failed = done.cancelled() or done.exception() is not None
            self._free.append(state if failed else done.result()[0])
            self.places.free(WINDOW, places)

        future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, audio_seconds, call, flag)
        future.add_done_callback(release)
        try:
            _, result = await asyncio.shield(future)
        except asyncio.CancelledError:
            flag.set()
            raise
        return result

    async def detect(self, owner: Hashable, audio_seconds: float, work: Callable[[], T], *, rank: int = 0) -> T:
        """Run ``work``, which looks for speech in so much audio, in a thread; one such call at a time."""
        await self.places.take(DETECTION, owner, rank=rank)
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._timed, audio_seconds, work, None)
        future.add_done_callback(self._detected)
        return await asyncio.shield(future)

    def overdue(self, now: float) -> float | None:
        """See ``Engine.overdue``."""
        return self._deadlines.overdue(now)

    async def close(self) -> None:
        """Abort what runs, wait for the threads, free the states."""
        for flag in self._running:
            flag.set()
        await asyncio.to_thread(self._executor.shutdown)
        while self._free:
            self._free.pop().close()

    def _timed(self, audio_seconds: float, call: Callable[[], T], flag: AbortFlag | None) -> T:
        """One call, under its deadline, in a thread. Detection is too quick to say anything of windows."""
        running = self._deadlines.begin(audio_seconds, time.monotonic())
        teaches = False
        try:
            result = call()
            teaches = flag is not None and not flag.is_set()
            return result
        finally:
            self._deadlines.end(running, time.monotonic(), teaches=teaches)

    def _detected(self, done: "asyncio.Future[T]") -> None:
        if not done.cancelled():
            done.exception()  # seen, in case that nobody waits for it any more
        self.places.free(DETECTION)
