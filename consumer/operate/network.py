"""Ports and readiness of servers on this machine."""

import asyncio
import random
import socket
from pathlib import Path

import aiohttp

LOOPBACK = "127.0.0.1"
_FIRST_PORT = 10_000
_USUAL_EPHEMERAL_PORT = 32_768
_PROBE_TIMEOUT_SECONDS = 2.0


def free_ports(count: int) -> list[int]:
    """``count`` different TCP ports of the loopback interface that nobody listens on.

    They lie below the range from which the kernel takes ports for outgoing connections: between this
    call and the moment when a slow server binds its port, no connection of anyone can take it.
    """
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    # Where the machine gives nearly all ports to outgoing connections, the guarantee shrinks to "free now".
    pool = range(_FIRST_PORT, first_ephemeral if first_ephemeral > _FIRST_PORT + count else _USUAL_EPHEMERAL_PORT)
    ports = [port for port in random.SystemRandom().sample(pool, min(len(pool), 20 * count)) if _is_free(port)]
    if len(ports) < count:
        raise OSError(f"found {len(ports)} free ports between {pool.start} and {pool.stop}, {count} are needed")
    return ports[:count]


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
