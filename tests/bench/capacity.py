"""How many pods of which size: ``docs/capacity.md``, made from measured figures. ``python -m tests.bench.capacity``."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from consumer import memory
from consumer.operate.capacity.arrivals import Lengths, curve, recordings
from consumer.operate.capacity.scaling import Rules
from consumer.operate.capacity.simulation import By, Fleet, Run, quantile, simulate, usual_threshold
from consumer.settings import WorkerSettings

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "capacity.md"
_FIGURES: Final = Path(__file__).parent / "figures"

CPUS: Final = 2
"""Of the machine that was measured, and so of a pod."""
CLIP_SECONDS: Final = 11.0
"""Of the recording in ``seed.json``."""
BUSY_SHARE: Final = 0.7
"""Of the time that a pod shall be busy on average; the rest is for arrivals that come together, and for restarts."""
DAY_HOURS: Final = 100.0
PARTITIONS: Final = 24
MOST_PODS: Final = 12
PARTITIONS_OF_FEW: Final = (12, 18, 36)
_AUDIO: Final = {"3 minutes each": Lengths(), "30 % of it in recordings of 2 hours": Lengths(long_share=0.3)}
_BY: Final = get_args(By)
HOURS: Final = (10, 50, 100, 250, 500, 1000)

MAX_IN_FLIGHT: Final[int] = WorkerSettings.model_fields["max_in_flight"].default

_MIB: Final = 1024**2
_STEP_MIB: Final = 128


@dataclass(frozen=True, slots=True)
class Pod:
    """A worker on ``CPUS`` CPUs with one model."""

    size: str
    speed: float
    """Seconds of audio a second."""
    resident_bytes: int
    """With the model loaded."""
    random_weights: bool

    @property
    def memory_mib(self) -> int:
        """What its limit should be, for as many recordings in flight as the settings allow."""
        needed = memory.foreseen_bytes(self.resident_bytes, CPUS, self.size, MAX_IN_FLIGHT)
        return _STEP_MIB * math.ceil(needed / _MIB / _STEP_MIB)

    def needed(self, hours_an_hour: float) -> int:
        """Pods for so many hours of audio an hour."""
        return math.ceil(hours_an_hour / (self.speed * BUSY_SHARE))


def figures(name: str) -> dict[str, Any]:
    """What was measured under this name."""
    found: dict[str, Any] = json.loads((_FIGURES / f"{name}.json").read_text(encoding="utf-8"))
    return found


def pods() -> list[Pod]:
    """One for each model that was measured: four recordings at once, less what the worker costs beside its engine."""
    cost = figures("quick")["cost_over_the_bare_engine"]
    found = []
    for size, measured in figures("seed")["sizes"].items():
        at_once = measured["ways"]["library"]["at_once"]
        found.append(
            Pod(
                size,
                speed=4 * CLIP_SECONDS / at_once["4"]["seconds"] / (1 + cost),
                resident_bytes=at_once["1"]["peak_megabytes"] * 10**6,
                random_weights=measured["random_weights"],
            )
        )
    return found


_PAGE = """# Capacity: how many pods of which size

Made from `tests/bench/figures/` by `python -m tests.bench.capacity`. The machine: {machine[cores]} virtual cores of an
{machine[cpu]} ({machine[cpu_class]}: AVX-512 with BF16, no AMX), with libraries compiled for it; those that run
everywhere are half as fast. Another machine, language or audio: measure (`scripts/bench worker`), and divide.

## Pods
A pod with {cpus} CPUs. *Speed* is seconds of audio a second: four clips of {clip:g} s at once at the library
(`seed.json`), less the {cost:.0%} of time that the whole worker costs beside it (`quick.json`). Small and medium had
random weights in the shape of the real ones. *Memory* is what to give as request and limit.

| model | speed | memory | audio in an hour, pod {busy:.0%} busy |
|---|---|---|---|
{pod_rows}

The whole worker itself, with base, Kafka and the store on the same cores: {short[x]}x with 50 short clips, {long[x]}x
with 14 minutes, {short[peak_megabytes]} and {long[peak_megabytes]} MB at the peak. Two workers with one CPU each do
{two[x]}x together, one with two {one[x]}x, in {two[own_pss_megabytes]} instead of {one[own_pss_megabytes]} MB
(`scale.json`): fewer and larger pods hold fewer models, more and smaller ones lose less when one goes. More than
{cpus} CPUs, large models and AMX were not measured.

**Memory** = model loaded + {reserve:g} MB + states x width x {width:g} MB + recordings in flight x ({recording:g} MB +
(states + 1) x {window:g} MB), in steps of {step} MiB; `consumer/memory.py` has the measurements behind it. *Model
loaded* is the peak of one clip in `seed.json`, states are the pod's CPUs, recordings in flight `MAX_IN_FLIGHT`
({in_flight}), the width is the model's. With less memory the worker takes fewer recordings at once, and says so in
its log; `whisper_consumer_memory_predicted_bytes` is what it reckons with.

## Pods for hours of audio an hour
pods = hours of audio an hour / (speed x {busy}), rounded up. Never more than partitions of the input topic.

| model | {hours} |
|---|{bar}
{needed_rows}

This is for arrivals as they come in the busiest hour. `scripts/capacity` plays a curve of arrivals against rules of
scaling and tells how long recordings wait.

## By lag or by backlog
Simulated, not measured: a business day with {day_hours:g} h of audio in its busiest hour, small on {cpus} CPUs,
{partitions} partitions, the two rules of `ops/kubernetes/components`.

| audio | pods by | wait for a pod, p95 | until the transcript, p95 | pods at most | pod-hours | came or went |
|---|---|---|---|---|---|---|
{simulated_rows}

The backlog's threshold is about how long recordings wait, times the speed; lag's is records, whatever their length. A
long recording stays with the pod that has it: either way it calls for pods that find nothing to do, by lag because
what is finished behind it counts until it is finished too.

**Partitions** should be several for each pod, or a pod with two has twice the work of its neighbour, who cannot help.
The same day, 3 minutes each, by backlog, {most_pods} pods at most:

| partitions | until the transcript, p95 | pod-hours |
|---|---|---|
{partition_rows}

A table over time, other curves and other rules:

```console
$ scripts/capacity --by backlog --hours {day_hours:g} --speed {small:.1f} --partitions {partitions} --max-pods 20
```
"""


def capacity_page() -> str:
    """In Markdown."""
    quick, seed = figures("quick"), figures("seed")
    runs = {name: work["runs"]["whisper-consumer, the whole worker"] for name, work in quick["work"].items()}
    [small] = [pod for pod in pods() if pod.size == "small"]
    one, two, *_ = figures("scale")["items"]["workers"]
    return _PAGE.format(
        machine=seed["machine"],
        cpus=CPUS,
        clip=CLIP_SECONDS,
        cost=quick["cost_over_the_bare_engine"],
        busy=BUSY_SHARE,
        pod_rows="\n".join(_pod_row(pod) for pod in pods()),
        short=runs["short"],
        long=runs["long"],
        one=one,
        two=two,
        reserve=memory.RESERVE_BYTES / 10**6,
        width=memory.STATE_WIDTH_BYTES / 10**6,
        recording=memory.RECORDING_BYTES / 10**6,
        window=memory.WINDOW_BYTES / 10**6,
        step=_STEP_MIB,
        in_flight=MAX_IN_FLIGHT,
        hours=" | ".join(f"{hours:,} h" for hours in HOURS),
        bar="---|" * len(HOURS),
        needed_rows="\n".join(_needed_row(pod) for pod in pods()),
        day_hours=DAY_HOURS,
        partitions=PARTITIONS,
        small=small.speed,
        simulated_rows="\n".join(
            _simulated_row(audio, _day(lengths, small.speed, by), by) for audio, lengths in _AUDIO.items() for by in _BY
        ),
        most_pods=MOST_PODS,
        partition_rows="\n".join(
            _partitions_row(count, _day(Lengths(), small.speed, "backlog", count, MOST_PODS))
            for count in PARTITIONS_OF_FEW
        ),
    )


def _pod_row(pod: Pod) -> str:
    name = f"{pod.size} (random weights)" if pod.random_weights else pod.size
    return f"| {name} | {pod.speed:.1f}x | {pod.memory_mib:,} MiB | {pod.speed * BUSY_SHARE:.1f} h |"


def _needed_row(pod: Pod) -> str:
    return f"| {pod.size} | {' | '.join(f'{pod.needed(hours):,}' for hours in HOURS)} |"


def _day(lengths: Lengths, speed: float, by: By, partitions: int = PARTITIONS, most_pods: int = PARTITIONS) -> Run:
    arrivals = recordings(curve("business-day", DAY_HOURS), lengths)
    rules = Rules(usual_threshold(by, MAX_IN_FLIGHT, speed), max_pods=most_pods)
    return simulate(arrivals, Fleet(speed, partitions, MAX_IN_FLIGHT), rules, by)


def _simulated_row(audio: str, run: Run, by: By) -> str:
    waits, ends = (f"{quantile(seconds, 0.95):,.0f} s" for seconds in (run.waits, run.ends))
    most = max(sample.pods for sample in run.samples)
    return f"| {audio} | {by} | {waits} | {ends} | {most} | {run.pod_seconds / 3600:.0f} | {run.changes} |"


def _partitions_row(count: int, run: Run) -> str:
    return f"| {count} | {quantile(run.ends, 0.95):,.0f} s | {run.pod_seconds / 3600:.0f} |"


if __name__ == "__main__":
    PAGE.write_text(capacity_page(), encoding="utf-8")
