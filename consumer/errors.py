"""One error class for one decision.

Exception
├── Rejected      this input can never succeed: dead-letter it, with its reason
├── NotWanted     nothing is wrong, and by the settings nothing is to be done: a counted skip
├── ObjectFault   this one object cannot be had although its bucket answers: try for a while, then reject it
└── Unavailable   something outside is down: wait and try again, never dead-letter

Whatever else escapes from a job is a defect of the worker: it is dead-lettered as ``internal``.
"""

from enum import StrEnum


class Stage(StrEnum):
    """The station of a recording's way at which something happened."""

    PARSE = "parse"
    FETCH = "fetch"
    DECODE = "decode"
    TRANSCRIBE = "transcribe"
    STORE = "store"
    PUBLISH = "publish"


class Reason(StrEnum):
    """Why a record can never succeed; the value is the reason code in the dead letter."""

    BAD_EVENT = "bad_event"  # not JSON, not a known dialect, fields missing or of a wrong type
    BUCKET_NOT_ALLOWED = "bucket_not_allowed"  # names a bucket outside INPUT_BUCKETS
    MISSING = "missing"  # no such object, or no such version of it
    FORBIDDEN = "forbidden"  # the store refuses this object, though not its bucket
    UNREADABLE = "unreadable"  # the store fails on this object, though not on its bucket
    SUPERSEDED = "superseded"  # overwritten since the event; the newer upload has its own event
    TOO_LARGE = "too_large"  # more bytes than MAX_OBJECT_BYTES
    TOO_LONG = "too_long"  # more audio than MAX_DURATION_SECONDS
    EMPTY = "empty"  # a zero-byte object
    NOT_AUDIO = "not_audio"  # FFmpeg reads no container in it, or no audio stream, or no sample
    DECODE_FAILED = "decode_failed"  # the decoder crashed or made no progress on it
    BAD_OPTION = "bad_option"  # an option of the job that this model cannot honour
    CANCELLED = "cancelled"  # by a request on the control topic
    CRASHED = "crashed"  # the worker died on it, alone, again and again
    INTERNAL = "internal"  # a defect of the worker


class Rejected(Exception):
    """The input can never succeed.

    ``message`` says what was wrong, what was expected and, where there is something, what to do.
    It never holds words of a transcript or bytes of a recording.
    """

    def __init__(self, reason: Reason, stage: Stage, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage
        self.message = message


class NotWanted(Exception):
    """The recording is in order and filtered out by what only the recording itself could tell, such as its length."""


class ObjectFault(Exception):
    """One object cannot be had, while its bucket answers: that may pass, so it is tried for a while.

    ``reason`` is what it is rejected for if it does not pass: MISSING, FORBIDDEN or UNREADABLE.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Unavailable(Exception):
    """Something outside is down or full: wait, then try the same again.

    ``dependency`` is one of ``store``, ``broker``, ``disk``, ``decoder``, ``registry`` (a metric
    label: keep the set small).
    """

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(message)
        self.dependency = dependency
        self.message = message
