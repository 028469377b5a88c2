"""The cdef against the C compiler's view of the real header: every struct, every field, every offset."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cffi import FFI

from binding.cdef import DECLARATIONS, LANGUAGE_OFFSET, STRUCT_SIZES
from consumer.engine.artifacts.packages import Packages
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.source import source_tree
from tests.support.cache import CACHE_DIR


def _facts_of_cdef() -> dict[str, int]:
    """Name -> number, for the size of every struct and the offset of every field (nested ones too)."""
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    facts: dict[str, int] = {}

    def visit(expression: str, prefix: str, kind: FFI.CType, base: int) -> None:
        for name, field in kind.fields:
            facts[f"offsetof({expression}, {prefix}{name})"] = base + field.offset
            if "$" in field.type.cname:  # cffi's name for a struct that has none
                visit(expression, f"{prefix}{name}.", field.type, base + field.offset)

    for name in STRUCT_SIZES:
        facts[f"sizeof({name})"] = ffi.sizeof(name)
        visit(name, "", ffi.typeof(name), 0)
    return facts


def test_the_cdef_agrees_with_the_real_header(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    source = source_tree(CACHE_DIR / "libraries", Packages(CACHE_DIR / "downloads", None), Silent())
    facts = _facts_of_cdef()
    assert len(facts) > 80  # nested fields are among them
    lines = [f'    printf("%s=%zu\\n", "{fact}", {fact});' for fact in facts]
    program = tmp_path / "layout.c"
    program.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <whisper.h>\nint main(void) {\n"
        + "\n".join(lines)
        + "\n    return 0;\n}\n"
    )
    subprocess.run(
        [
            compiler,
            "-std=c11",
            f"-I{source / 'include'}",
            f"-I{source / 'ggml' / 'include'}",
            program,
            "-o",
            tmp_path / "layout",
        ],
        check=True,
    )
    printed = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True).stdout
    real = {name: int(value) for name, value in (line.rsplit("=", 1) for line in printed.splitlines())}
    assert real == facts


def test_the_sizes_and_the_language_offset_are_those_written_down() -> None:
    facts = _facts_of_cdef()
    assert {name: facts[f"sizeof({name})"] for name in STRUCT_SIZES} == STRUCT_SIZES
    assert facts["offsetof(struct whisper_full_params, language)"] == LANGUAGE_OFFSET


def test_every_function_declared_is_used_by_the_binding() -> None:
    declared = set(re.findall(r"\b(whisper_\w+)\s*\(", DECLARATIONS))
    package = Path(__file__).parents[2] / "binding"
    code = "".join(path.read_text() for path in package.glob("*.py") if path.name != "cdef.py")
    assert declared == {name for name in declared if f".{name}(" in code}
