"""Packages that only some settings need: the project's optional extras."""

from collections.abc import Iterator
from contextlib import contextmanager

from consumer.settings import SettingsError


@contextmanager
def needs_extra(variable: str, extra: str) -> Iterator[None]:
    """Import what a setting asks for. Raises SettingsError where it is not installed."""
    try:
        yield
    except ImportError as error:
        raise SettingsError(
            f"{variable} needs the extra {extra!r} (pip install 'whisper-consumer[{extra}]'): {error}"
        ) from error
