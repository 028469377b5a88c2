"""The checks for a person, and for a program."""

from collections.abc import Sequence
from dataclasses import asdict

import orjson
from rich.console import Console
from rich.text import Text

from consumer.operate.doctor.check import Check

_SIGNS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("–", "yellow")}


def render(checks: Sequence[Check], console: Console) -> None:
    """Print a line for each check, with what to do below those that ask for something."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        sign, style = _SIGNS[check.ok]
        line = Text.assemble(
            (sign, style), f" {check.name:<{width}}  ", check.found.replace("\n", "\n" + " " * (width + 4))
        )
        console.print(line, soft_wrap=True)
        if check.advice and not check.ok:
            console.print(Text(" " * (width + 4) + "→ " + check.advice, style="dim"), soft_wrap=True)


def to_json(checks: Sequence[Check]) -> str:
    """A JSON array of objects with ``name``, ``ok`` (true, false, null), ``found`` and ``advice``."""
    return orjson.dumps([asdict(check) for check in checks], option=orjson.OPT_INDENT_2).decode()
