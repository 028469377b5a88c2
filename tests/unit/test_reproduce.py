"""What can be reproduced, and how differences are shown."""

import pytest

from consumer.operate.reproduce import ImpossibleError, differences, read_result
from tests.support.transcripts import make_segment, make_transcript

TRANSCRIPT = make_transcript([make_segment(0, 1, "And so")])


def test_a_result_and_an_event_with_one_are_read() -> None:
    body = TRANSCRIPT.model_dump_json(by_alias=True)
    assert read_result(body.encode()) == TRANSCRIPT
    assert read_result(f'{{"data": {{"transcript": {body}, "reference": null}}}}'.encode()) == TRANSCRIPT


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"{}", "no result of a worker"),
        (b'{"data": {"reference": {"bucket": "b", "key": "k.json"}}}', "get k.json of bucket b first"),
    ],
)
def test_anything_else_is_said_to_be_none(body: bytes, message: str) -> None:
    with pytest.raises(ImpossibleError, match=message):
        read_result(body)


def test_differences_are_shown_with_words_around() -> None:
    assert differences("one two three four five", "one two three four five") == []
    assert differences("a b c d e f g h", "a b c d x y f g h") == ["- b c d [ e ] f g h", "+ b c d [ x y ] f g h"]
    assert differences("", "x") == ["- [ ]", "+ [ x ]"]
