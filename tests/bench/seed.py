"""The table of the original design, measured: one ``whisper-cli`` process a request beside the library.

The old way is ``whisper-cli -m MODEL -f FILE`` with the q5_1 model and all of its own defaults (five beams, up to four
threads); once more decoding greedily, as the library does. The library runs in a process that stays
(``seed_alone``), behind ``WhisperLibraryAdapter``, with the precision that ``locate`` chooses. Each request is the
sample of 11 s. Each figure is made in processes of its own.

- *first request*: from the start of the process to the text, with the model's file out of the page cache.
- *later requests*: the median of five, one after another; the file is in the page cache by then.
- *at once*: seconds until all are answered, and the peak of the memory (PSS) of all processes meanwhile. The library
  is running by then; processes of whisper-cli are not, by design.

Of small and medium no weights can be had everywhere, so files of random weights stand in, in the shape of the real ones
(``write_random_model``). They do the same work as a real model that says what is said in the sample: their text is
fixed, so that no side decodes a token more than the other. They say nothing of errors.
"""

import asyncio
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import numpy as np
import psutil
from numpy.typing import NDArray

from consumer.engine.artifacts import ggml_file
from consumer.engine.artifacts.build import default_precisions
from consumer.engine.artifacts.files import fresh_directory, locked
from consumer.engine.artifacts.ggml_file import FileType, Header, Tensor, TensorType
from consumer.engine.artifacts.locate import Artifacts, artifacts_in, locate
from consumer.engine.artifacts.machine import native_class
from consumer.engine.artifacts.models import (
    LIBRARIES,
    MODEL_CONFIGS,
    VAD_MODEL,
    WHISPER_CLI,
    Precision,
    directory_name,
    model_file,
)
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.prebuilt import quantiser_library
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.quantise import quantise
from consumer.settings import BuildSettings, ModelSize
from tests.bench.journal import _state
from tests.bench.scale import Pieces
from tests.support.built import compiled_artifacts
from tests.support.cache import CACHE_DIR
from tests.support.speech import SAMPLE_TEXT, word_error_rate

SIZES: Final[tuple[ModelSize, ...]] = ("tiny.en", "base", "small", "medium")
RANDOM: Final[tuple[ModelSize, ...]] = ("small", "medium")
LATER: Final = 5
AT_ONCE: Final = (1, 2, 4)
SAMPLE: Final = Path(__file__).parents[2] / "consumer" / "operate" / "sample" / "jfk.wav"

CLI: Final = "CLI"
GREEDY: Final = "CLI, greedy"
LIBRARY: Final = "library"
CLI_OPTIONS: Final[dict[str, tuple[str, ...]]] = {CLI: (), GREEDY: ("-bs", "1", "-bo", "1", "-nf")}

_CLI_MEGABYTES: Final[dict[str, int]] = {"small": 200, "medium": 500}
_LIBRARY_MEGABYTES: Final[dict[str, int]] = {"small": 500, "medium": 2000}
_LOOK_SECONDS: Final = 0.03
_LOAD_TIME: Final = re.compile(r"load time =\s*([\d.]+) ms")
_TIMES: Final = re.compile(r"\[[\d:. >-]+\]")

_RECIPE: Final = "1"  # to be raised with every change of what a random model is
_SEED: Final = 11
_END_OF_TEXT: Final = 50257
_TIMES_BEGIN: Final = 50364
_SAMPLE_END: Final = _TIMES_BEGIN + 11 * 50
_PROMPT_TOKENS: Final = 3  # start of transcript, language, task: the first token of the text is the last one's answer
_QUIET: Final = 0.02  # what a block adds beside what it is given, so that the last layer still tells the position
_LOUD: Final = 32.0


async def measure(sizes: Sequence[ModelSize] = SIZES, *, fresh: bool = False) -> dict[str, Any]:
    """Returns the figures of each size, of each way; what was measured before is kept, unless ``fresh``.

    Raises RuntimeError where a random model does not say its text.
    """
    pieces = Pieces(CACHE_DIR / "bench" / f"seed-{_state()[:16]}.json", fresh=fresh)
    found: dict[str, Any] = {}
    for size in sizes:
        artifacts = await asyncio.to_thread(_artifacts, size)
        ways = {
            way: await pieces.once(f"{size}, {way}", partial(_measure_cli, artifacts, options))
            for way, options in CLI_OPTIONS.items()
        }
        ways[LIBRARY] = await pieces.once(f"{size}, {LIBRARY}", partial(_measure_library, artifacts))
        if size in RANDOM and (strays := [way for way, figures in ways.items() if figures["wer"]]):
            raise RuntimeError(f"the random model of {size} did not say its text, so speeds mean nothing: {strays}")
        found[size] = {"random_weights": size in RANDOM, "library_precision": artifacts.precision, "ways": ways}
    return {"sizes": found}


def table(figures: dict[str, Any]) -> str:
    """The design's claims beside what was measured, as Markdown."""
    about = figures["machine"]
    lines = [
        f"The sample of 11 s, {about['cores']} cores of {about['cpu']} ({about['cpu_class']}); whisper-cli with q5_1.",
        "",
        f"| model | figure | design: CLI | {CLI} | {GREEDY} | design: library | {LIBRARY} |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, of_size in figures["sizes"].items():
        name = f"{size}, {of_size['library_precision']}"
        if of_size["random_weights"]:
            name += " (random weights: speed and memory only)"
        for figure, claim_cli, claim_library, shown in _rows(size, of_size["ways"]):
            measured = [shown[CLI], shown[GREEDY], shown[LIBRARY]]
            cells = [name, figure, claim_cli, *measured[:2], claim_library, measured[2]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(size: str, ways: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, str]]]:
    """Name of the figure, the design's claims for CLI and library, and what was measured, by way."""

    def seconds(name: str) -> dict[str, str]:
        return {way: f"{figures[name]:.2f} s" for way, figures in ways.items()}

    yield "load (library: with its states)", "", "", seconds("load_seconds")
    yield "first request", "2-3 s", "0.5-1 s", seconds("first_seconds")
    yield "later requests", "2-3 s", "0.1-0.3 s", seconds("later_seconds")
    for count in AT_ONCE:
        claim_cli = f"~{count * _CLI_MEGABYTES[size]} MB" if size in _CLI_MEGABYTES else ""
        claim_library = f"~{_LIBRARY_MEGABYTES[size]} MB" if size in _LIBRARY_MEGABYTES else ""
        shown = {way: f"{figures['at_once'][str(count)]['peak_megabytes']:.0f} MB" for way, figures in ways.items()}
        yield f"memory, {count} at once", claim_cli, claim_library, shown
    for count in AT_ONCE[1:]:
        shown = {way: f"{figures['at_once'][str(count)]['seconds']:.2f} s" for way, figures in ways.items()}
        yield f"{count} at once, all answered", "poor", "excellent", shown


async def _measure_cli(artifacts: Artifacts, options: tuple[str, ...]) -> dict[str, Any]:
    assert artifacts.whisper_cli is not None
    model = artifacts.directory / model_file(artifacts.size, "q5_1")
    command = [str(artifacts.whisper_cli), "-m", str(model), "-f", str(SAMPLE), *options]
    _forget(model)
    first_seconds, _, [_] = await _together(command, 1)
    later: list[float] = []
    loads: list[float] = []
    heard = ("", "")
    for _ in range(LATER):
        seconds, _, [heard] = await _together(command, 1)
        later.append(seconds)
        loads.append(_load_seconds(heard[1]))
    at_once = {}
    for count in AT_ONCE:
        seconds, peak, _ = await _together(command, count, watched=True)
        at_once[str(count)] = {"seconds": round(seconds, 3), "peak_megabytes": round(peak)}
    return {
        "load_seconds": round(statistics.median(loads), 3),
        "first_seconds": round(first_seconds, 3),
        "later_seconds": round(statistics.median(later), 3),
        "at_once": at_once,
        "wer": round(word_error_rate(SAMPLE_TEXT, _TIMES.sub("", heard[0])), 4),
    }


async def _measure_library(artifacts: Artifacts) -> dict[str, Any]:
    _forget(artifacts.model)
    latency, _ = await _library(artifacts, later=LATER, at_once=0)
    warm, _ = await _library(artifacts, later=0, at_once=0)
    at_once, texts = {}, latency["texts"]
    for count in AT_ONCE:
        found, peak = await _library(artifacts, later=1, at_once=count, watched=True)
        at_once[str(count)] = {"seconds": round(found["at_once_seconds"], 3), "peak_megabytes": round(peak)}
        texts += found["texts"]
    return {
        "load_seconds": round(warm["load_seconds"], 3),
        "first_seconds": round(latency["first_seconds"], 3),
        "later_seconds": round(statistics.median(latency["later_seconds"]), 3),
        "at_once": at_once,
        "wer": round(max(word_error_rate(SAMPLE_TEXT, text) for text in texts), 4),
    }


async def _library(
    artifacts: Artifacts, *, later: int, at_once: int, watched: bool = False
) -> tuple[dict[str, Any], float]:
    """What ``seed_alone`` found in a process of its own, and the peak of its memory in megabytes."""
    request = {
        "directory": str(artifacts.directory),
        "model": str(artifacts.model),
        "vad_model": str(artifacts.vad_model),
        "multilingual": MODEL_CONFIGS[artifacts.size].multilingual,
        "file": str(SAMPLE),
        "later": later,
        "at_once": at_once,
        "spawned": time.monotonic(),
    }
    command = [sys.executable, "-m", "tests.bench.seed_alone", json.dumps(request)]
    _, peak, [(output, _)] = await _together(command, 1, watched=watched)
    return json.loads(output), peak


async def _together(
    command: Sequence[str], count: int, *, watched: bool = False
) -> tuple[float, float, list[tuple[str, str]]]:
    """Run so many processes at once; returns seconds until the last ended, the peak of the memory of all of them in
    megabytes (0 unless watched), and stdout and stderr of each. Raises RuntimeError where one fails."""
    began = time.perf_counter()
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        for _ in range(count)
    ]
    try:
        answers = asyncio.gather(*(process.communicate() for process in processes))
        peak = await _peak_megabytes([process.pid for process in processes], answers) if watched else 0.0
        found = [(output.decode(), complaints.decode()) for output, complaints in await answers]
        seconds = time.perf_counter() - began
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    for process, (_, complaints) in zip(processes, found, strict=True):
        if process.returncode:
            raise RuntimeError(f"{command[0]} ended with status {process.returncode}:\n{complaints[-2000:]}")
    return seconds, peak, found


async def _peak_megabytes(pids: Sequence[int], until: "asyncio.Future[Any]") -> float:
    """Pages that processes share count once, in shares (PSS)."""
    peak = 0
    while not until.done():
        total = 0
        for pid in pids:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended, or is about to
                total += psutil.Process(pid).memory_full_info().pss
        peak = max(peak, total)
        await asyncio.wait({until}, timeout=_LOOK_SECONDS)
    return peak / 1e6


def _load_seconds(complaints: str) -> float:
    found = _LOAD_TIME.search(complaints)
    if found is None:
        raise RuntimeError("whisper-cli did not say how long its model took to load")
    return float(found[1]) / 1000


def _forget(file: Path) -> None:
    """Take a file out of the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _artifacts(size: ModelSize) -> Artifacts:
    return random_artifacts(size) if size in RANDOM else locate(compiled_artifacts(size), size)


def random_artifacts(size: ModelSize) -> Artifacts:
    """Artifacts with random weights, made once and kept: libraries of this machine, and the usual precisions."""
    base = locate(compiled_artifacts("base"), "base")
    assert base.manifest is not None
    recipe = f"{_RECIPE} {base.manifest.recipe_sha256}"
    root = CACHE_DIR / "bench" / f"random-{size}"
    root.mkdir(parents=True, exist_ok=True)
    directory = root / directory_name(size, native_class().suffix)
    with locked(root / ".lock"):
        made = directory / "recipe"
        if not made.exists() or made.read_text() != recipe:
            with fresh_directory(directory) as staging:
                _fill(staging, size, base, default_precisions(native_class()))
                (staging / made.name).write_text(recipe)
    return artifacts_in(directory, size)


def _fill(directory: Path, size: ModelSize, base: Artifacts, precisions: Sequence[Precision]) -> None:
    for name in (*LIBRARIES, WHISPER_CLI, VAD_MODEL):
        (directory / name).hardlink_to(base.directory / name)
    packages = Packages(CACHE_DIR / "downloads", BuildSettings().package_index_url)
    quantiser = quantiser_library(CACHE_DIR / "libraries", packages, Silent())
    plain = directory / "f16.bin"
    write_random_model(size, base.model, plain)
    for precision in precisions:
        quantise(plain, directory / model_file(size, precision), precision, quantiser, Silent())
    plain.unlink()


def write_random_model(size: ModelSize, base: Path, target: Path) -> None:
    """Write an f16 file of a size, the same each time. Filters and vocabulary are those of ``base``, a model file.

    The weights are random but for two things. Blocks add little to what they are given, so that numbers stay small;
    and the embedding of each position of the text points at the token that comes next in the sample's text, so that
    whatever is heard, that is what is said.
    """
    config, model = MODEL_CONFIGS[size], ggml_file.read(base)
    heads = config.state_size // 64
    header = replace(
        model.header,
        n_audio_state=config.state_size,
        n_audio_head=heads,
        n_audio_layer=config.audio_layers,
        n_text_state=config.state_size,
        n_text_head=heads,
        n_text_layer=config.text_layers,
        file_type=FileType.F16,
    )
    text = tokens_of(f" {SAMPLE_TEXT}", model.vocabulary)
    spoken = [_TIMES_BEGIN, *text, _SAMPLE_END, _END_OF_TEXT]
    tensors = (_tensor(name, shape, spoken, header) for name, shape in shapes(header))
    ggml_file.write(target, header, model.mel_filters, model.vocabulary, tensors)


def tokens_of(text: str, vocabulary: Sequence[bytes]) -> list[int]:
    """Tokens that spell a text, the longest first at each place. Raises ValueError where none fits."""
    ids = {token: number for number, token in enumerate(vocabulary)}
    rest, found = text.encode(), []
    while rest:
        length = next((length for length in range(len(rest), 0, -1) if rest[:length] in ids), 0)
        if not length:
            raise ValueError(f"the vocabulary has no token that begins {rest[:10]!r}")
        found.append(ids[rest[:length]])
        rest = rest[length:]
    return found


def shapes(header: Header) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a model's tensors, in the order of the file."""
    audio, text = header.n_audio_state, header.n_text_state
    yield "decoder.positional_embedding", (header.n_text_ctx, text)
    yield "encoder.positional_embedding", (header.n_audio_ctx, audio)
    yield "decoder.token_embedding.weight", (header.n_vocab, text)
    for layer in range(header.n_text_layer):
        yield from _block(f"decoder.blocks.{layer}", text, crossed=True)
    yield from _norm("decoder.ln", text)
    yield "encoder.conv1.weight", (audio, header.n_mels, 3)
    yield "encoder.conv1.bias", (audio, 1)
    yield "encoder.conv2.weight", (audio, audio, 3)
    yield "encoder.conv2.bias", (audio, 1)
    for layer in range(header.n_audio_layer):
        yield from _block(f"encoder.blocks.{layer}", audio, crossed=False)
    yield from _norm("encoder.ln_post", audio)


def _block(name: str, state: int, *, crossed: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _norm(f"{name}.mlp_ln", state)
    yield f"{name}.mlp.0.weight", (4 * state, state)
    yield f"{name}.mlp.0.bias", (4 * state,)
    yield f"{name}.mlp.2.weight", (state, 4 * state)
    yield f"{name}.mlp.2.bias", (state,)
    for attention in ("attn", "cross_attn") if crossed else ("attn",):
        yield from _norm(f"{name}.{attention}_ln", state)
        for part in ("query", "key", "value", "out"):
            yield f"{name}.{attention}.{part}.weight", (state, state)
            if part != "key":
                yield f"{name}.{attention}.{part}.bias", (state,)


def _norm(name: str, state: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (state,)
    yield f"{name}.bias", (state,)


def _tensor(name: str, shape: tuple[int, ...], spoken: Sequence[int], header: Header) -> Tensor:
    values = _positions(shape, spoken, header) if name == "decoder.positional_embedding" else _values(name, shape)
    wide = len(shape) < 2 or name.endswith((".positional_embedding", ".bias"))
    kind = TensorType.F32 if wide else TensorType.F16
    stored = np.ascontiguousarray(values, "<f4" if wide else "<f2")
    return Tensor(name, shape, kind, stored.reshape(-1).view(np.uint8))


def _values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights of norms are ones, biases zeros, all else is normal, with rows of length 1."""
    if name.endswith(".bias"):
        return np.zeros(shape, np.float32)
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    numbers = np.random.default_rng([_SEED, crc32(name.encode())]).standard_normal(shape, np.float32)
    scale = _QUIET if name.endswith(("attn.out.weight", "mlp.2.weight")) else 1.0
    return numbers * np.float32(scale / np.sqrt(np.prod(shape[1:])))


def _positions(shape: tuple[int, ...], spoken: Sequence[int], header: Header) -> NDArray[np.float32]:
    """Each points at the next token of the text, and at its end once all is said, shape (positions, state)."""
    tokens = _values("decoder.token_embedding.weight", (header.n_vocab, header.n_text_state))
    said = [_END_OF_TEXT] * shape[0]
    said[_PROMPT_TOKENS - 1 : _PROMPT_TOKENS - 1 + len(spoken)] = spoken
    return tokens[said] * np.float32(_LOUD)
