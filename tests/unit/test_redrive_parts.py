"""The small parts that redrive and reconcile share: times, printable text, pace."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.operate.moments import parse_duration, parse_moment
from consumer.operate.printable import bytes_on_one_line, on_one_line
from consumer.operate.sender import Pace

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        (" 24h ", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta()),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "h", "24", "1.5h", "-1h", "1h30m", "1y", "999999999w", "²h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
        ("2026-02-28T10:30", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("2026-02-28T10:30:00Z", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("2026-02-28T10:30:00+02:00", datetime(2026, 2, 28, 8, 30, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "28.02.2026", "10:30", "9999999w", "0001-01-01T00:00:00+10:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_moment(text, NOW)


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=-7)))).filter(lambda moment: 2 < moment.year < 9998))
def test_any_moment_comes_back(moment: datetime) -> None:
    assert parse_moment(moment.isoformat(), NOW) == moment


@given(st.text())
def test_text_from_outside_fits_one_line_and_can_be_told_apart(text: str) -> None:
    shown = on_one_line(text)
    assert shown.isprintable()
    escapes = shown.encode("latin-1", errors="backslashreplace").decode("unicode_escape")
    assert escapes == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b/ü🎧.wav", "a b/ü🎧.wav"), ("a\tb\nc", "a\\tb\\nc"), ("\x1b[2J", "\\x1b[2J"), ("a\\tb", "a\\\\tb")],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert on_one_line(text) == shown


def test_bytes_are_shown_as_text_or_in_hex() -> None:
    assert bytes_on_one_line("ü\n".encode()) == "ü\\n"
    assert bytes_on_one_line(b"\xff\x00") == "0xff00"
    assert bytes_on_one_line(None) == "(null)"


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(1, 200), st.floats(0, 10, allow_nan=False)), min_size=1, max_size=30),
)
def test_the_rate_is_kept_over_every_stretch_of_time(per_second: int, batches: list[tuple[int, float]]) -> None:
    pace = Pace(per_second)
    now = 1000.0
    sent: list[tuple[float, int]] = []
    for count, idle_seconds in batches:
        now += idle_seconds
        now += pace.wait_seconds(count, now)
        sent.append((now, count))
    for first in range(len(sent)):
        total = 0
        for time, count in sent[first:]:
            assert total <= (time - sent[first][0]) * per_second + 1e-3
            total += count


@pytest.mark.parametrize(("per_second", "size"), [(1, 1), (9, 1), (50, 5), (10_000, 200)])
def test_a_batch_is_what_a_tenth_of_a_second_allows(per_second: int, size: int) -> None:
    assert Pace(per_second).batch_size == size
