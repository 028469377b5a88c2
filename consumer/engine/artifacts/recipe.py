"""Names for what is made: a digest over everything that it is made from."""

import hashlib
import json


def recipe_digest(**inputs: object) -> str:
    """SHA-256 of a set of named inputs; equal inputs give equal digests in every process."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
