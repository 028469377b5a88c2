"""The real parts that tests run against, started once a session and only when a test asks for them.

Whoever uses the fixture ``kafka``, ``s3``, ``minio``, ``artifacts_dir`` or ``corpus`` is marked accordingly,
so ``pytest -m "not kafka"`` leaves those tests out.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import hypothesis
import pytest
from playwright.async_api import Browser

from consumer.operate.kafka_jars import ensure_kafka_jars
from consumer.operate.kafka_server import KafkaServer
from consumer.operate.seaweed_server import SeaweedServer
from tests.support import minio as minio_support
from tests.support.apicurio import ApicurioServer, ensure_apicurio
from tests.support.built import compiled_artifacts, has_compiler, prebuilt_artifacts
from tests.support.cache import CACHE_DIR
from tests.support.chromium import Installed, ensure_chromium, running_chromium
from tests.support.kubernetes import Kubernetes
from tests.support.minio import MinioServer
from tests.support.prometheus import Programs, ensure_prometheus

REPOSITORY = Path(__file__).parent.parent
REQUIRE_REAL_SERVICES = os.environ.get("REQUIRE_REAL_SERVICES") == "1"
MINIO_TOPIC = "minio.events"

_MARKS = {
    "kafka_jars": "kafka",
    "s3": "s3",
    "schema_registry": "registry",
    "kubernetes": "kubernetes",
    "minio_binary": "minio",
    "chromium": "chromium",
    "prometheus": "prometheus",
    "artifacts_dir": "model",
    "compiled_artifacts_dir": "model",
    "corpus": "corpus",
}
_missing_services = pytest.StashKey[set[str]]()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
    # The longest first, so that none of them is what the end is waited for.
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where tests run in several processes, tell the one that prints."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["missing_services"] = sorted(session.config.stash.get(_missing_services, None) or ())


class _Collector:
    """Hears from the processes of pytest-xdist; registered where there are any."""

    @staticmethod
    def pytest_testnodedown(node: Any) -> None:
        found = getattr(node, "workeroutput", {}).get("missing_services", ())
        node.config.stash.setdefault(_missing_services, set()).update(found)


def pytest_configure(config: pytest.Config) -> None:
    # A shell that starts the tests in the background has SIGINT ignored, and so would all that is started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes is the machine's affair, which may be busy with three other processes of tests.
    hypothesis.settings.register_profile("default", deadline=None)
    hypothesis.settings.load_profile("default")
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(_Collector())


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around all others: last but for pytest's own last line
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    yield
    for reason in sorted(config.stash.get(_missing_services, None) or ()):
        terminalreporter.write_sep("!", "NOT EVERYTHING WAS TESTED", red=True, bold=True)
        terminalreporter.write_line(reason, red=True, bold=True)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The sample recording: 11 s of clear English speech."""
    return REPOSITORY / "consumer" / "operate" / "sample" / "jfk.wav"


@pytest.fixture(scope="session")
def artifacts_dir() -> Path:
    """A directory with the artifacts of tiny.en and base, libraries out of a wheel; built once, then cached."""
    return prebuilt_artifacts()


@pytest.fixture(scope="session")
def compiled_artifacts_dir() -> Path:
    """A directory with the artifacts of tiny.en compiled for this machine's class of CPU, whisper-cli among them."""
    if not has_compiler():
        pytest.skip("no C++ compiler on this machine")
    return compiled_artifacts("tiny.en")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The directory of the speech corpus, which lies beside the checkout."""
    directory = Path(os.environ.get("CORPUS_DIR", REPOSITORY.parent / "shared" / "corpus"))
    if not directory.is_dir():
        pytest.skip(f"no speech corpus at {directory}; CORPUS_DIR can name another place")
    return directory


@pytest.fixture(scope="session")
def kafka_jars() -> list[Path]:
    """The jars of Apache Kafka, for tests that start a cluster of their own."""
    return ensure_kafka_jars(CACHE_DIR)


@pytest.fixture(scope="session")
def kafka(kafka_jars: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A real Apache Kafka of one broker. It creates no topics by itself: use ``create_topic``."""
    server = KafkaServer(data_dir=tmp_path_factory.mktemp("kafka"), jars=kafka_jars)
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A real S3 server, SeaweedFS, for tests to which events do not matter."""
    server = SeaweedServer(data_dir=tmp_path_factory.mktemp("seaweed"), access_key="tests", secret_key="tests-secret")
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def schema_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApicurioServer]:
    """A real schema registry with the interface of Confluent's: Apicurio."""
    server = ApicurioServer(ensure_apicurio(CACHE_DIR), data_dir=tmp_path_factory.mktemp("apicurio"))
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def chromium(request: pytest.FixtureRequest) -> Installed:
    """A real browser, and axe. Skips, or fails, where there is none."""
    try:
        return ensure_chromium(CACHE_DIR)
    except RuntimeError as error:
        _missing(request, f"there is no browser, which some tests need: {error}")


@pytest.fixture(scope="session")
def prometheus(request: pytest.FixtureRequest) -> Programs:
    """A real Prometheus and Alertmanager, and their tools. Skips, or fails, where there are none."""
    try:
        return ensure_prometheus(CACHE_DIR)
    except RuntimeError as error:
        _missing(request, f"there is no Prometheus, which some tests need: {error}")


@pytest.fixture
async def browser(chromium: Installed) -> AsyncIterator[Browser]:
    """A browser for one test."""
    async with running_chromium(chromium) as running:
        yield running


@pytest.fixture(scope="session")
def minio_binary(request: pytest.FixtureRequest) -> Path:
    """The MinIO program, for tests that start a server of their own. Skips, or fails, where there is none."""
    return _built_by_go(request, "minio")


@pytest.fixture(scope="session")
def mc_binary(request: pytest.FixtureRequest) -> Path:
    """MinIO's client. Skips, or fails, where there is none."""
    return _built_by_go(request, "mc")


@pytest.fixture(scope="session")
def kubernetes(request: pytest.FixtureRequest) -> Kubernetes:
    """What checks manifests. Skips, or fails, where it is not there."""
    try:
        return Kubernetes()
    except FileNotFoundError as missing:
        get = "`python -m tests.support.kubernetes` gets it (needs Go)"
        _missing(request, f"there is no {missing}, which some tests need; {get}")


def _built_by_go(request: pytest.FixtureRequest, name: str) -> Path:
    binary = minio_support.find_binary(name)
    if binary is None:
        build = "`python -m tests.support.minio` builds it (needs Go)"
        _missing(request, f"there is no {name}, which some tests need; {build}")
    return binary


def _missing(request: pytest.FixtureRequest, reason: str) -> NoReturn:
    """Leave the test out, and say so at the end; fail it where nothing may be left out."""
    request.config.stash.setdefault(_missing_services, set()).add(reason)
    if REQUIRE_REAL_SERVICES:
        pytest.fail(f"REQUIRE_REAL_SERVICES=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def minio(minio_binary: Path, kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A real MinIO that announces the changes of buckets on ``minio.topic`` of ``kafka``, at once."""
    asyncio.run(kafka.create_topic(MINIO_TOPIC))
    server = MinioServer(
        minio_binary,
        data_dir=tmp_path_factory.mktemp("minio"),
        kafka_bootstrap_servers=kafka.bootstrap_servers,
        topic=MINIO_TOPIC,
    )
    try:
        asyncio.run(server.start())
        yield server
    finally:
        server.stop()
