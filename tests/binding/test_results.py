"""Words from tokens: whole UTF-8, every byte of text in one word, times that never run backwards."""

from hypothesis import given
from hypothesis import strategies as st

from binding import Token
from binding.results import words_of


def _token(text: bytes, start: float = 0.0, end: float = 0.0, probability: float = 1.0) -> Token:
    return Token(1, text, start, end, probability, 0.0)


def test_a_space_begins_a_word_and_punctuation_stays_with_it() -> None:
    words = words_of(
        [_token(b" And"), _token(b" so"), _token(b","), _token(b" my"), _token(b" fri"), _token(b"end")], "en"
    )
    assert [word.text for word in words] == ["And", "so,", "my", "friend"]


def test_a_character_split_over_tokens_is_whole_in_its_word() -> None:
    umlaut = "ü".encode()
    words = words_of([_token(b" gr" + umlaut[:1], 0.0, 0.2, 0.5), _token(umlaut[1:] + b"n", 0.2, 0.4, 1.0)], "de")
    assert [(word.text, word.start_seconds, word.end_seconds, word.probability) for word in words] == [
        ("grün", 0.0, 0.4, 0.75)
    ]


def test_scripts_without_spaces_give_characters_with_their_punctuation() -> None:
    text = "今日は。"
    data = text.encode()
    tokens = [_token(data[:2]), _token(data[2:3]), _token(data[3:6]), _token(data[6:9]), _token(data[9:])]
    assert [word.text for word in words_of(tokens, "ja")] == ["今", "日", "は。"]


def test_bytes_that_never_become_text_are_replaced() -> None:
    assert [word.text for word in words_of([_token(b" \xff\xfe")], "en")] == ["\ufffd\ufffd"]


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Z"]), min_size=1),
    st.lists(st.integers(1, 4), min_size=1),
    st.sampled_from(["en", "zh"]),
)
def test_nothing_of_the_text_is_lost_however_it_is_cut_into_tokens(text: str, cuts: list[int], language: str) -> None:
    data = (" " + text).encode()
    tokens: list[Token] = []
    position = 0
    while position < len(data):
        length = cuts[len(tokens) % len(cuts)]
        tokens.append(_token(data[position : position + length]))
        position += length
    assert "".join(word.text for word in words_of(tokens, language)).split() == text.split()


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 30)), min_size=1, max_size=20))
def test_times_never_run_backwards(times: list[tuple[float, float]]) -> None:
    words = words_of([_token(b" word", start, end) for start, end in times], "en")
    flat = [time for word in words for time in (word.start_seconds, word.end_seconds)]
    assert flat == sorted(flat)
