"""The command line of ``scripts/capacity``."""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from consumer.operate.capacity.arrivals import SHAPES, Lengths, curve, read_curve, recordings
from consumer.operate.capacity.scaling import Policy, Rules
from consumer.operate.capacity.simulation import Fleet, Run, Sample, quantile, simulate, usual_threshold

_ROWS: Final = 25
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 1440)  # minutes between two rows
_SHARES: Final = (0.5, 0.95, 1.0)
Draw = Callable[[dict[str, Any], Path], None]
"""Writes a picture of figures, in the form that ``tests/bench/plots.py`` takes."""


def main(arguments: Sequence[str], draw: Draw) -> None:
    """Write what comes of a curve to stdout; ``draw`` is called for ``--plot``."""
    asked = _parser().parse_args(arguments)
    if asked.by == "backlog" and asked.min_pods == 0:
        sys.exit("--by backlog needs --min-pods 1: where no pod is, none tells of a backlog")
    try:
        minutes = _minutes(asked)
    except (OSError, ValueError) as error:
        sys.exit(f"{asked.curve}: {error}")
    lengths = Lengths(asked.recording_seconds, asked.long_seconds, asked.long_share)
    fleet = Fleet(asked.speed, asked.partitions, asked.in_flight, asked.start_seconds, asked.drain_seconds)
    threshold = asked.threshold or usual_threshold(asked.by, asked.in_flight, asked.speed)
    most = min(asked.max_pods, asked.partitions)
    rules = Rules(threshold, min(asked.min_pods, most), most, asked.polling, asked.cooldown, asked.up, asked.down)
    run = simulate(recordings(minutes, lengths), fleet, rules, asked.by)
    sys.stdout.write("\n".join([*report(run, asked.by, threshold), ""]))
    if asked.plot:
        draw(figures(run), asked.plot)


def report(run: Run, by: str, threshold: float) -> Iterator[str]:
    """What there is to say, line by line."""
    audio = sum(recording.seconds for recording in run.recordings)
    yield f"{len(run.recordings):,} recordings, {audio / 3600:,.1f} h of audio; a pod for {threshold:g} of {by}"
    yield f"{'':24}{'p50':>10}{'p95':>10}{'max':>10}"
    for name, seconds in (("waits for a pod", run.waits), ("until its transcript", run.ends)):
        yield f"{name:24}" + "".join(f"{_time(quantile(seconds, share)):>10}" for share in _SHARES)
    most, hours = max(sample.pods for sample in run.samples), run.pod_seconds / 3600
    yield f"pods: {most} at most, {hours:,.1f} pod-hours, {run.changes} came or went: a rebalance each"
    yield ""
    yield f"{'time':>8}{'pods':>6}{'waiting':>9}{'audio left':>12}"
    for sample in _some(run):
        yield f"{_clock(sample.at):>8}{sample.pods:>6}{sample.waiting:>9,}{_time(sample.backlog_seconds):>12}"


def figures(run: Run) -> dict[str, Any]:
    """Pods, waiting recordings and audio left over time."""
    samples = run.samples
    hours = [sample.at / 3600 for sample in samples]
    return {
        "curves": [
            {"name": name, "x_label": "hours", "y_label": unit, "x": hours, "y": values, "log_x": False}
            for name, unit, values in (
                ("pods", "pods", [sample.pods for sample in samples]),
                ("recordings that wait", "recordings", [sample.waiting for sample in samples]),
                ("audio left", "hours", [sample.backlog_seconds / 3600 for sample in samples]),
            )
        ]
    }


def _some(run: Run) -> Sequence[Sample]:
    """As many of the minutes as fit a page, at round times."""
    return run.samples[:: next((step for step in _STEPS if len(run.samples) <= step * _ROWS), len(run.samples))]


def _minutes(asked: argparse.Namespace) -> list[float]:
    if asked.curve is None:
        return curve(asked.shape, asked.hours)
    with Path(asked.curve).open(encoding="utf-8", newline="") as lines:
        return read_curve(lines)


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02}:{int(seconds % 3600 // 60):02}"


def _number(text: str, least: float = 0.0, most: float = math.inf) -> float:
    number = float(text)
    if not least <= number <= most or math.isinf(number):
        raise ValueError
    return number


def _positive(text: str) -> float:
    return _number(text, least=sys.float_info.epsilon)


def _share(text: str) -> float:
    return _number(text, most=1.0)


def _count(text: str) -> int:
    return int(_number(text, least=1.0))


def _policy(text: str) -> Policy:
    pods, period, window = text.split("/")
    return Policy(_count(pods), _positive(period), _number(window))


def _shown(policy: Policy) -> str:
    return f"{policy.pods}/{policy.period_seconds:g}/{policy.window_seconds:g}"


_FLEET: Final = Fleet(speed=9.4)
_RULES: Final = Rules(threshold=1.0)
_OPTIONS: Final[dict[str, Sequence[tuple[str, Callable[[str], Any], Any, str]]]] = {
    "what arrives": (
        ("hours", _positive, 100.0, "hours of audio in a shape's busiest hour, or in an hour beside its burst"),
        ("recording-seconds", _positive, Lengths().usual, "length of a recording"),
        ("long-seconds", _positive, Lengths().long, "length of a long one"),
        ("long-share", _share, Lengths().long_share, "share of the audio that is in long ones"),
    ),
    "pods": (
        ("speed", _positive, _FLEET.speed, "seconds of audio that a pod does in a second"),
        ("partitions", _count, _FLEET.partitions, "of the input topic: no more pods than these"),
        ("in-flight", _count, _FLEET.in_flight, "MAX_IN_FLIGHT"),
        ("start-seconds", _number, _FLEET.start_seconds, "from the decision until a pod takes work"),
        ("drain-seconds", _number, _FLEET.drain_seconds, "SHUTDOWN_GRACE_SECONDS"),
    ),
    "rules": (
        ("threshold", _positive, None, "records or seconds of audio for a pod; None: MAX_IN_FLIGHT, or 180 s of work"),
        ("min-pods", int, _RULES.min_pods, "minReplicaCount; the same as --max-pods: no scaling"),
        ("max-pods", _count, _RULES.max_pods, "maxReplicaCount"),
        ("polling", _positive, _RULES.polling_seconds, "pollingInterval: between 0 pods and 1"),
        ("cooldown", _number, _RULES.cooldown_seconds, "cooldownPeriod: from 1 pod to 0"),
        ("up", _policy, _shown(_RULES.up), "pods/seconds/window: so many more in a period, stabilised for a window"),
        ("down", _policy, _shown(_RULES.down), "the same for fewer"),
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/capacity",
        description="Play a curve of arriving audio against rules of scaling: how long do recordings wait, and for how "
        "many pods? docs/capacity.md has the speed of a pod, ops/kubernetes the rules.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    arrives = parser.add_mutually_exclusive_group()
    arrives.add_argument("--shape", choices=sorted(SHAPES), default="business-day", help="a day")
    arrives.add_argument("--curve", metavar="FILE.csv", help="minute, seconds of audio")
    parser.add_argument("--by", choices=("lag", "backlog"), default="lag", help="records, or seconds of audio")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="draw pods and queue over time")
    for title, options in _OPTIONS.items():
        group = parser.add_argument_group(title)
        for name, kind, default, meaning in options:
            group.add_argument(f"--{name}", type=kind, default=default, help=meaning)
    return parser
