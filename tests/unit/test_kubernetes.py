"""What ``ops/kubernetes`` says of the product is so: settings, ports, paths, times, memory, disks, metrics."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from consumer.delivery import publisher, worker
from consumer.memory import affordable_in_flight
from consumer.observe import http
from consumer.observe.metrics import NAMESPACE, Metrics
from consumer.operate.capacity.scaling import Policy, Rules
from consumer.operate.capacity.simulation import usual_threshold
from consumer.settings import WorkerSettings
from tests.bench.capacity import CPUS, MAX_IN_FLIGHT, PAGE, Pod, capacity_page, pods

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "ops" / "kubernetes"
FIELDS = WorkerSettings.model_fields

Manifest = dict[str, Any]


def read(name: str) -> Manifest:
    found: Manifest = yaml.safe_load((KUBERNETES / name).read_text(encoding="utf-8"))
    return found


def scaled_object(by: str) -> Manifest:
    spec: Manifest = read(f"components/scale-by-{by}/scaled-object.yaml")["spec"]
    return spec


def quantity(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]  # fails the test
    return int(number) * {"Mi": 1024**2, "Gi": 1024**3}[unit]


SETTINGS = dict(
    line.split("=", 1)
    for line in (KUBERNETES / "base" / "settings.env").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)
POD = read("base/deployment.yaml")["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
PODS = {pod.size: pod for pod in pods()}


def test_every_variable_is_a_setting() -> None:
    example = read("overlays/example/kustomization.yaml")["configMapGenerator"][0]["literals"]
    secrets = [entry["name"] for entry in CONTAINER["env"]]
    names = [*SETTINGS, *secrets, *(literal.partition("=")[0] for literal in example)]
    assert [name for name in names if name.lower() not in FIELDS] == []
    assert len(set(names)) >= len(SETTINGS) + 4


def test_the_settings_are_complete_and_valid() -> None:
    required = {variable["name"]: "given" for variable in CONTAINER["env"]}
    settings = WorkerSettings.model_validate({name.lower(): value for name, value in {**SETTINGS, **required}.items()})
    assert settings.max_in_flight == MAX_IN_FLIGHT


def test_no_secret_has_a_value() -> None:
    secret = {name.upper() for name, field in FIELDS.items() if "SecretStr" in str(field.annotation)}
    assert {"MINIO_SECRET_KEY", "KAFKA_SASL_PASSWORD"} <= secret
    assert secret & SETTINGS.keys() == set()
    assert [entry["name"] for entry in CONTAINER["env"] if "secretKeyRef" not in entry["valueFrom"]] == []


def test_ports_and_paths_are_those_of_the_listener() -> None:
    [port] = CONTAINER["ports"]
    assert port == {"name": "metrics", "containerPort": FIELDS["http_port"].default}
    [scraped] = read("base/pod-monitor.yaml")["spec"]["podMetricsEndpoints"]
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    asked = {name: probe["path"] for name, probe in probes.items()}
    assert asked == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert scraped["path"] == "/metrics"
    assert {scraped["port"], *(probe["port"] for probe in probes.values())} == {"metrics"}
    served = set(re.findall(r'add_get\("([^"]+)"', Path(http.__file__).read_text(encoding="utf-8")))
    assert {scraped["path"], *asked.values()} == served


def test_the_pod_outlives_a_drain_and_all_that_comes_after_it() -> None:
    closing = ast.parse(Path(worker.__file__).read_text(encoding="utf-8"))
    [close] = [node for node in ast.walk(closing) if isinstance(node, ast.AsyncFunctionDef) and node.name == "_close"]
    steps = sum(isinstance(node, ast.Await) for node in ast.walk(close))
    drain = float(SETTINGS["SHUTDOWN_GRACE_SECONDS"])
    after = steps * worker.CLOSE_TIMEOUT_SECONDS + publisher.CLOSE_TIMEOUT_SECONDS + http.CLOSE_TIMEOUT_SECONDS
    assert steps == 4
    assert POD["terminationGracePeriodSeconds"] > drain + after
    assert "lifecycle" not in CONTAINER


def test_memory_is_what_the_model_and_its_recordings_take() -> None:
    pod = PODS[SETTINGS["WHISPER_MODEL_SIZE"]]
    resources = CONTAINER["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"]["cpu"] == str(CPUS)
    assert resources["limits"]["memory"] == f"{pod.memory_mib}Mi"


def test_the_example_s_memory_is_that_of_its_model() -> None:
    example = read("overlays/example/kustomization.yaml")
    literals = dict(literal.split("=", 1) for literal in example["configMapGenerator"][0]["literals"])
    [patch] = example["patches"]
    memory = {operation["value"] for operation in yaml.safe_load(patch["patch"])}
    assert memory == {f"{PODS[literals['WHISPER_MODEL_SIZE']].memory_mib}Mi"}


@pytest.mark.parametrize("pod", pods(), ids=lambda pod: pod.size)
def test_a_pod_of_the_table_has_memory_for_what_it_is_allowed_and_one_step_less_has_not(pod: Pod) -> None:
    def affordable(mebibytes: int) -> int:
        return affordable_in_flight(mebibytes * 1024**2, pod.resident_bytes, CPUS, pod.size)

    assert affordable(pod.memory_mib) >= MAX_IN_FLIGHT > affordable(pod.memory_mib - 128)


def test_the_spool_holds_what_may_be_on_it_and_the_disk_all_volumes() -> None:
    sizes = {volume["name"]: quantity(volume["emptyDir"]["sizeLimit"]) for volume in POD["volumes"]}
    assert sizes["spool"] > int(SETTINGS["MAX_IN_FLIGHT_BYTES"]) + int(SETTINGS["MAX_OBJECT_BYTES"])
    assert sum(sizes.values()) < quantity(CONTAINER["resources"]["limits"]["ephemeral-storage"])


def test_what_the_image_writes_to_is_a_volume() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    written = set(re.findall(r"(?:WHISPER_ARTIFACTS_DIR|SPOOL_DIR)=(\S+)", dockerfile))
    assert len(written) == 2
    assert {mount["mountPath"] for mount in CONTAINER["volumeMounts"]} == {*written, "/tmp"}


def test_the_pod_keeps_to_the_restricted_standard() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, as far as it asks for anything."""
    user = int(re.findall(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)[0])
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & POD.keys() == set()
    assert {next(iter(volume.keys() - {"name"})) for volume in POD["volumes"]} == {"emptyDir"}
    assert (pod["runAsNonRoot"], pod["runAsUser"], pod["seccompProfile"]) == (True, user, {"type": "RuntimeDefault"})
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert read("overlays/example/namespace.yaml")["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }


def test_no_pod_holds_a_token_of_the_cluster() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert read("base/service-account.yaml")["automountServiceAccountToken"] is False


def test_the_network_is_open_to_the_addresses_of_the_settings_and_to_nothing_else() -> None:
    policy = read("base/network-policy.yaml")["spec"]
    addresses = (SETTINGS["KAFKA_BOOTSTRAP_SERVERS"], SETTINGS["MINIO_ENDPOINT"])
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    assert [entry["port"] for rule in policy["egress"] for entry in rule["ports"]] == [53, 53, *ports]
    assert [entry["port"] for rule in policy["ingress"] for entry in rule["ports"]] == ["metrics"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("by", ["lag", "backlog"])
def test_scaling_stops_at_the_partitions_and_is_what_the_simulation_plays(by: str) -> None:
    spec = scaled_object(by)
    partitions = re.findall(r"PARTITIONS:-(\d+)", (ROOT / "ops/kafka/create-topics").read_text(encoding="utf-8"))
    assert partitions == [str(spec["maxReplicaCount"])]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up, down = (policy(behavior[direction]) for direction in ("scaleUp", "scaleDown"))
    rules = Rules(1.0)
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (rules.min_pods, rules.max_pods)
    assert (up, down) == (rules.up, rules.down)


def policy(behavior: Manifest) -> Policy:
    [entry] = behavior["policies"]
    return Policy(entry["value"], entry["periodSeconds"], behavior["stabilizationWindowSeconds"])


def test_a_long_recording_does_not_pass_for_a_dead_consumer() -> None:
    [trigger] = scaled_object("lag")["triggers"]
    metadata = trigger["metadata"]
    assert metadata["excludePersistentLag"] == "false"
    assert metadata["limitToPartitionsWithLag"] == "true"
    assert metadata["lagThreshold"] == SETTINGS["MAX_IN_FLIGHT"]
    assert {value for key, value in metadata.items() if key.endswith("FromEnv")} <= SETTINGS.keys()


def test_the_backlog_is_asked_for_by_metrics_that_there_are() -> None:
    [trigger] = scaled_object("backlog")["triggers"]
    asked = set(re.findall(rf"{NAMESPACE}\w+", trigger["metadata"]["query"]))
    families = Metrics(CollectorRegistry()).registry.collect()
    assert len(asked) == 5
    assert asked - {family.name + {"counter": "_total"}.get(family.type, "") for family in families} == set()


def test_the_backlog_of_a_pod_is_three_minutes_of_its_work() -> None:
    [trigger] = scaled_object("backlog")["triggers"]
    speed = PODS[SETTINGS["WHISPER_MODEL_SIZE"]].speed
    assert float(trigger["metadata"]["threshold"]) == pytest.approx(usual_threshold("backlog", 8, speed), rel=0.02)


def test_the_page_is_what_the_figures_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == capacity_page(), "run python -m tests.bench.capacity"
