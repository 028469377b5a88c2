"""Ports and readiness of servers on this machine."""

import asyncio
import random
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import aiohttp

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 10_000
_USUAL_EPHEMERAL_PORT = 32_768
_PORTS_PER_BLOCK = 64
_PROBE_TIMEOUT_SECONDS = 2.0


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports of the loopback interface that nobody listens on. Raises OSError.

    No other process that asks here is given them as long as this one lives, and they lie below the range from
    which the kernel takes ports for outgoing connections: a slow server may bind its port a minute after this
    call, or let go of it and bind it again, and finds it free.
    """
    ports = list(islice(filter(_is_free, islice(_own_ports, 100 * count)), count))
    if len(ports) < count:
        raise OSError(f"found {len(ports)} free ports from {_FIRST_PORT} on, {count} are needed")
    return ports


def _claimed_ports() -> Iterator[int]:
    """The ports of one block after the other that this process makes its own, and all again after the last.

    A block belongs to the process that has bound its name as an abstract Unix socket: such names are as wide as
    ports are (one set for each network namespace), and the kernel lets go of them when the process ends.
    """
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    # Where the machine gives nearly all ports to outgoing connections, the guarantee shrinks to "free now".
    end = first_ephemeral if first_ephemeral > 2 * _FIRST_PORT else _USUAL_EPHEMERAL_PORT
    blocks = [range(first, min(first + _PORTS_PER_BLOCK, end)) for first in range(_FIRST_PORT, end, _PORTS_PER_BLOCK)]
    own: list[int] = []
    for block in random.SystemRandom().sample(blocks, len(blocks)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0whisper-consumer/ports/{block.start}")
        except OSError:
            claim.close()
            continue
        claim.detach()  # open until the process ends
        own.extend(block)
        yield from block
    while own:
        yield from own


_own_ports = _claimed_ports()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


async def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of the loopback interface."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return True


async def answers_ok(url: str) -> bool:
    """Whether a GET of ``url`` is answered with status 200."""
    timeout = aiohttp.ClientTimeout(total=_PROBE_TIMEOUT_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
