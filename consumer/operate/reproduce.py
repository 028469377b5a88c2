"""``whisper-consumer reproduce``: the recording of a result once more, and whether the text comes out the same.

With the same model, libraries and class of CPU it does; where it does not, what is other is told.
"""

import asyncio
import difflib
import hashlib
import math
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast, get_args

import orjson
from botocore.exceptions import ClientError
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from consumer import __version__
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import Artifacts, locate
from consumer.engine.artifacts.models import PRECISIONS, Precision
from consumer.engine.base import EngineFacts, Options
from consumer.observe.metrics import Metrics
from consumer.settings import EngineSettings, ModelSize, StoreSettings, load
from consumer.store.boto import open_client
from consumer.store.failures import error_code, outages
from consumer.transcriber import Progress
from consumer.transcribing import transcribing
from schemas import Source, Transcript

SAME, OTHER, IMPOSSIBLE = 0, 1, 2
NO_LIMIT: Final = 10**12
STALL_TIMEOUT_SECONDS: Final = 60
_CHUNK_BYTES: Final = 1024 * 1024
_GONE: Final = {"NoSuchKey", "NoSuchVersion", "404"}
_WORDS_AROUND: Final = 3
"""Words shown on both sides of a difference."""


class ImpossibleError(Exception):
    """The result cannot be made again; the message says why and what to do."""


async def reproduce(
    result: bytes, recording: Path | None, settings: EngineSettings, directories: Sequence[Path], console: Console
) -> int:
    """Transcribe the recording of a result again, as its provenance says, and print what is other.

    ``recording`` is a file with its bytes; without one it is fetched from the store of the settings. Artifacts are
    looked for in each of ``directories``. Returns 0 for the same text, 1 for another.

    Raises ImpossibleError, ArtifactError, and what fetching and transcribing raise.
    """
    then = read_result(result)
    provenance = then.provenance
    artifacts = _artifacts(directories, then)
    options = _options(then)
    chosen = {"whisper_model_size": artifacts.size, "use_whisper_library": provenance.engine == "library"}
    async with (
        _spooled(then.source, recording) as spool,
        transcribing(
            settings.model_copy(update=chosen),
            artifacts,
            Metrics(CollectorRegistry()),
            max_duration_seconds=NO_LIMIT,
            stall_timeout_seconds=STALL_TIMEOUT_SECONDS,
        ) as transcriber,
    ):
        heard = await transcriber.transcribe(spool, then.source.key, options, kept=lambda _: _NothingKept())
        facts = transcriber.engine
    console.print(_comparison(then, facts))
    if heard.text == then.text:
        console.print(f"The text is the same: {len(heard.text.split())} words.")
        return SAME
    console.print("The text is another:")
    for line in differences(then.text, heard.text):
        console.print(Text(line), soft_wrap=True)
    return OTHER


def _options(then: Transcript) -> Options:
    """Those of a result; of one from before an option was there, as all were transcribed then."""
    parameters = then.provenance.parameters
    language = str(parameters.get("language") or "auto")
    return Options(
        language=None if language == "auto" else language,
        task=then.task,
        prompt=str(parameters.get("prompt") or ""),
        channels="split" if parameters.get("channels") == "split" else "mix",
        start_seconds=float(parameters.get("start_seconds") or 0),
        end_seconds=float(parameters.get("end_seconds") or math.inf),
        words=parameters.get("words") is not False,
        carry_context=parameters.get("carry_context") is True,
    )


def read_result(body: bytes) -> Transcript:
    """The transcript in a result, or in an event that holds one. Raises ImpossibleError."""
    try:
        document = orjson.loads(body)
        data = document.get("data", {})
        if reference := data.get("reference"):
            raise ImpossibleError(
                f"this event refers to a result: get {reference.get('key')} of bucket {reference.get('bucket')} first"
            )
        return Transcript.model_validate(data.get("transcript") or document)
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise ImpossibleError("this is no JSON object; expected a result, or a transcript.completed event") from error
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, fault["loc"])) for fault in error.errors()})[:5])
        raise ImpossibleError(
            f"this is no result of a worker; expected one, or a transcript.completed event (wrong or missing: {fields})"
        ) from error


def differences(then: str, now: str) -> list[str]:
    """Each stretch of words that is other, with some words around it: ``- then`` and ``+ now``."""
    old, new = then.split(), now.split()
    lines: list[str] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            before, after = old[max(0, i - _WORDS_AROUND) : i], old[j : j + _WORDS_AROUND]
            lines += [
                f"{mark} {' '.join([*before, '[', *words, ']', *after])}"
                for mark, words in (("-", old[i:j]), ("+", new[k:m]))
            ]
    return lines


class _NothingKept:
    """A place for progress that keeps none: with it, long recordings are computed as in a worker."""

    async def find(self) -> Progress | None:
        return None

    async def keep(self, progress: Progress) -> None: ...


def _artifacts(directories: Sequence[Path], then: Transcript) -> Artifacts:
    """Those of the same model file where they are there, else of its size. Raises ArtifactError."""
    size = then.provenance.model_size
    if size not in get_args(ModelSize):
        raise ImpossibleError(f"the result was made with a model of size {size!r}, which this version does not know")
    found: list[Artifacts] = []
    missing: list[ArtifactError] = []
    ways: tuple[Precision | Literal["auto"], ...] = ("auto", *PRECISIONS)
    for directory, precision in product(directories, ways):
        try:
            found.append(locate(directory, cast("ModelSize", size), precision))
        except ArtifactError as error:
            missing.append(error)
    if not found:
        raise missing[0]
    return next((each for each in found if each.model.name == then.provenance.model_file), found[0])


@asynccontextmanager
async def _spooled(source: Source, recording: Path | None) -> AsyncIterator[BinaryIO]:
    """The recording, with the bytes that the result was made of."""
    if recording is not None:
        with recording.open("rb") as file:
            digest = await asyncio.to_thread(hashlib.file_digest, file, "sha256")
            _check(digest.hexdigest(), source, str(recording))
            file.seek(0)
            yield file
        return
    with tempfile.TemporaryFile() as spool:
        _check(await _fetch(source, spool), source, f"{source.bucket}/{source.key}")
        spool.seek(0)
        yield spool


async def _fetch(source: Source, spool: BinaryIO) -> str:
    """Write the recording into a file; returns its SHA-256. Raises Unavailable, and ImpossibleError if it is gone."""
    version = {"VersionId": source.version_id} if source.version_id else {}
    digest = hashlib.sha256()
    async with open_client(load(StoreSettings)) as client:
        with outages(f"fetching {source.bucket}/{source.key}", client.meta.endpoint_url):
            try:
                answer = await client.get_object(Bucket=source.bucket, Key=source.key, **version)  # type: ignore[arg-type]
            except ClientError as error:
                if error_code(error) not in _GONE:
                    raise
                raise ImpossibleError(
                    f"the recording {source.bucket}/{source.key} is gone: give it with --recording"
                ) from error
            async for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
                await asyncio.to_thread(spool.write, chunk)
    return digest.hexdigest()


def _check(sha256: str, source: Source, where: str) -> None:
    if sha256 != source.sha256:
        raise ImpossibleError(
            f"{where} has other bytes (SHA-256 {sha256[:12]}…) than the recording of the result "
            f"({source.sha256[:12]}…): give the file that it was made of with --recording"
        )


def _comparison(then: Transcript, now: EngineFacts) -> Table:
    """What could make the text another, then and now."""
    made = then.provenance
    table = Table("", "then", "now")
    rows = {
        "worker": (made.worker_version, __version__),
        "engine": (f"{made.engine} {made.engine_version}", f"{now.engine} {now.engine_version}"),
        "model": (_short(made.model_file, made.model_sha256), _short(now.model_file, now.model_sha256)),
        "libraries": (_digest(made.libraries_sha256), _digest(dict(now.libraries))),
        "class of CPU": (made.cpu_class, now.cpu_class),
    }
    for name, (old, new) in rows.items():
        table.add_row(name, old, new, style=None if old == new else "yellow")
    return table


def _short(name: str, sha256: str) -> str:
    return f"{name} {sha256[:12]}"


def _digest(libraries: dict[str, str]) -> str:
    """One short digest of all of them."""
    if not libraries:
        return "unknown"
    return hashlib.sha256(orjson.dumps(libraries, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
