"""AsyncAPI's own JSON Schema, from the package in which its makers publish it, fetched by npm once and kept."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from consumer.engine.artifacts.files import locked
from tests.support.cache import CACHE_DIR

PACKAGE: Final = "@asyncapi/specs@6.11.1"
SHA256: Final = "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928"
_SCHEMA: Final = "package/schemas/3.0.0.json"


def asyncapi_schema() -> dict[str, Any]:
    """The schema of AsyncAPI 3.0.0 documents. Skips, or fails with REQUIRE_REAL_SERVICES=1, where it cannot be had."""
    archive = CACHE_DIR / "downloads" / "asyncapi-specs-6.11.1.tgz"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with locked(archive.with_suffix(".lock")):
        if not archive.exists():
            _fetch(archive)
    with tarfile.open(archive) as found:
        member = found.extractfile(_SCHEMA)
        assert member is not None
        schema: dict[str, Any] = json.load(member)
    return schema


def _fetch(archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        _missing(f"there is no npm to fetch {PACKAGE} with")
    with tempfile.TemporaryDirectory(dir=archive.parent) as directory:
        done = subprocess.run(
            [str(npm), "pack", PACKAGE, "--silent"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        packed = list(Path(directory).glob("*.tgz"))
        if done.returncode or not packed:
            _missing(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-300:]}")
        digest = hashlib.sha256(packed[0].read_bytes()).hexdigest()
        if digest != SHA256:
            pytest.fail(f"{PACKAGE} has the digest {digest}, expected {SHA256}", pytrace=False)
        packed[0].replace(archive)


def _missing(reason: str) -> None:
    if os.environ.get("REQUIRE_REAL_SERVICES") == "1":
        pytest.fail(f"REQUIRE_REAL_SERVICES=1, but {reason}", pytrace=False)
    pytest.skip(reason)
