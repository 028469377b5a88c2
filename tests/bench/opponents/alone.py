"""A Python library as an opponent: loads it and transcribes what it is told to.

Runs in the environment of the opponent and imports nothing of ours. ``python -P alone.py ENGINE REQUEST``; ``-P``, as
files beside this one have the names of libraries. ENGINE is a file that defines

- ``load(request)``: a function that gives the text of a recording,
- ``SHARED``: whether that may be called by several threads at once; else each thread loads one of its own,
- ``read(path)``: samples in the form that this function takes.

REQUEST is JSON with what ``load`` wants and ``workers`` (threads), ``files``, ``warm_up`` (a file that each thread
does first) and ``decoded`` (whether files are decoded beforehand; else the function gets their paths).

Lines of JSON come out: ``{"loaded": true}``, ``{"ready": true}``, then ``{"number": …, "text": …}`` for each number of
a file that is written to stdin, as they are done. Ends with stdin; an error in any thread ends it with status 1.
"""

import json
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Transcribe = Callable[[Any], str]

_answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
_one_at_a_time = threading.Lock()


def main() -> None:
    """Load, make ready, answer."""
    os.dup2(2, 1)  # whatever libraries print goes to stderr
    threading.excepthook = _end
    engine, request = runpy.run_path(sys.argv[1]), json.loads(sys.argv[2])
    shared = engine["load"](request) if engine["SHARED"] else None
    prepare = engine["read"] if request["decoded"] else str
    numbers: SimpleQueue[int] = SimpleQueue()
    recordings: list[Any] = []
    together = threading.Barrier(request["workers"] + 1)

    def work() -> None:
        transcribe: Transcribe = shared or engine["load"](request)
        together.wait()
        transcribe(prepare(request["warm_up"]))
        together.wait()
        while True:
            number = numbers.get()
            _say(number=number, text=transcribe(recordings[number]))

    for _ in range(request["workers"]):
        threading.Thread(target=work, daemon=True).start()
    together.wait()
    _say(loaded=True)
    recordings += [prepare(name) for name in request["files"]]
    together.wait()
    _say(ready=True)
    for line in sys.stdin:
        numbers.put(int(line))


def _say(**answer: Any) -> None:
    with _one_at_a_time:
        print(json.dumps(answer), file=_answers, flush=True)


def _end(failed: threading.ExceptHookArgs) -> None:
    traceback.print_exception(failed.exc_value)
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    main()
