"""The name of a transcript: equal for equal work, whoever does it and however often.

It is made of the object, the weights before quantisation and the options that affect the result. Precision,
class of CPU and libraries are left out on purpose: a fleet of different machines must give one name to one
recording, so that readers can tell a repetition from a second result.
"""

import hashlib
import math

import orjson

from consumer.engine.base import Options

FORMAT = 2
"""Counted up when the same input would have to get another name."""


def transcript_id(
    bucket: str, key: str, *, etag: str | None, version_id: str | None, weights_sha256: str, options: Options
) -> str:
    """SHA-256, in hex, of the facts in canonical JSON. ``etag`` is without quotes.

    The ETag names the object's bytes where there is one, else the version does. One upload is announced with a version
    by one sender, without by another, and by a listing with the ETag alone; MinIO calls the version "null" where a
    bucket has none. All of them must give one name, and the ETag is what they have in common.
    """
    facts = {
        "format": FORMAT,
        "bucket": bucket,
        "key": key,
        "object": f"etag:{etag}" if etag else f"version:{version_id}",
        "weights": weights_sha256,
        "language": options.language or "auto",
        "task": options.task,
        "prompt": options.prompt,
    }
    # What follows is left out by default, so that names from before there was a choice stay.
    if options.channels != "mix":
        facts["channels"] = options.channels
    if not options.is_whole:
        facts["range"] = [options.start_seconds, None if math.isinf(options.end_seconds) else options.end_seconds]
    if not options.words:
        facts["words"] = False
    if options.carry_context:
        facts["carry_context"] = True
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
