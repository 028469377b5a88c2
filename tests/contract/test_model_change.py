"""Exchanging the model while recordings are worked on: artifacts in a real store, engines that tests decide about.

What they say is what their model's file says: so a test decides whether a model is good, deaf or broken.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from binding import ModelInitError
from consumer.audio.decoder import Decoder
from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.locate import Artifacts, locate
from consumer.engine.artifacts.manifest import FileFacts, read_manifest, write_manifest
from consumer.engine.artifacts.models import LIBRARIES, model_file
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.pull import pull
from consumer.engine.artifacts.push import push
from consumer.engine.base import Options, Passage, Samples
from consumer.model_change import WORDS, ModelChanger
from consumer.models import Models
from consumer.observe.metrics import Metrics, ModelChange
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import WorkerSettings
from consumer.transcriber import Transcriber
from consumer.transcribing import Loaded
from schemas import Segment
from tests.support.artifacts import make_artifacts, store_settings
from tests.support.engine import FACTS, SilentEngine
from tests.support.s3 import new_bucket, s3_client

MODEL = model_file("tiny.en", "q5_1")


class SayingEngine(SilentEngine):
    """Hears the same in everything."""

    def __init__(self, text: str, sha256: str) -> None:
        super().__init__()
        self.facts = replace(FACTS, model_sha256=sha256)
        self.text = text
        self.closed = False

    async def transcribe(
        self, samples: AsyncIterator[Samples], options: Options, **_: Any
    ) -> AsyncGenerator[Passage, None]:
        assert not self.closed
        async for _block in samples:
            pass
        segment = Segment(start_seconds=0, end_seconds=1, text=self.text, average_log_probability=-0.5)
        yield Passage(end_seconds=1.0, segments=(segment,), language=options.language or "en", inference_seconds=0.0)

    async def close(self) -> None:
        self.closed = True


class SayingLoader:
    """Fits ``consumer.transcribing.Loader``."""

    n_states = 2

    def __init__(self, decoder: Decoder, metrics: Metrics) -> None:
        self._decoder = decoder
        self._metrics = metrics
        self.engines: list[SayingEngine] = []
        self.beside: list[bool] = []

    async def load(self, artifacts: Artifacts, beside: Loaded | None = None) -> Loaded:
        text = artifacts.model.read_text()
        if text == "broken":
            raise ModelInitError("no model")
        engine = SayingEngine(text, digest_file(artifacts.model))
        self.engines.append(engine)
        self.beside.append(beside is not None)
        return Loaded(artifacts, engine, Transcriber(self._decoder, engine, self._metrics))


@dataclass
class Scene:
    """A worker's model, and the bucket that another may come from."""

    changer: ModelChanger
    models: Models
    loader: SayingLoader
    metrics: Metrics
    settings: WorkerSettings
    original: Path
    running: "asyncio.Task[None]"

    @property
    def says(self) -> str:
        engine = self.models.current.engine
        assert isinstance(engine, SayingEngine)
        return engine.text

    @property
    def on_disk(self) -> str:
        return (self.settings.whisper_artifacts_dir / self.original.name / MODEL).read_text()

    @property
    def hidden(self) -> list[str]:
        names = (path.name for path in self.settings.whisper_artifacts_dir.iterdir())
        return [name for name in names if name.startswith(".") and not name.endswith(".lock")]

    async def publish(self, name: str, text: str) -> None:
        """Put another file into the bucket's artifacts, and what makes it whole."""
        rewrite(self.original, name, text)
        await push(self.original, self.settings.artifacts_bucket, self.settings, Silent())

    async def change(self) -> ModelChange:
        """Ask for a change and wait for how it ends."""
        before = self.counts()
        self.changer.ask()
        async with asyncio.timeout(60):
            while (now := self.counts()) == before:
                await asyncio.sleep(0.005)
        return next(outcome for outcome in ModelChange if now[outcome] > before[outcome])

    def counts(self) -> dict[ModelChange, float]:
        value = self.metrics.registry.get_sample_value
        return {each: value("whisper_consumer_model_changes_total", {"outcome": each}) or 0.0 for each in ModelChange}


def rewrite(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    manifest = read_manifest(directory)
    assert manifest is not None
    facts = FileFacts(bytes=len(text.encode()), sha256=digest_file(directory / name))
    write_manifest(directory, manifest.model_copy(update={"files": {**manifest.files, name: facts}}))


def good(name: str) -> str:
    """Words that are right, and tell one model from another."""
    return f"{' '.join(WORDS)} {name}"


@pytest.fixture
async def scene(s3: SeaweedServer, tmp_path: Path) -> AsyncIterator[Scene]:
    async with s3_client(s3) as client:
        bucket = await new_bucket(client, "artifacts")
    original = make_artifacts(tmp_path / "original")
    rewrite(original, MODEL, good("one"))
    settings = WorkerSettings(
        minio_endpoint=s3.endpoint,
        minio_access_key=s3.access_key,
        minio_secret_key=s3.secret_key,
        kafka_bootstrap_servers=("kafka:9092",),
        input_buckets=("recordings",),
        artifacts_bucket=bucket,
        whisper_model_size="tiny.en",
        whisper_artifacts_dir=tmp_path / "local",
    )
    await push(original, bucket, store_settings(s3), Silent())
    local = settings.whisper_artifacts_dir
    await pull("tiny.en", local, bucket, settings, Silent(), require_manifest=True)
    metrics = Metrics(CollectorRegistry())
    decoder = Decoder(max_duration_seconds=3600, stall_timeout_seconds=30)
    await decoder.start()
    loader = SayingLoader(decoder, metrics)
    models = Models(await loader.load(locate(local, "tiny.en")), metrics)
    changer = ModelChanger(settings, loader, models, metrics, Silent())  # type: ignore[arg-type]  # fits the loader
    running = asyncio.create_task(changer.run())
    yield Scene(changer, models, loader, metrics, settings, original, running)
    running.cancel()
    await asyncio.wait({running})
    await models.close()
    await decoder.close()
    assert all(engine.closed for engine in loader.engines)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def test_who_begins_gets_the_new_model_and_who_has_begun_keeps_the_old(scene: Scene) -> None:
    await scene.publish(MODEL, good("two"))
    first = scene.loader.engines[0]
    async with scene.models.lent() as old:
        assert await scene.change() is ModelChange.CHANGED
        assert (scene.says, scene.on_disk, scene.hidden) == (good("two"), good("two"), [])
        assert old.engine.model_sha256 == first.facts.model_sha256
        assert not first.closed
        async with scene.models.lent() as new:
            assert new.engine.model_sha256 != old.engine.model_sha256
    await until(lambda: first.closed)
    assert not scene.loader.engines[1].closed
    assert scene.loader.beside == [False, True]
    assert await scene.change() is ModelChange.UNCHANGED


@pytest.mark.parametrize("text", ["nothing that anybody said", "broken", ""])
async def test_a_model_that_is_not_good_changes_nothing(
    scene: Scene, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.publish(MODEL, text)
    assert await scene.change() is ModelChange.FAILED
    assert (scene.says, scene.on_disk, scene.hidden) == (good("one"), good("one"), [])
    assert not scene.loader.engines[0].closed
    assert "the model was not changed" in caplog.text
    await scene.publish(MODEL, good("three"))
    assert await scene.change() is ModelChange.CHANGED
    assert scene.says == good("three")


async def test_a_store_that_is_away_changes_nothing(scene: Scene) -> None:
    nowhere = scene.settings.model_copy(update={"minio_endpoint": "http://127.0.0.1:1"})
    scene.changer = ModelChanger(nowhere, scene.loader, scene.models, scene.metrics, Silent())  # type: ignore[arg-type]
    running = asyncio.create_task(scene.changer.run())
    assert await scene.change() is ModelChange.FAILED
    assert scene.says == good("one")
    running.cancel()


async def test_what_another_worker_fetched_is_taken_from_the_disk(scene: Scene) -> None:
    await scene.publish(MODEL, good("two"))
    rewrite(scene.settings.whisper_artifacts_dir / scene.original.name, MODEL, good("two"))
    assert await scene.change() is ModelChange.CHANGED
    assert scene.says == good("two")


async def test_other_libraries_are_put_in_place_for_another_process(scene: Scene) -> None:
    await scene.publish(LIBRARIES[0], "another library")
    assert await scene.change() is ModelChange.RESTART
    await scene.running
    assert scene.says == good("one")
    assert (scene.settings.whisper_artifacts_dir / scene.original.name / LIBRARIES[0]).read_text() == "another library"
    assert scene.hidden == []


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.model_change.memory_limit_bytes", lambda: 0)


@pytest.mark.usefixtures("no_room")
async def test_without_room_for_two_it_waits_for_what_is_in_flight(scene: Scene) -> None:
    await scene.publish(MODEL, good("two"))
    first = scene.loader.engines[0]

    async def begin() -> str:
        async with scene.models.lent() as transcriber:
            return transcriber.engine.model_sha256

    async with scene.models.lent():
        changing = asyncio.create_task(scene.change())
        await until(lambda: not scene.models._open.is_set())
        beginning = asyncio.create_task(begin())
        await asyncio.wait({beginning}, timeout=0.05)
        assert not beginning.done()
        assert not first.closed
    assert await changing is ModelChange.CHANGED
    assert first.closed
    assert await beginning == scene.loader.engines[1].facts.model_sha256
    assert scene.loader.beside == [False, False]


@pytest.mark.usefixtures("no_room")
async def test_without_room_a_model_that_is_not_good_brings_the_old_one_back(scene: Scene) -> None:
    await scene.publish(MODEL, "nothing that anybody said")
    assert await scene.change() is ModelChange.FAILED
    assert (scene.says, scene.on_disk) == (good("one"), good("one"))
    async with scene.models.lent() as transcriber:
        assert transcriber.engine.model_sha256 == scene.loader.engines[0].facts.model_sha256
