"""The ledger's table, for a person."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chaos.ledger import Verdict

_SHOWN_DETAILS = 5
_MARKS: Mapping[bool | None, str] = {None: "", True: "[green]holds[/]", False: "[bold red]DOES NOT HOLD[/]"}


def show(verdict: Verdict, title: str, console: Console) -> None:
    """Print the table; what does not hold comes with its first offenders."""
    table = Table(title=title, title_justify="left")
    table.add_column("ledger")
    table.add_column("figure")
    table.add_column("")
    for row in verdict.rows:
        figure = escape(row.figure)
        if row.holds is False:
            figure += "".join(f"\n  {escape(detail)}" for detail in row.details[:_SHOWN_DETAILS])
            if len(row.details) > _SHOWN_DETAILS:
                figure += f"\n  and {len(row.details) - _SHOWN_DETAILS} more"
        table.add_row(row.name, figure, _MARKS[row.holds])
    console.print(table)
