"""consumer/engine/passes.py: the rules that are pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.quality import MOST_REPEATED_SHARE, repeated_share
from consumer.engine.traits import FULL_STEPS, PUBLISHED, Traits

EXACT = Traits(unit_steps=32, least_steps=384, tells_no_speech=True)

TOKENS = st.lists(st.integers(0, 50_000), max_size=100)


@given(st.floats(0, 30), st.sampled_from([PUBLISHED, EXACT]))
def test_a_context_holds_its_samples_with_a_margin_in_whole_units(seconds: float, traits: Traits) -> None:
    steps = traits.fitted(seconds)
    assert steps == 0 or (traits.least_steps <= steps < FULL_STEPS and steps % traits.unit_steps == 0)
    assert (steps or FULL_STEPS) >= min(FULL_STEPS, seconds * 50 + 64)


@pytest.mark.parametrize(
    ("traits", "expected"), [(PUBLISHED, [512, 512, 768, 1280, 0, 0]), (EXACT, [384, 512, 544, 1280, 1312, 0])]
)
def test_contexts_of_some_lengths(traits: Traits, expected: list[int]) -> None:
    assert [traits.fitted(seconds) for seconds in (0.1, 8.96, 8.97, 24.32, 24.33, 28.7)] == expected


@given(TOKENS)
def test_the_repeated_share_is_a_share_and_nothing_repeats_among_different_tokens(tokens: list[int]) -> None:
    assert 0 <= repeated_share(tokens) < 1
    assert repeated_share(list(dict.fromkeys(tokens))) == 0


@given(st.lists(st.integers(0, 50_000), min_size=3, max_size=20, unique=True), st.integers(3, 8))
def test_a_loop_is_told_whatever_its_length(phrase: list[int], times: int) -> None:
    assert repeated_share(phrase * times) > MOST_REPEATED_SHARE


def test_a_refrain_is_no_loop() -> None:
    refrain = [1, 2, 3, 4, 5, 6]
    assert 0 < repeated_share([*refrain, *range(10, 30), *refrain, *range(40, 60)]) < MOST_REPEATED_SHARE
