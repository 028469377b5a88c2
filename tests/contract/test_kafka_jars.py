"""Fetching Kafka's jars from a repository of our own."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from consumer.engine.artifacts.errors import ArtifactError
from consumer.operate import kafka_jars
from consumer.operate.kafka_jars import KAFKA_VERSION, ensure_kafka_jars, pinned_jars

CONTENTS = {"org.example:one:1.0": b"first jar", "org.example.deep:two_2.13:2.0": b"second jar"}


class QuietHandler(SimpleHTTPRequestHandler):
    requests: list[str]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002
        self.requests.append(self.path)


@pytest.fixture
def requests_seen() -> list[str]:
    return []


@pytest.fixture
def repository(tmp_path: Path, requests_seen: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a Maven repository that holds CONTENTS, to which the pins are turned."""
    pins = tmp_path / "pins.sha256"
    pins.write_text("".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in CONTENTS.items()))
    monkeypatch.setattr(kafka_jars, "_PINS", pins)
    root = tmp_path / "repository"
    for jar, body in zip(pinned_jars(), CONTENTS.values(), strict=True):
        path = root / jar.repository_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    handler = type("Handler", (QuietHandler,), {"requests": requests_seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_jars_are_fetched_once(tmp_path: Path, repository: str, requests_seen: list[str]) -> None:
    paths = ensure_kafka_jars(tmp_path / "cache", repository_url=repository)
    assert [path.name for path in paths] == ["one-1.0.jar", "two_2.13-2.0.jar"]
    assert [path.read_bytes() for path in paths] == list(CONTENTS.values())
    fetched = len(requests_seen)
    assert ensure_kafka_jars(tmp_path / "cache", repository_url=repository) == paths
    assert len(requests_seen) == fetched == 2


def test_only_a_damaged_jar_is_fetched_again(tmp_path: Path, repository: str, requests_seen: list[str]) -> None:
    damaged, intact = ensure_kafka_jars(tmp_path / "cache", repository_url=repository)
    requests_seen.clear()
    damaged.write_bytes(b"damaged")
    ensure_kafka_jars(tmp_path / "cache", repository_url=repository)
    assert damaged.read_bytes() == b"first jar"
    assert len(requests_seen) == 1
    assert intact.read_bytes() == b"second jar"


def test_a_jar_with_another_content_is_refused(tmp_path: Path, repository: str) -> None:
    [replaced] = (tmp_path / "repository").rglob("one-1.0.jar")
    replaced.write_bytes(b"something else")
    with pytest.raises(ArtifactError, match=r"one-1\.0\.jar"):
        ensure_kafka_jars(tmp_path / "cache", repository_url=repository)
    assert not (tmp_path / "cache" / f"kafka-{KAFKA_VERSION}" / "one-1.0.jar").exists()


def test_a_jar_that_is_not_there_is_named(tmp_path: Path, repository: str) -> None:
    [gone] = (tmp_path / "repository").rglob("two_2.13-2.0.jar")
    gone.unlink()
    with pytest.raises(ArtifactError, match=r"two_2\.13-2\.0\.jar"):
        ensure_kafka_jars(tmp_path / "cache", repository_url=repository)


def test_the_broker_itself_is_pinned() -> None:
    jars = {(jar.group, jar.artifact): jar.version for jar in pinned_jars()}
    assert jars["org.apache.kafka", "kafka_2.13"] == KAFKA_VERSION
    assert jars["org.apache.kafka", "kafka-clients"] == KAFKA_VERSION
