"""tests/bench/scoring.py: the measure that speed-ups are judged by."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.scoring import score

WORDS = st.lists(st.sampled_from(["alpha", "bravo", "charlie", "delta", "echo"]), min_size=1, max_size=8)


def test_the_normaliser_is_whispers() -> None:
    assert score(["Mr. Quilter's colour: twenty-five dollars"], "mister quilter's color $25").wer == 0


def test_an_error_is_counted_for_each_word() -> None:
    assert score(["alpha bravo charlie delta"], "alpha brave charlie").wer == 0.5
    assert score(["alpha bravo"], "").wer == 1
    assert score(["alpha"], "alpha alpha alpha").wer == 2


def test_who_errs_everywhere_alike_leaves_no_doubt_and_who_errs_in_one_place_does() -> None:
    even = score(["alpha bravo"] * 20, "alpha brave " * 20)
    assert (even.low, even.wer, even.high) == (0.5, 0.5, 0.5)
    uneven = score(["alpha bravo"] * 20, "alpha bravo " * 10 + "nothing at " * 10)
    assert uneven.low < 0.4 < uneven.wer < 0.6 < uneven.high


@given(st.lists(WORDS, min_size=1, max_size=5), WORDS)
def test_cutting_into_utterances_does_not_change_the_rate(said: list[list[str]], heard: list[str]) -> None:
    texts = [" ".join(words) for words in said]
    found = score(texts, " ".join(heard))
    assert found.wer == pytest.approx(jiwer.wer(" ".join(texts), " ".join(heard)), abs=1e-4)
    assert found.low <= found.high


def test_nothing_said_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="no word to score"):
        score(["", " "], "alpha")
