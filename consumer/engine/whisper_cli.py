"""The old way behind the same interface: one ``whisper-cli`` process for each recording.

It is there to go back to at once (``USE_WHISPER_LIBRARY=false``) and as the baseline of the library's
figures. Each job loads the model anew, keeps the whole recording on disk as WAV and gives its text at the end.
The result is read from the JSON file that whisper-cli writes; its prose is never parsed. As of old, all of a recording
goes to the model, silence too: whisper-cli's own detector runs four threads whatever it is told, which on two busy
cores took 160 s for 11 s of audio.

Its native code runs outside this process. It keeps the rules of turns all the same: a crash of the machine's memory
(which ends whisper-cli and worker alike) has its suspects too. There is one passage, at the end, so nothing to go on
from; what another engine has left of a recording is not done again.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
import wave
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from binding import Segment as FoundSegment
from binding import Token
from binding.results import words_of
from consumer import die_with_parent
from consumer.audio.speech import SAMPLE_RATE_HERTZ
from consumer.engine.base import UNCONTENDED, EngineFacts, Options, Passage, Samples, Turn
from consumer.engine.deadline import Deadlines
from consumer.engine.library import on_recording_clock, passage_of
from consumer.engine.native_work import NativeWork
from consumer.engine.options import checked_options
from consumer.engine.places import Places
from consumer.observe.metrics import Metrics

# The end-of-text token; tokens from it on are special. It is 50256 in the English vocabulary.
_END_OF_TEXT: Final = {True: 50257, False: 50256}
_PROCESS: Final = "process"


class WhisperCliFailedError(Exception):
    """whisper-cli ended with an error; the message holds its exit status and last words on stderr."""


class WhisperCliEngine:
    """Runs at most ``n_processes`` whisper-cli at once; a cancelled job's process is killed with it."""

    def __init__(
        self,
        program: Path,
        model: Path,
        facts: EngineFacts,
        *,
        n_processes: int,
        metrics: Metrics,
        deadlines: Deadlines | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.facts = facts
        self._program = program
        self._model = model
        self._places = Places({_PROCESS: n_processes})
        self._deadlines = deadlines or Deadlines()
        self._metrics = metrics
        self._scratch = scratch
        metrics.states.set(n_processes)

    @property
    def seconds_ahead(self) -> float:
        """See ``Engine.seconds_ahead``: all of a recording is given at once."""
        return 0.0

    async def transcribe(
        self,
        samples: AsyncIterator[Samples],
        options: Options,
        *,
        turn: Turn = UNCONTENDED,
        after_seconds: float = 0.0,
        text_before: str = "",  # noqa: ARG002 - the program carries nothing over
        repeatable: bool = False,  # noqa: ARG002 - it always is
    ) -> AsyncGenerator[Passage, None]:
        """See ``Engine.transcribe``. Raises WhisperCliFailedError when the process fails."""
        options = checked_options(options, self.facts.is_multilingual)
        with (
            NativeWork(self._places, turn, after_seconds) as native_work,
            tempfile.TemporaryDirectory(prefix="whisper-cli-", dir=self._scratch) as name,
        ):
            recording, result = Path(name) / "recording.wav", Path(name) / "result"
            seconds = await _write_wav(recording, samples, round(after_seconds * SAMPLE_RATE_HERTZ))
            if seconds == 0:
                return
            await native_work.begin()
            inference_seconds = await self._infer(
                native_work, self._command(recording, result, options), seconds, options.rank
            )
            found = await asyncio.to_thread(result.with_suffix(".json").read_bytes)
            passage = self._passage(found, after_seconds, seconds, inference_seconds)
            native_work.transcribed(passage)
            if passage.segments:
                yield passage

    def overdue(self, now: float) -> float | None:
        """See ``Engine.overdue``. Processes count as native code: the worker's end is theirs."""
        return self._deadlines.overdue(now)

    async def close(self) -> None:
        """Nothing outlives a job."""

    async def _infer(self, native_work: NativeWork, command: list[str], audio_seconds: float, rank: int) -> float:
        """Run the command when it is its turn; returns seconds it took."""
        await self._places.take(_PROCESS, native_work, rank=rank)
        call = self._deadlines.begin(audio_seconds, time.monotonic())
        teaches = False
        try:
            with self._metrics.states_busy.track_inprogress():
                await self._run(command)
            teaches = True
        finally:
            ended = time.monotonic()
            self._deadlines.end(call, ended, teaches=teaches)
            self._places.free(_PROCESS)
        self._metrics.windows.inc()
        self._metrics.window_seconds.observe(ended - call.began)
        return ended - call.began

    def _command(self, recording: Path, result: Path, options: Options) -> list[str]:
        command = [str(self._program), "-m", str(self._model), "-f", str(recording)]
        command += ["-l", options.language or "auto", "-t", "1"]
        command += ["-bs", "1", "-bo", "1", "-nf"]  # greedy, no temperature steps: as the library decodes
        command += ["-np", "-ojf", "-of", str(result)]
        if options.task == "translate":
            command.append("-tr")
        if options.prompt:
            command += ["--prompt", options.prompt]
        return command

    async def _run(self, command: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            die_with_parent.__file__,
            str(os.getpid()),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            last = complaint.decode(errors="replace").strip().splitlines()[-3:]
            raise WhisperCliFailedError(f"{self._program} ended with status {process.returncode}: {' | '.join(last)}")

    def _passage(self, found: bytes, start_seconds: float, seconds: float, inference_seconds: float) -> Passage:
        # A character may be split over tokens, so a token's text need not be UTF-8 by itself.
        document = json.loads(found.decode("utf-8", errors="surrogateescape"))
        language = document["result"]["language"]
        segments = [
            _segment(entry, language, _END_OF_TEXT[self.facts.is_multilingual]) for entry in document["transcription"]
        ]
        return passage_of(
            (
                on_recording_clock(segment, start_seconds, seconds, tells_no_speech=False)
                for segment in segments
                if segment.text.strip()
            ),
            end_seconds=start_seconds + seconds,
            language=language,
            languages={},
            inference_seconds=inference_seconds,
        )


def _segment(entry: dict[str, Any], language: str, end_of_text: int) -> FoundSegment:
    tokens = tuple(
        Token(
            id=token["id"],
            text=token["text"].encode("utf-8", errors="surrogateescape"),
            start_seconds=token["offsets"]["from"] / 1000,
            end_seconds=token["offsets"]["to"] / 1000,
            probability=token["p"],
            log_probability=float(np.log(max(token["p"], 1e-10))),
        )
        for token in entry["tokens"]
        if token["id"] < end_of_text
    )
    return FoundSegment(
        start_seconds=entry["offsets"]["from"] / 1000,
        end_seconds=entry["offsets"]["to"] / 1000,
        text=b"".join(token.text for token in tokens).decode("utf-8", errors="replace"),
        average_log_probability=sum(token.log_probability for token in tokens) / max(1, len(tokens)),
        no_speech_probability=float("nan"),  # whisper-cli does not tell
        tokens=tokens,
        words=words_of(tokens, language),
    )


async def _write_wav(path: Path, samples: AsyncIterator[Samples], after_sample: int) -> float:
    """Write 16-bit WAV of what comes after a sample; returns seconds written."""
    n_seen = n_written = 0
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HERTZ, 0, "NONE", ""))
        async for block in samples:
            rest = block[max(0, after_sample - n_seen) :]
            n_seen += block.size
            n_written += rest.size
            pcm = (np.clip(rest, -1, 1) * 32767).astype("<i2")
            await asyncio.to_thread(file.writeframesraw, pcm.tobytes())
    return n_written / SAMPLE_RATE_HERTZ
