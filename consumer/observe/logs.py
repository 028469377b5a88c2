"""Logs: one JSON object a line, or text for a person at a terminal.

A log line holds the time, level, logger, message and whatever is bound to the work at hand (job id,
partition, offset, stage). It never holds words of a transcript: fields are scalars only (anything else is
named by its type), and libraries of others log warnings and errors alone, because at finer levels the S3
client writes whole request bodies.
"""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TextIO

from pythonjsonlogger.orjson import OrjsonFormatter
from rich.console import Console
from rich.logging import RichHandler

OWN_LOGGERS = ("consumer", "binding", "schemas")

_context: ContextVar[Mapping[str, str | int]] = ContextVar("log_context", default=MappingProxyType({}))


@contextmanager
def bind(**fields: str | int) -> Iterator[None]:
    """Add fields to every line logged inside the block, by this task and the tasks it starts.

    Bindings nest; the inner value of a field hides the outer one.
    """
    token = _context.set(MappingProxyType({**_context.get(), **fields}))
    try:
        yield
    finally:
        _context.reset(token)


def configure(level: str, format: Literal["json", "text"], stream: TextIO | None = None) -> None:  # noqa: A002
    """Send all logs to ``stream`` (standard error by default); replaces what was configured before.

    ``level`` (DEBUG, INFO, WARNING, ERROR) is that of the project's own loggers; those of libraries are never
    more talkative than WARNING.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.addHandler(_handler(format, stream or sys.stderr))
    own = logging.getLevelNamesMapping()[level]
    root.setLevel(max(own, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(own)
    logging.captureWarnings(True)


def _handler(format: Literal["json", "text"], stream: TextIO) -> logging.Handler:  # noqa: A002
    if format == "text" and stream.isatty():
        # No rich tracebacks: they can show local variables, which may hold what must not be logged.
        handler: logging.Handler = RichHandler(console=Console(file=stream), show_path=False, rich_tracebacks=False)
        handler.setFormatter(TextFormatter("%(message)s"))
        return handler
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter() if format == "json" else TextFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    )
    return handler


def _rfc3339(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, tz=UTC)
    return time.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class JsonFormatter(OrjsonFormatter):
    """Fields: time (RFC 3339, UTC), level, logger, message, exception, and those bound or given as extra."""

    def __init__(self) -> None:
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={
                "asctime": "time",
                "levelname": "level",
                "name": "logger",
                "exc_info": "exception",
            },
        )

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _rfc3339(record)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        for name, value in _context.get().items():
            log_data.setdefault(name, value)
        return {name: _json_scalar(value) for name, value in log_data.items()}


class TextFormatter(logging.Formatter):
    """The message with its bound fields behind it; control characters are shown as escapes.

    Object keys are chosen by whoever may upload: written raw they could forge lines or drive the terminal.
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        return _rfc3339(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        fields = "".join(f" {name}={value}" for name, value in _context.get().items())
        return _escape_controls(super().formatMessage(record) + fields)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(_escape_controls(line) for line in super().formatException(ei).split("\n"))


def _json_scalar(value: Any) -> str | int | float | bool | None:
    """The value as orjson can write it: whole 64-bit numbers, text without lone surrogates, no containers."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, str):
        return str(value).encode(errors="backslashreplace").decode()
    return f"<{type(value).__name__}>"


def _escape_controls(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
