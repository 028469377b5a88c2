"""The worker's HTTP listener: ``/metrics`` for Prometheus, ``/livez`` and ``/readyz`` for whoever runs it.

Nothing else is served. It is opened first and closed last, so that a worker that still fetches its model or
drains can be asked how it is.
"""

from typing import Protocol

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

CLOSE_TIMEOUT_SECONDS = 1.0
MAX_REQUEST_BODY_BYTES = 1024


class Health(Protocol):
    """What the probes ask. Each answer is whether all is well, and a sentence that says why or why not."""

    def live(self) -> tuple[bool, str]:
        """False: only a new process can help. A dependency that is down is no reason."""

    def ready(self) -> tuple[bool, str]:
        """True: the model is loaded, the group joined, and work is taken."""


class HttpServer:
    """The listener; serves from ``start`` to ``close``."""

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        """``port`` 0 takes any free port; ``self.port`` tells which."""
        self._host = host
        self._port = port
        self._registry = registry
        self._health = health
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is served. Raises RuntimeError before ``start`` and after ``close``."""
        if self._runner is None:
            raise RuntimeError("the HTTP server is not started")
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Open the listener. Raises OSError where the address cannot be had."""
        app = web.Application(client_max_size=MAX_REQUEST_BODY_BYTES)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Stop serving and cut idle connections; harmless when not started."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _livez(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _answer(*self._health.live())

    async def _readyz(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _answer(*self._health.ready())


def _answer(well: bool, reason: str) -> web.Response:
    return web.Response(
        status=200 if well else 503,
        body=orjson.dumps({"ok": well, "reason": reason}),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
