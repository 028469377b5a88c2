"""From CTranslate2's variables to whisper.cpp's f16 model file, the numbers unchanged."""

import base64
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from consumer.engine.artifacts import ggml_file
from consumer.engine.artifacts.ctranslate2 import Array
from consumer.engine.artifacts.ggml_file import FileType, Header, Tensor, TensorType

_AUDIO_POSITIONS = 1500  # 30 s at 20 ms
_TEXT_POSITIONS = 448
_ENGLISH_TOKENS = 51864  # models with more tokens than this are multilingual

Named = Iterator[tuple[str, Array]]


def write_ggml(variables: Mapping[str, Array], mel_filters: bytes, vocabulary: bytes, target: Path) -> None:
    """Write the f16 model file of a Whisper model.

    ``variables`` are those of a CTranslate2 file, ``mel_filters`` the bytes of OpenAI's mel_filters.npz, and
    ``vocabulary`` those of its .tiktoken file that fits the model (see ``is_multilingual``).
    Raises ValueError where a variable is missing or not as expected.
    """
    try:
        header = _header(variables)
        tensors = [_tensor(name, array) for name, array in _tensors(variables, header)]
    except KeyError as error:
        raise ValueError(f"the model has no variable {error}") from error
    ggml_file.write(
        target, header, _mel_filters(mel_filters, header.n_mels), _tokens(vocabulary, header.n_vocab), tensors
    )


def is_multilingual(variables: Mapping[str, Array]) -> bool:
    """Whether the model's vocabulary is the multilingual one."""
    return len(variables["decoder/embeddings/weight"]) > _ENGLISH_TOKENS


def _header(variables: Mapping[str, Array]) -> Header:
    tokens, state = variables["decoder/embeddings/weight"].shape
    heads = int(variables["encoder/num_heads"].reshape(-1)[0])
    return Header(
        n_vocab=tokens,
        n_audio_ctx=_AUDIO_POSITIONS,
        n_audio_state=state,
        n_audio_head=heads,
        n_audio_layer=_layers(variables, "encoder"),
        n_text_ctx=_TEXT_POSITIONS,
        n_text_state=state,
        n_text_head=heads,
        n_text_layer=_layers(variables, "decoder"),
        n_mels=variables["encoder/conv1/weight"].shape[1],
        file_type=FileType.F16,
    )


def _layers(variables: Mapping[str, Array], part: str) -> int:
    return sum(
        name.startswith(f"{part}/layer_") and name.endswith("/self_attention/linear_0/weight") for name in variables
    )


def _mel_filters(archive: bytes, bins: int) -> npt.NDArray[np.float32]:
    with np.load(BytesIO(archive), allow_pickle=False) as filters:
        return np.asarray(filters[f"mel_{bins}"], dtype=np.float32)


def _tokens(vocabulary: bytes, n_vocab: int) -> list[bytes]:
    tokens = [base64.b64decode(line.split()[0]) for line in vocabulary.splitlines() if line]
    if n_vocab <= _ENGLISH_TOKENS:  # the English file lacks its last token, which published models have
        tokens.append(b"<|endoftext|>")
    return tokens


def _tensor(name: str, array: Array) -> Tensor:
    """As whisper.cpp's own converter stores it: matrices and convolutions f16, all else f32."""
    array = array.squeeze()
    if name in ("encoder.conv1.bias", "encoder.conv2.bias"):
        array = array.reshape(-1, 1)
    wide = array.ndim < 2 or name.endswith((".positional_embedding", "conv1.bias", "conv2.bias"))
    kind = TensorType.F32 if wide else TensorType.F16
    stored = np.ascontiguousarray(array, dtype="<f4" if wide else "<f2")
    return Tensor(name, array.shape, kind, stored.reshape(-1).view(np.uint8))


def _tensors(variables: Mapping[str, Array], header: Header) -> Named:
    yield "decoder.positional_embedding", variables["decoder/position_encodings/encodings"]
    yield "encoder.positional_embedding", variables["encoder/position_encodings/encodings"]
    yield "decoder.token_embedding.weight", variables["decoder/embeddings/weight"]
    for layer in range(header.n_text_layer):
        yield from _block(variables, f"decoder.blocks.{layer}", f"decoder/layer_{layer}", crossed=True)
    yield from _norm(variables, "decoder.ln", "decoder/layer_norm")
    for number in (1, 2):
        yield from _linear(variables, f"encoder.conv{number}", f"encoder/conv{number}")
    for layer in range(header.n_audio_layer):
        yield from _block(variables, f"encoder.blocks.{layer}", f"encoder/layer_{layer}", crossed=False)
    yield from _norm(variables, "encoder.ln_post", "encoder/layer_norm")


def _block(variables: Mapping[str, Array], name: str, source: str, *, crossed: bool) -> Named:
    yield from _norm(variables, f"{name}.mlp_ln", f"{source}/ffn/layer_norm")
    yield from _linear(variables, f"{name}.mlp.0", f"{source}/ffn/linear_0")
    yield from _linear(variables, f"{name}.mlp.2", f"{source}/ffn/linear_1")
    yield from _norm(variables, f"{name}.attn_ln", f"{source}/self_attention/layer_norm")
    yield from _split(variables, f"{name}.attn", f"{source}/self_attention/linear_0", ("query", "key", "value"))
    yield from _linear(variables, f"{name}.attn.out", f"{source}/self_attention/linear_1")
    if crossed:
        yield from _norm(variables, f"{name}.cross_attn_ln", f"{source}/attention/layer_norm")
        yield from _split(variables, f"{name}.cross_attn", f"{source}/attention/linear_0", ("query",))
        yield from _split(variables, f"{name}.cross_attn", f"{source}/attention/linear_1", ("key", "value"))
        yield from _linear(variables, f"{name}.cross_attn.out", f"{source}/attention/linear_2")


def _norm(variables: Mapping[str, Array], name: str, source: str) -> Named:
    yield f"{name}.weight", variables[f"{source}/gamma"]
    yield f"{name}.bias", variables[f"{source}/beta"]


def _linear(variables: Mapping[str, Array], name: str, source: str) -> Named:
    yield f"{name}.weight", variables[f"{source}/weight"]
    yield f"{name}.bias", variables[f"{source}/bias"]


def _split(variables: Mapping[str, Array], name: str, source: str, parts: tuple[str, ...]) -> Named:
    """Projections that CTranslate2 stacks into one matrix. Whisper's keys have no bias, here they have zeros."""
    weights = np.split(variables[f"{source}/weight"], len(parts))
    biases = np.split(variables[f"{source}/bias"], len(parts))
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        yield f"{name}.{part}.weight", weight
        if part != "key":
            yield f"{name}.{part}.bias", bias
        elif bias.any():
            raise ValueError(f"{source} has a bias for keys, which Whisper does not have")
