"""What was redriven, remembered in a compacted topic: one small record for each letter.

The committed offset of a consumer group would not do. With filters the redriven letters are no prefix of the topic;
commit metadata holds a bounded window of them; and a broker forgets the offsets of a group that nobody uses (after
seven days, by default), while dead letters may be kept for years.

1. A mark's key is the letter's position, its value the letter's time. Both must agree: in a dead-letter topic that was
   deleted and created again, other letters have the same positions.
2. A mark is a fact of its own, so two runs at once lose none of them.
"""

import re

from consumer.delivery.job import SourceRecord
from consumer.operate.redrive.letters import DeadLetter, Position
from consumer.operate.sender import Message


def marks_topic(dead_letter_topic: str) -> str:
    """Name of the topic that remembers what was redriven."""
    return f"{dead_letter_topic}.redriven"


def mark_of(letter: DeadLetter, dead_letter_topic: str) -> Message:
    """The record that remembers a letter."""
    return Message(marks_topic(dead_letter_topic), str(letter.position).encode(), str(letter.written_ms).encode())


class Marks:
    """The letters that are remembered."""

    def __init__(self) -> None:
        self._written_ms: dict[Position, int] = {}

    def read(self, record: SourceRecord) -> None:
        """Take note of a record of the topic; one that is no mark is passed over."""
        try:
            position = Position.parse((record.key or b"").decode())
        except ValueError:
            return
        if re.fullmatch(rb"-?[0-9]{1,18}", record.value or b""):
            self._written_ms[position] = int(record.value or b"")

    def __contains__(self, letter: object) -> bool:
        return isinstance(letter, DeadLetter) and self._written_ms.get(letter.position) == letter.written_ms
