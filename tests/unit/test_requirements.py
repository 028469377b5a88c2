"""The lock fits pyproject.toml."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
SETS = {
    "runtime": (),
    "image": ("extra:registry", "extra:tracing"),
    "demo": ("extra:demo", "extra:artifacts", "group:build"),
    "dev": ("extra:demo", "extra:artifacts", "extra:registry", "extra:tracing", "group:dev"),
}


def locked(name: str) -> dict[str, Requirement]:
    """The requirements of one lock file that apply to this Python, by their names."""
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = text.replace("\\\n", " ").splitlines()
    requirements = [Requirement(line.split(" --hash")[0]) for line in lines]
    applying = (entry for entry in requirements if entry.marker is None or entry.marker.evaluate())
    return {canonicalize_name(entry.name): entry for entry in applying}


def wanted(*sources: str) -> Iterator[Requirement]:
    """What pyproject.toml asks for: the dependencies and those of the given extras and groups."""
    groups = PROJECT["dependency-groups"]
    lists: list[list[Any]] = [PROJECT["project"]["dependencies"]]
    for source in sources:
        kind, name = source.split(":")
        lists.append(PROJECT["project"]["optional-dependencies"][name] if kind == "extra" else groups[name])
    while lists:
        for entry in lists.pop():
            if isinstance(entry, dict):
                lists.append(groups[entry["include-group"]])
            else:
                yield Requirement(entry)


@pytest.mark.parametrize("name", SETS)
def test_all_that_is_asked_for_is_locked_at_a_version_that_fits(name: str) -> None:
    lock = locked(name)
    for requirement in wanted(*SETS[name]):
        entry = lock.get(canonicalize_name(requirement.name))
        assert entry is not None, f"{requirement} is not in requirements/{name}.txt: run scripts/lock"
        [pin] = entry.specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"requirements/{name}.txt has {entry}: run scripts/lock"


@pytest.mark.parametrize(
    ("smaller", "larger"), [("runtime", "demo"), ("runtime", "image"), ("demo", "dev"), ("image", "dev")]
)
def test_a_larger_set_has_all_of_the_smaller_one(smaller: str, larger: str) -> None:
    versions = [{(name, str(entry.specifier)) for name, entry in locked(set_).items()} for set_ in (smaller, larger)]
    assert versions[0] <= versions[1]
