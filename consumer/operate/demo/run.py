"""The demo from its first check to its last line."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from consumer.engine.artifacts.errors import ArtifactError
from consumer.operate.console import ConsoleProgress
from consumer.operate.demo.board import Board
from consumer.operate.demo.exchange import (
    Arrival,
    Exchange,
    ExchangeError,
    arrivals_of,
    exchange_with,
    object_keys,
    position,
    send,
)
from consumer.operate.demo.following import follow, total_seconds
from consumer.operate.demo.page import served_page
from consumer.operate.demo.stack import (
    DEAD_LETTER_TOPIC,
    INPUT_BUCKET,
    INPUT_TOPIC,
    OUTPUT_TOPIC,
    DemoStack,
    running_stack,
)
from consumer.operate.demo.view import show_dead_letter, show_how_to_send_more, show_transcript
from consumer.operate.process import ProcessError
from consumer.settings import BuildSettings, ModelSize
from schemas import Transcript

SAMPLE = Path(__file__).parents[1] / "sample" / "jfk.wav"

_STOPPED = "\n  Stopped; nothing is left running."


class DemoError(Exception):
    """The demo cannot begin; the message is for the person who started it."""


async def run_demo(
    files: Sequence[Path],
    *,
    stay: bool,
    page: bool = True,
    size: ModelSize = "base",
    console: Console,
    locations: BuildSettings,
) -> int:
    """Transcribe ``files``, or the sample recording, and show each transcript as it arrives.

    Returns the exit code: 0 when every file was transcribed, 1 when one was not or something did not start.
    With ``stay`` it goes on showing what arrives until SIGINT or SIGTERM, on a page too, if that is wanted. However it
    ends, no process is left.
    """
    started = time.monotonic()
    recordings = object_keys([*files] or [SAMPLE])
    board = Board()
    for key in recordings:
        board.add(key, "waiting")
    try:
        _check(recordings.values())
        console.print("\n[bold]Starting a Kafka broker, an S3 store and the worker on this machine[/]\n")
        with ConsoleProgress(console, show_notes=False) as progress:
            async with AsyncExitStack() as running:
                stack = await running.enter_async_context(running_stack(locations, size, progress))
                arrivals = await running.enter_async_context(arrivals_of(stack, board))
                exchange = await running.enter_async_context(exchange_with(stack))
                url = None
                if stay and page:
                    with progress.step("Page") as step:
                        url = step.detail = await running.enter_async_context(served_page(board, exchange))
                console.print(f"\n  Ready after {time.monotonic() - started:.1f} s.", highlight=False)
                failed = await _transcribe(recordings, stack, exchange, arrivals, progress, console)
                if stay:
                    _explain_how_to_send_more(stack, url, console)
                    await _until_interrupted(_show_all(arrivals, console))
                elif not files:
                    console.print("  Now your own: name FILEs, or add --stay for a page to drop them on.")
        if stay:
            console.print(_STOPPED)
    except asyncio.CancelledError:  # Ctrl-C, by way of asyncio.run
        console.print(_STOPPED)
        raise
    except (DemoError, ProcessError, ArtifactError, ExchangeError) as error:
        console.print(Text.assemble(("error: ", "bold red"), str(error)), soft_wrap=True)
        return 1
    return 1 if failed else 0


def _check(recordings: Iterable[Path]) -> None:
    """Raises DemoError naming every file that cannot be read."""
    problems = [f"{path}: {problem}" for path in recordings if (problem := _why_unreadable(path))]
    if problems:
        raise DemoError("\n       ".join(problems))


def _why_unreadable(path: Path) -> str | None:
    if not path.exists():
        return "no such file"
    if not path.is_file():
        return "not a file"
    return None if os.access(path, os.R_OK) else "not readable"


async def _transcribe(
    recordings: Mapping[str, Path],
    stack: DemoStack,
    exchange: Exchange,
    arrivals: AsyncIterator[Arrival],
    progress: ConsoleProgress,
    console: Console,
) -> int:
    """Send the recordings and show what comes back until all are answered. Returns how many failed."""
    console.print(
        f"  Uploading to bucket {INPUT_BUCKET}, announcing on topic {INPUT_TOPIC} "
        "(MinIO announces by itself, this store does not).",
        highlight=False,
        soft_wrap=True,
    )
    waiting = await send(recordings, exchange, progress)
    failed = 0
    name = next(iter(recordings)) if len(recordings) == 1 else f"{len(recordings)} recordings"
    with progress.task(f"Transcribing {name}", total_seconds(recordings.values()), "seconds") as advance:
        following = asyncio.create_task(follow(stack.metrics_url, advance))
        try:
            async for arrival in arrivals:
                _show(arrival, console)
                if position(arrival) in waiting:  # a repeated delivery counts once
                    waiting.remove(position(arrival))
                    failed += not isinstance(arrival, Transcript)
                if not waiting:
                    break
        finally:
            following.cancel()
    done = len(recordings) - failed
    console.print(f"\n  {done} of {len(recordings)} transcribed.", highlight=False)
    return failed


def _show(arrival: Arrival, console: Console) -> None:
    if isinstance(arrival, Transcript):
        show_transcript(console, arrival)
    else:
        show_dead_letter(console, arrival)


async def _show_all(arrivals: AsyncIterator[Arrival], console: Console) -> None:
    async for arrival in arrivals:
        _show(arrival, console)


def _explain_how_to_send_more(stack: DemoStack, url: str | None, console: Console) -> None:
    facts = {
        "S3 endpoint": stack.store.endpoint,
        "access key": stack.store.access_key,
        "secret key": stack.store.secret_key,
        "bucket": INPUT_BUCKET,
        "Kafka": stack.kafka.bootstrap_servers,
        "input topic": INPUT_TOPIC,
        "output topic": OUTPUT_TOPIC,
        "dead letters": DEAD_LETTER_TOPIC,
        "metrics": stack.metrics_url,
    }
    example = (
        f"  export AWS_ACCESS_KEY_ID={stack.store.access_key} AWS_SECRET_ACCESS_KEY={stack.store.secret_key}\n"
        f"  aws --endpoint-url {stack.store.endpoint} s3 cp talk.mp3 s3://{INPUT_BUCKET}/\n"
        f'  echo \'{{"bucket": "{INPUT_BUCKET}", "key": "talk.mp3"}}\' |'
        f" kcat -P -b {stack.kafka.bootstrap_servers} -t {INPUT_TOPIC}"
    )
    show_how_to_send_more(console, url, facts, example)


async def _until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until it fails or SIGINT or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
