"""Decoder and engine put together: what the worker and ``whisper-consumer transcribe`` have in common."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model that is ready for work."""

    artifacts: Artifacts
    engine: Engine
    transcriber: Transcriber


class Loader:
    """Loads models into this process. They share the decoder, the libraries, and turns at the CPUs."""

    def __init__(
        self,
        settings: EngineSettings,
        decoder: Decoder,
        metrics: Metrics,
        *,
        checkpoint_audio_seconds: float = CHECKPOINT_AUDIO_SECONDS,
        min_duration_seconds: float = 0.0,
    ) -> None:
        self._settings = settings
        self._decoder = decoder
        self._metrics = metrics
        self._checkpoint_audio_seconds = checkpoint_audio_seconds
        self._min_duration_seconds = min_duration_seconds
        self._library: Library | None = None
        self.n_states = 0
        """Of each model; 0 before the first is loaded."""

    async def load(self, artifacts: Artifacts, beside: Loaded | None = None) -> Loaded:
        """Load a model; ``beside`` is one that is in use. Raises ArtifactError, WhisperLibraryError."""
        self.n_states = self.n_states or self._settings.whisper_states or artifacts.tuned_states or usable_cpus()
        load = self._load_library if self._settings.use_whisper_library else self._load_cli
        engine = await load(artifacts, beside.engine if beside else None)
        transcriber = Transcriber(
            self._decoder,
            engine,
            self._metrics,
            checkpoint_audio_seconds=self._checkpoint_audio_seconds,
            speakers=self._settings.channel_speakers,
            min_duration_seconds=self._min_duration_seconds,
        )
        facts = engine.facts
        logger.info(
            "model loaded",
            extra={
                "model": facts.model_file,
                "engine": facts.engine,
                "cpu_class": facts.cpu_class,
                "states": self.n_states,
            },
        )
        return Loaded(artifacts, engine, transcriber)

    async def _load_library(self, artifacts: Artifacts, beside: Engine | None) -> Engine:
        manifest = artifacts.manifest
        if self._library is None:
            self._library = await asyncio.to_thread(
                Library.load, artifacts.directory, manifest.needs.cpu_features if manifest else ()
            )
        return await WhisperLibraryAdapter.load(
            self._library,
            artifacts.model,
            artifacts.vad_model,
            replace(self._facts(artifacts), engine_version=self._library.version),
            n_states=self.n_states,
            n_cpus=usable_cpus(),
            cpus_left=CpuWatch().left,
            traits=traits_of(manifest),
            metrics=self._metrics,
            deadlines=self._deadlines(),
            beside=beside if isinstance(beside, WhisperLibraryAdapter) else None,
        )

    async def _load_cli(self, artifacts: Artifacts, beside: Engine | None) -> Engine:  # noqa: ARG002 - takes no turns
        if artifacts.whisper_cli is None:
            raise ArtifactError(
                f"USE_WHISPER_LIBRARY=false needs whisper-cli, which {artifacts.directory} has not (ready-made "
                "libraries come without it): build the artifacts without --prebuilt"
            )
        return WhisperCliEngine(
            artifacts.whisper_cli,
            artifacts.model,
            self._facts(artifacts),
            n_processes=self.n_states,
            metrics=self._metrics,
            deadlines=self._deadlines(),
        )

    def _facts(self, artifacts: Artifacts) -> EngineFacts:
        manifest, size = artifacts.manifest, self._settings.whisper_model_size
        return EngineFacts(
            engine="library" if self._settings.use_whisper_library else "cli",
            engine_version=manifest.engine.version if manifest else "unknown",
            model_size=size,
            model_file=artifacts.model.name,
            # Verified when it was fetched; without a manifest both digests are of the file itself.
            model_sha256=manifest.files[artifacts.model.name].sha256 if manifest else artifacts.weights_sha256,
            weights_sha256=artifacts.weights_sha256,
            cpu_class=artifacts.cpu_class,
            is_multilingual=not size.endswith(".en"),
            libraries=manifest.libraries if manifest else {},
        )

    def _deadlines(self) -> Deadlines:
        return Deadlines(self._settings.deadline_margin, self._settings.deadline_floor_seconds)


@asynccontextmanager
async def loading(
    settings: EngineSettings,
    metrics: Metrics,
    *,
    max_duration_seconds: float,
    stall_timeout_seconds: float,
    checkpoint_audio_seconds: float = CHECKPOINT_AUDIO_SECONDS,
    min_duration_seconds: float = 0.0,
) -> AsyncIterator[Loader]:
    """The decoder, ready for work, and what loads models for it."""
    threadpool_limits(1, "blas")  # of this process, for good: its threads are handed out by the engine's pool
    decoder = Decoder(max_duration_seconds=max_duration_seconds, stall_timeout_seconds=stall_timeout_seconds)
    await decoder.start()
    try:
        yield Loader(
            settings,
            decoder,
            metrics,
            checkpoint_audio_seconds=checkpoint_audio_seconds,
            min_duration_seconds=min_duration_seconds,
        )
    finally:
        await decoder.close()


@asynccontextmanager
async def transcribing(
    settings: EngineSettings,
    artifacts: Artifacts,
    metrics: Metrics,
    *,
    max_duration_seconds: float,
    stall_timeout_seconds: float,
) -> AsyncIterator[Transcriber]:
    """Decoder and one model, ready for work: for commands that transcribe a file or two."""
    async with loading(
        settings,
        metrics,
        max_duration_seconds=max_duration_seconds,
        stall_timeout_seconds=stall_timeout_seconds,
    ) as loader:
        loaded = await loader.load(artifacts)
        try:
            yield loaded.transcriber
        finally:
            await loaded.engine.close()


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
