"""Bytes of the input topic in, uploads out.

A dialect is a module with ``recognises`` and ``parse``; ``parse.DIALECTS`` lists them.
"""

from consumer.events.parse import check_buckets, parse
from consumer.events.parsed import Parsed, Skip, SkipKind, Uploads

__all__ = ["Parsed", "Skip", "SkipKind", "Uploads", "check_buckets", "parse"]
