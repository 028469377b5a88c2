"""The manifests of ``ops/kubernetes`` as kustomize renders them: valid by the schemas of their kinds, and linted."""

import copy
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.kubernetes import Kubernetes, Manifest

KUBERNETES = Path(__file__).resolve().parents[2] / "ops" / "kubernetes"
COMPONENTS = sorted(path.name for path in (KUBERNETES / "components").iterdir())
IGNORED = {
    "container-image-pull-policy": "an image named by its digest cannot change",
    "deployment-has-host-podantiaffinity": "topologySpreadConstraints say the same, and do not end at one pod a node",
}


def composed(directory: Path, *components: str) -> Path:
    """A kustomization of base with components."""
    here = Path(os.path.relpath(KUBERNETES, directory.resolve()))
    text = {
        "resources": [str(here / "base")],
        "components": [str(here / "components" / component) for component in components],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(text))
    return directory


def of_kind(manifests: list[Manifest], kind: str) -> Manifest:
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


@pytest.mark.parametrize("component", [None, *COMPONENTS])
def test_base_is_valid_with_each_component(kubernetes: Kubernetes, tmp_path: Path, component: str | None) -> None:
    rendered = kubernetes.render(composed(tmp_path, *([component] if component else [])))
    for manifest in rendered:
        kubernetes.validate(manifest)
    assert len(rendered) >= 6


def test_the_example_is_valid_and_what_it_says(kubernetes: Kubernetes) -> None:
    rendered = kubernetes.render(KUBERNETES / "overlays" / "example")
    for manifest in rendered:
        kubernetes.validate(manifest)
    deployment, settings = of_kind(rendered, "Deployment"), of_kind(rendered, "ConfigMap")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    assert "@sha256:" in container["image"]
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] == "768Mi"
    assert settings["data"]["WHISPER_MODEL_SIZE"] == "base"
    assert settings["data"]["KAFKA_INPUT_TOPIC"] == "calls.uploaded"
    assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]
    assert {manifest["metadata"].get("namespace") for manifest in rendered} == {None, "transcription"}


@pytest.mark.parametrize("component", ["scale-by-lag", "scale-by-backlog"])
def test_a_scaled_deployment_has_no_number_of_its_own(kubernetes: Kubernetes, tmp_path: Path, component: str) -> None:
    rendered = kubernetes.render(composed(tmp_path, component))
    deployment, scaled = of_kind(rendered, "Deployment"), of_kind(rendered, "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_two_rules_of_scaling_cannot_be_had_at_once(kubernetes: Kubernetes, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        kubernetes.render(composed(tmp_path, "scale-by-lag", "scale-by-backlog"))
    assert "already registered id: ScaledObject" in refused.value.stderr


def test_the_artifacts_may_lie_on_a_volume_that_lasts(kubernetes: Kubernetes, tmp_path: Path) -> None:
    rendered = kubernetes.render(composed(tmp_path, "artifacts-volume"))
    claim = of_kind(rendered, "PersistentVolumeClaim")["metadata"]["name"]
    volumes = of_kind(rendered, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "artifacts", "persistentVolumeClaim": {"claimName": claim}} in volumes
    assert Counter(volume["name"] for volume in volumes) == Counter(["artifacts", "spool", "tmp"])


@pytest.mark.parametrize("component", ["scale-by-lag", "scale-by-backlog"])
def test_triggers_have_options_that_keda_knows(kubernetes: Kubernetes, tmp_path: Path, component: str) -> None:
    [trigger] = of_kind(kubernetes.render(composed(tmp_path, component)), "ScaledObject")["spec"]["triggers"]
    known = kubernetes.trigger_options(trigger["type"])
    assert trigger["metadata"].keys() - known == set()
    assert "lagTreshold" not in known


def test_the_linter_finds_nothing(kubernetes: Kubernetes, tmp_path: Path) -> None:
    rendered = kubernetes.render(composed(tmp_path))
    assert kubernetes.faults(rendered, ignored=IGNORED) == []
    assert len(kubernetes.faults(rendered, ignored={})) == len(IGNORED)


def _container(deployment: Manifest) -> Any:
    return deployment["spec"]["template"]["spec"]["containers"][0]


BROKEN: list[tuple[str, str, Callable[[Manifest], Any]]] = [
    ("ServiceAccount", "base", lambda it: it.update(automountServiceAccountToken="no")),
    ("ConfigMap", "base", lambda it: it["data"].update(MAX_IN_FLIGHT=8)),
    ("Deployment", "base", lambda it: _container(it).update(livenesProbe={})),
    ("PodDisruptionBudget", "base", lambda it: it["spec"].update(maxUnavailable=1.5)),
    ("NetworkPolicy", "base", lambda it: it["spec"].update(policyTypes="Egress")),
    ("PodMonitor", "base", lambda it: it["spec"]["podMetricsEndpoints"][0].update(inteval="15s")),
    ("ScaledObject", "scale-by-lag", lambda it: it["spec"].update(minReplicas=1)),
    ("ScaledObject", "scale-by-backlog", lambda it: it["spec"]["triggers"][0]["metadata"].update(threshold=1700)),
    ("PersistentVolumeClaim", "artifacts-volume", lambda it: it["spec"].update(accessModes="ReadWriteMany")),
]


@pytest.mark.parametrize(("kind", "component", "break_it"), BROKEN, ids=[f"{kind}-{name}" for kind, name, _ in BROKEN])
def test_a_broken_manifest_is_refused(
    kubernetes: Kubernetes, tmp_path: Path, kind: str, component: str, break_it: Callable[[Manifest], Any]
) -> None:
    components = () if component == "base" else (component,)
    manifest = of_kind(kubernetes.render(composed(tmp_path, *components)), kind)
    kubernetes.validate(manifest)
    break_it(manifest)
    with pytest.raises(jsonschema.ValidationError):
        kubernetes.validate(manifest)


LINTED: dict[str, Callable[[Manifest], Any]] = {
    "container-security-context-readonlyrootfilesystem": lambda it: _container(it)["securityContext"].clear(),
    "container-resources": lambda it: _container(it)["resources"]["limits"].pop("memory"),
    "container-image-tag": lambda it: _container(it).update(image="whisper-consumer:latest"),
    "pod-networkpolicy": lambda it: it["spec"]["template"]["metadata"]["labels"].clear(),
}


@pytest.mark.parametrize("test", LINTED)
def test_the_linter_finds_what_is_broken(kubernetes: Kubernetes, tmp_path: Path, test: str) -> None:
    rendered = copy.deepcopy(kubernetes.render(composed(tmp_path)))
    LINTED[test](of_kind(rendered, "Deployment"))
    assert any(test in fault for fault in kubernetes.faults(rendered, ignored=IGNORED))
