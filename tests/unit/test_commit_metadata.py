"""What rides in a commit's metadata comes back as it was, always fits, and nothing else is taken for it."""

import base64
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.delivery import commit_metadata
from consumer.delivery.commit_metadata import (
    MAX_DEATHS,
    MAX_ENTRIES,
    MAX_METADATA_CHARACTERS,
    WINDOW_OFFSETS,
    Entry,
    ForeignMetadata,
    Remembered,
    State,
    decode,
    encode,
)

OFFSETS = st.integers(0, 2**63 - 1 - WINDOW_OFFSETS)
ENTRIES = st.builds(Entry, st.integers(0, MAX_DEATHS), st.sampled_from(State))
DISTANCES = st.integers(0, WINDOW_OFFSETS - 1)


@st.composite
def remembered(draw: st.DrawFn, low_water: int) -> Remembered:
    finished = draw(st.frozensets(DISTANCES, max_size=50))
    run = draw(st.sampled_from([0, 1, 7, 8, 300, WINDOW_OFFSETS]))
    entries = draw(st.dictionaries(DISTANCES, ENTRIES, max_size=20))
    return Remembered(
        frozenset(low_water + at for at in finished | frozenset(range(run))),
        {low_water + at: entry for at, entry in entries.items()},
    )


def some() -> Remembered:
    return Remembered(frozenset({5, 9, 700}), {4: Entry(0, State.BESIDE_OTHERS), 8: Entry(3, State.ALONE)})


def written(low_water: int, body: bytes) -> str:
    """Any body, with the checksum it needs: what only a defect, or somebody who means it, could write."""
    payload = bytes([1]) + commit_metadata._checksum(low_water, body) + body
    return "whisper:" + base64.b64encode(payload).decode()


@given(st.data())
def test_what_was_encoded_comes_back_and_fits(data: st.DataObject) -> None:
    low_water = data.draw(OFFSETS)
    before = data.draw(remembered(low_water))
    text = encode(low_water, before)
    assert len(text.encode()) <= MAX_METADATA_CHARACTERS
    assert decode(low_water, text) == before


def test_the_worst_case_fits() -> None:
    """A bitmap that no compression makes smaller, and as many entries of the greatest size as there may be."""
    draw = random.Random(4)
    low_water = 2**62
    finished = frozenset(
        low_water + at for at in range(WINDOW_OFFSETS) if draw.random() < 0.5 or at == WINDOW_OFFSETS - 1
    )
    at_intervals = range(WINDOW_OFFSETS - 1, 0, -(WINDOW_OFFSETS // MAX_ENTRIES))[:MAX_ENTRIES]
    entries = {low_water + at: Entry(MAX_DEATHS, State.ALONE_PROGRESSED) for at in at_intervals}
    assert len(entries) == MAX_ENTRIES
    text = encode(low_water, Remembered(finished, entries))
    assert decode(low_water, text) == Remembered(finished, entries)
    body_bytes = 3 + WINDOW_OFFSETS // 8 + 3 * MAX_ENTRIES  # a varint, the bitmap as it is, the longest entries
    longest = len("whisper:") + -(-(1 + 4 + body_bytes) // 3) * 4
    assert len(text) <= longest <= MAX_METADATA_CHARACTERS


def test_a_long_run_is_short() -> None:
    """The usual case: one long recording at the mark, thousands finished behind it."""
    before = Remembered(frozenset(range(101, 10_000)), {100: Entry(0, State.BESIDE_OTHERS)})
    assert len(encode(100, before)) < 60


def test_nothing_remembered_is_no_text() -> None:
    assert encode(7, Remembered()) == ""
    assert decode(7, "") == Remembered()


def test_deaths_saturate() -> None:
    text = encode(7, Remembered(entries={7: Entry(MAX_DEATHS + 1, State.SUSPECT)}))
    assert decode(7, text).entries == {7: Entry(MAX_DEATHS, State.SUSPECT)}


@pytest.mark.parametrize("at", [-1, WINDOW_OFFSETS])
@pytest.mark.parametrize(
    "of",
    [lambda at: Remembered(frozenset({10, at})), lambda at: Remembered(entries={at: Entry(0, State.SUSPECT)})],
    ids=["finished", "entry"],
)
def test_offsets_outside_the_window_are_refused(at: int, of: Callable[[int], Remembered]) -> None:
    with pytest.raises(ValueError, match="window"):
        encode(10, of(10 + at))


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 200"):
        encode(0, Remembered(entries={at: Entry(0, State.SUSPECT) for at in range(MAX_ENTRIES + 1)}))


@given(OFFSETS, OFFSETS)
@example(4, 5)
def test_what_was_written_for_another_mark_is_foreign(mark: int, other: int) -> None:
    text = encode(mark, Remembered(frozenset({mark + 1})))
    if mark != other:
        with pytest.raises(ForeignMetadata, match="another offset"):
            decode(other, text)


@given(st.text() | st.text().map("whisper:".__add__) | st.binary().map(lambda raw: written(4, raw)))
@example("NO_METADATA")
@example("whisper:")
@example("whisper:====")
@example("whisper:é")
def test_any_text_is_read_or_foreign(text: str) -> None:
    try:
        decode(4, text)
    except ForeignMetadata as foreign:
        assert str(foreign)  # noqa: PT017 - either is right, and nothing else


@given(st.data())
def test_any_damage_shows(data: st.DataObject) -> None:
    text = encode(4, some())
    at = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(1, 4))
    damaged = text[:at] + data.draw(st.text(max_size=4)) + text[at + length :]
    if damaged not in {text, ""}:
        with pytest.raises(ForeignMetadata):
            decode(4, damaged)


def test_stray_bits_of_base64_show() -> None:
    text = encode(4, Remembered(frozenset({5})))
    assert text.endswith("A==")
    with pytest.raises(ForeignMetadata, match="stray"):
        decode(4, text[:-3] + "B==")


def test_another_version_is_foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(commit_metadata, "_VERSION", 2)
        text = encode(4, some())
    with pytest.raises(ForeignMetadata, match="version 2, expected 1"):
        decode(4, text)


def deflated(bitmap: bytes) -> bytes:
    stored = zlib.compress(bitmap, wbits=-15)
    return bytes(commit_metadata._to_varint(len(stored) * 2 + 1)) + stored


MAX_BITMAP = WINDOW_OFFSETS // 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80",
        b"\xff" * 3000,
        b"\x09ab",
        b"\x05\xff\xff",
        bytes(commit_metadata._to_varint((MAX_BITMAP + 1) * 2)) + bytes(MAX_BITMAP + 1),
        deflated(bytes(MAX_BITMAP + 1)),
        deflated(bytes(1_000_000)),
        b"\x00\x05",
        b"\x00\x80\x80\x01\x00",
        b"\x00\x05\x00\x00\x00",
        b"\x00" + b"\x01\x00" * (MAX_ENTRIES + 1),
    ],
    ids=[
        "nothing",
        "half a number",
        "an endless number",
        "cut off",
        "not deflated",
        "bitmap too long",
        "deflated bitmap too long",
        "bomb",
        "half an entry",
        "entry outside the window",
        "two entries of one offset",
        "too many entries",
    ],
)
def test_malformed_contents_are_foreign(body: bytes) -> None:
    with pytest.raises(ForeignMetadata, match=r"malformed|size|too long|bounds"):
        decode(4, written(4, body))
    assert decode(4, written(4, b"\x00\x05\x00")) == Remembered(entries={9: Entry(0, State.SUSPECT)})
