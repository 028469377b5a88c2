#!/usr/bin/env python3
"""The same as ``whisper-consumer artifacts build``: libraries, model files and manifest of one size."""

import sys

try:
    from consumer.cli import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run this with .venv/bin/python, which scripts/bootstrap makes")

if __name__ == "__main__":
    sys.argv[1:1] = ["artifacts", "build"]
    main()
