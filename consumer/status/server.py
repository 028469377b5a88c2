"""The listener of the status page: ``/`` for people, ``/status`` for programs, ``/events`` for what changes.

Bound to this machine it answers requests by a name of this machine alone, so that no page from elsewhere can have a
browser read it under a name of its own (DNS rebinding). Bound beyond, it answers who knows the token: in
``Authorization: Bearer``, or once as ``?token=``, which a browser then keeps in a cookie.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import orjson
from aiohttp import web

from consumer.observe.pages import asked_by_a_name_of_this_machine
from consumer.status.page import HEADERS, page, sections
from consumer.status.snapshot import Watched, snapshot

INTERVAL_SECONDS: Final = 1.0
MAX_FOLLOWERS: Final = 20
CLOSE_TIMEOUT_SECONDS: Final = 1.0
COOKIE: Final = "whisper-consumer-token"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StatusServer:
    """Serves from ``start`` to ``close``."""

    def __init__(self, host: str, port: int, watched: Watched, *, token: str | None) -> None:
        """``port`` 0 takes any free one. ``token`` None: whoever is on this machine may look."""
        self._host = host
        self._port = port
        self._watched = watched
        self._token = token
        self._followers = 0
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Of the page. Raises RuntimeError before ``start`` and after ``close``."""
        if self._runner is None:
            raise RuntimeError("the status page is not served")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._runner.addresses[0][1]}/"

    async def start(self) -> None:
        """Open the listener. Raises OSError where the address cannot be had."""
        application = web.Application(middlewares=[self._guard], client_max_size=1024)
        application.router.add_get("/", self._page)
        application.router.add_get("/status", self._status)
        application.router.add_get("/events", self._events)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Stop serving, followers included; harmless when not started."""
        self._closing.set()
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token is None:
            if not asked_by_a_name_of_this_machine(request):
                return _refused(f"open it as http://localhost:{self._port}/")
            return await handler(request)
        if (given := request.query.get("token")) is not None and self._is_token(given):
            answer = web.Response(status=303, headers={"Location": request.path})
            answer.set_cookie(COOKIE, given, httponly=True, samesite="Strict", path="/")
            return answer
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not (self._is_token(bearer) or self._is_token(request.cookies.get(COOKIE, ""))):
            return _refused("add ?token= with the value of STATUS_TOKEN to the address, or send it as a bearer token")
        return await handler(request)

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    async def _page(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(text=page(snapshot(self._watched)), content_type="text/html", headers=HEADERS)

    async def _status(self, request: web.Request) -> web.Response:  # noqa: ARG002
        body = orjson.dumps(snapshot(self._watched), option=orjson.OPT_INDENT_2)
        return web.Response(body=body, content_type="application/json", headers=HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Sections that changed, once a second, until the reader or the worker leaves (server-sent events)."""
        if self._followers >= MAX_FOLLOWERS:
            return web.Response(status=503, text=f"at most {MAX_FOLLOWERS} may follow at once\n", headers=HEADERS)
        stream = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        self._followers += 1
        try:
            with suppress(ConnectionError):
                await stream.prepare(request)
                await self._follow(stream)
        finally:
            self._followers -= 1
        return stream

    async def _follow(self, stream: web.StreamResponse) -> None:
        shown: dict[str, str] = {}
        while not self._closing.is_set():
            found = sections(snapshot(self._watched))
            changed = {name: html for name, html in found.items() if shown.get(name) != html}
            # Nothing new is said all the same: only so is a reader noticed who has left.
            await stream.write(b"data: " + orjson.dumps(changed) + b"\n\n")
            shown = found
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), INTERVAL_SECONDS)


def _refused(what_to_do: str) -> web.Response:
    return web.Response(status=403, text=f"not allowed: {what_to_do}\n", headers=HEADERS)
