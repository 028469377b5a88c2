"""Files over HTTP: resumed after an interruption, checked by digest, complete or absent."""

import hashlib
from pathlib import Path

import requests

from consumer.engine.artifacts.digests import Digest
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.progress import Progress

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = (10.0, 60.0)
"""To connect, and between two reads."""
ATTEMPTS = 4


def download(session: requests.Session, url: str, target: Path, expected: Digest, progress: Progress) -> None:
    """Fetch ``url`` into ``target``, unless it is there already.

    What an earlier, interrupted call has fetched is kept beside it (``.part``) and continued. Raises
    ArtifactError where the file cannot be had, where the disk is full, or where what came has another digest.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, ATTEMPTS + 1):
        resumed = part.exists()
        try:
            found = _fetch(session, url, part, expected, progress)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == ATTEMPTS:
                raise ArtifactError(f"cannot download {target.name}: {_reason(error)}") from error
            progress.note(f"{target.name}: the connection broke, going on where it stopped")
            continue
        except requests.RequestException as error:
            raise ArtifactError(f"cannot download {target.name}: {_reason(error)}") from error
        except OSError as error:
            raise ArtifactError(f"cannot write {part}: {error}") from error
        if found == expected.hex:
            part.replace(target)
            return
        part.unlink()
        if not resumed:
            raise ArtifactError(
                f"{target.name} as downloaded has {expected.algorithm} {found}, expected {expected.hex}: "
                "the file was replaced at its source, or changed on the way"
            )


def _fetch(session: requests.Session, url: str, part: Path, expected: Digest, progress: Progress) -> str:
    """Append to ``part`` what is missing of it; the digest of the whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file: it belongs to another one
            return _fetch(session, url, part, expected, progress)
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        hasher = hashlib.new(expected.algorithm)
        with part.open("r+b" if have else "w+b") as file, progress.task(part.stem, total) as advance:
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                hasher.update(chunk)
                advance(len(chunk))
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                hasher.update(chunk)
                advance(len(chunk))
    return hasher.hexdigest()


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    return f"{type(error).__name__}; check the network and the proxy settings"
