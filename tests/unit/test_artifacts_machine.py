"""Classes of CPU and what a machine runs."""

from itertools import pairwise
from pathlib import Path

import pytest

from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import artifacts_in, locate
from consumer.engine.artifacts.machine import (
    BASELINE,
    CPU_CLASSES,
    Machine,
    cpu_class,
    parse_version,
    show_version,
    this_machine,
)
from consumer.engine.artifacts.manifest import Needs
from consumer.engine.artifacts.models import LIBRARIES, MANIFEST, SIZES, WHISPER_CLI, directory_name, model_file
from consumer.engine.artifacts.verify import unmet
from tests.support.artifacts import XEON, make_artifacts


def test_every_class_needs_more_than_the_next() -> None:
    assert all(better.features > worse.features for better, worse in pairwise(CPU_CLASSES))


def test_no_class_is_built_for_the_machine_that_builds() -> None:
    assert all("native" not in flag for c in CPU_CLASSES for flag in c.compiler_flags)


def test_the_baseline_alone_has_the_plain_name() -> None:
    assert [c.name for c in CPU_CLASSES if c.suffix is None] == ["x86-64-v3"]
    assert directory_name("small") == "whisper_small_xeon"
    assert directory_name("small", cpu_class("amx").suffix) == "whisper_small_xeon.amx"


def test_names_of_different_sizes_never_share_a_directory() -> None:
    names = [directory_name(size, c.suffix) for size in SIZES for c in CPU_CLASSES]
    assert len(set(names)) == len(names)


def test_the_best_class_comes_first() -> None:
    amx = Machine("x86_64", cpu_class("amx").features, None)
    assert [c.name for c in amx.classes()] == ["amx", "avx512bf16", "avx512", "x86-64-v3"]
    assert [c.name for c in XEON.classes()] == ["x86-64-v3"]
    assert Machine("x86_64", BASELINE.features - {"fma"}, None).classes() == ()


def test_this_machine_is_known() -> None:
    assert this_machine().architecture == "x86_64"
    assert "sse2" in this_machine().cpu_features


@pytest.mark.parametrize("text", ["2.36", "1.8.5"])
def test_versions_are_shown_as_they_were_read(text: str) -> None:
    assert show_version(parse_version(text)) == text


def needs(*, features: frozenset[str] = BASELINE.features, glibc: str = "2.27") -> Needs:
    return Needs(architecture="x86_64", cpu_class="x86-64-v3", cpu_features=tuple(features), glibc=glibc)


class TestUnmet:
    def test_nothing_where_all_is_there(self) -> None:
        assert unmet(needs(), XEON) == ""

    def test_names_the_features_that_are_missing(self) -> None:
        lacking = unmet(needs(features=XEON.cpu_features | {"amx_tile", "amx_int8"}), XEON)
        assert lacking == "it needs CPU features that this one lacks: amx_int8 amx_tile"

    def test_compares_versions_as_numbers(self) -> None:
        assert unmet(needs(glibc="2.4"), XEON) == ""
        assert unmet(needs(glibc="2.37"), XEON) == "it needs glibc 2.37 or newer, this system has 2.36"

    def test_names_another_c_library(self) -> None:
        assert "another C library" in unmet(needs(), Machine("x86_64", BASELINE.features, None))

    def test_names_another_architecture(self) -> None:
        assert "this one is aarch64" in unmet(needs(), Machine("aarch64", frozenset(), (2, 36)))


class TestLocate:
    def test_takes_the_best_class_that_runs(self, tmp_path: Path) -> None:
        amx = cpu_class("amx")
        make_artifacts(tmp_path)
        make_artifacts(tmp_path, cpu_class=amx)
        assert locate(tmp_path, "tiny.en", machine=XEON).cpu_class == "x86-64-v3"
        assert locate(tmp_path, "tiny.en", machine=Machine("x86_64", amx.features, (2, 36))).cpu_class == "amx"

    def test_takes_the_fastest_precision_there_is(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path)
        assert locate(tmp_path, "tiny.en", machine=XEON).precision == "q5_1"
        (directory / model_file("tiny.en", "q8_0")).write_bytes(b"model")
        found = locate(tmp_path, "tiny.en", machine=XEON)
        assert (found.precision, found.model.name) == ("q8_0", "ggml-tiny.en-q8_0.bin")

    def test_takes_bf16_first_only_where_the_cpu_multiplies_it_without_amx(self, tmp_path: Path) -> None:
        for name in ("avx512bf16", "amx"):
            directory = make_artifacts(tmp_path, cpu_class=cpu_class(name))
            for precision in ("q8_0", "bf16", "bf16-q8_0"):
                (directory / f"ggml-tiny.en-{precision}.bin").write_bytes(b"model")
        assert artifacts_in(tmp_path / "whisper_tiny.en_xeon.avx512bf16", "tiny.en").precision == "bf16-q8_0"
        assert artifacts_in(tmp_path / "whisper_tiny.en_xeon.amx", "tiny.en").precision == "q8_0"

    def test_takes_a_precision_that_is_asked_for_or_says_what_there_is(self, tmp_path: Path) -> None:
        make_artifacts(tmp_path)
        assert locate(tmp_path, "tiny.en", "q5_1", XEON).precision == "q5_1"
        with pytest.raises(ArtifactError, match=r"no model at f16 \(it has q5_1\)"):
            locate(tmp_path, "tiny.en", "f16", XEON)

    def test_says_what_lies_there_instead(self, tmp_path: Path) -> None:
        make_artifacts(tmp_path, "base")
        with pytest.raises(ArtifactError, match=r"no artifacts of tiny\.en .*\(there is whisper_base_xeon\)"):
            locate(tmp_path, "tiny.en", machine=XEON)

    def test_says_why_what_is_there_does_not_run(self, tmp_path: Path) -> None:
        make_artifacts(tmp_path, glibc="2.99")
        with pytest.raises(ArtifactError, match=r"whisper_tiny\.en_xeon: it needs glibc 2\.99"):
            locate(tmp_path, "tiny.en", machine=XEON)

    def test_a_plain_directory_goes_by_its_name_and_the_digest_of_its_model(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path)
        (directory / MANIFEST).unlink()
        found = locate(tmp_path, "tiny.en", machine=XEON)
        assert found.manifest is None
        assert found.cpu_class == "x86-64-v3"
        assert found.whisper_cli is None
        assert len(found.weights_sha256) == 64

    def test_tells_the_cli_where_there_is_one(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path)
        (directory / WHISPER_CLI).touch()
        assert locate(tmp_path, "tiny.en", machine=XEON).whisper_cli == directory / WHISPER_CLI


def test_libraries_are_named_in_the_order_of_loading() -> None:
    assert LIBRARIES == ("libggml-base.so.0", "libggml-cpu.so.0", "libggml.so.0", "libwhisper.so")
