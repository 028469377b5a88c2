"""The message types as a package of their own, and their AsyncAPI document by AsyncAPI's own schema."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from schemas.asyncapi import FILE_NAME, asyncapi
from schemas.json_schema import render
from tests.support.asyncapi import asyncapi_schema

ROOT = Path(__file__).parents[2]

USE = """
import sys
sys.path.insert(0, sys.argv[1])
from schemas import TranscriptCompleted
assert TranscriptCompleted.__module__ == "schemas.transcript"
assert sys.modules["schemas"].__file__.startswith(sys.argv[1])
assert not [name for name in sys.modules if name.split(".")[0] in ("consumer", "binding", "aiokafka", "aioboto3")]
print(TranscriptCompleted.model_validate_json(open(sys.argv[2], "rb").read()).data.transcript.text)
"""


def test_other_services_install_and_import_them_alone(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(ROOT / "schemas", sources, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=sources, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "installed")
    assert {"schemas/py.typed", "schemas/asyncapi.json", "schemas/transcript.completed.v1.schema.json"} <= set(names)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"schemas"}
    example = ROOT / "schemas" / "examples" / "transcript.completed.v1.transcript.json"
    command = [sys.executable, "-I", "-c", USE, str(tmp_path / "installed"), str(example)]
    used = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60, env=os.environ)
    assert used.stdout.strip() == json.loads(example.read_bytes())["data"]["transcript"]["text"]


def test_the_asyncapi_document_is_that_of_the_types_and_valid() -> None:
    checked_in = (ROOT / "schemas" / FILE_NAME).read_text(encoding="utf-8")
    assert checked_in == render(asyncapi()), "run scripts/generate_schemas.py"
    errors = list(Draft7Validator(asyncapi_schema()).iter_errors(json.loads(checked_in)))
    assert errors == [], "\n".join(f"{error.json_path}: {error.message}" for error in errors)


@pytest.mark.parametrize("spoil", ["asyncapi", "info", "channels"])
def test_the_schema_of_asyncapi_finds_faults(spoil: str) -> None:
    document = {**asyncapi(), spoil: 5}
    assert not Draft7Validator(asyncapi_schema()).is_valid(document)
