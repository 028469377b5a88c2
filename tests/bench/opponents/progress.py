"""How fetching and building for an opponent tells what it does: in lines on stderr, beside those of the benchmark."""

import sys

from consumer.engine.artifacts.progress import Plain

PROGRESS = Plain(lambda line: print(line, file=sys.stderr))
