"""consumer/audio/decode.py on recordings made here, and the messages of the decoder."""

import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.audio.decode import Spool, decode
from consumer.audio.decoder_messages import (
    AudioFacts,
    Exit,
    NotStarted,
    Order,
    Refusal,
    Report,
    decode_report,
    encode_report,
)
from consumer.audio.downmix import Samples
from consumer.errors import Reason, Rejected


def tone(seconds: float, rate: int = 16_000, level: float = 0.5) -> Samples:
    """A 440 Hz tone, float32 of shape (n,)."""
    return np.asarray(level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate), np.float32)


def wav(channels: Samples, rate: int = 16_000, announced_bytes: int | None = None) -> bytes:
    """A WAV file of 32-bit floats. ``channels`` has shape (channels, n)."""
    data = np.ascontiguousarray(channels.T).astype("<f4").tobytes()
    size = len(data) if announced_bytes is None else announced_bytes
    count = len(channels)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, count, rate, rate * count * 4, count * 4, 32)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + form + struct.pack("<4sI", b"data", size) + data


def encoded(path: Path, frames: list[tuple[int, Samples]], codec: str, rate: int = 16_000) -> None:
    """Write (time in samples, mono samples) as a file of the format that the suffix names."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for start, samples in frames:
            frame = av.AudioFrame.from_ndarray(np.asarray(samples * 32767, np.int16)[None], format="s16", layout="mono")
            frame.sample_rate = rate
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def run(path: Path, *, max_duration_seconds: float = 3600) -> tuple[Samples, AudioFacts]:
    blocks = []
    with path.open("rb") as file:
        decoding = decode(Spool(file.fileno(), "recording" + path.suffix), max_duration_seconds=max_duration_seconds)
        while True:
            try:
                blocks.append(next(decoding))
            except StopIteration as end:
                return np.concatenate(blocks), end.value


def run_bytes(data: bytes, tmp_path: Path, name: str = "a.wav") -> tuple[Samples, AudioFacts]:
    path = tmp_path / name
    path.write_bytes(data)
    return run(path)


def test_16_khz_float_passes_bit_for_bit(tmp_path: Path) -> None:
    samples, facts = run_bytes(wav(tone(3.3)[None]), tmp_path)
    np.testing.assert_array_equal(samples, tone(3.3))
    assert facts == AudioFacts("wav", "pcm_f32le", 16_000, 1, ())


@pytest.mark.parametrize("rate", [8000, 11_025, 44_100, 48_000, 192_000])
def test_any_rate_becomes_16_khz(tmp_path: Path, rate: int) -> None:
    samples, facts = run_bytes(wav(tone(2, rate)[None], rate), tmp_path)
    assert facts.sample_rate_hertz == rate
    assert len(samples) == pytest.approx(32_000, abs=2)
    np.testing.assert_allclose(samples[1000:-1000], tone(2)[1000 : len(samples) - 1000], atol=0.01)


def test_samples_are_finite_and_bounded(tmp_path: Path) -> None:
    wild = tone(1)
    wild[[10, 20, 30, 40, 50]] = [np.nan, np.inf, -np.inf, 1e30, 2]
    samples, _ = run_bytes(wav(np.stack((wild, wild))), tmp_path)
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() == 1


def test_a_truncated_file_gives_what_it_has_and_says_so(tmp_path: Path) -> None:
    data = wav(tone(4)[None])
    samples, facts = run_bytes(data[: len(data) // 2 + 1], tmp_path)
    assert len(samples) == pytest.approx(32_000, abs=20)
    assert "truncated" in facts.damage[0]


def test_a_truncated_flac_is_measured_against_its_header(tmp_path: Path) -> None:
    whole = tmp_path / "whole.flac"
    noise = np.asarray(np.random.default_rng(1).uniform(-0.5, 0.5, 8 * 16_000), np.float32)
    encoded(whole, [(0, noise)], "flac")
    data = whole.read_bytes()
    samples, facts = run_bytes(data[: len(data) // 2], tmp_path, "half.flac")
    assert len(samples) == pytest.approx(4 * 16_000, rel=0.1)
    assert any("header tells of 8.0 s" in note for note in facts.damage)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_picture_that_outlasts_the_sound_is_no_damage(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / ("film" + suffix)
    with av.open(path, "w") as container:
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        picture = container.add_stream("mpeg4", rate=1)
        assert isinstance(sound, av.AudioStream)
        assert isinstance(picture, av.VideoStream)
        picture.width = picture.height = 32
        picture.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16_000
        frame.pts = 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        for _ in range(10):
            container.mux(picture.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(picture.encode(None))
    samples, facts = run(path)
    assert len(samples) == pytest.approx(32_000, abs=2500)
    assert facts.damage == ()


def test_words_after_a_hole_keep_their_time(tmp_path: Path) -> None:
    path = tmp_path / "gap.mkv"
    encoded(path, [(0, tone(1)), (5 * 16_000, tone(1))], "pcm_s16le")
    samples, facts = run(path)
    assert len(samples) == pytest.approx(6 * 16_000, abs=32)
    assert not samples[17_000:79_000].any()
    assert np.abs(samples[80_100:]).max() > 0.4
    assert "4.0 s are missing" in facts.damage[0]


def test_a_clock_set_anew_is_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "jump.mkv"
    encoded(path, [(0, tone(1)), (3600 * 16_000, tone(1))], "pcm_s16le")
    samples, _ = run(path, max_duration_seconds=7200)
    assert len(samples) == pytest.approx(2 * 16_000, abs=32)


def test_a_recording_that_says_it_is_too_long_is_refused_before_work(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(wav(tone(3)[None]))
    with pytest.raises(Rejected, match="MAX_DURATION_SECONDS") as caught:
        run(path, max_duration_seconds=2.9)
    assert caught.value.reason is Reason.TOO_LONG
    assert len(run(path, max_duration_seconds=3.0)[0]) == 3 * 16_000


def test_a_recording_that_hides_its_length_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "long.aac"  # ADTS: no header tells the length
    encoded(path, [(0, tone(10))], "aac")
    with pytest.raises(Rejected) as caught:
        run(path, max_duration_seconds=5)
    assert caught.value.reason is Reason.TOO_LONG


def test_a_change_of_rate_and_channels_midway_is_followed(tmp_path: Path) -> None:
    parts = []
    for number, rate in enumerate((16_000, 48_000)):
        path = tmp_path / f"{number}.mp3"
        encoded(path, [(0, tone(3, rate))], "libmp3lame", rate)
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(parts))
    samples, _ = run(joined)
    assert len(samples) == pytest.approx(6 * 16_000, rel=0.05)
    assert np.abs(samples[5 * 16_000 :]).max() > 0.3


LOCAL = "neighbour.wav"
NESTED = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{path}\n#EXT-X-ENDLIST\n",
    "url.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "absolute.ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "relative.ffconcat": "ffconcat version 1.0\nfile neighbour.wav\n",
    "passwd.ffconcat": "ffconcat version 1.0\nfile /etc/passwd\n",
    "call.sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
}


@pytest.mark.parametrize("name", NESTED)
def test_a_file_that_names_other_files_opens_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    neighbour = tmp_path / LOCAL
    neighbour.write_bytes(wav(tone(1)[None]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Rejected) as caught:
        run_bytes(NESTED[name].format(path=neighbour).encode(), tmp_path, name)
    assert caught.value.reason is Reason.NOT_AUDIO


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 50_000, b"RIFF", b"hello " * 1000, np.random.default_rng(0).bytes(50_000), wav(tone(0)[None])],
    ids=["empty", "zeros", "four bytes", "text", "noise", "no samples"],
)
@pytest.mark.parametrize("extension", ["", ".wav", ".mp3", ".m4a", ".ogg", ".flac"])
def test_what_is_no_recording_is_refused(tmp_path: Path, data: bytes, extension: str) -> None:
    with pytest.raises(Rejected) as caught:
        run_bytes(data, tmp_path, "a" + extension)
    assert caught.value.reason is Reason.NOT_AUDIO


def test_an_absurd_rate_is_refused_before_it_costs_memory(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="500000000 samples a second"):
        run_bytes(wav(tone(1)[None], 500_000_000), tmp_path)


@settings(deadline=None)  # files
@given(offset=st.integers(0, 60_000), noise=st.binary(min_size=1, max_size=2000))
def test_no_overwritten_bytes_break_more_than_the_recording(
    tmp_path_factory: pytest.TempPathFactory, offset: int, noise: bytes
) -> None:
    data = bytearray(wav(tone(1)[None]))
    data[offset : offset + len(noise)] = noise
    try:
        samples, _ = run_bytes(bytes(data), tmp_path_factory.mktemp("noise"))
    except Rejected:
        return
    assert np.isfinite(samples).all()


def test_the_spool_leaves_the_offset_of_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(7)
        spool = Spool(file.fileno(), "a")
        assert spool.read(4) == b"0123"
        assert spool.seek(-2, 2) == 8
        assert spool.read(10) == b"89"
        assert spool.seek(1, 1) == 11
        assert spool.read(1) == b""
        assert spool.tell() == 11
        assert file.tell() == 7


facts = st.builds(
    AudioFacts, st.text(), st.text(), st.integers(1), st.integers(1), st.lists(st.text(), max_size=3).map(tuple)
)


@given(st.one_of(facts, st.builds(Refusal), st.builds(Exit), st.builds(NotStarted)))
def test_reports_survive_the_way(report: Report) -> None:
    assert decode_report(encode_report(report)) == report


@given(st.one_of(st.binary(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_other_bytes_are_no_report(data: bytes | str) -> None:
    with pytest.raises(ValueError, match="not a decoder's report"):
        decode_report(data if isinstance(data, bytes) else data.encode())


def test_orders_survive_the_way() -> None:
    order = Order("recording.mp3", 12.5)
    assert Order.from_bytes(order.to_bytes()) == order
