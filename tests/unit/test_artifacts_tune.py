"""Which trial is chosen, and who follows the choice."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from consumer.engine.artifacts import locate
from consumer.engine.artifacts.errors import ArtifactError
from consumer.engine.artifacts.locate import artifacts_in
from consumer.engine.artifacts.machine import cpu_model
from consumer.engine.artifacts.manifest import Manifest, Trial, Tuning, read_manifest, write_manifest
from consumer.engine.artifacts.models import MANIFEST, PRECISIONS, Precision, model_file
from consumer.engine.artifacts.tune import SCATTER, choose, shapes
from consumer.engine.cpus import usable_cpus
from consumer.operate import build as operate_build
from consumer.settings import BuildSettings, EngineSettings, load
from tests.support.artifacts import XEON, make_artifacts

BYTES: dict[Precision, int] = {"q5_1": 1, "q8_0": 2, "bf16-q8_0": 3, "bf16": 4, "f16": 5}


def trials_of(speeds: dict[Precision, float], states: int = 2) -> list[Trial]:
    return [Trial(precision=name, states=states, threads=1, speed=speed) for name, speed in speeds.items()]


@given(st.integers(1, 64))
def test_shapes_use_all_cpus_and_begin_with_most_states(n_cpus: int) -> None:
    found = shapes(n_cpus)
    assert found[0] == (n_cpus, 1)
    assert found[-1] == (1, n_cpus)
    assert all(states * threads == n_cpus for states, threads in found)


@given(st.lists(st.tuples(st.sampled_from(PRECISIONS), st.floats(0.1, 100)), min_size=1, max_size=12))
def test_the_choice_is_as_fast_as_the_fastest_and_no_smaller_file_is(made: list[tuple[Precision, float]]) -> None:
    trials = [Trial(precision=precision, states=1, threads=1, speed=speed) for precision, speed in made]
    chosen = choose(trials, BYTES)
    fast_enough = (1 - SCATTER) * max(trial.speed for trial in trials)
    assert chosen.speed >= fast_enough
    assert not any(trial.speed >= fast_enough and BYTES[trial.precision] < BYTES[chosen.precision] for trial in trials)


def test_a_larger_file_must_be_faster_by_more_than_measurements_scatter() -> None:
    assert choose(trials_of({"q8_0": 10.0, "bf16": 10.2}), BYTES).precision == "q8_0"
    assert choose(trials_of({"q8_0": 10.0, "bf16": 10.5}), BYTES).precision == "bf16"


def test_what_this_machine_cannot_run_is_not_built_to_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate_build, "this_machine", lambda: XEON)
    with pytest.raises(ArtifactError, match=r"cannot run a build for avx512, .* without --tune, or"):
        operate_build.build_artifacts(
            load(EngineSettings, whisper_model_size="tiny.en", whisper_artifacts_dir=tmp_path),
            prebuilt=False,
            cpu_class_name="avx512",
            precisions=None,
            weights=None,
            weights_digest=None,
            tuned=True,
            locations=load(BuildSettings, whisper_consumer_cache=tmp_path / "cache"),
            console=Console(),
        )
    assert not any(tmp_path.iterdir())


class TestFollowed:
    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        directory = make_artifacts(tmp_path)
        (directory / model_file("tiny.en", "q8_0")).write_bytes(b"")
        return directory

    def write(self, directory: Path, *, cpu: str, cpus: int) -> None:
        chosen = Trial(precision="q5_1", states=7, threads=1, speed=3.0)
        tuning = Tuning(cpu=cpu, cpus=cpus, chosen=chosen, trials=(chosen,))
        manifest = read_manifest(directory)
        assert manifest is not None
        write_manifest(directory, manifest.model_copy(update={"tuning": tuning}))

    def test_on_the_same_cpu(self, directory: Path) -> None:
        self.write(directory, cpu=cpu_model(), cpus=usable_cpus())
        found = artifacts_in(directory, "tiny.en")
        assert (found.precision, found.tuned_states) == ("q5_1", 7)

    def test_what_is_asked_for_comes_first(self, directory: Path) -> None:
        self.write(directory, cpu=cpu_model(), cpus=usable_cpus())
        assert artifacts_in(directory, "tiny.en", "q8_0").precision == "q8_0"

    def test_with_another_number_of_cpus_only_the_precision(self, directory: Path) -> None:
        self.write(directory, cpu=cpu_model(), cpus=usable_cpus() + 1)
        found = artifacts_in(directory, "tiny.en")
        assert (found.precision, found.tuned_states) == ("q5_1", None)

    def test_not_on_another_cpu(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write(directory, cpu=cpu_model(), cpus=usable_cpus())
        monkeypatch.setattr(locate, "cpu_model", lambda: "another")
        found = artifacts_in(directory, "tiny.en")
        assert (found.precision, found.tuned_states) == ("q8_0", None)

    def test_a_manifest_from_before_there_was_a_choice_is_read(self, directory: Path) -> None:
        told = (directory / MANIFEST).read_text()
        (directory / MANIFEST).write_text(told.replace(',\n  "tuning": null', ""))
        assert "tuning" not in (directory / MANIFEST).read_text()
        assert Manifest.model_validate_json((directory / MANIFEST).read_bytes()).tuning is None
        assert artifacts_in(directory, "tiny.en").tuned_states is None
