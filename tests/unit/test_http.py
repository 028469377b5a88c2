"""The HTTP listener serves metrics and probes, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from consumer.observe.http import HttpServer


@dataclass
class SettableHealth:
    alive: tuple[bool, str] = (True, "the loop turns")
    prepared: tuple[bool, str] = (False, "fetching artifacts")

    def live(self) -> tuple[bool, str]:
        return self.alive

    def ready(self) -> tuple[bool, str]:
        return self.prepared


@pytest.fixture
def health() -> SettableHealth:
    return SettableHealth()


@pytest.fixture
async def server(health: SettableHealth) -> AsyncIterator[HttpServer]:
    registry = CollectorRegistry()
    Counter("cats", "Cats seen.", registry=registry).inc(3)
    server = HttpServer("127.0.0.1", 0, registry, health)
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def client(server: HttpServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session


async def test_metrics_in_the_text_format(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        families = {family.name: family for family in parse_text(await response.text())}
    assert families["cats"].samples[0].value == 3


async def test_metrics_as_openmetrics_when_asked(client: aiohttp.ClientSession) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    async with client.get("/metrics", headers={"Accept": accept}) as response:
        assert response.content_type == "application/openmetrics-text"
        text = await response.text()
    assert text.endswith("# EOF\n")
    (family,) = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    assert family.name == "cats"


async def test_probes_follow_the_health(client: aiohttp.ClientSession, health: SettableHealth) -> None:
    async def probe(path: str) -> tuple[int, object]:
        async with client.get(path) as response:
            return response.status, await response.json()

    assert await probe("/livez") == (200, {"ok": True, "reason": "the loop turns"})
    assert await probe("/readyz") == (503, {"ok": False, "reason": "fetching artifacts"})
    health.prepared = (True, "joined")
    health.alive = (False, "a native call is stuck")
    assert await probe("/readyz") == (200, {"ok": True, "reason": "joined"})
    assert await probe("/livez") == (503, {"ok": False, "reason": "a native call is stuck"})


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/x", "/status", "/favicon.ico", "/../etc/passwd"])
async def test_everything_else_is_not_found(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404


async def test_nothing_can_be_posted(client: aiohttp.ClientSession) -> None:
    async with client.post("/livez", data=b"x") as response:
        assert response.status == 405


async def test_an_address_in_use_is_an_error_and_leaves_nothing_open(
    server: HttpServer, health: SettableHealth
) -> None:
    second = HttpServer("127.0.0.1", server.port, CollectorRegistry(), health)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.close()
    with pytest.raises(RuntimeError, match="not started"):
        _ = second.port


async def test_closing_ends_kept_connections_at_once(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    async with asyncio.timeout(5):
        await server.close()
        await reader.read()  # to the end of the stream
    writer.close()
    await server.close()
