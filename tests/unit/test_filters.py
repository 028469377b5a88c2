"""Which recordings are wanted, rule by rule, and where documents beside them go."""

from typing import Any

import pytest

from consumer.events import Filters, Parsed, Skip, SkipKind, Uploads
from consumer.formats import Format
from consumer.pipeline import Sidecars
from consumer.store.results import StoredResult
from schemas import AudioUploaded


def upload(key: str = "calls/2026/a.wav", **facts: Any) -> AudioUploaded:
    return AudioUploaded.model_validate({"bucket": "calls", "key": key, **facts})


def skipped(parsed: Parsed) -> SkipKind | None:
    return parsed.kind if isinstance(parsed, Skip) else None


@pytest.mark.parametrize(
    ("filters", "facts", "is_wanted"),
    [
        (Filters(), {}, True),
        (Filters(patterns=["*.wav", "*.mp3"]), {}, True),
        (Filters(patterns=["calls/*"]), {}, True),
        (Filters(patterns=["*.mp3"]), {}, False),
        (Filters(patterns=["*.WAV"]), {}, False),
        (Filters(excluded=["*/2026/*"]), {}, False),
        (Filters(patterns=["*.wav"], excluded=["a.wav"]), {}, True),
        (Filters(patterns=["s3://call?/*.wav"]), {}, True),
        (Filters(patterns=["s3://c/*", "s3://recordings-*"]), {}, False),
        (Filters(excluded=["s3://*/2026/*"]), {}, False),
        (Filters(least_bytes=100), {"size": 99}, False),
        (Filters(least_bytes=100), {"size": 100}, True),
        (Filters(least_bytes=100), {}, True),
        (Filters(content_types=["audio/*"]), {"contentType": "Audio/X-WAV; rate=8000"}, True),
        (Filters(content_types=["audio/*"]), {"contentType": "text/html"}, False),
        (Filters(content_types=["audio/*"]), {}, True),
    ],
)
def test_what_is_wanted(filters: Filters, facts: dict[str, Any], is_wanted: bool) -> None:
    parsed = Uploads((upload(**facts),), ("bare",))
    assert filters.apply(parsed) == parsed if is_wanted else skipped(filters.apply(parsed)) == SkipKind.FILTERED


def test_of_several_recordings_the_wanted_ones_stay() -> None:
    parsed = Uploads((upload("a.wav"), upload("a.txt"), upload("b.wav")), ("MinIO",))
    assert Filters(patterns=["*.wav"]).apply(parsed) == Uploads((upload("a.wav"), upload("b.wav")), ("MinIO",))


def test_a_skip_stays_what_it_is() -> None:
    skip = Skip(SkipKind.TOMBSTONE, "null value")
    assert Filters(patterns=["x"]).apply(skip) is skip


def test_what_a_worker_wrote_is_never_wanted() -> None:
    filters = Filters(is_own=Sidecars([Format.SRT], choices=[Format.WORDS_VTT]).is_own)
    for key in ("a.srt", "calls/a.words.vtt"):
        assert skipped(filters.apply(Uploads((upload(key),)))) == SkipKind.OWN_OUTPUT
    assert skipped(filters.apply(Uploads((upload("a.vtt"),)))) is None
    elsewhere = Filters(is_own=Sidecars([Format.SRT], "captions").is_own)
    assert skipped(elsewhere.apply(Uploads((upload("a.srt"),)))) is None


def test_a_job_gets_what_it_may_ask_for() -> None:
    sidecars = Sidecars([Format.SRT], choices=[Format.VTT])
    assert sidecars.wanted(None) == [Format.SRT]
    assert sidecars.wanted(["vtt", "lrc", "srt", "vtt"]) == [Format.VTT, Format.SRT]
    assert sidecars.wanted([]) == []


def stored(key: str) -> StoredResult:
    document = {"transcriptId": "0f" * 32, "source": {"bucket": "calls", "key": key}, "segments": []}
    return StoredResult("transcripts", "results/x.json", b"{}", document)


@pytest.mark.parametrize(
    ("template", "key", "expected"),
    [
        ("{stem}.{extension}", "2026/a b.wav", "2026/a b.srt"),
        ("{stem}.{extension}", "no extension/here", "no extension/here.srt"),
        ("{key}.{extension}", "a.tar.gz", "a.tar.gz.srt"),
        ("text/{bucket}/{name}-{transcript_id}.{extension}", "d/e.f.wav", f"text/calls/e.f-{'0f' * 32}.srt"),
        ("{stem}.{extension}", "ü" * 512, f"{'0f' * 32}.srt"),
    ],
)
def test_names_of_documents(template: str, key: str, expected: str) -> None:
    (sidecar,) = Sidecars(template=template).of(stored(key), [Format.SRT])
    assert (sidecar.bucket, sidecar.key) == ("calls", expected)
