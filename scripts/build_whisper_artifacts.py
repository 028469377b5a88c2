#!/usr/bin/env python3
"""The same as ``whisper-consumer artifacts build``: libraries, model files and manifest of one size."""

import sys

from consumer.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["artifacts", "build"]
    main()
