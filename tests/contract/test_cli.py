"""The command line as a person meets it: what it prints, and with which exit status it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumer import __version__
from consumer.settings import WorkerSettings
from tests.support.cache import CACHE_DIR
from tests.support.events import aws, sqs
from tests.support.speech import SAMPLE_TEXT, words


def _run(*arguments: str | Path, typed: str | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``whisper-consumer`` without the settings of whoever runs the tests."""
    known = {name.upper() for name in WorkerSettings.model_fields}
    clean = {name: value for name, value in os.environ.items() if name not in known}
    return subprocess.run(
        [sys.executable, "-m", "consumer", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        input=typed,
        env={**clean, "COLUMNS": "200", **environment},
        timeout=120,
    )


def test_help_names_every_command() -> None:
    shown = _run("--help")
    assert shown.returncode == 0
    for command in ("run", "transcribe", "artifacts", "redrive", "reconcile", "explain", "doctor", "demo"):
        assert command in shown.stdout


def test_the_version() -> None:
    assert _run("--version").stdout.strip() == f"whisper-consumer {__version__}"


def test_explain_reads_a_file_and_standard_input(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(sqs(aws("my call.wav"))))
    shown = _run("explain", event)
    assert shown.returncode == 0
    assert shown.stdout.startswith("taken for: SQS message > AWS S3 notification\n")
    assert "my call.wav" in shown.stdout
    own = '{"bucket": "calls", "key": "k"}'
    headers = ("-H", "ce_specversion=1.0", "-H", "ce_type=audio.uploaded.v1")
    assert "CloudEvent in binary mode > audio.uploaded" in _run("explain", *headers, typed=own).stdout
    line = json.loads(_run("explain", "--jsonl", typed=json.dumps({"value": own}) + "\n").stdout)
    assert line["objects"][0]["key"] == "k"


def test_explain_says_what_is_wrong(tmp_path: Path) -> None:
    rejected = _run("explain", typed="{}")
    assert rejected.returncode == 1
    assert "no known kind of event" in rejected.stdout
    assert "cannot read" in _run("explain", tmp_path / "absent.json").stderr
    assert "'ce_type' is not NAME=TEXT" in _run("explain", "-H", "ce_type", typed="{}").stderr
    assert "each line has its own" in _run("explain", "--jsonl", "--key", "k", typed="").stderr


def test_text_goes_to_standard_output_and_nothing_else(artifacts_dir: Path, sample: Path) -> None:
    done = _run("transcribe", sample, "--size", "tiny.en", "--dir", artifacts_dir)
    assert done.returncode == 0, done.stderr
    assert words(done.stdout) == words(SAMPLE_TEXT)
    assert "\x1b" not in done.stdout + done.stderr  # plain in a pipe


def test_json_has_words_with_times(artifacts_dir: Path, sample: Path) -> None:
    done = _run("transcribe", sample, "--format", "json", "--size", "tiny.en", "--dir", artifacts_dir)
    document = json.loads(done.stdout)
    assert words(document["text"]) == words(SAMPLE_TEXT)
    assert (document["language"], document["durationSeconds"], document["noSpeech"]) == ("en", 11.0, False)
    heard = [word for segment in document["segments"] for word in segment["words"]]
    assert words(" ".join(word["text"] for word in heard)) == words(SAMPLE_TEXT)


@pytest.mark.parametrize(("output", "start"), [("srt", "1\n00:00:0"), ("vtt", "WEBVTT\n")])
def test_subtitles(artifacts_dir: Path, sample: Path, output: str, start: str) -> None:
    done = _run("transcribe", sample, "--format", output, "--size", "tiny.en", "--dir", artifacts_dir)
    assert done.stdout.startswith(start)
    assert "country" in done.stdout


def test_the_cache_serves_where_the_directory_has_nothing(artifacts_dir: Path, sample: Path, tmp_path: Path) -> None:
    environment = {"WHISPER_CONSUMER_CACHE": str(CACHE_DIR), "WHISPER_ARTIFACTS_DIR": str(tmp_path)}
    assert artifacts_dir.parent == CACHE_DIR
    assert "country" in _run("transcribe", sample, "--size", "tiny.en", **environment).stdout


def test_one_bad_file_spoils_no_other(artifacts_dir: Path, sample: Path, tmp_path: Path) -> None:
    bad = tmp_path / "text.mp3"
    bad.write_text("no recording")
    done = _run("transcribe", bad, tmp_path / "absent.wav", sample, "--size", "tiny.en", "--dir", artifacts_dir)
    assert done.returncode == 1
    assert words(done.stdout) == words(SAMPLE_TEXT)
    assert f"{bad}: not a recording" in done.stderr
    assert "absent.wav: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_language_that_the_model_does_not_know(artifacts_dir: Path, sample: Path) -> None:
    done = _run("transcribe", sample, "--language", "de", "--size", "tiny.en", "--dir", artifacts_dir)
    assert done.returncode == 1
    assert "knows English only" in done.stderr


def test_without_artifacts_it_says_where_they_come_from(sample: Path, tmp_path: Path) -> None:
    done = _run(
        "transcribe", sample, "--size", "medium", "--dir", tmp_path, WHISPER_CONSUMER_CACHE=str(tmp_path / "cache")
    )
    assert done.returncode == 1
    assert "artifacts build" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_size_is_told_with_those_there_are() -> None:
    done = _run("artifacts", "list", "--dir", "/nowhere")
    assert (done.returncode, done.stdout) == (0, "nothing in /nowhere\n")
    done = _run("artifacts", "build", "--size", "huge")
    assert done.returncode == 2
    assert "large-v3-turbo" in done.stderr


def test_artifacts_are_listed_and_verified(artifacts_dir: Path) -> None:
    listed = _run("artifacts", "list", "--dir", artifacts_dir)
    assert "whisper_tiny.en_xeon" in listed.stdout
    assert "yes, used" in listed.stdout
    verified = _run("artifacts", "verify", "--size", "tiny.en", "--dir", artifacts_dir)
    assert verified.returncode == 0
    assert f"{artifacts_dir / 'whisper_tiny.en_xeon'}: verified" in verified.stdout


def test_building_again_does_nothing(artifacts_dir: Path) -> None:
    done = _run("artifacts", "build", "--prebuilt", "--size", "tiny.en", "--dir", artifacts_dir)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{artifacts_dir / 'whisper_tiny.en_xeon'}\n"
    assert "is up to date" in done.stderr


def test_a_build_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    for arguments, words_of_it in (
        (("--cpu-class", "z80"), "x86-64-v3"),
        (("--precision", "q1"), "q8_0"),
        (("--prebuilt", "--cpu-class", "amx"), "leave out --prebuilt"),
    ):
        done = _run("artifacts", "build", "--size", "tiny.en", "--dir", tmp_path, *arguments)
        assert done.returncode == 1
        assert words_of_it in done.stderr
        assert not any(tmp_path.iterdir())
