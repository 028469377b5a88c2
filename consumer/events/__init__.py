"""Bytes of the input topic in, uploads out.

A dialect is a module with ``recognises`` and ``parse``; ``parse.DIALECTS`` lists them.
"""

from consumer.events.filters import Filters
from consumer.events.parse import check_buckets, parse, trace_in
from consumer.events.parsed import Parsed, Skip, SkipKind, Uploads
from consumer.events.trace import Trace, trace_id_of

__all__ = [
    "Filters",
    "Parsed",
    "Skip",
    "SkipKind",
    "Trace",
    "Uploads",
    "check_buckets",
    "parse",
    "trace_id_of",
    "trace_in",
]
