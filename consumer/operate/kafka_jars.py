"""The jars of Apache Kafka, fetched once from the Maven repository and checked against pinned digests.

``kafka-4.3.1.sha256`` pins all of them, one ``SHA-256  group:artifact:version`` a line. It is what
resolving ``org.apache.kafka:kafka_2.13:4.3.1`` and ``org.slf4j:slf4j-simple:1.7.36`` (Kafka brings the
logging API without anything that logs) gives at run-time scope.
"""

from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.constants import MAVEN_CENTRAL_URL  # a Maven client in pure Python: it knows where the repository is

from consumer.engine.artifacts.digests import Digest, digest_file
from consumer.engine.artifacts.downloads import download
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.progress import Progress, Silent

KAFKA_VERSION = "4.3.1"

_PINS = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Where every Maven repository keeps it."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def pinned_jars() -> list[Jar]:
    """The jars that make up the broker, in the order of the list."""
    jars = []
    for line in _PINS.read_text(encoding="ascii").splitlines():
        sha256, coordinate = line.split()
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def ensure_kafka_jars(
    cache_dir: Path, progress: Progress | None = None, *, repository_url: str = MAVEN_CENTRAL_URL
) -> list[Path]:
    """Paths of all jars below ``cache_dir``; what is missing or damaged there is fetched first.

    Every jar is checked against its digest each time and put in place whole, so an interrupted fetch
    goes on where it stopped. Of several processes one fetches and the others wait. Raises ArtifactError.
    """
    directory = cache_dir / f"kafka-{KAFKA_VERSION}"
    directory.mkdir(parents=True, exist_ok=True)
    jars = pinned_jars()
    with locked(directory / ".lock"):
        missing = [jar for jar in jars if not _is_intact(directory / jar.file_name, jar.sha256)]
        if missing:
            _fetch(missing, directory, repository_url, progress or Silent())
    return [directory / jar.file_name for jar in jars]


def _is_intact(path: Path, sha256: str) -> bool:
    return path.is_file() and digest_file(path) == sha256


def _fetch(jars: list[Jar], directory: Path, repository_url: str, progress: Progress) -> None:
    with requests.Session() as session, progress.task("Apache Kafka", len(jars), "steps") as advance:
        for jar in jars:
            path = directory / jar.file_name
            path.unlink(missing_ok=True)
            download(session, f"{repository_url}/{jar.repository_path}", path, Digest("sha256", jar.sha256), Silent())
            advance(1)
