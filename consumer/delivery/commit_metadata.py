"""What rides in the metadata of a committed offset: what whoever continues there has to know. Pure.

1. A commit says that all below its offset, the low-water mark, is finished. Its metadata says what is finished
   above the mark, and which records must be handled with care because a worker may die, or has died, over them.
2. All offsets lie in a window that begins at the mark. The window, and the count of entries, are bounded such that
   the worst case fits into what the broker takes.
3. What is read must be what ``encode`` wrote for exactly this mark. The checksum covers the mark: an offset that
   was set by another tool never brings back what was finished around an older one.
4. Anything else is foreign, and told apart by one error, whatever it is. It costs bounded time and memory.

The text is ``whisper:`` and, in base64::

    version       1 byte
    checksum      4 bytes, CRC-32 of the version, the mark (8 bytes) and all that follows
    bitmap size   varint: bytes that follow, times two; plus one if they are compressed
    bitmap        most significant bit first, one bit for each offset from the mark on; deflated where that is smaller
    entries       to the end, ascending: varint (distance from the offset before; the first, from the mark), then
                  one byte (deaths times four, plus the state)
"""

import base64
import binascii
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

MAX_METADATA_CHARACTERS = 4096
"""What the broker takes (offset.metadata.max.bytes, by default); the text is ASCII, so these are bytes as well."""

WINDOW_OFFSETS = 16_384
"""How far above the low-water mark an offset may lie: its bitmap, never compressed at all, takes 2,048 bytes."""

MAX_ENTRIES = 200
"""How many records may have an entry: at most 3 bytes each, 600 bytes. With the bitmap, 3,548 characters at most."""

MAX_DEATHS = 63
"""Deaths are counted up to here; six bits hold them."""

_PREFIX = "whisper:"
_VERSION = 1
_RAW_DEFLATE = -15  # zlib's name for no header and no checksum of its own
_MAX_BITMAP_BYTES = WINDOW_OFFSETS // 8


class State(IntEnum):
    """What was going on with a record when the commit was made."""

    SUSPECT = 0
    """Not running. It was open when a worker died, and must run alone."""
    BESIDE_OTHERS = 1
    ALONE = 2
    ALONE_PROGRESSED = 3
    """Running alone, and past the checkpoint that it began with."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an open record: how many workers died while it ran alone without progress, and its state."""

    deaths: int
    state: State


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a commit says besides its offset. All offsets are absolute."""

    finished: frozenset[int] = frozenset()
    entries: Mapping[int, Entry] = field(default_factory=dict)


class ForeignMetadata(ValueError):
    """The text was not written by ``encode`` for this low-water mark. The message says how that shows."""


def encode(low_water: int, remembered: Remembered) -> str:
    """The metadata of a commit of ``low_water``; empty where nothing is remembered. Deaths above MAX_DEATHS are cut.

    Raises ValueError for offsets outside the window, and for more than MAX_ENTRIES entries.
    """
    finished, entries = remembered.finished, remembered.entries
    if not finished and not entries:
        return ""
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"{len(entries)} entries; at most {MAX_ENTRIES} fit")
    for offsets in (finished, entries):
        _check_window(low_water, offsets)
    bitmap = _to_bitmap(low_water, finished)
    deflated = zlib.compress(bitmap, wbits=_RAW_DEFLATE)
    compressed = len(deflated) < len(bitmap)
    stored = deflated if compressed else bitmap
    body = bytearray(_to_varint(len(stored) * 2 + compressed))
    body += stored
    before = low_water
    for offset in sorted(entries):
        entry = entries[offset]
        body += _to_varint(offset - before)
        body.append(min(entry.deaths, MAX_DEATHS) * 4 + entry.state)
        before = offset
    payload = bytes([_VERSION]) + _checksum(low_water, body) + body
    return _PREFIX + base64.b64encode(payload).decode("ascii")


def decode(low_water: int, text: str) -> Remembered:
    """What ``encode`` was given. Raises ForeignMetadata, and nothing else, for what it did not write for this mark."""
    if not text:
        return Remembered()
    body = memoryview(_checked_body(low_water, text))
    try:
        size, start = _from_varint(body, 0)
        size, compressed = divmod(size, 2)
        stored = body[start : start + size]
        bitmap = _inflate(stored) if compressed else bytes(stored)
        if len(stored) != size or len(bitmap) > _MAX_BITMAP_BYTES:
            raise ForeignMetadata("the bitmap has a wrong size")
        entries = dict(_to_entries(low_water, body[start + size :]))
    except (IndexError, zlib.error) as error:
        raise ForeignMetadata("the contents are malformed") from error
    return Remembered(frozenset(_from_bitmap(low_water, bitmap)), entries)


def _checked_body(low_water: int, text: str) -> bytes:
    if not text.startswith(_PREFIX):
        raise ForeignMetadata(f"it does not begin with {_PREFIX!r}: another program wrote it")
    if len(text) > MAX_METADATA_CHARACTERS:
        raise ForeignMetadata(f"{len(text)} characters, more than {MAX_METADATA_CHARACTERS}")
    encoded = text.removeprefix(_PREFIX)
    try:
        payload = base64.b64decode(encoded, validate=True)
    except ValueError as error:  # binascii.Error, or characters that are not ASCII
        raise ForeignMetadata("it is not base64: damaged") from error
    if base64.b64encode(payload).decode("ascii") != encoded:
        raise ForeignMetadata("its base64 has stray bits: damaged")
    if payload[:1] != bytes([_VERSION]):
        raise ForeignMetadata(f"version {payload[0] if payload else 'missing'}, expected {_VERSION}")
    body = payload[5:]
    if payload[1:5] != _checksum(low_water, body):
        raise ForeignMetadata("the checksum is wrong: damaged, or written for another offset")
    return body


def _check_window(low_water: int, offsets: Collection[int]) -> None:
    if offsets and not low_water <= min(offsets) <= max(offsets) < low_water + WINDOW_OFFSETS:
        raise ValueError(
            f"offsets {min(offsets)} to {max(offsets)}; the window is {low_water} to {low_water + WINDOW_OFFSETS - 1}"
        )


def _checksum(low_water: int, body: bytes | bytearray) -> bytes:
    covered = bytes([_VERSION]) + low_water.to_bytes(8, "big", signed=True) + body
    return binascii.crc32(covered).to_bytes(4, "big")


def _to_bitmap(low_water: int, offsets: Collection[int]) -> bytes:
    if not offsets:
        return b""
    size_bytes = (max(offsets) - low_water) // 8 + 1
    digits = bytearray(b"0") * (size_bytes * 8)
    for offset in offsets:
        digits[offset - low_water] = ord("1")
    return int(digits, 2).to_bytes(size_bytes, "big")  # several times faster than to set bit by bit


def _from_bitmap(low_water: int, bitmap: bytes) -> Iterator[int]:
    for at, byte in enumerate(bitmap):
        for bit in range(8):
            if byte & (0x80 >> bit):
                yield low_water + at * 8 + bit


def _inflate(stored: memoryview) -> bytes:
    inflater = zlib.decompressobj(wbits=_RAW_DEFLATE)
    bitmap = inflater.decompress(stored, _MAX_BITMAP_BYTES + 1)  # one more than may be, so that too much shows
    if not inflater.eof or inflater.unused_data:
        raise ForeignMetadata("the bitmap is too long, or cut off")
    return bitmap


def _to_entries(low_water: int, body: memoryview) -> Iterator[tuple[int, Entry]]:
    offset, at, count = low_water, 0, 0
    while at < len(body):
        distance, at = _from_varint(body, at)
        offset, count = offset + distance, count + 1
        if offset >= low_water + WINDOW_OFFSETS or count > MAX_ENTRIES or (count > 1 and not distance):
            raise ForeignMetadata("the entries are out of bounds")
        deaths, state = divmod(body[at], 4)
        at += 1
        yield offset, Entry(deaths, State(state))


def _to_varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit of a byte says that another one follows."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _from_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends. Raises IndexError where the data ends within it."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at
