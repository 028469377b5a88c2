"""The whole worker beside its opponents: the same weights, recordings and cores, in turn.

Every mode of an opponent is tried once on some of the clips and on the long file; the best two of each go through all
rounds, and the best of these is what the ratio is to. On the other work runs, beside us, what won on short clips. The
worker's time runs from the first event's send to the last transcript's arrival, with Kafka and the store on the same
cores; the opponents' recordings are decoded beforehand where they can be given samples.

``quick`` leaves the trying out and the other work, and takes the modes that won it on the machines seen so far.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize
from tests.bench import latency, peaks
from tests.bench.journal import Journal
from tests.bench.opponents import Mode, Opponent, faster_whisper, pywhispercpp, whisper_cpp
from tests.bench.runs import Run
from tests.bench.work import Work, others, short_and_long, two_hours
from tests.bench.worker import run_bare, run_worker, upload
from tests.support.built import compiled_artifacts
from tests.support.stack import Stack, running_stack

BEST: Final = 2
OURS: Final = "whisper-consumer, the whole worker"
BARE: Final = "whisper-consumer, the bare engine"
OPPONENTS: Final[dict[str, Opponent]] = {
    "faster-whisper": faster_whisper,
    "whisper.cpp": whisper_cpp,
    "pywhispercpp": pywhispercpp,
}
QUICK_OPPONENT: Final = "faster-whisper"
"""It won against the others on every machine so far, by half at least."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all runs of one call have in common."""

    journal: Journal
    stack: Stack
    artifacts_dir: Path
    size: ModelSize

    async def ours(self, work: Work, round_number: int) -> Run:
        """The whole worker."""
        run = partial(run_worker, self.stack, self.artifacts_dir, self.size, work.recordings, language=work.language)
        return await self.journal.needed(f"{self.size} {work.name} {OURS} {round_number}", run)

    async def theirs(self, mode: Mode, work: Work, occasion: int | str) -> Run | None:
        """One opponent; None where this CPU cannot do that."""
        recordings = work.recordings[: work.screened] if occasion == "screening" else work.recordings
        files = [recording.path for recording in recordings]
        run = partial(mode.run, self.size, files, work.language)
        return await self.journal.once(f"{self.size} {work.name} {mode} {occasion}", run)


async def measure(size: ModelSize, rounds: int, *, quick: bool, fresh: bool, against: str | None) -> dict[str, Any]:
    """Returns the figures of all rounds. What an earlier call of the same code measured is not measured again."""
    chosen = against or (QUICK_OPPONENT if quick else None)
    opponents = {name: one for name, one in OPPONENTS.items() if chosen in (None, name)}
    async with AsyncExitStack() as resources:
        stack = await resources.enter_async_context(running_stack())
        comparison = Comparison(Journal(fresh=fresh), stack, compiled_artifacts(size), size)
        main_work = short_and_long(stack.directory)
        other_work = [] if quick else others(stack.directory)
        await upload(stack, [recording for work in (*main_work, *other_work) for recording in work.recordings])
        figures: dict[str, Any] = {}
        modes: dict[str, list[Mode]] = {}
        for work in main_work:
            screened: dict[str, float] = {}
            modes[work.name] = [
                mode
                for one in opponents.values()
                for mode in await _screen(comparison, one, work, screened, quick=quick)
            ]
            figures[work.name] = {**await _rounds(comparison, work, modes[work.name], rounds), "screened": screened}
        winners = _fastest(figures["short"], modes["short"])[:1]
        for work in other_work:
            if _knows(size, work):
                figures[work.name] = await _rounds(comparison, work, winners, rounds)
        if not quick and size == "base":
            work = two_hours(stack.directory)
            await upload(stack, work.recordings)
            figures[work.name] = await _rounds(comparison, work, _fastest(figures["long"], modes["long"])[:BEST], 1)
        waits = await latency.measure(comparison.journal, stack, comparison.artifacts_dir, size, quick=quick)
        defaults = {} if quick else await _defaults(comparison, opponents, main_work[0])
        bare = await run_bare(comparison.artifacts_dir, size, main_work[0].recordings)
    figures["short"]["runs"][BARE] = _median(main_work[0], [bare.run])
    measured = peaks.peaks()
    share = peaks.share(size, bare.precision, bare.run.seconds, bare.contexts, bare.decoder_steps, measured)
    return {
        "size": size,
        "rounds": rounds,
        **_ratios(figures, waits),
        "latency": waits,
        "work": figures,
        "as_they_come": defaults,
        "peaks": measured,
        "share_of_peak": asdict(share),
    }


def _knows(size: ModelSize, work: Work) -> bool:
    """Whether a size of model knows the language of some work."""
    return work.language == "en" or not size.endswith(".en")


async def _screen(
    comparison: Comparison, opponent: Opponent, work: Work, screened: dict[str, float], *, quick: bool
) -> Sequence[Mode]:
    """The best modes of an opponent for some work: tried, or known. What was tried is noted, times real time."""
    n_cpus, n_recordings = usable_cpus(), len(work.recordings)
    if quick:
        return opponent.favourites(n_cpus, n_recordings)
    speeds: dict[Mode, float] = {}
    seconds = sum(recording.seconds for recording in work.recordings[: work.screened])
    for mode in opponent.modes(n_cpus):
        if n_recordings == 1 and mode.at_once > 1 and "batched" not in str(mode):
            continue  # a worker that waits
        run = await comparison.theirs(mode, work, "screening")
        if run is not None:
            speeds[mode] = seconds / run.seconds
            screened[str(mode)] = round(speeds[mode], 2)
            print(f"{work.name}, {mode}: {speeds[mode]:.2f}", file=sys.stderr)
    return sorted(speeds, key=lambda mode: speeds[mode], reverse=True)[:BEST]


async def _rounds(comparison: Comparison, work: Work, modes: Sequence[Mode], rounds: int) -> dict[str, Any]:
    found: dict[str, list[Run]] = {OURS: [], **{str(mode): [] for mode in modes}}
    for number in range(rounds):
        found[OURS].append(await comparison.ours(work, number))
        for mode in modes:
            run = await comparison.theirs(mode, work, number)
            if run is not None:
                found[str(mode)].append(run)
        speeds = {name: round(work.seconds / made[-1].seconds, 2) for name, made in found.items() if made}
        print(f"{work.name}, round {number + 1}: {speeds}", file=sys.stderr)
    return {
        "audio_seconds": round(work.seconds, 1),
        "runs": {name: _median(work, made) for name, made in found.items() if made},
    }


async def _defaults(comparison: Comparison, opponents: Mapping[str, Opponent], work: Work) -> dict[str, Any]:
    """Everybody as a new user would run it: no language given, no mode chosen."""
    files = [recording.path for recording in work.recordings[: work.screened]]
    part = Work("short", work.recordings[: work.screened], work.said[: work.screened])
    size, journal = comparison.size, comparison.journal
    run = partial(run_worker, comparison.stack, comparison.artifacts_dir, size, part.recordings, language=None)
    found = {OURS: _median(part, [await journal.needed(f"{size} as it comes {OURS}", run)])}
    for opponent in opponents.values():
        mode = opponent.as_it_comes(usable_cpus())
        made = await journal.once(f"{size} as it comes {mode}", partial(mode.run, size, files, None))
        if made is not None:
            found[str(mode)] = _median(part, [made])
    return found


def _fastest(figures: dict[str, Any], modes: Sequence[Mode]) -> list[Mode]:
    """The modes that went through the rounds of some work, fastest first."""
    runs = figures["runs"]
    return sorted((mode for mode in modes if str(mode) in runs), key=lambda mode: -float(runs[str(mode)]["x"]))


def _median(work: Work, runs: list[Run]) -> dict[str, Any]:
    seconds = statistics.median(run.seconds for run in runs)
    found = work.score(runs[0])
    return {
        "x": round(work.seconds / seconds, 2),
        "wer": found and found.wer,
        "wer_low": found and found.low,
        "wer_high": found and found.high,
        "words_invented": work.invented(runs[0]),
        "cpu_seconds_per_audio_second": round(statistics.median(run.cpu_seconds for run in runs) / work.seconds, 4),
        "peak_megabytes": round(max(run.peak_megabytes for run in runs)),
        "load_seconds": round(statistics.median(run.load_seconds for run in runs), 2),
    }


def _ratios(figures: dict[str, Any], waits: dict[str, Any]) -> dict[str, Any]:
    ratios: dict[str, float] = {}
    wer: dict[str, float | None] = {}
    for name, work in figures.items():
        ours = work["runs"][OURS]
        peers = [run for who, run in work["runs"].items() if who not in (OURS, BARE)]
        if peers:
            peer = max(peers, key=lambda run: float(run["x"]))
            ratios[name] = round(ours["x"] / peer["x"], 3)
            ratios[f"{name} memory"] = round(ours["peak_megabytes"] / peer["peak_megabytes"], 3)
            wer |= {f"ours_{name}": ours["wer"], f"peer_{name}": peer["wer"]}
    ratios["latency"] = round(waits["alone"]["peer"]["p50"] / waits["alone"]["ours"]["p50"], 3)
    bare = figures["short"]["runs"][BARE]["x"]
    return {
        "ratios": ratios,
        "wer": wer,
        "cost_over_the_bare_engine": round(bare / figures["short"]["runs"][OURS]["x"] - 1, 4),
    }
