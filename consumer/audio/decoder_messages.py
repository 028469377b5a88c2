"""What the worker and its decoder processes say to each other, and the facts about a recording."""

import json
from dataclasses import asdict, dataclass

from consumer.errors import Reason

SAMPLE_RATE_HERTZ = 16_000
"""Rate of all PCM in the worker: what Whisper hears."""

SAMPLE_BYTES = 4
"""PCM crosses the pipe as mono little-endian float32."""

MAX_MESSAGE_BYTES = 64 * 1024

READY = b"ready"


@dataclass(frozen=True, slots=True)
class AudioFacts:
    """What the decoder found: FFmpeg's names of container and codec, the stream's own rate and channels.

    ``damage`` tells in words what was seen to be broken; empty where nothing was.
    """

    container: str
    codec: str
    sample_rate_hertz: int
    channels: int
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """What the file says of itself, told before the first sample. ``declared_seconds``: None where it says none."""

    declared_seconds: float | None
    channels: int


@dataclass(frozen=True, slots=True)
class Order:
    """One recording to decode. The spool, the PCM pipe and the report socket travel beside it."""

    name: str
    max_duration_seconds: float
    channel: int | None = None
    """The one to take; None mixes all of them."""

    def to_bytes(self) -> bytes:
        """For the server."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Order":
        """In the server, which trusts the worker."""
        return cls(**json.loads(data))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a recording cannot be decoded."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Exit:
    """How the process that decoded one recording ended: a status, or minus the signal's number."""

    code: int


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The server could not make a process for the recording: no memory, no process ids."""

    message: str


Report = Header | AudioFacts | Refusal | Exit | NotStarted
"""A header comes first, unless the recording is refused; one of the others ends the job."""


def encode_report(report: Report) -> bytes:
    """One message on the report socket."""
    return json.dumps({"kind": type(report).__name__, **asdict(report)}).encode()


def decode_report(data: bytes) -> Report:
    """Read a message that a decoder process wrote; it has seen hostile bytes, so nothing in it is trusted.

    Raises ValueError where it is not what ``encode_report`` writes.
    """
    try:
        fields = json.loads(data)
        match fields.pop("kind"):
            case "AudioFacts":
                return AudioFacts(
                    container=str(fields["container"]),
                    codec=str(fields["codec"]),
                    sample_rate_hertz=int(fields["sample_rate_hertz"]),
                    channels=int(fields["channels"]),
                    damage=tuple(str(note) for note in fields["damage"]),
                )
            case "Header":
                seconds = fields["declared_seconds"]
                return Header(None if seconds is None else float(seconds), int(fields["channels"]))
            case "Refusal":
                return Refusal(Reason(fields["reason"]), str(fields["message"]))
            case "Exit":
                return Exit(int(fields["code"]))
            case "NotStarted":
                return NotStarted(str(fields["message"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a decoder's report: {error!r}") from error
    raise ValueError("not a decoder's report: unknown kind")
