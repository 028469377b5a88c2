"""Points in time and durations as a person types them. Pure."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(rf"([0-9]{{1,9}})([{''.join(_UNITS)}])")


def parse_duration(text: str) -> timedelta:
    """``90s``, ``30m``, ``24h``, ``7d`` or ``2w``. Raises ValueError that says what is allowed."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: give a number and s, m, h, d or w, such as 30m or 24h")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ValueError(f"{text!r} is too long a duration") from None


def parse_moment(text: str, now: datetime) -> datetime:
    """A date or a date and time in ISO 8601, in UTC where it names no zone; or a duration: so long before ``now``.

    Raises ValueError that says what is allowed.
    """
    try:
        if _DURATION.fullmatch(text.strip()):
            return now - parse_duration(text)
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: give one in ISO 8601, such as 2026-03-01 or 2026-03-01T14:30:00Z (UTC unless it "
            "names a zone), or how long ago it was, such as 30m, 2h or 7d"
        ) from None
