"""Putting shared libraries into the form of the layout: its names, and nothing needed from elsewhere."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.machine import Version, parse_version
from consumer.engine.artifacts.toolchain import run, tool


def arrange(files: Mapping[Path, str], target: Path) -> None:
    """Copy libraries and programs to ``target`` under new names, and make them find each other there alone.

    ``files`` maps each file to the name it gets. File names, SONAME and NEEDED all become the new names, and the
    search path becomes the directory itself.
    """
    patchelf = tool("patchelf")
    dynamic = {path: _dynamic(path) for path in files}
    renamed = {soname: name for path, name in files.items() if (soname := dynamic[path].soname)}
    for path, name in files.items():
        copy = target / name
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
        soname, needed = dynamic[path].soname, dynamic[path].needed
        changes = ["--set-soname", name] if soname not in (None, name) else []
        if renamed.keys() & needed:
            changes += ["--set-rpath", "$ORIGIN"]
        for old in sorted(renamed.keys() & needed):
            changes += ["--replace-needed", old, renamed[old]]
        if changes:
            run([patchelf, *changes, str(copy)], f"rewriting the names in {name}")


def needed_glibc(directory: Path) -> Version:
    """The newest glibc that any ELF file of a directory asks for."""
    versions = [version for path in directory.iterdir() for version in _glibc_versions(path)]
    if not versions:
        raise ArtifactError(f"no file in {directory} names a glibc version: are these Linux libraries?")
    return max(versions)


@dataclass(frozen=True, slots=True)
class _Dynamic:
    soname: str | None
    needed: frozenset[str]


def _dynamic(path: Path) -> _Dynamic:
    with path.open("rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".dynamic")  # Any: pyelftools makes attributes by tag
        sonames = [str(tag.soname) for tag in section.iter_tags("DT_SONAME")]
        return _Dynamic(
            sonames[0] if sonames else None, frozenset(str(tag.needed) for tag in section.iter_tags("DT_NEEDED"))
        )


def _glibc_versions(path: Path) -> list[Version]:
    with path.open("rb") as file:
        if file.read(4) != b"\x7fELF":
            return []
        section = ELFFile(file).get_section_by_name(".gnu.version_r")
        if not isinstance(section, GNUVerNeedSection):
            return []
        names = [auxiliary.name for _, needed in section.iter_versions() for auxiliary in needed]
    return [parse_version(name.removeprefix("GLIBC_")) for name in names if name.startswith("GLIBC_2")]
