"""The import rules of the architecture, over the syntax tree of every module."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# From the ground up. A module imports from its own part and from lower levels, never from its own level's others.
LEVELS = (
    {"schemas", "binding"},
    {"consumer", "consumer.settings", "consumer.errors", "consumer.die_with_parent", "consumer.cgroups"},
    {"consumer.observe", "consumer.extras"},
    {
        "consumer.audio",
        "consumer.store",
        "consumer.events",
        "consumer.formats",
        "consumer.outages",
        "consumer.memory",
        "consumer.watchdog",
    },
    {"consumer.engine"},
    {"consumer.identity", "consumer.transcriber"},
    {"consumer.transcribing"},
    {"consumer.pipeline", "consumer.delivery"},
    {"consumer.health", "consumer.models"},
    {"consumer.status", "consumer.model_change"},
    {"consumer.app"},
    {"consumer.operate"},
    {"consumer.cli"},
    {"consumer.__main__"},
)
LEVEL = {part: level for level, parts in enumerate(LEVELS) for part in parts}

# Third-party packages that the ground may use.
GROUND = {"binding": {"cffi", "numpy"}, "schemas": {"pydantic", "pydantic_core"}}

AUDIO_WING = (
    "binding",
    "consumer.audio",
    "consumer.engine",
    "consumer.identity",
    "consumer.pipeline",
    "consumer.store",
    "consumer.transcriber",
    "consumer.transcribing",
)
KAFKA_WING = ("consumer.delivery", "consumer.events")

# The one module that both wings know: what is handed through the door between them.
DOOR = "consumer.delivery.job"

# Settings are read (loaded or built) here and handed on; elsewhere they are at most a parameter's type.
READ_SETTINGS = ("consumer.settings", "consumer.app", "consumer.operate", "consumer.cli")

# The processes that operate/ starts (a broker, a store, a worker) get this one's environment, changed for them.
KNOW_ENVIRONMENT = ("consumer.settings", "consumer.operate")

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"}

BUILDERS = ("consumer.app", "consumer.transcribing")
BUILT_THERE_ALONE = {
    "CheckpointStore",
    "Decoder",
    "HttpServer",
    "ObjectStore",
    "Pipeline",
    "Publisher",
    "RecordHandler",
    "ResultStore",
    "Transcriber",
    "WhisperCliEngine",
    "Worker",
    "WorkerHealth",
}


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def part_of(name: str) -> str:
    """The part of the project that a module or an imported name belongs to: ``consumer.store.objects`` -> store's."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first == "consumer" and rest else first


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported: of ``from a.b import c`` it is ``a.b.c``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def environment_reads(tree: ast.AST) -> Iterator[str]:
    """Uses of the environment other than setting a variable for the C libraries of this process."""
    written = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in written:
            yield from ENVIRONMENT & {ast.unparse(node)}
    yield from ENVIRONMENT & set(imported(tree))


def called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func).rpartition(".")[2]


def import_faults(module: str, name: str) -> Iterator[str]:
    """Why this module may not import this name."""
    own, other = part_of(module), part_of(name)
    through_the_door = own == "consumer.pipeline" and within(name, DOOR)
    if name.startswith("."):
        yield "imports are absolute"
    if own in GROUND and other not in {own, *GROUND[own], *sys.stdlib_module_names}:
        yield f"{own} imports {', '.join(sorted(GROUND[own]))} and the standard library only"
    if within(module, *KAFKA_WING) and within(name, *AUDIO_WING):
        yield "the Kafka wing knows nothing of audio"
    if within(module, *AUDIO_WING) and within(name, *KAFKA_WING, "aiokafka") and not through_the_door:
        yield "the audio wing knows nothing of Kafka"
    if other in LEVEL and other != own and LEVEL[other] >= LEVEL[own] and not through_the_door:
        yield "imports point downward"


def faults(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    found = [f"{name}: {fault}" for name in imported(tree) for fault in import_faults(module, name)]
    if not within(module, *KNOW_ENVIRONMENT):
        found += [f"{use}: the environment is read in settings.py alone" for use in environment_reads(tree)]
    if not within(module, *READ_SETTINGS):
        read = {"load"} & {name.rpartition(".")[2] for name in imported(tree) if within(name, "consumer.settings")}
        read |= {name for name in called(tree) if name.endswith("Settings")}
        found += [f"{name}: parts are given settings, they do not read them" for name in sorted(read)]
    if module not in BUILDERS:
        found += [
            f"{name}: built in app.py and transcribing.py alone"
            for name in sorted(BUILT_THERE_ALONE & set(called(tree)))
        ]
    return found


def modules() -> dict[str, Path]:
    paths = (path for package in ("binding", "consumer", "schemas") for path in (ROOT / package).rglob("*.py"))
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


@pytest.mark.parametrize("module", modules())
def test_the_rules_hold(module: str) -> None:
    assert part_of(module) in LEVEL, "say in LEVELS where this new part belongs"
    assert faults(module, modules()[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("binding.library", "import aiohttp"),
        ("binding.library", "from consumer.errors import Rejected"),
        ("schemas.base", "import orjson"),
        ("schemas.base", "import binding"),
        ("consumer.delivery.worker", "from consumer.engine.pool import Pool"),
        ("consumer.delivery.worker", "def late():\n    import consumer.store"),
        ("consumer.events.s3", "from consumer import audio"),
        ("consumer.events.s3", "from binding import errors"),
        ("consumer.pipeline", "import aiokafka.errors"),
        ("consumer.pipeline", "from consumer.delivery.worker import Worker"),
        ("consumer.store.objects", "from consumer.events.s3 import parse"),
        ("consumer.store.objects", "from consumer.audio.decode import decode"),
        ("consumer.store.objects", "from .other import x"),
        ("consumer.store.objects", "from consumer.settings import load"),
        ("consumer.store.objects", "from consumer.settings import StoreSettings\nsettings = StoreSettings()"),
        ("consumer.engine.pool", "from consumer import pipeline"),
        ("consumer.errors", "from consumer.observe import logs"),
        ("consumer.app", "from consumer.cli import main"),
        ("consumer.app", "from consumer.operate import doctor"),
        ("consumer.engine.pool", "import os\nthreads = os.environ['OMP_NUM_THREADS']"),
        ("consumer.engine.pool", "from os import getenv"),
        ("binding.library", "import os\npath = os.getenv('LD_LIBRARY_PATH')"),
        ("consumer.engine.pool", "from consumer.delivery.job import Job"),
        ("consumer.pipeline", "from consumer.store import objects\nstore = objects.ObjectStore(None)"),
    ],
)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert faults(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("binding.library", "import os\nos.environ['OMP_NUM_THREADS'] = '1'"),
        ("consumer.store.client", "from consumer.settings import StoreSettings\ndef f(s: StoreSettings): ..."),
        ("binding.library", "import ctypes\nimport numpy as np\nfrom cffi import FFI\nfrom binding.errors import x"),
        ("consumer.pipeline", "from consumer.delivery.job import Job, Outcome\nfrom consumer.store import results"),
        ("consumer.delivery.worker", "import aiokafka\nfrom consumer.events import parse\nimport schemas"),
        ("consumer.operate.demo", "import os\nfrom consumer.app import run\nenvironment = dict(os.environ)"),
        ("consumer.cli", "from consumer.settings import load\nfrom consumer.operate import doctor"),
        ("consumer.app", "from consumer.observe.http import HttpServer\nserver = HttpServer()"),
    ],
)
def test_what_is_right_is_left_alone(module: str, source: str) -> None:
    assert faults(module, source) == []
