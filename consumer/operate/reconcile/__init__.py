"""``whisper-consumer reconcile``: announces the recordings whose notification was lost.

1. A recording is covered by a result, or a marker of a dead letter or of what was not wanted, that is not older than
   itself (``decision``). Which bytes a result is of is asked only where that matters: a result of earlier bytes that
   was stored after they were overwritten counts all the same, but with --stale-model, which asks each result.
2. What is not covered is announced as the project's own ``audio.uploaded`` event, pinned to the ETag in the listing.
   To announce too much is harmless: the same recording gives the same ``transcript_id``, and a stored result is
   answered with, not made again. So live workers are not in the way, and a run that ended early is just repeated.
3. Nothing is collected: a page of the listing at a time is looked at.
"""

from consumer.operate.reconcile.command import ReconcileOptions, reconcile_bucket

__all__ = ["ReconcileOptions", "reconcile_bucket"]
