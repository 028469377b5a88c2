"""faster-whisper as an engine of ``alone.py``. Runs in an environment of its own and imports nothing of ours.

A request has ``model`` (directory), ``compute`` (compute type), ``workers``, ``threads`` (of each worker; 0: its
default), ``language`` (null: not given), ``defaults`` (a bool: nothing else is set) or else ``batch`` (0: sequential)
and ``vad`` (a bool, in sequential mode).
"""

from collections.abc import Callable
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio

SHARED = True


def load(request: dict[str, Any]) -> Callable[[Any], str]:
    """The function that gives the text of samples or of a file."""
    model = WhisperModel(
        request["model"],
        device="cpu",
        compute_type=request["compute"],
        cpu_threads=request["threads"],
        num_workers=request["workers"],
        local_files_only=True,
    )
    transcribe, options = model.transcribe, {"language": request["language"]}
    if not request["defaults"]:
        options |= {"beam_size": 1, "temperature": 0.0}
        if request["batch"]:
            options |= {"batch_size": request["batch"]}
            transcribe = BatchedInferencePipeline(model).transcribe
        else:
            options |= {"condition_on_previous_text": False, "vad_filter": request["vad"]}
    return lambda recording: " ".join(segment.text.strip() for segment in transcribe(recording, **options)[0])


def read(path: str) -> Any:
    """Samples of a file, mono at 16 kHz, float32, shape (n,)."""
    return decode_audio(path)
