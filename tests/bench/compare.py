"""The whole worker beside its opponents: the same weights, recordings and cores, in turn.

Every mode of an opponent is tried once on some of the clips and on the long file; the best two of each go through all
rounds, and the best of these is what the ratio is to. What cannot win costs little: a mode that takes three times as
long as the best one is not tried to its end, and one that takes twice as long as the best opponent in the first round
is through with it. On the other work runs, beside us, what won on short clips. The worker's time runs from the first
event's send to the last transcript's arrival, with Kafka and the store on the same cores; the opponents' recordings are
decoded beforehand where they can be given samples.

``quick`` leaves the trying out and the other work, and takes the modes that won it on the machines seen so far.
"""

import asyncio
import math
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
HOPELESS_SCREENING: Final = 3.0
HOPELESS_ROUND: Final = 2.0
"""Times the best opponent's seconds."""
LOADING_SECONDS: Final = 60.0
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

    async def theirs(self, mode: Mode, work: Work, round_number: int) -> Run | None:
        """One opponent; None where this CPU cannot do that."""
        run = partial(mode.run, self.size, [recording.path for recording in work.recordings], work.language)
        return await self.journal.once(f"{self.size} {work.name} {mode} {round_number}", run)

    async def tried(self, mode: Mode, work: Work, within_seconds: float) -> Run | None:
        """One opponent on a part of the work; None where this CPU cannot do that, or not in so much time."""
        files = [recording.path for recording in work.recordings[: work.screened]]

        async def run() -> Run | None:
            try:
                async with asyncio.timeout(within_seconds):
                    return await mode.run(self.size, files, work.language)
            except TimeoutError:
                print(f"{work.name}, {mode}: not within {within_seconds:.0f} s", file=sys.stderr)
                return None

        return await self.journal.once(f"{self.size} {work.name} {mode} screening", run)


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
        fastest = max(screened.values(), default=0.0)
        within_seconds = LOADING_SECONDS + HOPELESS_SCREENING * seconds / fastest if fastest else math.inf
        run = await comparison.tried(mode, work, within_seconds)
        if run is not None:
            speeds[mode] = seconds / run.seconds
            screened[str(mode)] = round(speeds[mode], 2)
            print(f"{work.name}, {mode}: {speeds[mode]:.2f}", file=sys.stderr)
    return sorted(speeds, key=lambda mode: speeds[mode], reverse=True)[:BEST]


async def _rounds(comparison: Comparison, work: Work, modes: Sequence[Mode], rounds: int) -> dict[str, Any]:
    found: dict[str, list[Run]] = {OURS: [], **{str(mode): [] for mode in modes}}
    beaten: set[str] = set()
    for number in range(rounds):
        found[OURS].append(await comparison.ours(work, number))
        for mode in modes:
            if str(mode) in beaten:
                continue
            run = await comparison.theirs(mode, work, number)
            if run is not None:
                found[str(mode)].append(run)
        if number == 0:
            beaten = _beaten({str(mode): found[str(mode)] for mode in modes})
        speeds = {name: round(work.seconds / made[-1].seconds, 2) for name, made in found.items() if made}
        print(f"{work.name}, round {number + 1}: {speeds}", file=sys.stderr)
    return {
        "audio_seconds": round(work.seconds, 1),
        "runs": {name: _median(work, made) for name, made in found.items() if made},
    }


def _beaten(first_round: Mapping[str, Sequence[Run]]) -> set[str]:
    """Modes that further rounds need not try."""
    seconds = {name: runs[0].seconds for name, runs in first_round.items() if runs}
    return {name for name, taken in seconds.items() if taken > HOPELESS_ROUND * min(seconds.values())}


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
    bare, whole = (figures["short"]["runs"][who] for who in (BARE, OURS))
    return {
        "ratios": ratios,
        "wer": wer,
        "cost_over_the_bare_engine": round(bare["x"] / whole["x"] - 1, 4),
        "cpu_cost_over_the_bare_engine": round(
            whole["cpu_seconds_per_audio_second"] / bare["cpu_seconds_per_audio_second"] - 1, 4
        ),
    }
