"""Dead letters for a person, and for a program."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer.delivery.job import Headers, SourceRecord
from consumer.operate.printable import bytes_on_one_line, on_one_line
from consumer.operate.redrive.choice import Fate
from consumer.operate.redrive.letters import DeadLetter

_NAME_WIDTH = 14


def plain_line(letter: DeadLetter, *, is_redriven: bool) -> str:
    """One letter as fields between tabs: position, time, reason, stage, attempts, redrives, whether it was redriven,
    origin, objects, message."""
    fields = (
        str(letter.position),
        _time(letter.written_ms),
        letter.reason,
        letter.stage,
        letter.attempts,
        str(letter.redrives),
        "redriven" if is_redriven else "pending",
        _origin(letter),
        " ".join(letter.objects),
        letter.message,
    )
    return "\t".join(on_one_line(field) for field in fields)


def json_line(letter: DeadLetter, *, is_redriven: bool) -> str:
    """One letter as a JSON object on one line."""
    original = letter.original
    document = {
        "letter": str(letter.position),
        "partition": letter.position.partition,
        "offset": letter.position.offset,
        "time": _time(letter.written_ms),
        "reason": letter.reason,
        "stage": letter.stage,
        "attempts": letter.attempts,
        "message": letter.message,
        "redrives": letter.redrives,
        "redriven": is_redriven,
        "objects": letter.objects,
        "original": {"topic": original.topic, "partition": original.partition, "offset": original.offset},
    }
    return orjson.dumps(document).decode()


def write_line(line: str) -> None:
    """A line on standard output, there as soon as it is written."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def table(letters: Sequence[tuple[DeadLetter, bool]]) -> Table:
    """Letters, each with whether it was redriven, for a terminal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("letter", "time", "reason", "stage", "redriven"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("object", overflow="fold", ratio=1)
    shown.add_column("why", overflow="fold", ratio=1)
    for letter, is_redriven in letters:
        cells = (
            str(letter.position),
            _time(letter.written_ms),
            on_one_line(letter.reason),
            on_one_line(letter.stage),
            "yes" if is_redriven else "",
            on_one_line(" ".join(letter.objects)),
            on_one_line(letter.message),
        )
        shown.add_row(*(Text(cell, style="dim" if is_redriven else "") for cell in cells))
    return shown


def tell_counts(reasons: Counter[str], foreign: int, topic: str, console: Console) -> None:
    """How many letters there are of each reason."""
    if reasons:
        counts = ", ".join(f"{count} {on_one_line(reason)}" for reason, count in reasons.most_common())
        tell(console, f"{_letters(sum(reasons.values()))} in {topic}: {counts}.")
    else:
        tell(console, f"No dead letter in {topic} matches.")
    if foreign:
        tell(console, f"{_letters(foreign)} of others there, which this worker did not write.")


def tell_fates(tally: Counter[Fate], *, dry_run: bool, console: Console) -> None:
    """What became of the letters that matched."""
    for fate in Fate:
        if count := tally[fate]:
            verb = "would be " if dry_run and fate is Fate.REDRIVE else ""
            tell(console, f"{_letters(count)} {verb}{fate.value}.")


def tell(console: Console, line: str) -> None:
    """A line about the whole, beside the letters."""
    console.print(Text(line), soft_wrap=True)


def show(record: SourceRecord, letter: DeadLetter | None, console: Console, *, is_redriven: bool) -> None:
    """Everything about one record of the dead-letter topic, in full."""
    if letter is None:
        _facts(console, {"letter": f"{record.partition}:{record.offset}", "written by": "another than this worker"})
    else:
        _facts(
            console,
            {
                "letter": str(letter.position),
                "time": _time(letter.written_ms),
                "reason": letter.reason,
                "stage": letter.stage,
                "why": letter.message,
                "attempts": letter.attempts,
                "redriven": "yes" if is_redriven else "not yet",
                "redrives before": str(letter.redrives),
                "came from": f"{_origin(letter)}, written {_time(letter.original.timestamp_ms)}",
                "objects": " ".join(letter.objects),
            },
        )
    _facts(console, {"key": bytes_on_one_line(record.key)})
    own = letter.original.headers if letter else record.headers
    _headers(console, "headers", own)
    _headers(console, "added headers", record.headers[len(own) :])
    _section(console, "value")
    for line in _value(record.value):
        console.print(Text(f"  {line}"), soft_wrap=True)


def _facts(console: Console, facts: dict[str, str]) -> None:
    for name, value in facts.items():
        console.print(Text.assemble((f"{name:<16}", "bold"), on_one_line(value)), soft_wrap=True)


def _headers(console: Console, title: str, headers: Headers) -> None:
    if headers:
        _section(console, title)
    for name, value in headers:
        console.print(Text(f"  {on_one_line(name)}: {bytes_on_one_line(value)}"), soft_wrap=True)


def _section(console: Console, title: str) -> None:
    console.print(Text(title, style="bold"))


def _value(value: bytes | None) -> list[str]:
    """JSON in its own form, text line by line, else hex."""
    if value is None:
        return ["(null)"]
    try:
        return orjson.dumps(orjson.loads(value), option=orjson.OPT_INDENT_2).decode().splitlines()
    except orjson.JSONDecodeError:
        return [bytes_on_one_line(value)]


def _origin(letter: DeadLetter) -> str:
    return f"{letter.original.topic}-{letter.original.partition}-{letter.original.offset}"


def _time(milliseconds: int) -> str:
    """ISO 8601 in UTC, to the second; empty where the record has no time."""
    if not 0 <= milliseconds < 2**47:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"
