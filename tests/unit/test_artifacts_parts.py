"""Small parts of building artifacts: patches, digests, manifests, directories that appear whole."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from consumer.engine.artifacts.build import BuildRequest, build
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.files import fresh_directory
from consumer.engine.artifacts.machine import cpu_class
from consumer.engine.artifacts.manifest import Manifest, parse_manifest, read_manifest
from consumer.engine.artifacts.models import MANIFEST
from consumer.engine.artifacts.patches import apply_patch
from consumer.engine.artifacts.progress import Plain, Silent
from consumer.engine.artifacts.recipe import recipe_digest
from consumer.engine.artifacts.verify import damaged, verify
from consumer.engine.artifacts.weights import parse_digest
from tests.support.artifacts import XEON, make_artifacts

PATCH = """\
Why this is needed.
- a list in the prose

--- a/deep/file.c
+++ b/deep/file.c
@@ -2,3 +2,3 @@ some function
 two
-three
+THREE
 four
@@ -6,1 +6,2 @@
 six
+seven
"""


class TestPatches:
    def source(self, tmp_path: Path, text: str) -> Path:
        file = tmp_path / "deep" / "file.c"
        file.parent.mkdir()
        file.write_text(text)
        (tmp_path / "fix.patch").write_text(PATCH)
        return file

    def test_is_applied(self, tmp_path: Path) -> None:
        file = self.source(tmp_path, "one\ntwo\nthree\nfour\nfive\nsix\neight\n")
        apply_patch(tmp_path / "fix.patch", tmp_path)
        assert file.read_text() == "one\ntwo\nTHREE\nfour\nfive\nsix\nseven\neight\n"

    @pytest.mark.parametrize("text", ["zero\none\ntwo\nthree\nfour\nfive\nsix\n", "one\ntwo\n", ""])
    def test_changes_nothing_where_it_does_not_fit(self, tmp_path: Path, text: str) -> None:
        file = self.source(tmp_path, text)
        with pytest.raises(ArtifactError, match=r"fix\.patch does not fit deep/file\.c"):
            apply_patch(tmp_path / "fix.patch", tmp_path)
        assert file.read_text() == text


class TestDigests:
    def test_both_kinds_are_read(self) -> None:
        assert str(parse_digest("sha256:" + "AB" * 32)) == "sha256:" + "ab" * 32
        assert parse_digest("sha1:" + "0" * 40).algorithm == "sha1"

    @pytest.mark.parametrize("text", ["", "abc", "sha256:abc", "md5:" + "0" * 32, "sha1:" + "x" * 40])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ArtifactError, match="is not a digest: expected sha256"):
            parse_digest(text)

    def test_recipes_differ_where_an_input_does(self) -> None:
        assert recipe_digest(a=1, b=("x", "y")) == recipe_digest(b=["x", "y"], a=1)
        assert recipe_digest(a=1, b=("x", "y")) != recipe_digest(a=1, b=("xy",))


class TestManifest:
    def test_is_read_as_written(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path)
        manifest = read_manifest(directory)
        assert manifest == Manifest.model_validate_json((directory / MANIFEST).read_text())

    def test_may_be_absent(self, tmp_path: Path) -> None:
        assert read_manifest(tmp_path) is None

    @pytest.mark.parametrize("name", ["../escape", "a/b", ".hidden", "", "x" * 200])
    def test_names_plain_files_only(self, tmp_path: Path, name: str) -> None:
        text = (make_artifacts(tmp_path) / MANIFEST).read_text().replace("libwhisper.so", name)
        with pytest.raises(ArtifactError, match="is not a valid manifest: files"):
            parse_manifest(text.encode(), "it")

    def test_of_a_later_format_is_refused(self, tmp_path: Path) -> None:
        text = (make_artifacts(tmp_path) / MANIFEST).read_text().replace('"schema_version": 1', '"schema_version": 2')
        with pytest.raises(ArtifactError, match="schema_version"):
            parse_manifest(text.encode(), "it")


class TestVerify:
    def test_a_whole_directory_passes(self, tmp_path: Path) -> None:
        assert verify(make_artifacts(tmp_path), "tiny.en", XEON, require_manifest=True) is not None

    def test_every_flipped_byte_is_found(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path, model_bytes=1000)
        manifest = read_manifest(directory)
        assert manifest is not None
        for name in manifest.files:
            good = (directory / name).read_bytes()
            (directory / name).write_bytes(good[:500] + bytes([good[500] ^ 1]) + good[501:])
            assert damaged(directory, manifest) == {name: f"{name} has another SHA-256 than the manifest says"}
            with pytest.raises(ArtifactError, match=f"is damaged: {name} has another"):
                verify(directory, "tiny.en", XEON, require_manifest=False)
            (directory / name).write_bytes(good)

    def test_the_wrong_size_is_said(self, tmp_path: Path) -> None:
        directory = make_artifacts(tmp_path)
        for path in list(directory.glob("ggml-tiny*")):
            path.rename(directory / path.name.replace("tiny.en", "base"))
        with pytest.raises(ArtifactError, match=r"holds the model tiny\.en, expected base"):
            verify(directory, "base", XEON, require_manifest=False)

    def test_a_directory_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="there is no directory"):
            verify(tmp_path / "none", "base", XEON, require_manifest=False)


class TestFreshDirectory:
    def test_appears_when_it_is_finished(self, tmp_path: Path) -> None:
        with fresh_directory(tmp_path / "target") as staging:
            (staging / "file").touch()
            assert not (tmp_path / "target").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["target"]

    def test_leaves_nothing_after_a_failure_and_keeps_what_was(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "old").touch()
        with suppress(InterruptedError), fresh_directory(tmp_path / "target") as staging:
            (staging / "new").touch()
            raise InterruptedError
        assert [path.name for path in tmp_path.rglob("*")] == ["target", "old"]

    def test_replaces_what_was(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        (tmp_path / "target" / "old").touch()
        with fresh_directory(tmp_path / "target") as staging:
            (staging / "new").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["target", "new"]


def test_a_worker_needs_nothing_that_only_building_needs() -> None:
    script = "import sys, consumer.engine.artifacts.pull, consumer.engine.artifacts.locate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "aioboto3" in loaded
    assert not {"requests", "pypi_simple", "elftools"} & set(loaded)


def test_prebuilt_libraries_exist_for_the_baseline_only(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="for x86-64-v3 only, not for amx: leave out --prebuilt"):
        build(BuildRequest("base", cpu_class("amx"), prebuilt=True), tmp_path, tmp_path, Silent())


def test_plain_progress_tells_every_quarter_once() -> None:
    shown: list[str] = []
    with Plain(shown.append).task("file", 1000) as advance:
        for _ in range(100):
            advance(10)
    assert shown == ["file: 1,000 bytes", "file: 25 %", "file: 50 %", "file: 75 %", "file: 100 %"]
