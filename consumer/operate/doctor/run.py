"""The command."""

import asyncio

from rich.console import Console

from consumer.operate.doctor.examine import examine
from consumer.operate.doctor.report import render, to_json


def run_doctor(*, as_json: bool, console: Console) -> int:
    """Examine, print the report, and return the exit status: 1 if anything is wrong."""
    checks = asyncio.run(examine())
    if as_json:
        console.print(to_json(checks), soft_wrap=True, markup=False, highlight=False)
    else:
        render(checks, console)
    return 1 if any(check.ok is False for check in checks) else 0
