"""Model and libraries: those on disk, and those in the bucket that a worker would fetch."""

import asyncio

from consumer.engine.artifacts.bucket import open_bucket
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import locate
from consumer.engine.artifacts.machine import this_machine
from consumer.engine.artifacts.models import directory_name
from consumer.engine.artifacts.verify import verify
from consumer.operate.doctor.check import Check
from consumer.settings import EngineSettings, StoreSettings


async def check_artifacts(engine: EngineSettings, store: StoreSettings | None) -> list[Check]:
    """One of both places must have artifacts that run here; a fault of the other is no fault of the setup."""
    local = await asyncio.to_thread(_check_local, engine)
    remote = await _check_bucket(engine, store, needed=not local.ok)
    return [local, remote]


def _check_local(engine: EngineSettings) -> Check:
    directory, size = engine.whisper_artifacts_dir, engine.whisper_model_size
    if not any(directory.glob(f"{directory_name(size)}*")):
        advice = "nothing, if the bucket has them: run fetches them"
        return Check("artifacts", None, f"none of {size} in {directory.resolve()}", advice)
    try:
        artifacts = locate(directory, size, engine.whisper_precision)
        manifest = verify(artifacts.directory, size, this_machine(), require_manifest=engine.artifacts_require_manifest)
    except ArtifactError as error:
        return Check("artifacts", False, str(error), "remove the directory and fetch it again with artifacts pull")
    state = f"verified, whisper.cpp {manifest.engine.version}" if manifest else "no manifest, not verified"
    found = f"{artifacts.directory}: {artifacts.precision} for {artifacts.cpu_class}, {state}"
    if not engine.use_whisper_library and artifacts.whisper_cli is None:
        return Check("artifacts", False, f"{found}, no whisper-cli", "set USE_WHISPER_LIBRARY=true or compile a build")
    return Check("artifacts", True, found)


async def _check_bucket(engine: EngineSettings, store: StoreSettings | None, *, needed: bool) -> Check:
    name = f"bucket {engine.artifacts_bucket}"
    if store is None:
        return Check(name, None, "not looked at: settings are wrong or missing")
    failed = False if needed else None
    try:
        async with open_bucket(engine.artifacts_bucket, store) as bucket:
            directories = await bucket.directories(engine.whisper_model_size)
    except ArtifactError as error:
        return Check(name, failed, str(error), "needed only to fetch artifacts")
    if not directories:
        return Check(name, failed, f"no artifacts of {engine.whisper_model_size}", "fill it with artifacts push")
    return Check(name, True, f"has {', '.join(sorted(directories))}")
