"""The simulation of ``scripts/capacity``: nothing is lost in it, and it scales as KEDA and the autoscaler do."""

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.operate.capacity.arrivals import SHAPES, Arrival, Lengths, curve, read_curve, recordings
from consumer.operate.capacity.command import figures, report
from consumer.operate.capacity.scaling import SYNC_SECONDS, Autoscaler, Policy, Rules
from consumer.operate.capacity.simulation import By, Fleet, Run, quantile, simulate

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "capacity"

minutes = st.lists(st.floats(0, 3000), max_size=20)
lengths = st.builds(Lengths, st.floats(5, 300), st.floats(1000, 4000), st.floats(0, 1))
arrivals = st.lists(
    st.builds(Arrival, st.floats(0, 600), st.sampled_from([5.0, 60.0, 600.0])), min_size=1, max_size=40
).map(lambda found: sorted(found, key=lambda arrival: arrival.at))
ways = st.sampled_from(["lag", "backlog"])


def fixed(pods: int) -> Rules:
    return Rules(1.0, min_pods=pods, max_pods=pods)


# ---- arrivals


@given(minutes, lengths)
def test_all_audio_of_a_curve_arrives_and_no_more(minutes: list[float], lengths: Lengths) -> None:
    found = recordings(minutes, lengths)
    assert math.isclose(sum(arrival.seconds for arrival in found), sum(minutes), abs_tol=1e-6)
    assert found == sorted(found, key=lambda arrival: arrival.at)
    assert all(0 <= arrival.at <= 60 * len(minutes) for arrival in found)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_day_with_the_hours_that_are_asked_for(shape: str) -> None:
    minutes = curve(shape, 10)
    hours = [sum(minutes[start : start + 60]) / 3600 for start in range(0, 1440, 60)]
    busiest = sorted(hours)[-2 if shape == "burst" else -1]
    assert len(minutes) == 1440
    assert busiest == pytest.approx(10)


def test_a_curve_is_read_with_or_without_a_heading_and_its_gaps_are_silent() -> None:
    assert read_curve(["minute,audio_seconds", "0,60", "2,30.5", "2,1"]) == [60, 0, 31.5]
    assert read_curve(["1,60"]) == [0, 60]
    assert read_curve([]) == []


@pytest.mark.parametrize("line", ["1", "a,b", "-1,5", "1,-5", "1,inf", "1,nan"])
def test_a_wrong_line_of_a_curve_is_named(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        read_curve(["0,1", line])


# ---- pods and partitions


@given(arrivals, ways, st.integers(0, 2), st.integers(1, 6))
def test_every_recording_ends_and_no_audio_is_made_or_lost(
    arrivals: list[Arrival], by: By, min_pods: int, most: int
) -> None:
    rules = Rules(20.0, min_pods=min(min_pods, most), max_pods=most, cooldown_seconds=60, down=Policy(1, 30, 30))
    fleet = Fleet(speed=5, partitions=6, in_flight=3)
    run = simulate(arrivals, fleet, rules, by)
    assert [recording.seconds for recording in run.recordings] == [arrival.seconds for arrival in arrivals]
    assert all(recording.done is not None and recording.left == 0 for recording in run.recordings)
    assert run.samples[-1].backlog_seconds == 0
    # What was transcribed took pods for as long as it takes at the least.
    assert run.pod_seconds * fleet.speed >= sum(arrival.seconds for arrival in arrivals) - 1e-6


@given(arrivals, ways)
def test_audio_that_has_come_is_transcribed_or_left(arrivals: list[Arrival], by: By) -> None:
    run = simulate(arrivals, Fleet(speed=5), Rules(20.0), by)
    for sample in run.samples:
        come = sum(recording.seconds for recording in run.recordings if recording.arrived <= sample.at)
        done = sum(recording.seconds for recording in run.recordings if (recording.done or math.inf) <= sample.at)
        assert -1e-6 <= sample.backlog_seconds <= come - done + 1e-6


@given(arrivals)
def test_twice_the_pods_never_lengthen_the_queue(arrivals: list[Arrival]) -> None:
    few, more = (simulate(arrivals, Fleet(2, partitions=8), fixed(pods), "lag") for pods in (2, 4))
    for slow, fast in zip(few.recordings, more.recordings, strict=True):
        assert (fast.begun or 0) <= (slow.begun or 0)
        assert (fast.done or 0) <= (slow.done or 0) + 1


@given(arrivals)
def test_a_faster_pod_never_lengthens_the_queue(arrivals: list[Arrival]) -> None:
    slow, fast = (simulate(arrivals, Fleet(speed), fixed(2), "lag") for speed in (2.0, 4.0))
    assert all(quick <= long for quick, long in zip(fast.ends, slow.ends, strict=True))


@given(arrivals, st.integers(6, 12))
def test_pods_beyond_the_partitions_change_nothing(arrivals: list[Arrival], pods: int) -> None:
    enough, more = (simulate(arrivals, Fleet(2, partitions=6), fixed(count), "lag") for count in (6, pods))
    assert more.ends == enough.ends


def test_a_pod_does_so_much_audio_a_second_and_no_more() -> None:
    run = simulate([Arrival(0, 100)] * 4, Fleet(speed=10, partitions=1), fixed(1), "lag")
    assert [recording.done for recording in run.recordings] == [40, 40, 40, 40]
    assert run.waits == [0, 0, 0, 0]


def test_a_long_recording_leaves_the_others_their_share() -> None:
    run = simulate([Arrival(0, 7200), *[Arrival(0, 10)] * 10], Fleet(speed=10, partitions=1), fixed(1), "lag")
    assert run.ends[-2] < 30
    assert run.ends[-1] == 730


def test_what_is_finished_behind_a_long_recording_still_counts_as_lag() -> None:
    upload = [Arrival(0, 7200), *(Arrival(60 + 2 * number, 5) for number in range(60))]
    up = Policy(4, 15, 0)
    by_lag = simulate(upload, Fleet(10, partitions=1), Rules(8, max_pods=4, up=up), "lag")
    by_backlog = simulate(upload, Fleet(10, partitions=1), Rules(8000, max_pods=4, up=up), "backlog")
    assert max(sample.pods for sample in by_lag.samples) == 2  # KEDA's cap divides whole numbers: 15 / 8 is 1
    assert max(sample.pods for sample in by_backlog.samples) == 1


def test_a_pod_that_starts_takes_nothing_before_it_is_ready() -> None:
    run = simulate([Arrival(0, 10)], Fleet(10, start_seconds=90), Rules(1.0, min_pods=0), "lag")
    assert run.waits == [90]


def test_a_pod_that_goes_hands_back_what_it_cannot_finish() -> None:
    uploads = [Arrival(0, 300), *[Arrival(0, 10)] * 30, Arrival(0, 3000)]
    down = Policy(2, 15, 0)
    run = simulate(uploads, Fleet(10, 2, drain_seconds=5), Rules(8, 1, 2, up=Policy(2, 15, 0), down=down), "lag")
    [long] = [recording for recording in run.recordings if recording.seconds == 3000]
    last_of_two = max(sample.at for sample in run.samples if sample.pods == 2)
    assert long.partition == 1  # the second pod's, which goes
    assert long.done is not None
    assert last_of_two + 60 + 5 < long.done < sum(upload.seconds for upload in uploads) / 10 + 60


# ---- scaling


def decisions(scaler: Autoscaler, totals: list[float], pods: int = 1) -> list[int]:
    """Pods after each look of the autoscaler."""
    found = []
    for number, total in enumerate(totals):
        pods = scaler.pods(number * SYNC_SECONDS, pods, total)
        found.append(pods)
    return found


def test_pods_are_the_total_by_the_threshold() -> None:
    scaler = Autoscaler(Rules(8, max_pods=10, up=Policy(10, 15, 0)))
    assert decisions(scaler, [8, 9, 16, 41, 800]) == [1, 2, 2, 6, 10]


def test_a_tenth_more_or_less_changes_nothing() -> None:
    scaler = Autoscaler(Rules(10, max_pods=50, up=Policy(50, 15, 0)))
    assert decisions(scaler, [219, 221], pods=20) == [20, 23]


def test_no_more_pods_come_in_a_period_than_the_policy_has() -> None:
    scaler = Autoscaler(Rules(1, max_pods=10, up=Policy(2, 60, 0)))
    assert decisions(scaler, [100] * 9) == [3, 3, 3, 3, 5, 5, 5, 5, 7]


def test_pods_go_one_by_one_and_only_when_nobody_asked_for_more_within_the_window() -> None:
    scaler = Autoscaler(Rules(1, max_pods=10, down=Policy(1, 30, 60)))
    assert decisions(scaler, [4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], pods=4) == [4, 4, 4, 4, 4, 3, 3, 2, 2, 1, 1]


def test_the_first_pod_comes_with_the_first_record_and_goes_after_the_cooldown() -> None:
    scaler = Autoscaler(Rules(8, min_pods=0, polling_seconds=30, cooldown_seconds=60))
    assert decisions(scaler, [0, 1, 1, 0, 0, 0, 0, 0, 0], pods=0) == [0, 0, 1, 1, 1, 1, 0, 0, 0]


@given(st.lists(st.floats(0, 1e4), max_size=60), st.integers(1, 5), st.integers(5, 9))
def test_pods_stay_within_the_least_and_the_most(totals: list[float], least: int, most: int) -> None:
    scaler = Autoscaler(Rules(7, min_pods=least, max_pods=most, down=Policy(3, 15, 30)))
    assert all(least <= pods <= most for pods in decisions(scaler, totals, pods=least))


# ---- the command


def capacity(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run as from a shell where nothing is installed."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    command = [sys.executable, "-S", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_script_needs_no_package_and_prints_waits_and_pods(tmp_path: Path) -> None:
    csv = tmp_path / "curve.csv"
    csv.write_text("minute,audio_seconds\n0,600\n1,600\n")
    done = capacity("--curve", str(csv), "--recording-seconds", "60", "--speed", "10")
    assert done.stderr == ""
    assert done.stdout.startswith("20 recordings, 0.3 h of audio; a pod for 8 of lag\n")
    assert "until its transcript" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--curve", "/nonexistent"], "No such file"),
        (["--by", "backlog", "--min-pods", "0"], "--min-pods 1"),
        (["--up", "2/60"], "invalid"),
        (["--speed", "0"], "invalid"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], message: str) -> None:
    done = capacity(*arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def day() -> Run:
    return simulate(recordings(curve("burst", 5), Lengths()), Fleet(10), Rules(8.0), "lag")


def test_the_report_fits_a_page_and_the_picture_has_every_minute() -> None:
    run = day()
    assert len(list(report(run, "lag", 8))) < 40
    curves: list[dict[str, Any]] = figures(run)["curves"]
    assert [entry["name"] for entry in curves] == ["pods", "recordings that wait", "audio left"]
    assert all(len(entry["x"]) == len(entry["y"]) == len(run.samples) for entry in curves)


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted), st.floats(0.01, 1))
def test_a_quantile_is_not_exceeded_by_its_share(ordered: list[float], share: float) -> None:
    value = quantile(ordered, share)
    assert sum(entry <= value for entry in ordered) >= share * len(ordered) - 1e-9
    assert value in ordered
