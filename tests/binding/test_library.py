"""The gate before the first job: what is not the library that this binding knows is refused in words.

A process loads one set of libraries for good, so each refusal is tried in a process of its own, on small
libraries that a real compiler made.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from binding import Library, LibraryLoadError
from binding.cdef import DECLARATIONS
from binding.cpu import machine_features
from binding.library import GGML_LIBRARIES, WHISPER_LIBRARY
from consumer.engine.artifacts.locate import Artifacts
from schemas.languages import LANGUAGES


def _refusal(directory: Path, features: tuple[str, ...] = ()) -> str:
    """What a fresh process says when it loads ``directory``."""
    program = (
        "import sys, pathlib\nfrom binding import Library, LibraryLoadError\n"
        "try:\n    Library.load(pathlib.Path(sys.argv[1]), sys.argv[2:])\n"
        "except LibraryLoadError as error:\n    print(error)\nelse:\n    print('loaded')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory), *features], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """A directory with three empty ggml libraries; ``_whisper`` adds the fourth."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler on this machine")
    for name in GGML_LIBRARIES:
        _compile("", tmp_path / name)
    return tmp_path


def _compile(code: str, library: Path) -> None:
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)], input=code, check=True, text=True)


def _version(text: str) -> str:
    return f'const char * whisper_version(void) {{ return "{text}"; }}\n'


def test_the_real_libraries_load_and_tell_their_version(library: Library) -> None:
    assert tuple(map(int, library.version.split(".")))[:2] >= (1, 8)
    assert "AVX2 = 1" in library.system_info()
    assert library.languages() == LANGUAGES


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / GGML_LIBRARIES[0]} is missing" in _refusal(tmp_path)


def test_a_file_that_is_no_library_is_an_error_in_words(tmp_path: Path) -> None:
    for name in (*GGML_LIBRARIES, WHISPER_LIBRARY):
        (tmp_path / name).write_bytes(b"not an ELF file")
    assert "cannot load the libraries" in _refusal(tmp_path)


def test_an_absent_version_is_refused(compiled: Path) -> None:
    _compile("", compiled / WHISPER_LIBRARY)
    assert "does not tell its version" in _refusal(compiled)


@pytest.mark.parametrize("version", ["1.8.0", "1.7.6", "0.9.9"])
def test_an_old_version_is_refused_with_what_is_needed(compiled: Path, version: str) -> None:
    _compile(_version(version), compiled / WHISPER_LIBRARY)
    refusal = _refusal(compiled)
    assert f"is version {version}" in refusal
    assert "1.8.1 or newer" in refusal


def test_an_unknown_version_is_refused(compiled: Path) -> None:
    _compile(_version("trunk"), compiled / WHISPER_LIBRARY)
    assert "'trunk'" in _refusal(compiled)


def test_missing_functions_are_named(compiled: Path) -> None:
    _compile(_version("1.8.5"), compiled / WHISPER_LIBRARY)
    assert "whisper_full_with_state" in _refusal(compiled)


def test_defaults_in_other_places_are_another_layout(compiled: Path) -> None:
    """A library of the right version whose params begin as 1.8.0's: everything after byte 80 eight bytes early."""
    names = set(re.findall(r"\b(whisper_\w+)\s*\(", DECLARATIONS)) - {
        "whisper_version",
        "whisper_full_default_params_by_ref",
        "whisper_free_params",
    }
    stubs = "".join(f"void {name}(void) {{}}\n" for name in sorted(names))
    params = """
#include <stdlib.h>
#include <string.h>
void * whisper_full_default_params_by_ref(int strategy) {
    char * p = calloc(1, 304);
    memcpy(p, &strategy, 4);
    int n = 16384; memcpy(p + 8, &n, 4);
    memcpy(p + 20, "\\0\\1\\0\\0\\0\\1\\0\\1", 8);
    float t = 0.01f; memcpy(p + 32, &t, 4); memcpy(p + 36, &t, 4);
    const char * language = "en"; memcpy(p + 96, &language, 8);
    p[105] = 1;
    return p;
}
void whisper_free_params(void * p) { free(p); }
"""
    _compile(_version("1.8.5") + stubs + params, compiled / WHISPER_LIBRARY)
    assert "lays out whisper_full_params in another way: at byte 113" in _refusal(compiled)


def test_a_build_for_another_cpu_is_refused_before_it_is_opened(artifacts: Artifacts) -> None:
    refusal = _refusal(artifacts.directory, ("avx2", "avx9000", "quantum"))
    assert "avx9000, quantum" in refusal
    assert "avx2," not in refusal or "avx2" not in machine_features()


def test_a_second_directory_in_one_process_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(LibraryLoadError, match="Start a new process"):
        Library.load(tmp_path)
    assert Library.load(library.directory) is library
