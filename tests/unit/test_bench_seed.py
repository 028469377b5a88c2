"""tests/bench/seed.py: the shape and the speech of models with random weights, and the table of claims."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.artifacts import ggml_file
from consumer.engine.artifacts.locate import locate
from tests.bench import seed
from tests.support.built import prebuilt_artifacts
from tests.support.speech import SAMPLE_TEXT

VOCABULARY = [b"a", b"b", b"ab", b" ab", b"abab"]


@pytest.mark.model
@pytest.mark.parametrize("size", ["tiny.en", "base"])
def test_shapes_are_those_of_the_real_models(size: Any) -> None:
    model = ggml_file.read(locate(prebuilt_artifacts(), size).model)
    assert list(seed.shapes(model.header)) == [(tensor.name, tensor.shape) for tensor in model.tensors]


@pytest.mark.model
def test_a_random_model_is_the_same_each_time_and_points_at_the_text_it_is_to_say(tmp_path: Path) -> None:
    base = locate(prebuilt_artifacts(), "base").model
    for name in ("one", "other"):
        seed.write_random_model("tiny", base, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    model = ggml_file.read(tmp_path / "one")
    arrays = {
        tensor.name: tensor.data.view(np.float16 if tensor.type == ggml_file.TensorType.F16 else np.float32)
        .reshape(tensor.shape)
        .astype(np.float32)
        for tensor in model.tensors
    }
    assert all(np.isfinite(array).all() for array in arrays.values())
    pointed = (arrays["decoder.positional_embedding"] @ arrays["decoder.token_embedding.weight"].T).argmax(axis=1)
    said = b"".join(model.vocabulary[token] for token in pointed if token < len(model.vocabulary))
    assert said.decode() == f" {SAMPLE_TEXT}"


@given(st.text("ab"))
def test_tokens_spell_the_text(text: str) -> None:
    assert b"".join(VOCABULARY[token] for token in seed.tokens_of(text, VOCABULARY)) == text.encode()


def test_the_longest_token_is_taken_and_what_none_fits_is_refused() -> None:
    assert seed.tokens_of("ababab ab", VOCABULARY) == [4, 2, 3]
    with pytest.raises(ValueError, match="no token that begins"):
        seed.tokens_of("abc", VOCABULARY)


def test_claims_stand_beside_the_figures_of_their_own_side() -> None:
    table = seed.table({"machine": MACHINE, "sizes": {"small": of_size(random=True), "base": of_size(random=False)}})
    small = {figure: cells for (name, figure), cells in rows_of(table).items() if name.startswith("small")}
    assert small["memory, 4 at once"] == ["~800 MB", "44 MB", "54 MB", "~500 MB", "64 MB"]
    assert small["later requests"] == ["2-3 s", "4.20 s", "5.20 s", "0.1-0.3 s", "6.20 s"]
    names = {name for name, _ in rows_of(table)}
    assert {name.startswith("small") for name in names if "random weights" in name} == {True}
    assert len(names) == 2


MACHINE = {"cpu": "a CPU", "cpu_class": "a class", "cores": 2}


def rows_of(table: str) -> dict[tuple[str, str], list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[4:]]
    return {(row[0], row[1]): row[2:] for row in cells}


def of_size(*, random: bool) -> dict[str, Any]:
    def way(number: int) -> dict[str, Any]:
        at_once = {str(count): {"seconds": float(count), "peak_megabytes": 10 * number + count} for count in (1, 2, 4)}
        return {
            "load_seconds": number + 0.0,
            "first_seconds": number + 0.1,
            "later_seconds": number + 0.2,
            "at_once": at_once,
            "wer": 0.0,
        }

    ways = {seed.CLI: way(4), seed.GREEDY: way(5), seed.LIBRARY: way(6)}
    return {"random_weights": random, "library_precision": "q8_0", "ways": ways}
