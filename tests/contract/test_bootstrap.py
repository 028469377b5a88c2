"""scripts/bootstrap on a copy of the checkout, with a PATH that this test makes up."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS = ("bash", "cat", "dirname", "flock", "head", "mv", "rm", "sed", "sha256sum")
USES = ("scripts/bootstrap", "requirements", "pyproject.toml", "consumer/__init__.py")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What bootstrap reads, and nothing else."""
    for name in USES:
        source, target = REPOSITORY / name, tmp_path / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    return tmp_path / "checkout"


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """A directory with the tools that any Linux has, and without Python and uv."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    return directory


def bootstrap(checkout: Path, bin_dir: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "bootstrap", *arguments],
        env={"PATH": str(bin_dir), "WHISPER_CONSUMER_CACHE": str(checkout.parent / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def add_python(bin_dir: Path, *, version_is_supported: bool = True) -> Path:
    """A stand-in for a Python that has neither pip nor venv."""
    path = bin_dir / "python3"
    answer = f"exit {0 if version_is_supported else 1}"
    path.write_text(
        f'#!/bin/bash\ncase "$*" in *version_info*) {answer} ;; *executable*) echo "$0" ;; *) exit 1 ;; esac\n'
    )
    path.chmod(0o755)
    return path


def test_it_says_that_there_is_no_python(checkout: Path, bin_dir: Path) -> None:
    done = bootstrap(checkout, bin_dir, "demo")
    assert done.returncode == 1
    assert done.stderr.startswith("bootstrap: no Python 3.11, 3.12 or 3.13 on the PATH")


def test_it_says_that_the_python_it_was_given_does_not_do(checkout: Path, bin_dir: Path) -> None:
    python = add_python(bin_dir, version_is_supported=False)
    done = bootstrap(checkout, bin_dir, "demo", PYTHON=str(python))
    assert done.returncode == 1
    assert done.stderr == f"bootstrap: PYTHON={python} is not a working Python 3.11, 3.12 or 3.13\n"


def test_it_says_that_uv_cannot_be_installed(checkout: Path, bin_dir: Path) -> None:
    python = add_python(bin_dir)
    done = bootstrap(checkout, bin_dir, "demo")
    assert done.returncode == 1
    assert f"{python} has neither pip nor a working venv module" in done.stderr
    assert not (checkout / ".venv").exists()


def test_it_refuses_what_it_does_not_know(checkout: Path, bin_dir: Path) -> None:
    assert bootstrap(checkout, bin_dir, "production").stderr == "bootstrap: usage: scripts/bootstrap [dev|demo]\n"


def test_an_environment_that_is_up_to_date_is_left_alone(checkout: Path, bin_dir: Path) -> None:
    """Without Python and uv on the PATH it could do nothing if it wanted to."""
    inputs = ("requirements/dev.txt", "pyproject.toml", "consumer/__init__.py")
    digest = hashlib.sha256(b"".join((checkout / name).read_bytes() for name in inputs)).hexdigest()
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(os.path.realpath("/bin/true"))
    (checkout / ".venv" / "bootstrapped").write_text(f"dev\n{digest}  -\n")
    assert bootstrap(checkout, bin_dir, "dev").returncode == 0
    assert bootstrap(checkout, bin_dir, "demo").returncode == 0, "dev has all that demo needs"
    (checkout / "pyproject.toml").write_text("changed")
    assert bootstrap(checkout, bin_dir, "dev").returncode == 1
