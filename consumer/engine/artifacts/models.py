"""Whisper's sizes, and the names that directories and files of artifacts have."""

from dataclasses import dataclass
from typing import Literal, get_args

from consumer.settings import ModelSize

Precision = Literal["q5_1", "q8_0", "f16", "bf16", "bf16-q8_0"]
"""Of the weights; ``bf16-q8_0`` is bf16 in the encoder and q8_0 in the decoder."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SIZES: tuple[ModelSize, ...] = get_args(ModelSize)

LIBRARIES = ("libggml-base.so.0", "libggml-cpu.so.0", "libggml.so.0", "libwhisper.so")
"""The shared libraries of a directory, in the order in which they are loaded."""
WHISPER_CLI = "whisper-cli"
VAD_MODEL = "ggml-silero-v6.2.0.bin"
MANIFEST = "manifest.json"


def directory_name(size: ModelSize, cpu_class: str | None = None) -> str:
    """Directory of one size: ``whisper_{size}_xeon``, and with a class of CPU ``whisper_{size}_xeon.{class}``."""
    return f"whisper_{size}_xeon" + (f".{cpu_class}" if cpu_class else "")


def model_file(size: ModelSize, precision: Precision) -> str:
    """File name of one size at one precision."""
    return f"ggml-{size}-{precision}.bin"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is known of one size before anything is fetched."""

    size: ModelSize
    disk_megabytes: int
    """Of the q5_1 file, which every directory has, in units of 2**20 bytes as whisper.cpp's tables have it."""
    memory_megabytes: int
    """What a worker takes in all, roughly; for small and medium the figures of the project's first design."""
    state_size: int
    audio_layers: int
    text_layers: int
    mel_bins: int
    sha1: str
    """Of the f16 file ``ggml-{size}.bin``, as published in models/README.md of whisper.cpp 1.8.5."""

    @property
    def directory(self) -> str:
        """Directory, and prefix in the bucket, of the build that runs on every supported machine."""
        return directory_name(self.size)

    @property
    def file_name(self) -> str:
        """The model file that every directory has."""
        return model_file(self.size, "q5_1")

    @property
    def multilingual(self) -> bool:
        return not self.size.endswith(".en")


_CONFIGS = (
    ModelConfig("tiny", 31, 200, 384, 4, 4, 80, "bd577a113a864445d4c299885e0cb97d4ba92b5f"),
    ModelConfig("tiny.en", 31, 200, 384, 4, 4, 80, "c78c86eb1a8faa21b369bcd33207cc90d64ae9df"),
    ModelConfig("base", 57, 300, 512, 6, 6, 80, "465707469ff3a37a2b9b8d8f89f2f99de7299dac"),
    ModelConfig("base.en", 57, 300, 512, 6, 6, 80, "137c40403d78fd54d454da0f9bd998f78703390c"),
    ModelConfig("small", 181, 500, 768, 12, 12, 80, "55356645c2b361a969dfd0ef2c5a50d530afd8d5"),
    ModelConfig("small.en", 181, 500, 768, 12, 12, 80, "db8a495a91d927739e50b3fc1cc4c6b8f6c2d022"),
    ModelConfig("medium", 560, 2000, 1024, 24, 24, 80, "fd9727b6e1217c2f614f9b698455c4ffd82463b4"),
    ModelConfig("medium.en", 560, 2000, 1024, 24, 24, 80, "8c30f0e44ce9560643ebd10bbe50cd20eafd3723"),
    ModelConfig("large-v3", 1123, 3500, 1280, 32, 32, 128, "ad82bf6a9043ceed055076d0fd39f5f186ff8062"),
    ModelConfig("large-v3-turbo", 595, 2200, 1280, 32, 4, 128, "4af2b29d7ec73d781377bfd1758ca957a807e941"),
)
MODEL_CONFIGS: dict[ModelSize, ModelConfig] = {config.size: config for config in _CONFIGS}
