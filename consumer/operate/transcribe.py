"""``whisper-consumer transcribe``: local files through the same decoder and engine as the worker's."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import orjson
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.text import Text

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import Artifacts, locate
from consumer.engine.base import Options
from consumer.errors import Rejected
from consumer.formats import Format, render
from consumer.observe.metrics import Metrics
from consumer.operate.console import ConsoleProgress
from consumer.settings import EngineSettings
from consumer.transcriber import Heard, Transcriber
from consumer.transcribing import default_options, transcribing

NO_LIMIT_SECONDS = 10**9
STALL_TIMEOUT_SECONDS = 60


async def transcribe_files(
    files: Sequence[Path], output: Format, settings: EngineSettings, cache_dir: Path, console: Console
) -> int:
    """Print the transcript of each file on standard output, in the order given; progress and errors go to ``console``.

    Returns the exit status: 1 if a file could not be transcribed (the others are all the same).
    Raises ArtifactError or WhisperLibraryError where there is no usable model.
    """
    artifacts = _artifacts(settings, cache_dir)
    failures = 0
    async with transcribing(
        settings,
        artifacts,
        Metrics(CollectorRegistry()),
        max_duration_seconds=NO_LIMIT_SECONDS,
        stall_timeout_seconds=STALL_TIMEOUT_SECONDS,
    ) as transcriber:
        with ConsoleProgress(console) as progress:
            for path in files:
                try:
                    heard = await _transcribe(path, transcriber, default_options(settings), progress)
                except (Rejected, OSError) as error:
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    console.print(Text(f"{path}: {reason}", style="red"), soft_wrap=True)
                    failures += 1
                    continue
                sys.stdout.write(_written(heard, path, output))
                sys.stdout.flush()
    return 1 if failures else 0


def _artifacts(settings: EngineSettings, cache_dir: Path) -> Artifacts:
    """Those of WHISPER_ARTIFACTS_DIR, else those that the demo has left in the cache."""
    try:
        return locate(settings.whisper_artifacts_dir, settings.whisper_model_size, settings.whisper_precision)
    except ArtifactError as missing:
        try:
            return locate(cache_dir / "artifacts", settings.whisper_model_size, settings.whisper_precision)
        except ArtifactError:
            raise missing from None


async def _transcribe(path: Path, transcriber: Transcriber, options: Options, progress: ConsoleProgress) -> Heard:
    with path.open("rb") as file:
        total = await asyncio.to_thread(_duration_seconds, path)
        with progress.task(path.name, total, "seconds") as advance:
            done = 0.0

            def on_passage(end_seconds: float) -> None:
                nonlocal done
                advance(round(end_seconds) - round(done))
                done = end_seconds

            return await transcriber.transcribe(
                file, path.name, options, on_passage=lambda passage: on_passage(passage.end_seconds)
            )


def _duration_seconds(path: Path) -> int | None:
    """What the container says, for the progress bar only; None where it says nothing."""
    try:
        with av.open(str(path)) as container:
            return round(container.duration / av.time_base) if container.duration else None
    except (av.FFmpegError, OSError):
        return None


def _written(heard: Heard, path: Path, output: Format) -> str:
    if output != Format.JSON:
        return render(output, heard.segments)
    document = {
        "file": str(path),
        "text": heard.text,
        "language": heard.language,
        "languageProbability": heard.language_probability,
        "noSpeech": not heard.segments,
        "durationSeconds": heard.duration_seconds,
        "damage": heard.audio.damage,
        "segments": [segment.model_dump(mode="json", by_alias=True) for segment in heard.segments],
        "suppressedSegments": [segment.model_dump(mode="json", by_alias=True) for segment in heard.suppressed],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
