"""Decoder and engine put together: what the worker and ``whisper-consumer transcribe`` have in common."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from threadpoolctl import threadpool_limits

from binding import Library
from consumer.audio.decoder import Decoder
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import Artifacts
from consumer.engine.base import Engine, EngineFacts, Options
from consumer.engine.cpu_watch import CpuWatch
from consumer.engine.cpus import usable_cpus
from consumer.engine.deadline import Deadlines
from consumer.engine.library import WhisperLibraryAdapter
from consumer.engine.traits import traits_of
from consumer.engine.whisper_cli import WhisperCliEngine
from consumer.observe.metrics import Metrics
from consumer.settings import EngineSettings
from consumer.transcriber import CHECKPOINT_AUDIO_SECONDS, Transcriber

logger = logging.getLogger(__name__)


@asynccontextmanager
async def transcribing(
    settings: EngineSettings,
    artifacts: Artifacts,
    metrics: Metrics,
    *,
    max_duration_seconds: float,
    stall_timeout_seconds: float,
    checkpoint_audio_seconds: float = CHECKPOINT_AUDIO_SECONDS,
    min_duration_seconds: float = 0.0,
) -> AsyncIterator[Transcriber]:
    """Decoder and engine, ready for work."""
    threadpool_limits(1, "blas")  # of this process, for good: its threads are handed out by the engine's pool
    decoder = Decoder(max_duration_seconds=max_duration_seconds, stall_timeout_seconds=stall_timeout_seconds)
    async with AsyncExitStack() as stack:
        await decoder.start()
        stack.push_async_callback(decoder.close)
        engine = await _load_engine(settings, artifacts, metrics)
        stack.push_async_callback(engine.close)
        yield Transcriber(
            decoder,
            engine,
            metrics,
            checkpoint_audio_seconds=checkpoint_audio_seconds,
            speakers=settings.channel_speakers,
            min_duration_seconds=min_duration_seconds,
        )


async def _load_engine(settings: EngineSettings, artifacts: Artifacts, metrics: Metrics) -> Engine:
    n_cpus = usable_cpus()
    n_states = settings.whisper_states or artifacts.tuned_states or n_cpus
    manifest = artifacts.manifest
    facts = EngineFacts(
        engine="library" if settings.use_whisper_library else "cli",
        engine_version=manifest.engine.version if manifest else "unknown",
        model_size=settings.whisper_model_size,
        model_file=artifacts.model.name,
        # Verified when it was fetched; without a manifest both digests are of the file itself.
        model_sha256=manifest.files[artifacts.model.name].sha256 if manifest else artifacts.weights_sha256,
        weights_sha256=artifacts.weights_sha256,
        cpu_class=artifacts.cpu_class,
        is_multilingual=not settings.whisper_model_size.endswith(".en"),
        libraries={name: file.sha256 for name, file in manifest.files.items() if ".so" in name} if manifest else {},
    )
    metrics.model_info.info(
        {
            "size": facts.model_size,
            "precision": artifacts.precision,
            "cpu_class": facts.cpu_class,
            "engine_version": facts.engine_version,
        }
    )
    deadlines = Deadlines(settings.deadline_margin, settings.deadline_floor_seconds)
    if settings.use_whisper_library:
        library = await asyncio.to_thread(
            Library.load, artifacts.directory, manifest.needs.cpu_features if manifest else ()
        )
        facts = replace(facts, engine_version=library.version)
        engine: Engine = await WhisperLibraryAdapter.load(
            library,
            artifacts.model,
            artifacts.vad_model,
            facts,
            n_states=n_states,
            n_cpus=n_cpus,
            cpus_left=CpuWatch().left,
            traits=traits_of(manifest),
            metrics=metrics,
            deadlines=deadlines,
        )
    else:
        if artifacts.whisper_cli is None:
            raise ArtifactError(
                f"USE_WHISPER_LIBRARY=false needs whisper-cli, which {artifacts.directory} has not (ready-made "
                "libraries come without it): build the artifacts without --prebuilt"
            )
        engine = WhisperCliEngine(
            artifacts.whisper_cli,
            artifacts.model,
            facts,
            n_processes=n_states,
            metrics=metrics,
            deadlines=deadlines,
        )
    logger.info(
        "model loaded",
        extra={"model": facts.model_file, "engine": facts.engine, "cpu_class": facts.cpu_class, "states": n_states},
    )
    return engine


def default_options(settings: EngineSettings) -> Options:
    """What recordings get that ask for nothing."""
    return Options(
        language=None if settings.whisper_language == "auto" else settings.whisper_language,
        task=settings.whisper_task,
        prompt=settings.whisper_prompt,
        channels=settings.whisper_channels,
        words=settings.whisper_words,
        carry_context=settings.whisper_carry_context,
    )
