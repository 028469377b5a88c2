"""How long one waits: from sending an event to reading its transcript, beside the opponents' time for the samples.

``alone`` is the sample of 11 s at a worker that has nothing else to do. The queue's depths are 1, N and 4 N recordings
in hand on N cores, of the short clips, the next one handed in when one is done. The opponent is faster-whisper, in
whichever of its sequential modes waits least at that depth.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumer.engine.cpus import usable_cpus
from consumer.settings import ModelSize
from tests.bench.journal import Journal
from tests.bench.opponents.faster_whisper import Mode
from tests.bench.opponents.warm_up import WARM_UP
from tests.bench.runs import Run
from tests.bench.worker import run_worker, upload
from tests.support.speech import SAMPLE_TEXT, Recording, corpus_set
from tests.support.stack import CORPUS_DIR, Stack

TIMES: Final = 12


async def measure(
    journal: Journal, stack: Stack, artifacts_dir: Path, size: ModelSize, *, quick: bool
) -> dict[str, Any]:
    """Seconds at the median, at the 95th percentile and at worst, for each depth; ``quick`` leaves the queue out, and
    the mode that is for queues.
    """
    n_cpus = usable_cpus()
    alone = [_copy(stack.directory / f"alone-{number}.wav") for number in range(TIMES)]
    await upload(stack, alone)
    works: list[tuple[str, Sequence[Recording], int]] = [("alone", alone, 1)]
    if not quick:
        clips = corpus_set(CORPUS_DIR, "lsother")
        works += [(f"queue of {depth}", clips, depth) for depth in sorted({1, n_cpus, 4 * n_cpus})]
    modes = [Mode("int8", 1, n_cpus)] if quick else [Mode("int8", 1, n_cpus), Mode("int8", n_cpus, 1)]
    found: dict[str, Any] = {}
    for name, recordings, depth in works:
        run_ours = partial(run_worker, stack, artifacts_dir, size, recordings, in_hand=depth)
        ours = await journal.needed(f"{size} latency {name} ours", run_ours)
        theirs: list[dict[str, Any]] = []
        for mode in modes:
            run_theirs = partial(mode.run, size, [one.path for one in recordings], "en", depth)
            made = await journal.once(f"{size} latency {name} {mode}", run_theirs)
            if made is not None:
                theirs.append({**_waits(made), "mode": str(mode)})
        if not theirs:
            raise RuntimeError("this CPU cannot run faster-whisper in int8")
        found[name] = {"ours": _waits(ours), "peer": min(theirs, key=lambda one: one["p50"])}
    return found


def _copy(path: Path) -> Recording:
    shutil.copyfile(WARM_UP, path)
    return Recording(path, SAMPLE_TEXT, 11.0)


def _waits(run: Run) -> dict[str, float]:
    p50, p95, worst = np.percentile(run.waits, [50, 95, 100])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "worst": round(float(worst), 3)}
