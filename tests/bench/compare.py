"""The whole worker beside faster-whisper: the same weights, recordings and cores, in turn.

Every mode of the opponent is tried once on some of the clips and on the long file; the best two of each go through all
rounds, and the best of these is what the ratio is to. The worker's time runs from the first event's send to the last
transcript's arrival, with Kafka and the store on the same cores; the opponent's recordings are decoded beforehand.
"""

import statistics
import sys
from dataclasses import dataclass
from typing import Any

from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize
from tests.bench import faster_whisper
from tests.bench.faster_whisper import Mode
from tests.bench.worker import Run, run_worker, upload
from tests.support.built import compiled_artifacts
from tests.support.speech import Recording, corpus_set, word_error_rate, write_long_recording
from tests.support.stack import CORPUS_DIR, running_stack

LONG_SECONDS = 14 * 60
SCREENED_CLIPS = 20
BEST = 2

OURS = "whisper-consumer, the whole worker"


@dataclass(frozen=True, slots=True)
class Work:
    """Recordings that are done together, and how many of them show a mode's speed."""

    name: str
    recordings: tuple[Recording, ...]
    screened: int

    @property
    def seconds(self) -> float:
        return sum(recording.seconds for recording in self.recordings)

    def wer(self, texts: list[str]) -> float:
        return round(word_error_rate(" ".join(one.text for one in self.recordings), " ".join(texts)), 4)


async def measure(size: ModelSize, rounds: int) -> dict[str, Any]:
    """Returns the figures of all rounds."""
    artifacts_dir = compiled_artifacts(size)
    async with running_stack() as stack:
        clips = corpus_set(CORPUS_DIR, "lsother")
        path = stack.directory / "long.wav"
        text = write_long_recording(path, clips, LONG_SECONDS)
        works = (
            Work("short", tuple(clips), SCREENED_CLIPS),
            Work("long", (Recording(path, text, LONG_SECONDS),), 1),
        )
        await upload(stack, [recording for work in works for recording in work.recordings])
        figures: dict[str, Any] = {}
        for work in works:
            opponents, screened = await _screen(work, size)
            found: dict[str, list[Run]] = {OURS: [], **{str(mode): [] for mode in opponents}}
            for number in range(rounds):
                found[OURS].append(await run_worker(stack, artifacts_dir, size, work.recordings, warm_up=clips[:4]))
                for mode in opponents:
                    if run := await _opponent(mode, size, work, len(work.recordings)):
                        found[str(mode)].append(run)
                speeds = {name: round(work.seconds / runs[-1].seconds, 2) for name, runs in found.items()}
                print(f"{work.name}, round {number + 1}: {speeds}", file=sys.stderr)
            figures[work.name] = {
                "audio_seconds": round(work.seconds, 1),
                "screened": screened,
                "runs": {name: _median(work, runs) for name, runs in found.items()},
            }
    return {"size": size, "rounds": rounds, **_ratios(figures), "work": figures}


def table(figures: dict[str, Any]) -> str:
    """The medians as Markdown."""
    about = figures["machine"]
    lines = [
        f"Model {figures['size']}, greedy, English, {about['cores']} cores of {about['cpu']} ({about['cpu_class']}), "
        f"median of {figures['rounds']} rounds in turn.",
        "",
        "| work | who | x real time | WER | CPU-seconds an audio second | RSS peak |",
        "|---|---|---|---|---|---|",
    ]
    for name, work in figures["work"].items():
        lines += [
            f"| {name} | {who} | {run['x']} | {100 * run['wer']:.1f} % | {run['cpu_seconds_per_audio_second']} | "
            f"{run['peak_megabytes']:.0f} MB |"
            for who, run in work["runs"].items()
        ]
    ratios = ", ".join(f"{name} {ratio}" for name, ratio in figures["ratios"].items())
    return "\n".join([*lines, "", f"Ours to the best opponent: {ratios}."])


async def _screen(work: Work, size: ModelSize) -> tuple[list[Mode], dict[str, float]]:
    """The best modes, and the speed of all that this CPU can do."""
    speeds: dict[Mode, float] = {}
    for mode in faster_whisper.modes(usable_cpus()):
        if len(work.recordings) == 1 and mode.workers > 1 and not mode.batch:
            continue  # a worker that waits
        run = await _opponent(mode, size, work, work.screened)
        if run is not None:
            speeds[mode] = round(sum(one.seconds for one in work.recordings[: work.screened]) / run.seconds, 2)
            print(f"{work.name}, {mode}: {speeds[mode]}", file=sys.stderr)
    best = sorted(speeds, key=lambda mode: speeds[mode], reverse=True)[:BEST]
    return best, {str(mode): speed for mode, speed in speeds.items()}


async def _opponent(mode: Mode, size: ModelSize, work: Work, count: int) -> Run | None:
    return await faster_whisper.run(mode, size, [recording.path for recording in work.recordings[:count]], "en")


def _median(work: Work, runs: list[Run]) -> dict[str, float]:
    seconds = statistics.median(run.seconds for run in runs)
    return {
        "x": round(work.seconds / seconds, 2),
        "wer": work.wer(runs[0].texts),
        "cpu_seconds_per_audio_second": round(statistics.median(run.cpu_seconds for run in runs) / work.seconds, 4),
        "peak_megabytes": round(max(run.peak_megabytes for run in runs)),
    }


def _ratios(figures: dict[str, Any]) -> dict[str, Any]:
    ratios: dict[str, float] = {}
    wer: dict[str, float] = {}
    for name, work in figures.items():
        ours = work["runs"][OURS]
        peer = max((run for who, run in work["runs"].items() if who != OURS), key=lambda run: float(run["x"]))
        ratios[name] = round(ours["x"] / peer["x"], 3)
        wer |= {f"ours_{name}": ours["wer"], f"peer_{name}": peer["wer"]}
    return {"ratios": ratios, "wer": wer}
