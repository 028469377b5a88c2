"""The three commands: list, show, run."""

from collections import Counter
from contextlib import AsyncExitStack, aclosing

from rich.console import Console

from consumer.errors import Unavailable
from consumer.operate.broker import known_topic
from consumer.operate.console import ConsoleProgress
from consumer.operate.interruption import Interruption
from consumer.operate.redrive import view
from consumer.operate.redrive.choice import Fate, Filters
from consumer.operate.redrive.letters import DeadLetter, Position, read_letter
from consumer.operate.redrive.run import RedriveOptions, Run
from consumer.operate.redrive.session import open_session
from consumer.operate.sender import Sender
from consumer.settings import KafkaSettings

ROWS_ON_A_TERMINAL = 200


async def list_letters(
    settings: KafkaSettings, filters: Filters, *, limit: int | None, as_json: bool, console: Console, notes: Console
) -> int:
    """Print the letters that match: a table on a terminal, lines in a pipe. ``notes`` gets the counts by reason.

    ``limit`` bounds what is printed, not what is counted. Returns the exit status. Raises Unavailable.
    """
    in_table = console.is_terminal and not as_json
    if limit is None and in_table:
        limit = ROWS_ON_A_TERMINAL
    rows: list[tuple[DeadLetter, bool]] = []
    reasons: Counter[str] = Counter()
    foreign = 0
    with ConsoleProgress(notes) as progress:
        async with open_session(settings, filters) as session, aclosing(session.read()) as records:
            with progress.task("Reading dead letters", session.records_count, "steps") as advance:
                async for record in records:
                    advance(1)
                    letter = read_letter(record)
                    if letter is None:
                        foreign += 1
                    elif filters.let_through(letter):
                        reasons[letter.reason] += 1
                        if limit is None or reasons.total() <= limit:
                            is_redriven = letter in session.marks
                            if in_table:
                                rows.append((letter, is_redriven))
                            else:
                                line = view.json_line if as_json else view.plain_line
                                view.write_line(line(letter, is_redriven=is_redriven))
    if rows:
        console.print(view.table(rows))
        console.print()
    view.tell_counts(reasons, foreign, settings.kafka_dead_letter_topic, notes)
    if limit is not None and reasons.total() > limit:
        view.tell(notes, f"The first {limit} are shown; --limit shows more.")
    return 0


async def show_letter(settings: KafkaSettings, position: Position, console: Console) -> int:
    """Print everything about one letter. Returns the exit status. Raises Unavailable where there is none."""
    async with open_session(settings, Filters(partition=position.partition)) as session:
        record = await session.read_one(position)
        if record is None:
            raise Unavailable("broker", f"there is no dead letter {position} in {settings.kafka_dead_letter_topic}")
        letter = read_letter(record)
        view.show(record, letter, console, is_redriven=letter is not None and letter in session.marks)
    return 0


async def redrive_letters(
    settings: KafkaSettings, filters: Filters, options: RedriveOptions, console: Console, notes: Console
) -> int:
    """Put the letters that match back: a line for each in a pipe or a dry run, a bar and a summary on ``notes``.

    Returns the exit status: that of the signal, if one ended it early. Raises Unavailable; what was redriven until
    then is told and remembered.
    """
    tally: Counter[Fate] = Counter()
    interruption = Interruption()
    says_each = options.dry_run or not console.is_terminal
    with ConsoleProgress(notes) as progress:
        try:
            async with open_session(settings, filters) as session, AsyncExitStack() as stack:
                to_topic = options.to_topic or settings.kafka_input_topic
                known_topic(session.topics, to_topic, "name another with --to, or correct KAFKA_INPUT_TOPIC")
                sender = None
                if not options.dry_run:
                    await session.make_marks_topic()
                    sender = Sender(session.client, session.max_letter_bytes, options.per_second)
                    await stack.enter_async_context(sender)
                advance = stack.enter_context(progress.task("Redriving", session.records_count, "steps"))
                stack.enter_context(interruption.listening())
                run = Run(session, settings, filters, options, sender, tally)
                letters = await stack.enter_async_context(aclosing(run.letters(advance, interruption)))
                async for letter in letters:
                    if says_each:
                        view.write_line(view.plain_line(letter, is_redriven=not options.dry_run))
        finally:
            if tally:
                view.tell_fates(tally, dry_run=options.dry_run, console=notes)
    if not tally:
        view.tell(notes, f"No dead letter in {settings.kafka_dead_letter_topic} matches.")
    if interruption:
        view.tell(notes, "Interrupted; the same command goes on from here.")
    return interruption.exit_status
