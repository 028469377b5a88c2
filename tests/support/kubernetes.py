"""What checks the manifests of ``ops/kubernetes``: kustomize, a linter, and the schemas of other people's kinds.

All of it comes as Go modules, pinned; ``python -m tests.support.kubernetes`` builds and copies it once, into the cache.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml

from tests.support.cache import CACHE_DIR
from tests.support.minio import go_install

Manifest = dict[str, Any]

KUBERNETES: Final = "1.34"
"""Of which the schemas of built-in kinds are. The manifests use nothing newer than 1.31."""

_PROGRAMS: Final = {
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1",
    "kube-score": "github.com/zegl/kube-score/cmd/kube-score@v1.20.0",
}
_MODULES: Final = {
    "keda": "github.com/kedacore/keda/v2@v2.21.0",
    "prometheus-operator": "github.com/prometheus-operator/prometheus-operator@v0.85.0",
}
_FILES: Final = {
    "scaledobjects.yaml": ("keda", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "kafka_scaler.go": ("keda", "pkg/scalers/kafka_scaler.go"),
    "prometheus_scaler.go": ("keda", "pkg/scalers/prometheus_scaler.go"),
    "podmonitors.yaml": (
        "prometheus-operator",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
}
_DIRECTORY: Final = CACHE_DIR / "kubernetes" / "-".join(entry.rpartition("@v")[2] for entry in _MODULES.values())
_TIMEOUT_SECONDS: Final = 60
_DOWNLOAD_TIMEOUT_SECONDS: Final = 600


class Kubernetes:
    """The tools. Raises FileNotFoundError where one of them is not in the cache."""

    def __init__(self) -> None:
        self._programs = {name: _program(name) for name in _PROGRAMS}
        for path in (*self._programs.values(), *map(_file, _FILES)):
            if not path.exists():
                raise FileNotFoundError(path)
        self._definitions = {
            definition["spec"]["names"]["kind"]: definition
            for definition in map(_read_yaml, ("scaledobjects.yaml", "podmonitors.yaml"))
        }

    def render(self, directory: Path) -> list[Manifest]:
        """What kustomize makes of a directory. Raises CalledProcessError."""
        return list(yaml.safe_load_all(self._run("kustomize", "build", str(directory))))

    def validate(self, manifest: Manifest) -> None:
        """Raises jsonschema.ValidationError for what the schema of its kind does not allow."""
        definition = self._definitions.get(manifest["kind"])
        if definition is None:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
            return
        group, version = manifest["apiVersion"].split("/")
        assert group == definition["spec"]["group"]
        [schema] = [
            served["schema"]["openAPIV3Schema"]
            for served in definition["spec"]["versions"]
            if served["name"] == version and served["served"]
        ]
        jsonschema.Draft7Validator(_closed(schema)).validate(manifest)

    def faults(self, manifests: list[Manifest], *, ignored: Mapping[str, str]) -> list[str]:
        """What the linter finds; ``ignored`` are tests of it, with the reason."""
        options = [f"--ignore-test={name}" for name in ignored]
        options += [f"--enable-optional-test={name}" for name in _OPTIONAL]
        answer = self._run(
            "kube-score", "score", "--output-format=json", "--exit-one-on-warning=false", *options, "-",
            stdin=yaml.safe_dump_all(manifests),
        )  # fmt: skip
        return [
            f"{found['object_name']}: {check['check']['id']}: {comment['summary']}"
            for found in json.loads(answer)
            for check in found["checks"] or ()
            for comment in check["comments"] or ()
            if not check["skipped"] and check["grade"] < _GOOD
        ]

    def trigger_options(self, trigger: str) -> set[str]:
        """Names that the metadata of a trigger may have, of which KEDA's definition says nothing; out of its source."""
        source = _file(f"{trigger}_scaler.go").read_text(encoding="utf-8")
        tags = [line.partition('keda:"')[2].partition('"')[0] for line in source.splitlines() if 'keda:"' in line]
        found: set[str] = set()
        for tag in tags:
            names = [part.removeprefix("name=") for part in tag.split(",") if part.startswith("name=")]
            found |= {name for entry in names for name in entry.split(";")}
            if "resolvedEnv" in tag:
                found |= {f"{name}FromEnv" for name in names}
        return found

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [self._programs[program], *arguments], input=stdin, capture_output=True, text=True,
            timeout=_TIMEOUT_SECONDS, check=program != "kube-score",  # its status is 1 where it finds anything
        )  # fmt: skip
        return done.stdout


_GOOD: Final = 10
_OPTIONAL: Final = (
    "container-cpu-requests-equal-limits",
    "container-memory-requests-equal-limits",
    "container-ephemeral-storage-request-equals-limit",
    "container-ports-check",
    "container-seccomp-profile",
)


def _closed(schema: Any) -> Any:
    """The schema with no fields but those it names: what the API server would drop is a mistake here."""
    if isinstance(schema, list):
        return [_closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and schema.get("properties") and not free:
        closed["additionalProperties"] = False
    return closed


def _program(name: str) -> Path:
    version = _PROGRAMS[name].rpartition("@")[2]
    return CACHE_DIR / "bin" / f"{name}-{version}"


def _file(name: str) -> Path:
    return _DIRECTORY / name


def _read_yaml(name: str) -> Manifest:
    read: Manifest = yaml.safe_load(_file(name).read_text(encoding="utf-8"))
    return read


def _prepare() -> None:
    """Build and copy what is missing. Raises RuntimeError where that cannot be done, saying why."""
    for name, package in _PROGRAMS.items():
        if not _program(name).exists():
            print(f"Building {name} for the tests, once.", file=sys.stderr)
            go_install(package, name, _program(name))
    if not all(_file(name).exists() for name in _FILES):
        directories = {module: _module_directory(package) for module, package in _MODULES.items()}
        _DIRECTORY.mkdir(parents=True, exist_ok=True)
        for name, (module, path) in _FILES.items():
            copy = _file(f".{name}.{os.getpid()}")
            shutil.copyfile(directories[module] / path, copy)
            copy.replace(_file(name))


def _module_directory(package: str) -> Path:
    """Where Go keeps a module that it has fetched."""
    go = shutil.which("go")
    if go is None:
        raise RuntimeError("there is no `go` on the PATH")
    try:
        answer = subprocess.run(
            [go, "mod", "download", "-json", package],
            capture_output=True, check=True, timeout=_DOWNLOAD_TIMEOUT_SECONDS, cwd=CACHE_DIR,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"fetching {package} failed: {error}") from error
    return Path(json.loads(answer.stdout)["Dir"])


if __name__ == "__main__":
    try:
        _prepare()
    except RuntimeError as problem:
        sys.exit(str(problem))
