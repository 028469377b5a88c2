"""``whisper-consumer redrive``: looks at dead letters and puts them back where they came from.

1. A letter goes back byte for byte: key, value and headers as they were, without those that the worker put behind
   them, and with one that counts redrives.
2. It goes to KAFKA_INPUT_TOPIC alone, and only if it came from there; another topic has to be named by hand.
3. What was redriven is remembered in a compacted topic beside the dead letters (``marks``), once its
   acknowledgement is there. A process killed in between redrives at most a tenth of a second's letters twice:
   two events about one object, which give the same ``transcript_id``.
4. Each run reads up to the end that the topic had when it began, so a letter that fails again waits for the next.
"""

from consumer.operate.redrive.choice import Filters
from consumer.operate.redrive.commands import list_letters, redrive_letters, show_letter
from consumer.operate.redrive.letters import Position
from consumer.operate.redrive.run import RedriveOptions

__all__ = ["Filters", "Position", "RedriveOptions", "list_letters", "redrive_letters", "show_letter"]
