"""Fetching artifacts from the bucket: parallel, resumable, verified, and complete or absent.

One directory is fetched into a hidden one beside it and renamed when all of it is there and as its manifest says.
An interrupted pull leaves the hidden directory, and the next one goes on in it. A lock file makes workers that start
together on one host fetch once: the others wait, then find the directory there.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from consumer.engine.artifacts.bucket import (
    CHUNK_BYTES,
    CONNECTION_FAULTS,
    Bucket,
    Directory,
    StoredFile,
    open_bucket,
)
from consumer.engine.artifacts.digests import digest_file
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import put_in_place
from consumer.engine.artifacts.machine import Machine, this_machine
from consumer.engine.artifacts.manifest import FileFacts, Manifest, read_manifest, write_manifest
from consumer.engine.artifacts.models import MANIFEST, WHISPER_CLI, directory_name
from consumer.engine.artifacts.progress import Advance, Progress
from consumer.engine.artifacts.verify import check_layout, try_in_child, unmet, verify
from consumer.settings import ModelSize, StoreSettings

PARALLEL_FILES = 4
ATTEMPTS = 5
"""Connections in a row that may break without bringing a byte before the store counts as unreachable."""
LOCK_POLL_SECONDS = 0.25


async def pull(
    size: ModelSize,
    artifacts_dir: Path,
    bucket_name: str,
    store: StoreSettings,
    progress: Progress,
    *,
    require_manifest: bool,
    machine: Machine | None = None,
) -> Path:
    """Make sure that artifacts of one size, whole and fit for a machine, are on disk; the directory they are in.

    Does not ask the store where they are there already. Raises ArtifactError with one line that says what is wrong.
    """
    machine = machine or this_machine()
    here = await _present(size, artifacts_dir, machine, progress, require_manifest=require_manifest)
    if here is not None:
        return here
    await asyncio.to_thread(_make_directory, artifacts_dir)
    async with open_bucket(bucket_name, store) as bucket:
        chosen = await _choose(bucket, size, machine, require_manifest=require_manifest)
        target = artifacts_dir / chosen.name
        async with _locked(artifacts_dir / f".{chosen.name}.lock", progress):
            # Another process may have fetched it while this one waited.
            here = await _present(size, artifacts_dir, machine, progress, require_manifest=require_manifest)
            if here is None:
                await _fetch_directory(bucket, chosen, target, size, progress)
    return here or target


@dataclass(frozen=True, slots=True)
class Fetched:
    """Artifacts that are whole and not yet in their place."""

    directory: Path
    place: Path

    def keep(self) -> Path:
        """Put them there, instead of what is there; the directory."""
        put_in_place(self.directory, self.place)
        return self.place


@asynccontextmanager
async def newer(
    size: ModelSize,
    artifacts_dir: Path,
    bucket_name: str,
    store: StoreSettings,
    progress: Progress,
    *,
    machine: Machine | None = None,
) -> AsyncIterator[Fetched | None]:
    """What the bucket has that the disk has not, fetched into a hidden directory beside it; None where that is nothing.

    Only what has a manifest can be compared. What is not ``kept`` by the end is removed. Other processes on the same
    directory wait meanwhile. Raises ArtifactError with one line that says what is wrong.
    """
    async with open_bucket(bucket_name, store) as bucket:
        chosen = await _choose(bucket, size, machine or this_machine(), require_manifest=True)
        target = artifacts_dir / chosen.name
        async with _locked(artifacts_dir / f".{chosen.name}.lock", progress):
            if chosen.manifest == await asyncio.to_thread(read_manifest, target):
                yield None
                return
            beside = target.with_name(f".{target.name}.newer")
            await _fetch_directory(bucket, chosen, target, size, progress, place=beside)
            try:
                yield Fetched(beside, target)
            finally:
                await asyncio.to_thread(shutil.rmtree, beside, ignore_errors=True)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make the directory {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A directory of the bucket that suits the machine."""

    name: str
    files: Directory
    manifest: Manifest | None


async def _present(
    size: ModelSize, artifacts_dir: Path, machine: Machine, progress: Progress, *, require_manifest: bool
) -> Path | None:
    for cpu_class in machine.classes():
        directory = artifacts_dir / directory_name(size, cpu_class.suffix)
        if directory.is_dir():
            try:
                await asyncio.to_thread(verify, directory, size, machine, require_manifest=require_manifest)
            except ArtifactError as error:
                progress.note(f"not used: {error}")
            else:
                return directory
    return None


async def _choose(bucket: Bucket, size: ModelSize, machine: Machine, *, require_manifest: bool) -> _Chosen:
    """The best directory of the bucket that the machine can run."""
    directories = await bucket.directories(size)
    refused = []
    for cpu_class in machine.classes():
        name = directory_name(size, cpu_class.suffix)
        if (files := directories.get(name)) is None:
            continue
        manifest = await bucket.manifest(files)
        if manifest is None:
            if not require_manifest:
                return _Chosen(name, files, None)
            refused.append(f"{name}/ has no {MANIFEST}, and ARTIFACTS_REQUIRE_MANIFEST=true asks for one")
        elif lacking := unmet(manifest.needs, machine):
            refused.append(f"{name}/: {lacking}")
        else:
            return _Chosen(name, files, manifest)
    if refused:
        raise ArtifactError(f"nothing of {size} in bucket {bucket.name} can be used here: {'; '.join(refused)}")
    others = ", ".join(f"{name}/" for name in sorted(directories)) or "nothing of this size"
    raise ArtifactError(
        f"bucket {bucket.name} has no prefix {directory_name(size)}/ nor a sibling of it that this CPU runs "
        f"(it has {others}): fill it with artifacts push, or choose another WHISPER_MODEL_SIZE"
    )


async def _fetch_directory(
    bucket: Bucket, chosen: _Chosen, target: Path, size: ModelSize, progress: Progress, *, place: Path | None = None
) -> None:
    """``place`` is where it appears; the target by default, whose good files are taken over in any case."""
    staging = target.with_name(f".{target.name}.partial")
    wanted = _wanted(bucket, chosen, staging)
    try:
        await asyncio.to_thread(_prepare, staging, target, wanted)
        progress.note(f"fetching {chosen.name}/ from bucket {bucket.name}: {len(wanted)} files")
        await _fetch_files(bucket, wanted, progress)
        await asyncio.to_thread(_finish, staging, place or target, size, wanted, chosen.manifest)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise ArtifactError(f"cannot write to {staging}: {error.strerror}") from error
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)  # give the room back
        needed = sum(file.stored.bytes for file in wanted)
        free = shutil.disk_usage(target.parent).free
        raise ArtifactError(
            f"the disk is full: {target} needs {needed >> 20} MB, {free >> 20} MB are free there"
        ) from error


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One file to fetch."""

    stored: StoredFile
    facts: FileFacts | None
    part: Path
    """Where it grows and stays until all are there. Its name holds the ETag: another version starts anew."""

    @property
    def bytes(self) -> int:
        return self.facts.bytes if self.facts else self.stored.bytes


def _wanted(bucket: Bucket, chosen: _Chosen, staging: Path) -> list[_Wanted]:
    """With a manifest the files it names and no others, since those alone are verified; else all."""
    facts: dict[str, FileFacts | None] = dict(chosen.manifest.files) if chosen.manifest else dict.fromkeys(chosen.files)
    if absent := sorted(facts.keys() - chosen.files.keys()):
        raise ArtifactError(
            f"bucket {bucket.name} lacks {', '.join(absent)} of {chosen.name}/, which its manifest names: push it again"
        )
    return [
        _Wanted(stored, facts[name], staging / f"{name}.{hashlib.sha256(stored.etag.encode()).hexdigest()[:16]}.part")
        for name, stored in chosen.files.items()
        if name in facts
    ]


def _prepare(staging: Path, target: Path, wanted: list[_Wanted]) -> None:
    """Keep what an earlier pull left, take over what is good in a damaged directory, make sure that the rest fits."""
    staging.mkdir(exist_ok=True)
    parts = {file.part for file in wanted}
    for path in set(staging.iterdir()) - parts:
        path.unlink()
    for file in wanted:
        earlier = target / file.stored.name
        if file.facts and earlier.is_file() and digest_file(earlier) == file.facts.sha256:
            file.part.unlink(missing_ok=True)
            os.link(earlier, file.part)
    have = sum(part.stat().st_size for part in parts if part.exists())
    if sum(file.stored.bytes for file in wanted) - have > shutil.disk_usage(staging).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def _fetch_files(bucket: Bucket, wanted: list[_Wanted], progress: Progress) -> None:
    slots = asyncio.Semaphore(PARALLEL_FILES)
    try:
        async with asyncio.TaskGroup() as group:
            for file in wanted:
                group.create_task(_fetch_file(bucket, file, slots, progress))
    except ExceptionGroup as failures:  # one file's failure ended the others: it is the one to tell
        raise failures.exceptions[0] from None


async def _fetch_file(bucket: Bucket, file: _Wanted, slots: asyncio.Semaphore, progress: Progress) -> None:
    """Fetch one object; once more where what came is not what the manifest says."""
    async with slots:
        for _ in range(2):
            with progress.task(file.stored.name, file.stored.bytes) as advance:
                sha256 = await _download(bucket, file, advance)
            fault = _fault(file, sha256)
            if not fault:
                return
            progress.note(f"{file.stored.key} {fault}: fetching it again")
            file.part.unlink()
    raise ArtifactError(f"{file.stored.key} in bucket {bucket.name} is corrupt, it {fault}: push it again")


def _fault(file: _Wanted, sha256: str) -> str:
    if (size := file.part.stat().st_size) != file.bytes:
        return f"has {size} bytes, expected {file.bytes}"
    if file.facts and sha256 != file.facts.sha256:
        return f"has SHA-256 {sha256}, expected {file.facts.sha256}"
    return ""


async def _download(bucket: Bucket, file: _Wanted, advance: Advance) -> str:
    """Append to the part what is missing of an object, through broken connections; SHA-256 of the whole."""
    hasher = hashlib.sha256()
    with file.part.open("a+b") as out:
        out.seek(0)
        while chunk := await asyncio.to_thread(out.read, CHUNK_BYTES):
            hasher.update(chunk)
            advance(len(chunk))
        barren = 0
        while (start := out.tell()) < file.stored.bytes:
            fault: Exception = EOFError()
            try:
                async for chunk in bucket.read(file.stored, start):
                    await asyncio.to_thread(out.write, chunk)
                    hasher.update(chunk)
                    advance(len(chunk))
            except CONNECTION_FAULTS as error:
                fault = error
            barren = barren + 1 if out.tell() == start else 0
            if barren == ATTEMPTS:
                raise bucket.unreachable(fault) from fault
        await asyncio.to_thread(_sync, out)
    return hasher.hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _finish(staging: Path, target: Path, size: ModelSize, wanted: list[_Wanted], manifest: Manifest | None) -> None:
    """Give the files their names, check what digests cannot show, and let the directory appear."""
    for file in wanted:
        path = staging / file.stored.name
        file.part.rename(path)
        if path.name == WHISPER_CLI:
            path.chmod(0o755)
    if manifest is not None:
        write_manifest(staging, manifest)
    try:
        check_layout(staging, size)
        if manifest is None:
            try_in_child(staging, size)
    except ArtifactError:
        shutil.rmtree(staging)
        raise
    put_in_place(staging, target)


@asynccontextmanager
async def _locked(path: Path, progress: Progress) -> AsyncIterator[None]:
    """Hold the lock of ``files.locked`` without blocking the event loop, and so that waiting can be cancelled."""
    with await asyncio.to_thread(_open_lock, path) as file:
        waiting = False
        while not _try_lock(file):
            if not waiting:
                progress.note(f"another process is at work on {path.name[1:].removesuffix('.lock')}: waiting for it")
                waiting = True
            await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def _open_lock(path: Path) -> IO[str]:
    try:
        return path.open("a")
    except OSError as error:
        raise ArtifactError(f"cannot write to {path.parent}: {error.strerror}") from error


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
