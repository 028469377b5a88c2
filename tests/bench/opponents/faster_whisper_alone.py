"""faster-whisper over some files, in one of its modes. Runs in an environment of its own and imports nothing of ours.

``python faster_whisper_alone.py REQUEST``: REQUEST is JSON with ``model`` (directory), ``compute`` (compute type),
``workers``, ``threads`` (of each worker), ``batch`` (0: sequential), ``vad`` (a bool, in sequential mode), ``language``
and ``files``. Prints JSON: ``load_seconds``; ``seconds`` for all files after a warm-up on the first;
``cpu_seconds`` for the same; ``peak_megabytes``; ``texts``. Files are decoded before the clock starts.
"""

import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio


def main() -> None:
    """One mode."""
    request = json.loads(sys.argv[1])
    started = time.perf_counter()
    model = WhisperModel(
        request["model"],
        device="cpu",
        compute_type=request["compute"],
        cpu_threads=request["threads"],
        num_workers=request["workers"],
        local_files_only=True,
    )
    load_seconds = time.perf_counter() - started
    options: dict[str, Any] = {"beam_size": 1, "language": request["language"], "temperature": 0.0}
    if request["batch"]:
        options |= {"batch_size": request["batch"]}
        transcribe = BatchedInferencePipeline(model).transcribe
    else:
        options |= {"condition_on_previous_text": False, "vad_filter": request["vad"]}
        transcribe = model.transcribe

    def text(samples: Any) -> str:
        return " ".join(segment.text.strip() for segment in transcribe(samples, **options)[0])

    recordings = [decode_audio(name) for name in request["files"]]
    text(recordings[0][: 11 * 16_000])
    cpu_before = _cpu_seconds()
    started = time.perf_counter()
    with ThreadPoolExecutor(request["workers"]) as threads:
        texts = list(threads.map(text, recordings))
    print(
        json.dumps(
            {
                "load_seconds": load_seconds,
                "seconds": time.perf_counter() - started,
                "cpu_seconds": _cpu_seconds() - cpu_before,
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
                "texts": texts,
            }
        )
    )


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
