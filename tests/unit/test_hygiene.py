"""Files of the project can be read anywhere: no registry's host, no path of one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Spelled in pieces, so that this file keeps its own rule.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("static", "crates", "io"),
        ("index", "crates", "io"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("rubygems", "org"),
        ("conda", "anaconda", "org"),
    )
]
FORBIDDEN = {
    "host of a package registry": re.compile("|".join(map(re.escape, REGISTRIES)), re.IGNORECASE),
    "path of one machine": re.compile(r"(?<![\w.$}~/-])/(work|root|home/\w+|Users/\w+|tmp/w)/"),
}


def project_files() -> list[Path]:
    """Files in git, and those that would come into it with ``git add``."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=30).stdout.split(b"\0")
    return [path for name in names if name and (path := ROOT / name.decode()).is_file()]


def breaches(text: str) -> list[str]:
    return [f"{what}: {found.group()}" for what, rule in FORBIDDEN.items() for found in rule.finditer(text)]


def test_no_file_names_a_registry_or_a_private_path() -> None:
    files = project_files()
    assert ROOT / "pyproject.toml" in files
    found = {
        str(path.relative_to(ROOT)): problems
        for path in files
        if (problems := breaches(path.read_bytes().decode(errors="replace")))
    }
    assert found == {}


def test_requirements_hold_no_address() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert locks
    for lock in locks:
        assert "://" not in lock.read_text(encoding="utf-8"), lock.name


def test_requirements_are_pinned_by_hash() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        logical_lines = lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        pins = [line for line in logical_lines if line.strip() and not line.lstrip().startswith("#")]
        assert pins
        assert [line for line in pins if "==" not in line or "--hash=sha256:" not in line] == [], lock.name


@pytest.mark.parametrize(
    "text",
    [
        "see https://files." + REGISTRIES[1] + "/packages/x",
        "cd " + "/work" + "/main",
        "'" + "/home" + "/somebody/.cache'",
        "path=" + "/root" + "/.cache",
    ],
)
def test_a_breach_is_found(text: str) -> None:
    assert breaches(text)


@pytest.mark.parametrize("text", ["tests/work/file", "~/.cache/x", "$HOME/root/x", "a PyPI wheel", "example.org"])
def test_what_is_right_is_left_alone(text: str) -> None:
    assert breaches(text) == []
