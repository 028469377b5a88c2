"""What the demo says: everything that arrives, and how to go on, as text for a terminal or a pipe."""

from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from schemas import Transcript

_SHOWN_CHARACTERS = 1500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A recording that the worker gave up."""

    key: str
    partition: int
    offset: int
    reason: str
    message: str


def show_transcript(console: Console, transcript: Transcript) -> None:
    """Name, figures and text of one recording."""
    provenance = transcript.provenance
    figures = [f"{transcript.duration_seconds:.1f} s of audio in {provenance.timings.total_seconds:.1f} s"]
    figures.append(f"real-time factor {provenance.real_time_factor:.2f}")
    if transcript.language is not None:
        figures.append(f"language {transcript.language}")
    figures.extend(transcript.audio.damage)
    text = transcript.text.strip()
    if len(text) > _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS].rstrip()} … ({len(text)} characters in all)"
    _show(console, "✓", "green", transcript.source.key, " · ".join(figures), text or "(no speech)")


def show_dead_letter(console: Console, letter: DeadLetter) -> None:
    """Name of a recording that could not be transcribed, and why."""
    _show(console, "✗", "red", letter.key, f"not transcribed: {letter.reason}", letter.message)


def show_how_to_send_more(console: Console, url: str | None, facts: dict[str, str], example: str) -> None:
    """The page, if there is one, where everything else listens, and a command that sends one more recording."""
    console.print("\n[bold]Everything keeps running; Ctrl-C ends it.[/] What is sent now is shown here too.\n")
    if url is not None:
        console.print(Text.assemble("Drop your own recordings on ", (url, "bold cyan"), "\n"), soft_wrap=True)
    if console.is_terminal:
        table = Table.grid(padding=(0, 3))
        for name, value in facts.items():
            table.add_row(f"  {name}", Text(value, style="cyan", overflow="fold"))
        console.print(table)
    else:
        for name, value in facts.items():
            console.print(Text(f"  {name:<18} {value}"), soft_wrap=True)
    console.print("\nWith the AWS command line and kcat, for example:\n")
    console.print(Text(example, style="cyan"), soft_wrap=True)


def _show(console: Console, tick: str, style: str, name: str, figures: str, text: str) -> None:
    console.print()
    console.print(Text.assemble((f"  {tick} ", style), (name, "bold"), ("  " + figures, "dim")), soft_wrap=True)
    if console.is_terminal:
        console.print(Padding(Text(text), (0, 2, 0, 4)))
    else:
        console.print(Text(f"    {text}"), soft_wrap=True)
