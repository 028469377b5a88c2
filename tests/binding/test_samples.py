"""Input that C must never see is a ValueError that names the fault."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from binding import Context, Parameters, Samples
from binding.samples import checked, padded


@pytest.mark.parametrize(
    ("samples", "fault"),
    [
        (np.zeros(16_000, np.float64), "dtype float32, got float64"),
        (np.zeros(16_000, np.int16), "got int16"),
        (np.zeros((2, 16_000), np.float32), "one dimension"),
        (np.zeros(32_000, np.float32)[::2], "contiguous"),
        (np.zeros(0, np.float32), "empty"),
        (np.array([0, np.nan, 0], np.float32), "NaN or infinity at index 1"),
        (np.array([0, 0, -np.inf], np.float32), "index 2"),
        ([0.0, 0.1], "numpy array"),
    ],
)
def test_the_fault_is_named(samples: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        checked(samples)


def test_a_state_checks_before_it_calls(context: Context) -> None:
    with context.new_state() as state:
        with pytest.raises(ValueError, match="empty"):
            state.transcribe(np.zeros(0, np.float32), Parameters())
        with pytest.raises(ValueError, match="knows no language 'klingon'"):
            state.transcribe(np.zeros(16_000, np.float32), Parameters(language="klingon"))


@given(hnp.arrays(np.float32, st.integers(1, 500), elements=st.floats(width=32)))
def test_finite_samples_pass_and_others_do_not(samples: Samples) -> None:
    if np.isfinite(samples).all():
        assert checked(samples) is samples
    else:
        with pytest.raises(ValueError, match="NaN or infinity"):
            checked(samples)


@given(st.integers(1, 40_000))
def test_padding_is_silence_up_to_a_second(n_samples: int) -> None:
    samples = np.ones(n_samples, np.float32)
    longer = padded(samples)
    assert longer.size == max(n_samples, 16_000)
    assert (longer[:n_samples] == 1).all()
    assert (longer[n_samples:] == 0).all()
