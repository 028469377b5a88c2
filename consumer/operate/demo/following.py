"""How far the worker has come, from outside: its metrics against the durations of the files."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import aiohttp
import av
from prometheus_client.parser import text_string_to_metric_families

_POLL_SECONDS = 0.5
_TIMEOUT = aiohttp.ClientTimeout(total=5)


async def follow(metrics_url: str, advance: Callable[[int], None]) -> None:
    """Report the whole seconds of audio that the worker has transcribed, as its metrics tell."""
    reported = 0
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(metrics_url) as response:
                    transcribed = transcribed_seconds(await response.text())
                advance(transcribed - reported)
                reported = transcribed
            await asyncio.sleep(_POLL_SECONDS)


def transcribed_seconds(metrics: str) -> int:
    """Whole seconds of audio that were decoded and are no longer waiting for the model."""
    values = {
        sample.name: sample.value for family in text_string_to_metric_families(metrics) for sample in family.samples
    }
    decoded = values.get("whisper_consumer_audio_in_seconds_total", 0)
    return round(decoded - values.get("whisper_consumer_backlog_audio_seconds", 0))


def total_seconds(recordings: Iterable[Path]) -> int | None:
    """Duration of all recordings together, as far as their containers tell; None where none does."""
    total = 0.0
    for path in recordings:
        with suppress(av.FFmpegError, OSError), av.open(str(path)) as container:
            total += (container.duration or 0) / av.time_base
    return round(total) or None
