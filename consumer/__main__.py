"""``python -m consumer`` is ``whisper-consumer``."""

from consumer.cli import main

main()
