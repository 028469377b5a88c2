"""What goes back is what came, and what is chosen is what was asked for."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.delivery.deadletters import headers_of, verdict_on
from consumer.delivery.job import Headers, SourceRecord
from consumer.delivery.reading import UNREADABLE
from consumer.errors import Reason, Rejected, Stage
from consumer.operate.redrive.choice import Fate, Filters, fate_of
from consumer.operate.redrive.letters import REDRIVES, DeadLetter, Position, read_letter, redriven
from consumer.operate.redrive.marks import Marks, mark_of

EVENT = orjson.dumps({"bucket": "calls", "key": "2026/a b.wav"})
PLACE = Position(3, 41)
WRITTEN = datetime(2026, 3, 1, 12, tzinfo=UTC)

names = st.text(max_size=10) | st.sampled_from(
    ["kafka_dlt-original-topic", "kafka_dlt-original-partition", "whisper-consumer-reason", REDRIVES]
)
headers = st.lists(st.tuples(names, st.none() | st.binary(max_size=10)), max_size=6).map(tuple)
originals = st.builds(
    SourceRecord,
    topic=st.just("audio.uploaded"),
    partition=st.integers(0, 99),
    offset=st.integers(0, 2**62),
    timestamp_ms=st.integers(-1, 2**43),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=50) | st.just(EVENT),
    headers=headers,
)


def dead(original: SourceRecord, position: Position) -> SourceRecord:
    """The record that the worker writes to its dead-letter topic."""
    verdict = verdict_on(Rejected(Reason.FORBIDDEN, Stage.FETCH, "access denied"), attempts=2)
    return SourceRecord(
        "audio.dead-letters",
        position.partition,
        position.offset,
        round(WRITTEN.timestamp() * 1000),
        original.key,
        original.value,
        headers_of(original, verdict, "group"),
    )


def letter_of(original: SourceRecord, position: Position = PLACE) -> DeadLetter:
    letter = read_letter(dead(original, position))
    assert letter is not None
    return letter


def record(value: bytes | None = EVENT, key: bytes | None = b"k", headers: Headers = ()) -> SourceRecord:
    return SourceRecord("audio.uploaded", 1, 7, 1_700_000_000_000, key, value, headers)


@given(originals)
def test_a_letter_holds_the_original_untouched(original: SourceRecord) -> None:
    letter = letter_of(original)
    assert letter.original == original
    assert (letter.reason, letter.stage, letter.attempts, letter.message) == (
        "forbidden",
        "fetch",
        "2",
        "access denied",
    )


@given(originals, st.integers(1, 4))
def test_each_redrive_adds_one_header_in_all_that_counts_them(original: SourceRecord, times: int) -> None:
    before = letter_of(original).redrives
    own = original.headers[:-1] if before else original.headers
    current = original
    for count in range(1, times + 1):
        message = redriven(letter_of(current), "audio.uploaded")
        assert (message.key, message.value) == (original.key, original.value)
        assert message.headers == (*own, (REDRIVES, str(before + count).encode()))
        current = SourceRecord("audio.uploaded", 0, count, 0, message.key, message.value, message.headers)


def test_a_record_of_another_program_is_no_letter() -> None:
    assert read_letter(record(headers=(("trace", b"1"),))) is None
    spring = (("kafka_dlt-original-topic", b"audio.uploaded"), ("kafka_dlt-original-partition", b"\x00\x00\x00\x01"))
    assert read_letter(record(headers=spring)) is None


def test_headers_that_a_newer_worker_adds_are_not_given_back() -> None:
    written = dead(record(headers=(("own", b"1"),)), PLACE)
    newer = SourceRecord(
        written.topic, 0, 0, 0, written.key, written.value, (*written.headers, ("whisper-consumer-more", b"x"))
    )
    letter = read_letter(newer)
    assert letter is not None
    assert letter.original.headers == (("own", b"1"),)


@pytest.mark.parametrize(
    ("value", "key", "objects"),
    [
        (EVENT, b"k", ("calls/2026/a b.wav",)),
        (b"not JSON", "calls/ü.wav".encode(), ("calls/ü.wav",)),
        (b"not JSON", b"\xff", ("\ufffd",)),
        (b"not JSON", None, ()),
    ],
)
def test_the_objects_of_a_letter(value: bytes, key: bytes | None, objects: tuple[str, ...]) -> None:
    assert letter_of(record(value, key)).objects == objects


@pytest.mark.parametrize(
    ("filters", "let_through"),
    [
        (Filters(), True),
        (Filters(reasons=frozenset({Reason.FORBIDDEN, Reason.EMPTY})), True),
        (Filters(reasons=frozenset({Reason.EMPTY})), False),
        (Filters(key_glob="2026/*"), True),
        (Filters(key_glob="calls/*.wav"), True),
        (Filters(key_glob="a b.wav"), False),
        (Filters(key_glob="2026/A*"), False),
        (Filters(partition=3), True),
        (Filters(partition=2), False),
        (Filters(since=WRITTEN), True),
        (Filters(since=WRITTEN + timedelta(milliseconds=1)), False),
        (Filters(until=WRITTEN), False),
        (Filters(until=WRITTEN + timedelta(milliseconds=1)), True),
        (Filters(frozenset({Reason.FORBIDDEN}), "*", 3, WRITTEN, WRITTEN + timedelta(1)), True),
    ],
)
def test_filters(filters: Filters, let_through: bool) -> None:
    assert filters.let_through(letter_of(record())) is let_through


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_a_letter_goes_to_the_input_topic_or_where_it_is_told(mine: bool, told: bool, done: bool, again: bool) -> None:
    letter = letter_of(record())
    fate = fate_of(
        letter,
        [letter] if done else [],
        "audio.uploaded" if mine else "audio.other",
        "elsewhere" if told else None,
        again=again,
    )
    if not mine and not told:
        assert fate is Fate.ELSEWHERE
    else:
        assert fate is (Fate.DONE_BEFORE if done and not again else Fate.REDRIVE)


def test_a_stand_in_for_an_unreadable_record_is_never_put_back() -> None:
    stand_in = record(value=b"", key=None, headers=((UNREADABLE, b"why"),))
    assert fate_of(letter_of(stand_in), [], "audio.uploaded", "anywhere", again=True) is Fate.LOST
    same_header = record(headers=((UNREADABLE, b"why"),))
    assert fate_of(letter_of(same_header), [], "audio.uploaded", None, again=False) is Fate.REDRIVE


def test_a_mark_is_of_one_letter_and_not_of_another_at_its_place() -> None:
    letter = letter_of(record())
    mark = mark_of(letter, "dead")
    marks = Marks()
    assert letter not in marks
    marks.read(SourceRecord(mark.topic, 0, 0, 0, mark.key, mark.value))
    assert letter in marks
    assert letter_of(record(), position=Position(3, 42)) not in marks
    assert letter_of(record(), position=Position(4, 41)) not in marks

    recreated = Marks()
    recreated.read(SourceRecord(mark.topic, 0, 0, 0, mark.key, b"12345"))
    assert letter not in recreated


@given(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=30))
def test_what_is_no_mark_is_passed_over(key: bytes | None, value: bytes | None) -> None:
    marks = Marks()
    marks.read(SourceRecord("dead.redriven", 0, 0, 0, key, value))
    assert letter_of(record()) not in marks


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**18 - 1))
def test_positions_are_read_as_they_are_shown(partition: int, offset: int) -> None:
    position = Position(partition, offset)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "3", "3:", ":1", "-1:2", "1:2:3", "a:b", "1 : 2", "²:1"])
def test_what_names_no_letter(text: str) -> None:
    with pytest.raises(ValueError, match="3:41"):
        Position.parse(text)
