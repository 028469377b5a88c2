"""Pushing to and pulling from a real S3 server, and what can go wrong on the way."""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import locked
from consumer.engine.artifacts.locate import locate
from consumer.engine.artifacts.machine import BASELINE, Machine, cpu_class
from consumer.engine.artifacts.models import LIBRARIES, MANIFEST, model_file
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.progress import Progress, Silent
from consumer.engine.artifacts.pull import pull
from consumer.engine.artifacts.push import push
from consumer.engine.artifacts.source import source_file
from consumer.operate.seaweed_server import SeaweedServer
from consumer.settings import StoreSettings
from tests.support.artifacts import XEON, Recorder, make_artifacts, proxy_to, store_settings
from tests.support.cache import CACHE_DIR
from tests.support.s3 import new_bucket, s3_client

ROOT = Path(__file__).resolve().parents[2]
MODEL = model_file("tiny.en", "q5_1")


class Shelf:
    """A bucket with one directory of artifacts, and a place on disk to pull to."""

    def __init__(self, server: SeaweedServer, bucket: str, tmp_path: Path) -> None:
        self.server = server
        self.bucket = bucket
        self.store = store_settings(server)
        self.local = tmp_path / "local"
        self.original = tmp_path / "original"

    async def pull(
        self,
        progress: Progress | None = None,
        *,
        store: StoreSettings | None = None,
        bucket: str | None = None,
        machine: Machine = XEON,
        require_manifest: bool = False,
        local: Path | None = None,
    ) -> Path:
        return await pull(
            "tiny.en",
            local or self.local,
            bucket or self.bucket,
            store or self.store,
            progress or Silent(),
            require_manifest=require_manifest,
            machine=machine,
        )

    async def put(self, name: str, body: bytes) -> None:
        async with s3_client(self.server) as client:
            await client.put_object(Bucket=self.bucket, Key=f"whisper_tiny.en_xeon/{name}", Body=body)


@pytest.fixture
async def shelf(s3: SeaweedServer, tmp_path: Path) -> Shelf:
    async with s3_client(s3) as client:
        bucket = await new_bucket(client, "artifacts")
    return Shelf(s3, bucket, tmp_path)


@pytest.fixture
async def filled(shelf: Shelf) -> Shelf:
    await push(make_artifacts(shelf.original), shelf.bucket, shelf.store, Silent())
    return shelf


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


async def test_what_was_pushed_is_pulled(filled: Shelf) -> None:
    directory = await filled.pull()
    assert directory == filled.local / "whisper_tiny.en_xeon"
    assert contents(directory) == contents(filled.original / directory.name)
    assert visible(filled.local) == ["whisper_tiny.en_xeon"]
    assert locate(filled.local, "tiny.en", machine=XEON).weights_sha256 == "1" * 64


async def test_push_makes_the_bucket_and_sends_the_manifest_last(s3: SeaweedServer, tmp_path: Path) -> None:
    progress = Recorder()
    await push(make_artifacts(tmp_path), "made-by-push", store_settings(s3), progress)
    assert progress.tasks[-1] == MANIFEST
    assert len(progress.tasks) == 7


async def test_push_refuses_a_damaged_directory(shelf: Shelf) -> None:
    directory = make_artifacts(shelf.original)
    (directory / MODEL).write_bytes(b"short")
    with pytest.raises(ArtifactError, match=f"damaged.*{MODEL} has 5 bytes, expected 3000000"):
        await push(directory, shelf.bucket, shelf.store, Silent())


async def test_the_store_is_not_asked_for_what_is_there(filled: Shelf) -> None:
    await filled.pull()
    nowhere = store_settings(filled.server, endpoint="http://127.0.0.1:1")
    assert await filled.pull(store=nowhere) == filled.local / "whisper_tiny.en_xeon"


async def test_files_that_the_manifest_does_not_name_are_not_fetched(filled: Shelf) -> None:
    await filled.put("libevil.so", b"not in the manifest")
    assert "libevil.so" not in contents(await filled.pull())


async def test_a_broken_connection_is_gone_on_with(filled: Shelf) -> None:
    async with proxy_to(filled.server) as proxy:
        progress = Recorder()
        proxy.cuts = [(1_000_000, lambda: progress.reached(900_000)), (1_000_000, lambda: progress.reached(1_700_000))]
        directory = await filled.pull(progress, store=store_settings(filled.server, endpoint=proxy.endpoint))
        assert not proxy.cuts
        assert proxy.answered_bytes < 4_000_000  # 3.25 MB, and what a cut lost on its way
    assert contents(directory) == contents(filled.original / directory.name)


async def test_an_interrupted_pull_is_gone_on_with(filled: Shelf) -> None:
    async with proxy_to(filled.server) as proxy:
        proxy.stall_after = 2_000_000
        store = store_settings(filled.server, endpoint=proxy.endpoint)
        await interrupt_after(1_500_000, filled, store)
        assert visible(filled.local) == []

        proxy.stall_after = None
        before = proxy.answered_bytes
        directory = await filled.pull(store=store)
        assert proxy.answered_bytes - before < 2_000_000
    assert contents(directory) == contents(filled.original / directory.name)


async def interrupt_after(count: int, shelf: Shelf, store: StoreSettings) -> None:
    progress = Recorder()
    pulling = asyncio.create_task(shelf.pull(progress, store=store))
    await progress.reached(count)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling


async def test_what_an_older_version_left_is_dropped(filled: Shelf) -> None:
    async with proxy_to(filled.server) as proxy:
        proxy.stall_after = 2_000_000
        store = store_settings(filled.server, endpoint=proxy.endpoint)
        await interrupt_after(1_500_000, filled, store)
    shutil.rmtree(filled.original)
    renewed = make_artifacts(filled.original, model_bytes=2_500_000)
    await push(renewed, filled.bucket, filled.store, Silent())
    assert contents(await filled.pull()) == contents(renewed)


async def test_processes_that_start_together_fetch_once(filled: Shelf) -> None:
    async with proxy_to(filled.server) as proxy:
        environment = script_environment(filled, proxy.endpoint)
        filled.local.mkdir()
        with locked(filled.local / ".whisper_tiny.en_xeon.lock"):
            processes = [await start_script(environment, "tiny.en") for _ in range(3)]
            for process in processes:
                assert process.stdout is not None
                line = await process.stdout.readline()
                assert line == b"another process is at work on whisper_tiny.en_xeon: waiting for it\n"
        ends = [await process.communicate() for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert sorted(b"fetching" in out for out, _ in ends) == [False, False, True]
        assert proxy.answered_bytes < 4_000_000
    assert visible(filled.local) == ["whisper_tiny.en_xeon"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (lambda good: good[:-1], "has 2999999 bytes, expected 3000000"),
        (lambda good: bytes([good[0] ^ 1]) + good[1:], "has SHA-256 .*, expected"),
    ],
    ids=["truncated", "flipped bit"],
)
async def test_a_corrupt_object_is_fetched_again_once(filled: Shelf, fault: object, told: str) -> None:
    assert callable(fault)
    good = (filled.original / "whisper_tiny.en_xeon" / MODEL).read_bytes()
    await filled.put(MODEL, fault(good))
    progress = Recorder()
    with pytest.raises(ArtifactError, match=f"{MODEL} in bucket {filled.bucket} is corrupt, it {told}"):
        await filled.pull(progress)
    assert progress.tasks.count(MODEL) == 2
    assert visible(filled.local) == []


async def test_an_object_that_is_gone_is_named(filled: Shelf) -> None:
    async with s3_client(filled.server) as client:
        await client.delete_object(Bucket=filled.bucket, Key=f"whisper_tiny.en_xeon/{MODEL}")
    with pytest.raises(ArtifactError, match=f"lacks {MODEL} of whisper_tiny.en_xeon/"):
        await filled.pull()


async def test_a_damaged_file_on_disk_is_replaced_and_the_others_kept(filled: Shelf) -> None:
    directory = await filled.pull()
    library = directory / "libwhisper.so"
    library.write_bytes(bytes(50_000))
    progress = Recorder()
    await filled.pull(progress)
    assert contents(directory) == contents(filled.original / directory.name)
    assert any("libwhisper.so has another SHA-256" in note for note in progress.notes)
    assert visible(filled.local) == ["whisper_tiny.en_xeon"]


async def test_the_best_class_that_the_machine_runs_is_chosen(filled: Shelf) -> None:
    amx = cpu_class("amx")
    await push(make_artifacts(filled.original, cpu_class=amx), filled.bucket, filled.store, Silent())
    old, new = XEON, Machine("x86_64", amx.features, (2, 36))
    assert (await filled.pull(machine=old)).name == "whisper_tiny.en_xeon"
    fresh = filled.local / "fresh"
    assert (await filled.pull(machine=new, local=fresh)).name == "whisper_tiny.en_xeon.amx"
    assert visible(fresh) == ["whisper_tiny.en_xeon.amx"]


async def test_a_build_for_a_newer_glibc_is_passed_over(filled: Shelf) -> None:
    amx = cpu_class("amx")
    newer = make_artifacts(filled.original, cpu_class=amx, glibc="2.99")
    await push(newer, filled.bucket, filled.store, Silent())
    machine = Machine("x86_64", amx.features, (2, 36))
    assert (await filled.pull(machine=machine)).name == "whisper_tiny.en_xeon"


async def test_nothing_that_runs_here_is_said_with_the_reason(filled: Shelf) -> None:
    machine = Machine("x86_64", BASELINE.features, (2, 17))
    with pytest.raises(ArtifactError, match=r"it needs glibc 2\.27 or newer, this system has 2\.17"):
        await filled.pull(machine=machine)


class TestClearErrors:
    async def test_missing_bucket(self, filled: Shelf) -> None:
        with pytest.raises(ArtifactError, match="has no bucket no-such-bucket: check ARTIFACTS_BUCKET"):
            await filled.pull(bucket="no-such-bucket")

    async def test_missing_prefix(self, shelf: Shelf) -> None:
        with pytest.raises(ArtifactError, match=f"bucket {shelf.bucket} has no prefix whisper_tiny.en_xeon/"):
            await shelf.pull()

    async def test_wrong_credentials(self, filled: Shelf) -> None:
        store = store_settings(filled.server, secret_key="wrong")
        with pytest.raises(ArtifactError, match="check MINIO_ACCESS_KEY and MINIO_SECRET_KEY"):
            await filled.pull(store=store)

    async def test_unreachable_endpoint(self, filled: Shelf) -> None:
        store = store_settings(filled.server, endpoint="http://127.0.0.1:1")
        with pytest.raises(ArtifactError, match=r"cannot reach the object store at http://127\.0\.0\.1:1"):
            await filled.pull(store=store)

    async def test_bad_manifest(self, filled: Shelf) -> None:
        await filled.put(MANIFEST, b'{"schema_version": 1}')
        with pytest.raises(ArtifactError, match=r"manifest\.json is not a valid manifest"):
            await filled.pull()

    async def test_full_disk(self, filled: Shelf) -> None:
        filled.local.mkdir()
        with small_disk(filled.local, megabytes=1):
            with pytest.raises(ArtifactError, match=r"the disk is full: .* needs 3 MB, \d MB are free there"):
                await filled.pull()
            assert visible(filled.local) == []
            assert not list(filled.local.glob(".*.partial"))

    async def test_disk_that_fills_up_meanwhile(self, filled: Shelf) -> None:
        filled.local.mkdir()
        with small_disk(filled.local, megabytes=4):

            class FillsTheDisk(Recorder):
                def note(self, line: str) -> None:
                    if line.startswith("fetching"):  # the room was found to be enough
                        (filled.local / "other").write_bytes(bytes(3 << 20))

            with pytest.raises(ArtifactError, match="the disk is full"):
                await filled.pull(FillsTheDisk())
            assert visible(filled.local) == ["other"]
            assert not list(filled.local.glob(".*.partial"))

    async def test_place_that_cannot_be_written(self, filled: Shelf) -> None:
        with pytest.raises(ArtifactError, match="cannot write to /proc/self: "):
            await filled.pull(local=Path("/proc/self"))

    async def test_not_a_directory(self, filled: Shelf) -> None:
        filled.local.write_text("a file")
        with pytest.raises(ArtifactError, match="cannot make the directory"):
            await filled.pull()


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


class TestPlainDirectory:
    """The five files of the first design, without a manifest; the model is one without weights."""

    @pytest.fixture
    async def plain(self, shelf: Shelf, artifacts_dir: Path) -> Shelf:
        built = artifacts_dir / "whisper_tiny.en_xeon"
        for path in built.iterdir():
            if path.name in LIBRARIES or path.name.startswith("libgomp"):
                await shelf.put(path.name, path.read_bytes())
        packages = Packages(CACHE_DIR / "downloads", None)
        model = await asyncio.to_thread(source_file, "models/for-tests-ggml-tiny.en.bin", packages, Silent())
        await shelf.put(MODEL, model)
        return shelf

    async def test_is_taken_with_a_warning(self, plain: Shelf, caplog: pytest.LogCaptureFixture) -> None:
        directory = await plain.pull()
        assert set(LIBRARIES) | {MODEL} < contents(directory).keys()
        with caplog.at_level(logging.WARNING):
            assert await plain.pull() == directory
        assert "its files are not verified" in caplog.text

    async def test_is_refused_where_a_manifest_is_asked_for(self, plain: Shelf) -> None:
        with pytest.raises(ArtifactError, match="ARTIFACTS_REQUIRE_MANIFEST=true asks for one"):
            await plain.pull(require_manifest=True)

    async def test_libraries_for_another_cpu_are_a_message(self, plain: Shelf, artifacts_dir: Path) -> None:
        library = bytearray((artifacts_dir / "whisper_tiny.en_xeon" / "libggml-cpu.so.0").read_bytes())
        code = ELFFile(BytesIO(library)).get_section_by_name(".text")
        assert code is not None
        start, size = code["sh_offset"], code["sh_size"]
        library[start : start + size] = (b"\x0f\x0b" * size)[:size]  # ud2, which no CPU runs
        await plain.put("libggml-cpu.so.0", bytes(library))
        with pytest.raises(ArtifactError, match=r"signal 4 \(they use instructions that this CPU does not have"):
            await plain.pull()
        assert visible(plain.local) == []

    async def test_that_is_not_complete_is_refused(self, plain: Shelf) -> None:
        async with s3_client(plain.server) as client:
            await client.delete_object(Bucket=plain.bucket, Key="whisper_tiny.en_xeon/libggml.so.0")
        with pytest.raises(ArtifactError, match=r"is not complete, it lacks libggml\.so\.0"):
            await plain.pull()
        assert visible(plain.local) == []


def script_environment(shelf: Shelf, endpoint: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "MINIO_ENDPOINT": endpoint,
        "MINIO_ACCESS_KEY": shelf.server.access_key,
        "MINIO_SECRET_KEY": shelf.server.secret_key,
        "ARTIFACTS_BUCKET": shelf.bucket,
        "WHISPER_ARTIFACTS_DIR": str(shelf.local),
    }


async def run_script(environment: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    process = await start_script(environment, *arguments)
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def start_script(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "scripts" / "download_whisper_artifacts.py"),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


class TestDownloadScript:
    async def test_tells_every_file_and_its_size(self, filled: Shelf) -> None:
        status, out, err = await run_script(script_environment(filled, filled.server.endpoint), "tiny.en")
        assert (status, err) == (0, "")
        assert f"{MODEL}: 3,000,000 bytes" in out
        assert f"{MODEL}: 100 %" in out
        assert "verified against its manifest" in out

    async def test_takes_the_size_from_the_environment(self, filled: Shelf) -> None:
        environment = script_environment(filled, filled.server.endpoint) | {"WHISPER_MODEL_SIZE": "tiny.en"}
        status, _, err = await run_script(environment)
        assert (status, err) == (0, "")

    async def test_takes_small_where_nothing_is_said(self, filled: Shelf) -> None:
        status, _, err = await run_script(script_environment(filled, filled.server.endpoint))
        assert status == 1
        assert "has no prefix whisper_small_xeon/" in err

    async def test_shows_the_usage_for_a_wrong_size(self, filled: Shelf) -> None:
        status, _, err = await run_script(script_environment(filled, filled.server.endpoint), "huge")
        assert status == 1
        assert "usage: download_whisper_artifacts.py [SIZE]" in err

    async def test_fails_with_one_line(self, filled: Shelf) -> None:
        status, _, err = await run_script(script_environment(filled, "http://127.0.0.1:1"), "tiny.en")
        assert status == 1
        assert err.startswith("error: cannot reach the object store at http://127.0.0.1:1")
        assert err.count("\n") == 1
