"""The whole worker beside its opponents: the same weights, recordings and cores, in turn.

Every mode of an opponent is tried once on some of the clips and on the long file; the best two of each go through all
rounds, and the best of these is what the ratio is to. ``quick`` leaves the trying out and takes the modes that won it
on the machines seen so far. The worker's time runs from the first event's send to the last transcript's arrival, with
Kafka and the store on the same cores; the opponent's recordings are decoded beforehand.

Latency is that of the sample of 11 s at a worker that has nothing else to do, event to transcript, beside the
opponent's time for its samples alone with all cores.
"""

import statistics
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize
from tests.bench import faster_whisper
from tests.bench.faster_whisper import Mode
from tests.bench.journal import Journal
from tests.bench.scoring import Score, score
from tests.bench.worker import Run, latencies, run_worker, upload
from tests.support.built import compiled_artifacts
from tests.support.speech import SAMPLE_TEXT, Recording, corpus_set, write_long_recording
from tests.support.stack import CORPUS_DIR, Stack, running_stack

LONG_SECONDS: Final = 14 * 60
SCREENED_CLIPS: Final = 20
BEST: Final = 2
LATENCY_TIMES: Final = 10

OURS: Final = "whisper-consumer, the whole worker"
OPPONENTS: Final = ("faster-whisper",)


@dataclass(frozen=True, slots=True)
class Work:
    """Recordings that are done together, how many of them show a mode's speed, and what was said in them."""

    name: str
    recordings: tuple[Recording, ...]
    screened: int
    said: tuple[str, ...]
    """Each utterance, in order."""

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.recordings)

    def score(self, run: Run) -> Score:
        return score(self.said, " ".join(run.texts))


async def measure(size: ModelSize, rounds: int, *, quick: bool, fresh: bool) -> dict[str, Any]:
    """Returns the figures of all rounds. What an earlier call of the same code measured is not measured again."""
    journal = Journal(fresh=fresh)
    artifacts_dir = compiled_artifacts(size)
    async with running_stack() as stack:
        works, clips = _works(stack.directory)
        await upload(stack, [recording for work in works for recording in work.recordings])
        figures: dict[str, Any] = {}
        for work in works:
            opponents, screened = (_quick(work), {}) if quick else await _screen(journal, work, size)
            found: dict[str, list[Run]] = {OURS: [], **{str(mode): [] for mode in opponents}}
            for number in range(rounds):
                run_ours = partial(run_worker, stack, artifacts_dir, size, work.recordings, warm_up=clips[:4])
                ours = await journal.once(f"{size} {work.name} {OURS} {number}", run_ours)
                count = len(work.recordings)
                theirs = [await _opponent(journal, mode, size, work, count, number) for mode in opponents]
                for name, run in zip(found, [ours, *theirs], strict=True):
                    if run:
                        found[name].append(run)
                speeds = {name: round(work.seconds / made[-1].seconds, 2) for name, made in found.items() if made}
                print(f"{work.name}, round {number + 1}: {speeds}", file=sys.stderr)
            figures[work.name] = {
                "audio_seconds": round(work.seconds, 1),
                "screened": screened,
                "runs": {name: _median(work, made) for name, made in found.items() if made},
            }
        latency = await _latency(journal, stack, artifacts_dir, size)
    return {"size": size, "rounds": rounds, **_ratios(figures, latency), "latency": latency, "work": figures}


def table(figures: dict[str, Any]) -> str:
    """The medians as Markdown."""
    about = figures["machine"]
    lines = [
        f"Model {figures['size']}, greedy, English, {about['cores']} cores of {about['cpu']} ({about['cpu_class']}), "
        f"median of {figures['rounds']} rounds in turn.",
        "",
        "| work | who | x real time | WER (95 %) | CPU-seconds an audio second | memory peak |",
        "|---|---|---|---|---|---|",
    ]
    for name, work in figures["work"].items():
        lines += [
            f"| {name} | {who} | {run['x']} | {100 * run['wer']:.1f} % ({100 * run['wer_low']:.1f} to "
            f"{100 * run['wer_high']:.1f}) | {run['cpu_seconds_per_audio_second']} | {run['peak_megabytes']:.0f} MB |"
            for who, run in work["runs"].items()
        ]
    latency = figures["latency"]
    ratios = ", ".join(f"{name} {ratio}" for name, ratio in figures["ratios"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"One recording of 11 s, nothing else to do: {latency['ours_p50']} s from event to transcript (at worst "
            f"{latency['ours_worst']} s), {latency['peer']} s in {latency['peer_mode']}.",
            "",
            f"Ours to the best opponent: {ratios}.",
        ]
    )


def _works(directory: Path) -> tuple[tuple[Work, ...], list[Recording]]:
    clips = corpus_set(CORPUS_DIR, "lsother")
    path = directory / "long.wav"
    texts = write_long_recording(path, clips, LONG_SECONDS)
    long = Recording(path, " ".join(texts), LONG_SECONDS)
    works = (
        Work("short", tuple(clips), SCREENED_CLIPS, tuple(clip.text for clip in clips)),
        Work("long", (long,), 1, tuple(texts)),
    )
    return works, clips


def _quick(work: Work) -> list[Mode]:
    n_cpus = usable_cpus()
    if len(work.recordings) > 1:
        return [Mode("int8", n_cpus, 1), Mode("int8", 1, n_cpus, 8)]
    return [Mode("int8", 1, n_cpus, 8), Mode("int8", 1, n_cpus, 16)]


async def _screen(journal: Journal, work: Work, size: ModelSize) -> tuple[list[Mode], dict[str, float]]:
    """The best modes, and the speed of all that this CPU can do."""
    speeds: dict[Mode, float] = {}
    for mode in faster_whisper.modes(usable_cpus()):
        if len(work.recordings) == 1 and mode.workers > 1 and not mode.batch:
            continue  # a worker that waits
        run = await _opponent(journal, mode, size, work, work.screened, "screening")
        if run is not None:
            speeds[mode] = round(sum(one.seconds for one in work.recordings[: work.screened]) / run.seconds, 2)
            print(f"{work.name}, {mode}: {speeds[mode]}", file=sys.stderr)
    best = sorted(speeds, key=lambda mode: speeds[mode], reverse=True)[:BEST]
    return best, {str(mode): speed for mode, speed in speeds.items()}


async def _opponent(
    journal: Journal, mode: Mode, size: ModelSize, work: Work, count: int, occasion: int | str
) -> Run | None:
    files = [recording.path for recording in work.recordings[:count]]
    return await journal.once(
        f"{size} {work.name} {mode} {occasion}", lambda: faster_whisper.run(mode, size, files, "en")
    )


async def _latency(journal: Journal, stack: Stack, artifacts_dir: Path, size: ModelSize) -> dict[str, Any]:
    sample = Recording(Path("consumer/operate/sample/jfk.wav"), SAMPLE_TEXT, 11.0)
    ours = await latencies(stack, artifacts_dir, size, sample, LATENCY_TIMES)
    mode = Mode("int8", 1, usable_cpus())
    theirs = await journal.once(
        f"{size} latency {mode}", lambda: faster_whisper.run(mode, size, [sample.path] * LATENCY_TIMES, "en")
    )
    if theirs is None:
        raise RuntimeError(f"this CPU cannot run {mode}")
    return {
        "ours_p50": round(statistics.median(ours), 3),
        "ours_worst": round(max(ours), 3),
        "peer": round(theirs.seconds / LATENCY_TIMES, 3),
        "peer_mode": str(mode),
    }


def _median(work: Work, runs: list[Run]) -> dict[str, float]:
    seconds = statistics.median(run.seconds for run in runs)
    found = work.score(runs[0])
    return {
        "x": round(work.seconds / seconds, 2),
        "wer": found.wer,
        "wer_low": found.low,
        "wer_high": found.high,
        "cpu_seconds_per_audio_second": round(statistics.median(run.cpu_seconds for run in runs) / work.seconds, 4),
        "peak_megabytes": round(max(run.peak_megabytes for run in runs)),
    }


def _ratios(figures: dict[str, Any], latency: dict[str, Any]) -> dict[str, Any]:
    ratios: dict[str, float] = {}
    wer: dict[str, float] = {}
    for name, work in figures.items():
        ours = work["runs"][OURS]
        peer = max((run for who, run in work["runs"].items() if who != OURS), key=lambda run: float(run["x"]))
        ratios[name] = round(ours["x"] / peer["x"], 3)
        wer |= {f"ours_{name}": ours["wer"], f"peer_{name}": peer["wer"]}
    ratios["latency"] = round(latency["peer"] / latency["ours_p50"], 3)
    return {"ratios": ratios, "wer": wer}
