"""Puts dead letters back, in small batches: sent, acknowledged, remembered, and only then told."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from consumer.operate.interruption import Interruption
from consumer.operate.redrive.choice import Fate, Filters, fate_of
from consumer.operate.redrive.letters import DeadLetter, read_letter, redriven
from consumer.operate.redrive.marks import mark_of
from consumer.operate.redrive.session import Session
from consumer.operate.sender import Sender
from consumer.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class RedriveOptions:
    """How letters are put back."""

    to_topic: str | None
    """None: KAFKA_INPUT_TOPIC, for letters that came from there."""
    limit: int | None
    """At most so many are redriven."""
    per_second: int
    again: bool
    """Also those that were redriven before."""
    dry_run: bool


class Run:
    """One way through the dead letters, counted in ``tally``.

    Without a sender nothing is written, and all else is the same.
    """

    def __init__(
        self,
        session: Session,
        settings: KafkaSettings,
        filters: Filters,
        options: RedriveOptions,
        sender: Sender | None,
        tally: Counter[Fate],
    ) -> None:
        self._session = session
        self._dead_letter_topic = settings.kafka_dead_letter_topic
        self._input_topic = settings.kafka_input_topic
        self._filters = filters
        self._options = options
        self._sender = sender
        self._tally = tally

    async def letters(
        self, advance: Callable[[int], None], interruption: Interruption
    ) -> AsyncGenerator[DeadLetter, None]:
        """Every letter that was (or would be) redriven, once it is remembered.

        Ends early once ``interruption`` is true. ``advance`` is told of the records looked at. Raises Unavailable.
        """
        batch: list[DeadLetter] = []
        size = self._sender.batch_size if self._sender else 1
        left = self._options.limit
        async with aclosing(self._session.read()) as records:
            async for record in records:
                if interruption or left == 0:
                    break
                advance(1)
                letter = read_letter(record)
                if letter is None or not self._filters.let_through(letter):
                    continue
                fate = self._fate_of(letter)
                if fate is not Fate.REDRIVE:
                    self._tally[fate] += 1
                    continue
                batch.append(letter)
                left = None if left is None else left - 1
                if len(batch) == size:
                    for done in await self._redrive(batch):
                        yield done
                    batch.clear()
        if batch:
            for done in await self._redrive(batch):
                yield done

    def _fate_of(self, letter: DeadLetter) -> Fate:
        options = self._options
        return fate_of(letter, self._session.marks, self._input_topic, options.to_topic, again=options.again)

    async def _redrive(self, batch: Sequence[DeadLetter]) -> Sequence[DeadLetter]:
        """Send a batch and remember what was acknowledged; raises the first fault only after that."""
        if self._sender is None:
            self._tally[Fate.REDRIVE] += len(batch)
            return batch
        topic = self._options.to_topic or self._input_topic
        faults = await self._sender.send([redriven(letter, topic) for letter in batch])
        done = [letter for letter, fault in zip(batch, faults, strict=True) if fault is None]
        faults += await self._sender.send_at_once([mark_of(letter, self._dead_letter_topic) for letter in done])
        self._tally[Fate.REDRIVE] += len(done)
        for fault in faults:
            if fault is not None:
                raise fault
        return done
