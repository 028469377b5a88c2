"""Logs are one JSON object a line whatever is logged, carry what is bound, and give nothing away."""

import asyncio
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from consumer.errors import Stage
from consumer.observe.logs import OWN_LOGGERS, JsonFormatter, bind, configure

log = logging.getLogger("consumer.test")


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    own = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    # Taken off here so that configure() does not close handlers that pytest still needs.
    root.handlers[:] = []
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in own.items():
        logging.getLogger(name).setLevel(before)


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    configure(level, "json", stream)
    return stream


def test_a_line_has_time_level_logger_message_first() -> None:
    stream = configured()
    log.info("fetched %d bytes", 7)
    (line,) = json_lines(stream)
    assert list(line) == ["time", "level", "logger", "message"]
    assert (line["level"], line["logger"], line["message"]) == ("INFO", "consumer.test", "fetched 7 bytes")
    time = str(line["time"])
    assert time.endswith("Z")
    assert abs((datetime.fromisoformat(time) - datetime.now(UTC)).total_seconds()) < 60


def test_bound_fields_nest_and_end_with_their_block() -> None:
    stream = configured()
    with bind(job_id="t-0-7", partition=0, offset=7):
        with bind(stage=Stage.DECODE):
            log.info("inner")
        log.info("outer")
    log.info("outside")
    inner, outer, outside = json_lines(stream)
    assert {name: inner[name] for name in ("job_id", "partition", "offset", "stage")} == {
        "job_id": "t-0-7",
        "partition": 0,
        "offset": 7,
        "stage": "decode",
    }
    assert "stage" not in outer
    assert outer["job_id"] == "t-0-7"
    assert "job_id" not in outside


async def test_tasks_inherit_what_is_bound_and_do_not_mix() -> None:
    stream = configured()
    both_are_bound = asyncio.Barrier(2)

    async def work(job: str) -> None:
        with bind(job_id=job):
            await both_are_bound.wait()
            await asyncio.create_task(step(job))

    async def step(job: str) -> None:
        log.info(job)

    await asyncio.gather(work("a"), work("b"))
    lines = json_lines(stream)
    assert len(lines) == 2
    assert all(line["job_id"] == line["message"] for line in lines)


def test_a_bound_field_never_replaces_one_of_the_line() -> None:
    stream = configured()
    with bind(message="bound", level="bound"):
        log.info("said")
    (line,) = json_lines(stream)
    assert (line["message"], line["level"]) == ("said", "INFO")


def test_values_of_objects_are_not_written() -> None:
    @dataclass
    class Words:
        text: str = "a secret sentence"

    stream = configured()
    log.info("done", extra={"result": Words(), "parts": ["a secret sentence"], "payload": b"a secret sentence"})
    assert "secret" not in stream.getvalue()
    (line,) = json_lines(stream)
    assert line["result"] == "<Words>"


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_is_its_traceback_and_text_alone(form: Literal["json", "text"]) -> None:
    class ModelError(Exception):
        def __init__(self, transcript: str) -> None:
            super().__init__("the model gave no text")
            self.transcript = transcript

    def fail() -> None:
        words = "a secret sentence".upper()
        raise ModelError(words)

    stream = io.StringIO()
    configure("INFO", form, stream)
    try:
        fail()
    except ModelError:
        log.exception("failed")
    assert "the model gave no text" in stream.getvalue()
    assert "in fail" in stream.getvalue()
    assert "A SECRET SENTENCE" not in stream.getvalue()
    if form == "json":
        (line,) = json_lines(stream)
        assert str(line["exception"]).startswith("Traceback")


json_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())


@given(message=st.text(st.characters()), value=json_scalars)
def test_whatever_is_logged_is_one_line_of_json(message: str, value: object) -> None:
    record = log.makeRecord(log.name, logging.INFO, "", 0, "%s", (message,), None, extra={"value": value})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "value" in orjson.loads(line)


def test_lone_surrogates_and_large_numbers_are_still_logged() -> None:
    stream = configured()
    with bind(job_id="\ud800", offset=2**70):
        log.info("key \udfff")
    (line,) = json_lines(stream)
    assert (line["job_id"], line["message"], line["offset"]) == ("\\ud800", "key \\udfff", str(2**70))


def test_libraries_never_log_below_warning() -> None:
    stream = configured("DEBUG")
    log.debug("ours")
    logging.getLogger("botocore.endpoint").debug("request body")
    logging.getLogger("aiokafka").info("chatter")
    logging.getLogger("aiokafka").warning("trouble")
    assert [line["message"] for line in json_lines(stream)] == ["ours", "trouble"]


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_the_level_is_that_of_the_project(level: str, expected: int) -> None:
    stream = configured(level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        log.log(number, "x")
    assert len(json_lines(stream)) == expected


def test_warnings_are_log_lines() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old way", stacklevel=1)
    (line,) = json_lines(stream)
    assert "old way" in str(line["message"])


def test_configuring_again_does_not_log_twice() -> None:
    configured()
    stream = configured()
    log.info("once")
    assert len(json_lines(stream)) == 1


def test_text_shows_bound_fields_and_escapes_controls() -> None:
    stream = io.StringIO()
    configure("INFO", "text", stream)
    with bind(job_id="t-0-7"):
        log.info("key %s", "a\n2026 ERROR forged\x1b[2J")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "a\\n2026 ERROR forged\\x1b[2J" in text
    assert text.rstrip().endswith("job_id=t-0-7")


def test_a_terminal_gets_coloured_text() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    configure("INFO", "text", stream)
    with bind(stage=Stage.FETCH):
        log.warning("slow [not markup]")
    plain = Text.from_ansi(stream.getvalue()).plain
    assert plain != stream.getvalue().rstrip()
    assert "WARNING" in plain
    assert "slow [not markup] stage=fetch" in plain
