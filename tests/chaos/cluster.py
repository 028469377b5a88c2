"""Brokers and store of a chaos run: each has a way that can be broken, for workers, and one that cannot, for us."""

import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from consumer.operate.kafka_server import KafkaServer
from consumer.operate.network import LOOPBACK, free_ports
from tests.chaos.proxy import FaultProxy
from tests.support.minio import MinioServer

FORBIDDEN_PREFIX = "forbidden/"
"""Objects that the store lets be written but not read."""


class Cluster(KafkaServer):
    """Brokers with a second listener, WORKERS, that is advertised as the port of a proxy."""

    def __init__(self, *, data_dir: Path, jars: Sequence[Path], brokers: int) -> None:
        super().__init__(data_dir=data_dir, jars=jars, brokers=brokers)
        self._worker_ports = dict(zip(self._ports, free_ports(brokers), strict=True))
        self.proxies = {node: FaultProxy(port) for node, port in self._worker_ports.items()}

    @property
    def bootstrap_servers_for_workers(self) -> str:
        """The proxies' addresses."""
        return ",".join(f"{LOOPBACK}:{proxy.port}" for proxy in self.proxies.values())

    async def _format(self, node: int) -> None:
        await super()._format(node)
        path = self._properties_path(node)
        properties = dict(line.split("=", 1) for line in path.read_text(encoding="ascii").splitlines())
        if "WORKERS" in properties["listeners"]:
            return
        properties["listeners"] += f",WORKERS://{LOOPBACK}:{self._worker_ports[node]}"
        properties["advertised.listeners"] += f",WORKERS://{LOOPBACK}:{self.proxies[node].port}"
        properties["listener.security.protocol.map"] += ",WORKERS:PLAINTEXT"
        path.write_text("".join(f"{key}={value}\n" for key, value in properties.items()), encoding="ascii")

    def stop_node(self, node: int, *, grace_seconds: float) -> None:
        """End one broker; ``start`` starts it again."""
        self.nodes.pop(node).stop(grace_seconds=grace_seconds)

    async def start_again(self) -> None:
        """Start the brokers that do not run, those too that ended by themselves. Raises ProcessError."""
        for node, process in list(self.nodes.items()):
            if process.exit_code is not None:
                self.stop_node(node, grace_seconds=0)
        await self.start()


class Store(MinioServer):
    """A MinIO that announces nothing and asks us who may do what: nobody may read under FORBIDDEN_PREFIX."""

    def __init__(self, binary: Path, *, data_dir: Path) -> None:
        super().__init__(binary, data_dir=data_dir, kafka_bootstrap_servers="", topic="")
        self._plugin_port = free_ports(1)[0]
        self._plugin: web.AppRunner | None = None
        self.proxy = FaultProxy(self._port)

    @property
    def endpoint_for_workers(self) -> str:
        return f"http://{LOOPBACK}:{self.proxy.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Store"]:
        """Answer its questions, start it, end both."""
        application = web.Application()
        application.router.add_route("*", "/", _decide)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self._plugin_port).start()
            async with self:
                yield self
        finally:
            await runner.cleanup()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in super()._environment().items() if "NOTIFY" not in name}
        return own | {"MINIO_POLICY_PLUGIN_URL": f"http://{LOOPBACK}:{self._plugin_port}/"}


async def _decide(request: web.Request) -> web.Response:
    """What MinIO's access management plugin is asked, once for each request to the store."""
    asked = (await request.json()).get("input", {}) if request.can_read_body else {}
    forbidden = asked.get("action") == "s3:GetObject" and str(asked.get("object", "")).startswith(FORBIDDEN_PREFIX)
    return web.json_response({"result": not forbidden})


@dataclass(frozen=True)
class Services:
    """What runs beside the workers."""

    cluster: Cluster
    store: Store

    def proxies(self, target: str) -> list[FaultProxy]:
        """The ways to ``store`` or to ``brokers``."""
        return [self.store.proxy] if target == "store" else list(self.cluster.proxies.values())


@asynccontextmanager
async def running_services(jars: Sequence[Path], minio: Path, directory: Path, brokers: int) -> AsyncIterator[Services]:
    """Start brokers, store and the proxies before them; end all."""
    async with AsyncExitStack() as stack:
        cluster = Cluster(data_dir=directory / "kafka", jars=jars, brokers=brokers)
        store = Store(minio, data_dir=directory / "minio")
        for proxy in (*cluster.proxies.values(), store.proxy):
            await stack.enter_async_context(proxy)
        await stack.enter_async_context(store.running())
        await stack.enter_async_context(cluster)
        yield Services(cluster, store)
