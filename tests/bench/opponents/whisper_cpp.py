"""whisper.cpp's own programs as opponents: whisper-cli, one process a file, and whisper-server, with the model loaded.

Both in the two builds of ``whisper_cpp_builds``. Left out of ``modes``, as it cannot win:

- q5_1 and f16: at a stock server 3.6 and 4.0 times real time, where q8_0 has 4.7 and bf16 5.4 (base, six clips, two
  servers, two cores of Zen 4)
- whisper-cli of our build: it does what the server does, and loads the model besides; it took 18 % longer. That of the
  stock build stays, being what most people run

A recording cut in parts (``-p``) is for long ones: each part of a short one costs the encoder a window of 30 s, but
150 s cut in two were done in four fifths of the time.

A mode that ends by a signal or an error is not measured: so ends the stock build at q8_0 on CPUs with AMX, whose tile
configuration one of our patches mends.
"""

import asyncio
import re
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp

from consumer.engine.artifacts.machine import native_class
from consumer.engine.artifacts.models import WHISPER_CLI, Precision
from consumer.operate.network import LOOPBACK, answers_ok, free_ports
from consumer.operate.process import ChildProcess, ProcessError
from consumer.settings import ModelSize
from tests.bench.opponents.ggml_models import ggml_model
from tests.bench.opponents.handing_in import GaveUpError, hand_in
from tests.bench.opponents.usage import cpu_seconds, peak_megabytes, resident_megabytes
from tests.bench.opponents.warm_up import WARM_UP
from tests.bench.opponents.whisper_cpp_builds import WHISPER_SERVER, Build, programs
from tests.bench.runs import Run

_GREEDY = ("-bs", "1", "-bo", "1")
_SEGMENT = re.compile(r"^\[[\d:.]+ --> [\d:.]+\](.*)$", re.MULTILINE)
_FASTEST: dict[str, tuple[Precision, Precision]] = {  # by class of CPU: of our build, of the stock one
    "avx512bf16": ("bf16", "bf16"),
    "amx": ("q8_0", "bf16"),
}
_SAMPLING_SECONDS = 0.1
_START_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Cli:
    """whisper-cli, one process a file, which loads the model each time: so it needs no warm-up and no time to load.

    Memory is the most that all processes of one moment had reached, looked at every 0.1 s; at rest there is none.
    """

    build: Build
    precision: Precision
    processes: int
    threads: int
    defaults: bool = False
    """No options but the model and the file."""

    def __str__(self) -> str:
        if self.defaults:
            return f"whisper-cli ({self.build}) as it comes, {self.precision}"
        return f"whisper-cli ({self.build}) {self.precision}, {self.processes} x {self.threads}"

    @property
    def at_once(self) -> int:
        """See ``opponents.Mode``."""
        return self.processes

    def options(self, language: str | None) -> list[str]:
        """What is given beside the model and the file."""
        chosen = [] if self.defaults else [*_GREEDY, "-nf", "-t", str(self.threads)]
        return chosen + (["-l", language] if language else [])

    async def run(self, size: ModelSize, files: Sequence[Path], language: str | None, in_hand: int = 0) -> Run | None:
        """See ``opponents.Mode``; without a language it takes English."""
        program, model = programs(self.build) / WHISPER_CLI, ggml_model(size, self.precision)
        command = [str(program), "-m", str(model), *self.options(language), "-f"]
        places = asyncio.Semaphore(self.processes)
        running: set[int] = set()

        async def transcribe(file: Path) -> str:
            async with places:
                return spoken(await _output([*command, str(file)], running))

        peaks = [0.0]
        sampling = asyncio.create_task(_sample(running, peaks))
        cpu_before = _cpu_seconds_of_children()
        try:
            handed_in = await hand_in(files, transcribe, in_hand)
        except GaveUpError as gave_up:
            print(f"{self} is not measured: {gave_up}", file=sys.stderr)
            return None
        finally:
            sampling.cancel()
            await asyncio.wait({sampling})
        cpu = _cpu_seconds_of_children() - cpu_before
        return Run(handed_in.seconds, cpu, max(peaks), handed_in.texts, waits=handed_in.waits)


def spoken(output: str) -> str:
    """The text of all segments that whisper-cli printed, each in a line of its own behind its times."""
    return " ".join(text.strip() for text in _SEGMENT.findall(output))


async def _output(command: Sequence[str], running: set[int]) -> str:
    """What a program printed, its process among the running ones meanwhile. Raises GaveUpError where it fails."""
    # Without the launcher that ties a child's life to ours: its time would be part of every recording's.
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running.add(process.pid)
    try:
        output, complaints = await process.communicate()
    finally:
        running.discard(process.pid)
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = complaints.decode(errors="replace")[-500:]
        raise GaveUpError(f"{Path(command[0]).name} ended with status {process.returncode}: {last}")
    return output.decode(errors="replace")


async def _sample(running: Collection[int], peaks: list[float]) -> None:
    while True:
        peaks.append(peak_megabytes(running))
        await asyncio.sleep(_SAMPLING_SECONDS)


def _cpu_seconds_of_children() -> float:
    """Of all that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Server:
    """whisper-server, so many of them on ports of their own, each with one recording at a time, greedy.

    Recordings wait for a free server on our side: a server would work on one at a time too. Memory is the sum of what
    the servers had at most, each at its own time, as the kernel counts it.
    """

    build: Build
    precision: Precision
    servers: int
    threads: int
    processors: int = 1
    """Parts that a recording is cut into, worked on at once; ``threads`` are those of each part."""

    def __str__(self) -> str:
        parts = f", cut in {self.processors}" if self.processors > 1 else ""
        return f"whisper-server ({self.build}) {self.precision}, {self.servers} x {self.threads}{parts}"

    @property
    def at_once(self) -> int:
        """See ``opponents.Mode``."""
        return self.servers

    async def run(self, size: ModelSize, files: Sequence[Path], language: str | None, in_hand: int = 0) -> Run | None:
        """See ``opponents.Mode``; without a language it takes English."""
        model = ggml_model(size, self.precision)
        command = [str(programs(self.build) / WHISPER_SERVER), "-m", str(model), *self.options(language)]
        try:
            async with _started(command, self.servers) as fleet:
                return await fleet.work(files, in_hand)
        except (GaveUpError, ProcessError) as gave_up:
            print(f"{self} is not measured: {gave_up}", file=sys.stderr)
            return None

    def options(self, language: str | None) -> list[str]:
        """What is given beside the model and the address."""
        shape = ["-t", str(self.threads), "-p", str(self.processors)]
        return [*_GREEDY, *shape, *(["-l", language] if language else [])]


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Servers that run, by pid and port."""

    ports: dict[int, int]
    load_seconds: float
    session: aiohttp.ClientSession

    async def work(self, files: Sequence[Path], in_hand: int) -> Run:
        """Warm up all servers, then the clock. Raises GaveUpError."""
        await asyncio.gather(*(self._text(port, WARM_UP) for port in self.ports.values()))
        free: asyncio.Queue[int] = asyncio.Queue()
        for port in self.ports.values():
            free.put_nowait(port)

        async def transcribe(file: Path) -> str:
            port = await free.get()
            try:
                return await self._text(port, file)
            finally:
                free.put_nowait(port)

        rest_megabytes, cpu_before = resident_megabytes(self.ports), cpu_seconds(self.ports)
        handed_in = await hand_in(files, transcribe, in_hand)
        return Run(
            seconds=handed_in.seconds,
            cpu_seconds=cpu_seconds(self.ports) - cpu_before,
            peak_megabytes=peak_megabytes(self.ports),
            texts=handed_in.texts,
            load_seconds=self.load_seconds,
            rest_megabytes=rest_megabytes,
            waits=handed_in.waits,
        )

    async def _text(self, port: int, file: Path) -> str:
        form = aiohttp.FormData()
        form.add_field("file", file.read_bytes(), filename=file.name)
        form.add_field("temperature_inc", "0.0")  # no fallback: the server takes -nf, but does not look at it
        form.add_field("token_timestamps", "false")  # else it cuts segments after 60 letters, in words too
        try:
            async with self.session.post(f"http://{LOOPBACK}:{port}/inference", data=form) as response:
                if response.status != 200:
                    raise GaveUpError(f"the server answered {response.status}: {await response.text()}")
                return " ".join(str((await response.json())["text"]).split())
        except aiohttp.ClientError as error:
            raise GaveUpError(f"the server went away: {error!r}") from error


@asynccontextmanager
async def _started(command: Sequence[str], count: int) -> AsyncIterator[_Fleet]:
    """Start servers, wait until all are ready, end them. Raises ProcessError where one is not ready."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="whisper-consumer-")))
        ports: dict[int, int] = {}
        started = time.perf_counter()
        processes: list[tuple[ChildProcess, int]] = []
        for port in free_ports(count):
            log = directory / f"server-{port}.log"
            process = ChildProcess.start("whisper-server", [*command, "--port", str(port)], log_path=log, cwd=directory)
            stack.callback(process.stop, grace_seconds=0)
            processes.append((process, port))
            ports[process.pid] = port
        for process, port in processes:
            await process.wait_until_ready(
                partial(answers_ok, f"http://{LOOPBACK}:{port}/health"), timeout_seconds=_START_TIMEOUT_SECONDS
            )
        load_seconds = time.perf_counter() - started
        connector = aiohttp.TCPConnector(force_close=True)  # it ends idle connections just as they are used again
        session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        yield _Fleet(ports, load_seconds, await stack.enter_async_context(session))


def modes(n_cpus: int) -> list[Cli | Server]:
    """See ``opponents.Opponent``."""
    shapes = sorted({(1, n_cpus, 1), (n_cpus, 1, 1), (1, 1, n_cpus)})
    precisions: dict[Build, tuple[Precision, ...]] = {"stock": ("bf16", "q8_0"), "ours": ("bf16", "q8_0", "bf16-q8_0")}
    servers = [
        Server(build, precision, *shape) for build in precisions for precision in precisions[build] for shape in shapes
    ]
    clis = [
        Cli("stock", precision, processes, threads)
        for precision in precisions["stock"]
        for processes, threads in sorted({(1, n_cpus), (n_cpus, 1)})
    ]
    return [*servers, *clis]


def favourites(n_cpus: int, n_recordings: int) -> list[Server]:
    """See ``opponents.Opponent``: the best of each build."""
    shape = (n_cpus, 1, 1) if n_recordings > 1 else (1, 1, n_cpus)
    ours, stock = _FASTEST.get(native_class().name, ("q8_0", "q8_0"))
    return [Server("ours", ours, *shape), Server("stock", stock, *shape)]


def as_it_comes(n_cpus: int) -> Cli:
    """See ``opponents.Opponent``: beams of 5, English, up to 4 threads."""
    return Cli("stock", "q5_1", 1, 0, defaults=True)
