#!/usr/bin/env python3
"""Download the artifacts of one model size from the bucket, unless they are there.

usage: download_whisper_artifacts.py [SIZE]

SIZE is tiny, base, small, medium (each also with .en), large-v3 or large-v3-turbo; without it WHISPER_MODEL_SIZE
counts, else small. The store is MINIO_ENDPOINT, with MINIO_ACCESS_KEY and MINIO_SECRET_KEY; the directory goes into
WHISPER_ARTIFACTS_DIR. Exits 0 when the directory is there and whole, 1 with the reason when it is not.
"""

import asyncio
import sys

try:
    from consumer.engine.artifacts.errors import ArtifactError
    from consumer.engine.artifacts.manifest import read_manifest
    from consumer.engine.artifacts.models import SIZES
    from consumer.engine.artifacts.progress import Plain
    from consumer.engine.artifacts.pull import pull
    from consumer.settings import EngineSettings, SettingsError, StoreSettings, load
except ModuleNotFoundError as error:
    sys.exit(f"{error}: run this with .venv/bin/python, which scripts/bootstrap makes")


def main(arguments: list[str]) -> int:
    """Exit status: 0 the directory is whole, 1 it is not."""
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(arguments) > 1 or (arguments and arguments[0] not in SIZES):
        print(f"error: {' '.join(arguments)} is not a model size\n{__doc__}", file=sys.stderr)
        return 1
    try:
        engine = load(EngineSettings, **({"whisper_model_size": arguments[0]} if arguments else {}))
        directory = asyncio.run(
            pull(
                engine.whisper_model_size,
                engine.whisper_artifacts_dir,
                engine.artifacts_bucket,
                load(StoreSettings),
                Plain(lambda line: print(line, flush=True)),
                require_manifest=engine.artifacts_require_manifest,
            )
        )
    except (ArtifactError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    verified = "verified against its manifest" if read_manifest(directory) else "without a manifest, not verified"
    print(f"{directory}: complete, {verified}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
