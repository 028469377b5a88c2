"""What share of this machine's best a run reached: of its multiplications in the encoder, of its memory in the decoder.

The machine's best is measured by ``peaks.c``, compiled for its class of CPU. What a run had to do is counted from
Whisper's architecture (Radford et al. 2022, section 2.2 and table 1; ``model.py`` of OpenAI's whisper). A
multiplication and an addition are two operations. With state size d, T steps of the encoder's context, M mel bins and L
layers:

- The spectrogram has 2 T frames. conv1 (kernel 3, stride 1, M to d channels) takes 2 * 3 * M * d for each of them,
  conv2 (kernel 3, stride 2, d to d) 2 * 3 * d * d for each step.
- A layer of the encoder has matrices of 12 d^2 numbers: queries, keys, values and output of d^2 each, and two of 4 d^2.
  That is 24 d^2 T. Its attention takes 2 T^2 d for the scores and as many for the weighted sum: 4 T^2 d.
- Each layer of the decoder has keys and values of the encoder's output, two matrices of d^2, once a pass: 4 d^2 T.
- For a token the decoder reads in each layer four matrices of d^2 for its own attention, two for queries and output of
  the cross attention, and two of 4 d^2: 14 d^2; and the token embedding, vocabulary times d, as the last layer.

A whole window of base takes 97 GFLOP in the encoder, and a token 52 MB at q8_0. Left out are what is small (norms,
biases, soft-max, the spectrogram), the decoder's arithmetic, and its caches of keys and values: those of the cross
attention are another 19 MB a token for base at full context, in f16. So the shares are rather too low.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.ggml_file import TensorType, data_bytes
from consumer.engine.artifacts.machine import CpuClass, native_class
from consumer.engine.artifacts.models import MODEL_CONFIGS, ModelConfig, Precision
from consumer.engine.artifacts.toolchain import compiler_version, compilers, run
from consumer.engine.cpus import usable_cpus
from consumer.engine.traits import FULL_STEPS
from consumer.settings import ModelSize
from tests.support.cache import CACHE_DIR

_SOURCE: Final = Path(__file__).with_suffix(".c")

NEEDS: Final = {
    "f32": None,
    "bf16": "avx512_bf16",
    "int8": "avx512_vnni",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "memory": None,
}
"""What ``peaks`` measures, and the feature of the CPU that it needs."""

_MULTIPLIED_BY: Final[dict[Precision, tuple[str, ...]]] = {
    "f16": ("f32",),
    "bf16": ("amx_bf16", "bf16", "f32"),
    "bf16-q8_0": ("amx_bf16", "bf16", "f32"),
    "q8_0": ("amx_int8", "int8"),
    "q5_1": ("amx_int8", "int8"),
}
"""The kinds of ``peaks`` that multiply the encoder's weights, fastest first, whether or not the engine uses them."""

_DECODER_TYPE: Final[dict[Precision, TensorType]] = {
    "f16": TensorType.F16,
    "bf16": TensorType.BF16,
    "bf16-q8_0": TensorType.Q8_0,
    "q8_0": TensorType.Q8_0,
    "q5_1": TensorType.Q5_1,
}


@dataclass(frozen=True, slots=True)
class Share:
    """Of the peak of all threads, [0, 1]; None where that was not measured.

    ``memory`` is over 1 where weights stay in a cache, or where several tokens shared one reading.
    """

    arithmetic: float | None
    memory: float | None


def peaks() -> dict[str, Any]:
    """Measure this machine, in half a minute at most.

    For each kind of ``NEEDS`` billions of operations a second (``memory``: of bytes, read), ``{"one": …, "all": …}``
    threads, or None; ``not_measured`` says why, by kind. ``threads`` is how many "all" are, ``cpu_class`` what they
    were compiled for (None without a compiler).
    """
    n_threads = usable_cpus()
    try:
        cpu_class = native_class()
        program = _program(cpu_class)
    except ArtifactError as error:
        return {
            "cpu_class": None,
            "threads": n_threads,
            **dict.fromkeys(NEEDS),
            "not_measured": dict.fromkeys(NEEDS, str(error)),
        }
    answer = subprocess.run([program, str(n_threads)], check=True, stdout=subprocess.PIPE, timeout=300)
    found: dict[str, Any] = json.loads(answer.stdout)
    not_measured = {kind: _reason(kind, cpu_class) for kind, figure in found.items() if figure is None}
    return {"cpu_class": cpu_class.name, "threads": n_threads, **found, "not_measured": not_measured}


def share(
    size: ModelSize,
    precision: Precision,
    seconds: float,
    contexts: Iterable[int],
    tokens: int,
    found: Mapping[str, Any],
) -> Share:
    """The share of the peak that a run reached which took so long on all threads.

    ``contexts`` are the steps of the encoder's context in each pass (0: all, as for ``Parameters.audio_ctx``),
    ``tokens`` how many times the decoder's weights were read, ``found`` what ``peaks`` returned. ``arithmetic`` takes
    all multiplications as if they were at the precision of the weights.
    """
    operations = sum(encoder_operations(size, context) for context in contexts)
    read_bytes = tokens * decoder_bytes(size, precision)
    return Share(
        arithmetic=_ratio(operations / seconds, gemm_peak(precision, found)),
        memory=_ratio(read_bytes / seconds, _of_all(found, "memory")),
    )


def encoder_operations(size: ModelSize, context: int) -> int:
    """Operations of one pass of the encoder over so many steps, keys and values of the cross attention among them."""
    config, steps = MODEL_CONFIGS[size], context or FULL_STEPS
    width = config.state_size
    convolutions = 2 * 3 * config.mel_bins * width * 2 * steps + 2 * 3 * width**2 * steps
    layer = 24 * width**2 * steps + 4 * steps**2 * width
    return convolutions + config.audio_layers * layer + config.text_layers * 4 * width**2 * steps


def decoder_bytes(size: ModelSize, precision: Precision) -> int:
    """Bytes of weights that the decoder reads for a token. The cross attention's keys and values are not among them."""
    config = MODEL_CONFIGS[size]
    width = config.state_size
    return data_bytes(_DECODER_TYPE[precision], config.text_layers * 14 * width**2 + _vocabulary(config) * width)


def gemm_peak(precision: Precision, found: Mapping[str, Any]) -> float | None:
    """The fastest that all threads multiply numbers of this precision, billions a second; None if not measured."""
    figures = [figure for kind in _MULTIPLIED_BY[precision] if (figure := _of_all(found, kind)) is not None]
    return max(figures, default=None)


def _of_all(found: Mapping[str, Any], kind: str) -> float | None:
    figure = found[kind]
    return None if figure is None else float(figure["all"])


def _ratio(reached: float, peak_billions: float | None) -> float | None:
    return None if peak_billions is None else reached / (1e9 * peak_billions)


def _vocabulary(config: ModelConfig) -> int:
    """Tokens: 50,257 of text (one less in .en), 8 commands, 99 languages (one more since large-v3), 1,501 times."""
    if not config.multilingual:
        return 51864
    return 51866 if config.mel_bins == 128 else 51865


def _reason(kind: str, cpu_class: CpuClass) -> str:
    needed = NEEDS[kind]
    if needed is not None and needed not in cpu_class.features:
        return f"class {cpu_class.name} has no {needed}"
    return "no memory for it" if kind == "memory" else "the system does not let this process use the tiles"


def _program(cpu_class: CpuClass) -> Path:
    """``peaks.c`` compiled for a class of CPU, once. Raises ArtifactError where there is no compiler or it fails."""
    _, compiler = compilers()
    flags = ("-O2", "-pthread", *cpu_class.compiler_flags)
    recipe = json.dumps([compiler_version(), *flags]).encode() + _SOURCE.read_bytes()
    program = CACHE_DIR / "bench" / f"peaks-{hashlib.sha256(recipe).hexdigest()[:16]}"
    program.parent.mkdir(parents=True, exist_ok=True)
    with locked(program.with_name(f".{program.name}.lock")):
        if not program.exists():
            unfinished = program.with_name(f".{program.name}.building")
            run([compiler, *flags, "-o", str(unfinished), str(_SOURCE)], f"compiling {_SOURCE.name}")
            unfinished.rename(program)
    return program


if __name__ == "__main__":
    json.dump(peaks(), sys.stdout, indent=2)
