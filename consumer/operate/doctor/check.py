"""One thing that was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """What was found, and what to do about it."""

    name: str
    ok: bool | None
    """None where it could not be looked at, or where it is no fault by itself."""
    found: str
    advice: str = ""
    """Empty where there is nothing to be done."""
