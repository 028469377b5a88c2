"""Applying unified diffs, strictly: every line must be where the patch says, or nothing is changed.

No ``patch`` program is asked for, and unlike it nothing is applied at a place that merely looks similar.
"""

import re
from pathlib import Path

from consumer.engine.artifacts.errors import ArtifactError

_HUNK = re.compile(r"^@@ -(?P<start>\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


def apply_patch(patch: Path, tree: Path) -> None:
    """Apply a patch file (``a/`` and ``b/`` before the names) to a source tree.

    Raises ArtifactError where the tree is not what the patch was made for.
    """
    for name, hunks in _files(patch.read_text(encoding="utf-8")):
        path = tree / name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            path.write_text("\n".join(_patched(lines, hunks)) + "\n", encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{patch.name} does not fit {name} of this source ({error}): renew the patch for it"
            ) from error


Hunk = tuple[int, list[str]]
"""Line number, from 1, of the first old line, and the lines with their mark in front."""


def _files(text: str) -> list[tuple[str, list[Hunk]]]:
    files: list[tuple[str, list[Hunk]]] = []
    for line in text.splitlines():
        if line.startswith("+++ b/"):
            files.append((line.removeprefix("+++ b/").split("\t")[0], []))
        elif match := _HUNK.match(line):
            files[-1][1].append((int(match["start"]), []))
        elif files and files[-1][1] and line[:1] in (" ", "+", "-") and not line.startswith("--- a/"):
            files[-1][1][-1][1].append(line)
    return files


def _patched(old: list[str], hunks: list[Hunk]) -> list[str]:
    new: list[str] = []
    position = 0
    for start, lines in hunks:
        new += old[position : start - 1]
        position = start - 1
        for line in lines:
            mark, text = line[0], line[1:]
            if mark == "+":
                new.append(text)
                continue
            if position >= len(old) or old[position] != text:
                raise ValueError(f"line {position + 1} is another one")
            if mark == " ":
                new.append(text)
            position += 1
    return new + old[position:]
