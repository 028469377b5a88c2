"""Trace context of W3C (https://www.w3.org/TR/trace-context/), in Kafka headers or as CloudEvents' extension. Pure.

Only what is well formed goes on: a broken ``traceparent`` is none, and without one there is no ``tracestate``.
"""

import re
from collections.abc import Mapping
from typing import Final

Trace = tuple[tuple[str, str], ...]
"""``traceparent``, and ``tracestate`` where there is one; empty where there is neither."""

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_MAX_CHARACTERS: Final = 512
"""Of both, as the standard asks carriers to take at least."""


def trace_id_of(trace: Trace) -> str | None:
    """Its trace id, 32 hexadecimal digits."""
    return trace[0][1].split("-")[1] if trace else None


def trace_of(attributes: Mapping[str, object]) -> Trace:
    """The trace context in headers or attributes, whose names are in small letters."""
    parent, state = attributes.get("traceparent"), attributes.get("tracestate")
    if not isinstance(parent, str) or len(parent) > _MAX_CHARACTERS or not _TRACEPARENT.fullmatch(parent):
        return ()
    found: Trace = (("traceparent", parent),)
    is_state = isinstance(state, str) and 0 < len(state) <= _MAX_CHARACTERS and state.isascii() and state.isprintable()
    return (*found, ("tracestate", str(state))) if is_state else found
