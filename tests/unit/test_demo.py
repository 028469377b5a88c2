"""The pure parts of the demo."""

import fcntl
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry, generate_latest

from consumer.delivery.deadletters import Verdict, headers_of
from consumer.delivery.job import SourceRecord
from consumer.errors import Reason, Rejected, Stage
from consumer.observe.metrics import Metrics
from consumer.operate.demo.exchange import dead_letter, object_keys
from consumer.operate.demo.following import transcribed_seconds
from consumer.operate.demo.stack import run_directory
from consumer.operate.demo.view import DeadLetter


def test_files_of_one_name_get_keys_of_their_own() -> None:
    paths = [Path("a/talk.mp3"), Path("b/talk.mp3"), Path("talk-2.mp3"), Path("other.wav"), Path("talk.mp3")]
    assert object_keys(paths) == dict(
        zip(["talk.mp3", "talk-2.mp3", "talk-2-2.mp3", "other.wav", "talk-3.mp3"], paths, strict=True)
    )


def test_what_still_waits_for_the_model_is_not_transcribed() -> None:
    metrics = Metrics(CollectorRegistry())
    assert transcribed_seconds(generate_latest(metrics.registry).decode()) == 0
    metrics.audio_seconds_in.inc(90)
    metrics.backlog_audio_seconds.set(29.6)
    assert transcribed_seconds(generate_latest(metrics.registry).decode()) == 60


@pytest.mark.parametrize(
    ("value", "key"),
    [(b'{"bucket": "recordings", "key": "a b.wav"}', "a b.wav"), (b"not JSON", "(not an upload event)")],
)
def test_a_dead_letter_is_read_as_the_worker_writes_it(value: bytes, key: str) -> None:
    source = SourceRecord("audio.uploaded", partition=2, offset=7, timestamp_ms=0, key=None, value=value)
    verdict = Verdict(Reason.NOT_AUDIO, Stage.DECODE, "no audio in it", attempts=1, exception=Rejected)
    record = ConsumerRecord(
        "audio.dead-letters", 0, 0, 0, 0, None, value, None, 0, len(value), headers_of(source, verdict, "group")
    )
    assert dead_letter(record) == DeadLetter(key, 2, 7, "not_audio", "no audio in it")


def test_the_directory_of_a_run_goes_with_it_and_those_of_killed_runs_with_the_next(tmp_path: Path) -> None:
    killed, living = tmp_path / "run-killed", tmp_path / "run-living"
    for directory in (killed, living):
        directory.mkdir()
        (directory / "lock").touch()
    with (living / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with run_directory(tmp_path) as own:
            (own / "data").write_text("data")
            assert set(tmp_path.iterdir()) == {own, living}
    assert list(tmp_path.iterdir()) == [living]
