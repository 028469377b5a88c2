"""Recordings, partitions and pods, second by second.

1. A pod reads its partitions in order of time, has ``in_flight`` recordings in hand at most, and divides its speed
   among them evenly. So one that is long keeps a share, not the pod.
2. Partitions are divided evenly among pods that are ready. What is in hand stays where it is when others come.
3. A pod that goes takes nothing more, works for the drain budget, and hands the rest back with its progress.
4. Lag is Kafka's: a partition's offset stands before its first recording that is not finished, whatever is behind it.
   The backlog is what is left of audio in hand, and the mean recording for each that is not.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from consumer.operate.capacity.arrivals import Arrival
from consumer.operate.capacity.scaling import Autoscaler, Rules

STEP: Final = 1.0
_NOTHING: Final = 1e-9  # of audio: what is left by rounding

By = Literal["lag", "backlog"]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a pod is, and what it reads."""

    speed: float
    """Seconds of audio a second."""
    partitions: int = 6
    in_flight: int = 8
    start_seconds: float = 30.0
    """From the decision until the pod takes work: scheduling, image, model, joining the group."""
    drain_seconds: float = 25.0


@dataclass(eq=False, slots=True)
class Recording:
    """One on its way; times are of the simulation's clock."""

    arrived: float
    seconds: float
    partition: int
    left: float
    begun: float | None = None
    done: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """How things stand at one minute."""

    at: float
    pods: int
    waiting: int
    """Recordings that nobody has in hand."""
    backlog_seconds: float
    """Audio that is not transcribed."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it."""

    recordings: Sequence[Recording]
    samples: Sequence[Sample]
    pod_seconds: float
    changes: int
    """Pods that came or went after the beginning."""

    @property
    def waits(self) -> list[float]:
        """How long each waited until somebody had it in hand, in order of size."""
        return sorted(
            recording.begun - recording.arrived for recording in self.recordings if recording.begun is not None
        )

    @property
    def ends(self) -> list[float]:
        """How long each took until its transcript, in order of size."""
        return sorted(recording.done - recording.arrived for recording in self.recordings if recording.done is not None)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least value that so large a share does not exceed; 0 where there is none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def usual_threshold(by: By, in_flight: int, speed: float) -> float:
    """What ``ops/kubernetes`` has for a pod: records that it has in hand, or three minutes of its work."""
    return float(in_flight) if by == "lag" else 180 * speed


@dataclass(eq=False, slots=True)
class _Pod:
    ready_at: float
    gone_at: float = math.inf
    in_hand: list[Recording] = field(default_factory=list)


class _Partition:
    def __init__(self) -> None:
        self.log: list[Recording] = []
        self.waiting: deque[Recording] = deque()
        self._committed = 0

    def append(self, recording: Recording) -> None:
        self.log.append(recording)
        self.waiting.append(recording)

    def lag(self) -> int:
        while self._committed < len(self.log) and self.log[self._committed].done is not None:
            self._committed += 1
        return len(self.log) - self._committed


def simulate(arrivals: Sequence[Arrival], fleet: Fleet, rules: Rules, by: By) -> Run:
    """Play it to the end: until all that arrived is transcribed."""
    simulation = _Simulation(arrivals, fleet, rules, by)
    samples = list(simulation.run())
    return Run(simulation.recordings, samples, simulation.pod_seconds, simulation.changes)


class _Simulation:
    def __init__(self, arrivals: Sequence[Arrival], fleet: Fleet, rules: Rules, by: By) -> None:
        self._fleet = fleet
        self._by = by
        self._scaler = Autoscaler(rules)
        self._partitions = [_Partition() for _ in range(fleet.partitions)]
        self._pods = [_Pod(ready_at=0.0) for _ in range(rules.min_pods)]
        self._draining: list[_Pod] = []
        self._mean = sum(arrival.seconds for arrival in arrivals) / max(1, len(arrivals))
        self.recordings = [
            Recording(arrival.at, arrival.seconds, number % fleet.partitions, arrival.seconds)
            for number, arrival in enumerate(arrivals)
        ]
        self._arrived = 0
        self._finished = 0
        self.pod_seconds = 0.0
        self.changes = 0

    def run(self) -> Iterator[Sample]:
        now = 0.0
        while self._finished < len(self.recordings):
            self._arrive(now)
            self._scale(now)
            if now % 60 == 0:
                yield self._sample(now)
            self._work(now)
            self.pod_seconds += STEP * (len(self._pods) + len(self._draining))
            now += STEP
        yield self._sample(now)

    def _arrive(self, now: float) -> None:
        while self._arrived < len(self.recordings) and self.recordings[self._arrived].arrived <= now:
            recording = self.recordings[self._arrived]
            self._partitions[recording.partition].append(recording)
            self._arrived += 1

    def _scale(self, now: float) -> None:
        wanted = self._scaler.pods(now, len(self._pods), self._total())
        self.changes += abs(wanted - len(self._pods))
        while len(self._pods) < wanted:
            self._pods.append(_Pod(ready_at=now + self._fleet.start_seconds))
        while len(self._pods) > wanted:  # those that came last go first
            pod = self._pods.pop()
            pod.gone_at = now + self._fleet.drain_seconds
            self._draining.append(pod)

    def _total(self) -> float:
        """The figure by which pods come and go."""
        if self._by == "backlog":
            return self._backlog()
        # As KEDA's limitToPartitionsWithLag has it: no more pods than partitions that have any.
        lags = [partition.lag() for partition in self._partitions]
        threshold, with_lag = self._scaler.rules.threshold, sum(lag > 0 for lag in lags)
        return sum(lags) if sum(lags) // threshold <= with_lag else with_lag * threshold

    def _backlog(self) -> float:
        in_hand = sum(recording.left for pod in (*self._pods, *self._draining) for recording in pod.in_hand)
        return in_hand + self._mean * self._waiting()

    def _waiting(self) -> int:
        return sum(len(partition.waiting) for partition in self._partitions)

    def _sample(self, now: float) -> Sample:
        left = sum(recording.left for pod in (*self._pods, *self._draining) for recording in pod.in_hand)
        left += sum(recording.left for partition in self._partitions for recording in partition.waiting)
        return Sample(now, len(self._pods), self._waiting(), left)

    def _work(self, now: float) -> None:
        ready = [pod for pod in self._pods if pod.ready_at <= now]
        for number, pod in enumerate(ready):
            self._serve(pod, now, self._partitions[number :: len(ready)])
        for pod in [*self._draining]:
            self._serve(pod, now, ())
            if not pod.in_hand or pod.gone_at <= now + STEP:
                self._draining.remove(pod)
                self._hand_back(pod)

    def _serve(self, pod: _Pod, now: float, partitions: Sequence[_Partition]) -> None:
        audio = self._fleet.speed * STEP
        while audio > _NOTHING:
            self._take(pod, now, partitions)
            if not pod.in_hand:
                return
            each = min(audio / len(pod.in_hand), *(recording.left for recording in pod.in_hand))
            audio -= each * len(pod.in_hand)
            for recording in pod.in_hand:
                recording.left -= each
                if recording.left <= _NOTHING:
                    recording.left, recording.done = 0.0, now + STEP
                    self._finished += 1
            pod.in_hand = [recording for recording in pod.in_hand if recording.done is None]

    def _take(self, pod: _Pod, now: float, partitions: Sequence[_Partition]) -> None:
        while len(pod.in_hand) < self._fleet.in_flight:
            heads = [partition for partition in partitions if partition.waiting]
            if not heads:
                return
            recording = min(heads, key=lambda partition: partition.waiting[0].arrived).waiting.popleft()
            if recording.begun is None:
                recording.begun = now
            pod.in_hand.append(recording)

    def _hand_back(self, pod: _Pod) -> None:
        for recording in reversed(pod.in_hand):
            self._partitions[recording.partition].waiting.appendleft(recording)
