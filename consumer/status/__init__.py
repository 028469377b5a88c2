"""What a worker is doing now, as a page for people and as JSON, on a listener of its own."""

from consumer.status.server import StatusServer
from consumer.status.snapshot import About, Watched

__all__ = ["About", "StatusServer", "Watched"]
