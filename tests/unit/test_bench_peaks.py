"""tests/bench/peaks.py: what a run had to do, and the share of the machine's best that it reached."""

from typing import Any

import pytest

from tests.bench.peaks import NEEDS, decoder_bytes, encoder_operations, gemm_peak, share

FOUND: dict[str, Any] = {
    "f32": {"one": 100, "all": 200},
    "bf16": {"one": 200, "all": 400},
    "int8": {"one": 400, "all": 800},
    "amx_bf16": None,
    "amx_int8": None,
    "memory": {"one": 20, "all": 30},
}


def test_a_whole_window_of_base_is_97_billion_operations() -> None:
    convolutions = 2 * 3 * 80 * 512 * 3000 + 2 * 3 * 512 * 512 * 1500  # 737,280,000 + 2,359,296,000
    layers = 6 * (24 * 512 * 512 * 1500 + 4 * 1500 * 1500 * 512)  # 6 * (9,437,184,000 + 4,608,000,000)
    cross = 6 * 4 * 512 * 512 * 1500  # 9,437,184,000
    assert convolutions + layers + cross == 96_804_864_000
    assert encoder_operations("base", 1500) == encoder_operations("base", 0) == 96_804_864_000


def test_a_short_context_costs_less_than_its_share_for_attention_is_quadratic() -> None:
    # tiny.en, 512 steps: convolutions 188,743,680 + 452,984,832; 4 layers of 1,811,939,328 + 402,653,184; cross 4 x
    # 301,989,888
    assert encoder_operations("tiny.en", 512) == 10_708_058_112
    assert encoder_operations("tiny.en", 512) / encoder_operations("tiny.en", 1500) < 512 / 1500


def test_layers_of_encoder_and_decoder_and_mel_bins_are_told_apart() -> None:
    # Turbo has 32 and 4 layers of width 1280 and 128 bins; in 100 steps a layer of the encoder takes 3,932,160,000 +
    # 51,200,000, one of the decoder 655,360,000, the convolutions 196,608,000 + 983,040,000.
    assert encoder_operations("large-v3-turbo", 100) == 32 * 3_983_360_000 + 4 * 655_360_000 + 1_179_648_000


def test_a_token_reads_the_decoder_and_the_vocabulary() -> None:
    numbers = 6 * 14 * 512 * 512 + 51865 * 512
    assert numbers == 48_574_976
    assert decoder_bytes("base", "f16") == decoder_bytes("base", "bf16") == 2 * numbers
    assert decoder_bytes("base", "q8_0") == decoder_bytes("base", "bf16-q8_0") == 51_610_912  # 34 bytes for 32
    assert decoder_bytes("base", "q5_1") == 36_431_232  # 24 bytes for 32
    assert decoder_bytes("base", "f16") - decoder_bytes("base.en", "f16") == 2 * 512  # one language token
    assert decoder_bytes("large-v3-turbo", "f16") == 2 * (4 * 14 * 1280 * 1280 + 51866 * 1280)


def test_the_share_is_of_the_peak_of_all_threads_at_the_precision_used() -> None:
    reached = share("base", "bf16-q8_0", 10.0, [1500, 1500], 100, FOUND)
    assert reached.arithmetic == pytest.approx(2 * 96.804864 / (10 * 400))
    assert reached.memory == pytest.approx(100 * 0.051610912 / (10 * 30))
    assert share("base", "f16", 10.0, [1500], 0, FOUND).arithmetic == pytest.approx(96.804864 / (10 * 200))


def test_the_fastest_way_to_multiply_a_precision_counts() -> None:
    tiles = FOUND | {"amx_bf16": {"one": 1000, "all": 2000}, "amx_int8": {"one": 2000, "all": 4000}}
    assert [gemm_peak(precision, FOUND) for precision in ("f16", "bf16", "q8_0", "q5_1")] == [200, 400, 800, 800]
    assert [gemm_peak(precision, tiles) for precision in ("f16", "bf16", "q8_0", "q5_1")] == [200, 2000, 4000, 4000]


def test_what_was_not_measured_has_no_share() -> None:
    plain = FOUND | {"bf16": None, "int8": None}
    assert share("base", "bf16", 1.0, [1500], 1, plain).arithmetic == pytest.approx(96.804864 / 200)  # converted to f32
    assert share("base", "q8_0", 1.0, [1500], 1, plain).arithmetic is None
    nothing = share("base", "q8_0", 1.0, [1500], 1, dict.fromkeys(NEEDS))
    assert (nothing.arithmetic, nothing.memory) == (None, None)
