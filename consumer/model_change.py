"""Another model without a restart: asked for by SIGHUP, while recordings go on being transcribed.

1. What the bucket has that the disk has not is fetched and verified beside it. Where the disk has it already (another
   worker fetched it), that is taken.
2. It is loaded beside the model in use, and must understand the sample; then recordings that begin get the new one, and
   its files take the place of the old ones. Whatever fails on the way leaves the old model as it was, and is told.
3. Where memory does not suffice for two, recordings that begin wait until those in flight are done and the old one is
   freed.
4. Other libraries cannot be had in the same process: a second libwhisper would bind to the first ggml. Their files are
   put in place and the worker ends in order, with a status of its own, to be started again.
"""

import asyncio
import logging
import re
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Final

from binding import WhisperLibraryError
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import Artifacts, artifacts_in, choose
from consumer.engine.artifacts.machine import this_machine
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.pull import Fetched, newer
from consumer.engine.artifacts.verify import verify
from consumer.engine.base import Options
from consumer.memory import memory_limit_bytes, model_bytes, resident_bytes
from consumer.models import Models
from consumer.observe.metrics import Metrics, ModelChange
from consumer.settings import WorkerSettings
from consumer.transcribing import Loaded, Loader

log = logging.getLogger(__name__)

EXIT_OTHER_LIBRARIES: Final = 72
"""Exit status of a worker that ends for libraries that it cannot load into the process it is."""

SAMPLE: Final = Path(__file__).parent / "operate" / "sample" / "jfk.wav"
WORDS: Final = (
    "and so my fellow americans ask not what your country can do for you ask what you can do for your country"
).split()
LEAST_LIKENESS: Final = 0.8
"""Of the words heard to those spoken (difflib's ratio); every size of Whisper is above 0.95 here."""


class ModelChanger:
    """Changes the model each time it is asked to, one change after another."""

    def __init__(
        self,
        settings: WorkerSettings,
        loader: Loader,
        models: Models,
        metrics: Metrics,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._models = models
        self._metrics = metrics
        self._progress = progress
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Look for another model; if that is being done already, once more after it."""
        log.info("looking for another model")
        self._asked.set()

    async def run(self) -> None:
        """Change the model whenever it is asked for; returns once only another process can have what was found."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                outcome = await self._change()
            except (ArtifactError, WhisperLibraryError) as error:
                log.error("the model was not changed: %s", error)  # noqa: TRY400 - the message says all
                outcome = ModelChange.FAILED
            except Exception:
                log.exception("the model was not changed")
                outcome = ModelChange.FAILED
            self._metrics.model_changes.labels(outcome).inc()
            if outcome is ModelChange.RESTART:
                return

    async def _change(self) -> ModelChange:
        settings = self._settings
        if not settings.use_whisper_library:
            raise ArtifactError("whisper-cli reads the model anew for each recording: restart the worker instead")
        async with newer(
            settings.whisper_model_size,
            settings.whisper_artifacts_dir,
            settings.artifacts_bucket,
            settings,
            self._progress,
        ) as fetched:
            artifacts = self._artifacts_in(fetched.directory) if fetched else await asyncio.to_thread(self._on_disk)
            found, used = _digests(artifacts), _digests(self._models.current.artifacts)
            if found == used:
                log.info("there is no other model than the one in use")
                return ModelChange.UNCHANGED
            if _libraries(found) != _libraries(used):
                if fetched:
                    fetched.keep()
                log.warning("other libraries cannot be loaded into this process: finishing, to be started again")
                return ModelChange.RESTART
            await self._use(artifacts, fetched)
        return ModelChange.CHANGED

    def _on_disk(self) -> Artifacts:
        """What lies there, verified: it may be other files than those that were loaded."""
        settings, machine = self._settings, this_machine()
        directory = choose(settings.whisper_artifacts_dir, settings.whisper_model_size, machine)
        verify(directory, settings.whisper_model_size, machine, require_manifest=True)
        return self._artifacts_in(directory)

    def _artifacts_in(self, directory: Path) -> Artifacts:
        return artifacts_in(directory, self._settings.whisper_model_size, self._settings.whisper_precision)

    async def _use(self, artifacts: Artifacts, fetched: Fetched | None) -> None:
        """Load it, let it show what it can, and use it."""
        old = self._models.current
        needed_bytes = model_bytes(
            artifacts.model.stat().st_size, self._loader.n_states, self._settings.whisper_model_size
        )
        left_bytes = memory_limit_bytes() - resident_bytes()
        if needed_bytes <= left_bytes:
            await self._models.exchange(await self._ready(artifacts, fetched, beside=old))
        else:
            log.warning(
                "no room for two models (another takes %d MB, %d MB are left): it is changed once nothing is in flight",
                needed_bytes // 10**6,
                left_bytes // 10**6,
            )
            async with self._models.emptied():
                try:
                    new = await self._ready(artifacts, fetched, beside=None)
                except BaseException:
                    self._models.put(await self._loader.load(old.artifacts))
                    raise
                self._models.put(new)
        log.info("the model was changed", extra={"model_sha256": self._models.current.engine.facts.model_sha256})

    async def _ready(self, artifacts: Artifacts, fetched: Fetched | None, beside: Loaded | None) -> Loaded:
        """The model, loaded, warm and found good, its files in their place."""
        new = await self._loader.load(artifacts, beside)
        try:
            await _check(new)
            if fetched:
                new = replace(new, artifacts=self._artifacts_in(await asyncio.to_thread(fetched.keep)))
        except BaseException:
            await new.engine.close()
            raise
        return new


async def _check(loaded: Loaded) -> None:
    """Let it transcribe the sample. Raises ArtifactError where that gives other words."""
    with SAMPLE.open("rb") as file:
        heard = await loaded.transcriber.transcribe(file, SAMPLE.name, Options("en"))
    words = re.findall(r"[a-z']+", heard.text.lower())
    if SequenceMatcher(None, WORDS, words, autojunk=False).ratio() < LEAST_LIKENESS:
        raise ArtifactError(f"the new model does not understand the sample, it heard {heard.text[:200]!r}")


def _digests(artifacts: Artifacts) -> dict[str, str]:
    """SHA-256 of what a worker loads, by file name. Raises ArtifactError where no manifest tells."""
    if artifacts.manifest is None:
        raise ArtifactError(f"{artifacts.directory} has no manifest to compare with: restart the worker instead")
    loaded = {path.name for path in (artifacts.model, artifacts.vad_model) if path is not None}
    files = artifacts.manifest.files
    return {name: files[name].sha256 for name in loaded} | artifacts.manifest.libraries


def _libraries(digests: dict[str, str]) -> dict[str, str]:
    return {name: sha256 for name, sha256 in digests.items() if ".so" in name}
