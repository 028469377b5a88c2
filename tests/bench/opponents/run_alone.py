"""Running a Python library that is an opponent: ``alone.py`` in the library's environment, from outside."""

import asyncio
import json
import os
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from consumer import die_with_parent
from tests.bench.opponents.handing_in import GaveUpError, hand_in
from tests.bench.opponents.usage import cpu_seconds, peak_megabytes, resident_megabytes
from tests.bench.opponents.warm_up import WARM_UP
from tests.bench.runs import Run

_PROGRAM = Path(__file__).with_name("alone.py")
_LINE_BYTES = 2**22  # the text of a long recording comes in one line


async def run_alone(
    python: Path,
    engine: Path,
    request: Mapping[str, Any],
    files: Sequence[Path],
    in_hand: int,
    environment: Mapping[str, str],
) -> Run:
    """One run of ``engine``; see ``alone.py`` for it and for what a request must hold beside files and warm-up.

    Memory holds the samples of all files where they are decoded beforehand. Raises GaveUpError where the program ends.
    """
    asked = {**request, "files": [str(file) for file in files], "warm_up": str(WARM_UP)}
    with tempfile.TemporaryFile() as complaints:
        started = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())),
            *(str(python), "-P", str(_PROGRAM), str(engine), json.dumps(asked)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            env={**os.environ, **environment},
            limit=_LINE_BYTES,
        )
        program = _Program(process, complaints)
        try:
            await program.answer()
            load_seconds = time.perf_counter() - started
            await program.answer()
            rest_megabytes = resident_megabytes([process.pid])
            cpu_before = cpu_seconds([process.pid])
            answering = asyncio.create_task(program.pass_on())
            try:
                handed_in = await hand_in(range(len(files)), program.text, in_hand)
            finally:  # also where this takes too long, and is given up
                answering.cancel()
                await asyncio.wait({answering})
            return Run(
                seconds=handed_in.seconds,
                cpu_seconds=cpu_seconds([process.pid]) - cpu_before,
                peak_megabytes=peak_megabytes([process.pid]),
                texts=handed_in.texts,
                load_seconds=load_seconds,
                rest_megabytes=rest_megabytes,
                waits=handed_in.waits,
            )
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


class _Program:
    """A process that answers in lines of JSON."""

    def __init__(self, process: Process, complaints: BinaryIO) -> None:
        self._process = process
        self._complaints = complaints
        self._wanted: dict[int, asyncio.Future[str]] = {}

    async def text(self, number: int) -> str:
        """Ask for the text of a file. Needs ``pass_on`` beside it."""
        assert self._process.stdin
        self._wanted[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(f"{number}\n".encode())
        return await self._wanted[number]

    async def pass_on(self) -> None:
        """Give each text to whoever asked for it, for ever."""
        try:
            while True:
                answer = await self.answer()
                self._wanted.pop(answer["number"]).set_result(answer["text"])
        except GaveUpError as gave_up:
            for wanted in self._wanted.values():
                wanted.set_exception(gave_up)

    async def answer(self) -> dict[str, Any]:
        """The next line. Raises GaveUpError where there is none."""
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        status = await self._process.wait()
        self._complaints.seek(0)
        last = self._complaints.read().decode(errors="replace")[-2000:]
        raise GaveUpError(f"it ended with status {status}:\n{last}")
