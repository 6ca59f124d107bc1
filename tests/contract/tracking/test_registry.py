"""The registry on a real MLflow: versions, aliases, and graphs that are used only with the right digest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import onnxruntime
import pandas as pd
import pytest

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.row_tensors import tensors
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

MakeGraph = Callable[..., Path]
Release = Callable[..., ModelVersion]


@pytest.fixture
def release(
    tracker: RunStore, registry: Registry, project: Project, rows: pd.DataFrame, make_graph: MakeGraph, tmp_path: Path
) -> Release:
    def once(slope: float = -0.001, card: str = "# Card") -> ModelVersion:
        graph = make_graph(tmp_path / f"{slope}.onnx", slope)
        with tracker.start(project, name="torch", kind="candidate") as run:
            return registry.register(
                project, run, graph, digest=sha256_of(graph), example=rows, card=card, tags={"framework": "torch"}
            )

    return once


def test_mlflows_pages_of_the_run_and_of_its_model_name_the_version_as_after_its_own_register_model(
    registry: Registry, release: Release, tracker: RunStore, project: Project, settings: Settings
) -> None:
    version = release()
    with tracker.start(project, name="retrain", kind="retrain") as run:
        registry.show_with(run.id, version)
    client = mlflow.MlflowClient(settings.tracking_uri)
    for run_id in (version.run_id, run.id):
        (shown,) = client.get_run(run_id).outputs.model_outputs
        said = client.get_logged_model(shown.model_id).tags["mlflow.modelVersions"]
        assert json.loads(said) == [{"name": version.name, "version": version.version}]


def test_versions_count_up_and_aliases_move(registry: Registry, release: Release) -> None:
    first, second = release(-0.001), release(-0.002)
    assert (first.version, second.version) == ("1", "2")
    name = first.name
    registry.set_alias(name, "champion", "1")
    registry.set_alias(name, "champion", "2")
    registry.set_alias(name, "previous", "1")
    assert registry.version(name, "champion").version == "2"
    assert registry.version(name, "1").aliases == ("previous",)
    assert [(each.version, each.aliases) for each in registry.versions(name)] == [
        ("2", ("champion",)),
        ("1", ("previous",)),
    ]
    registry.drop_alias(name, "previous")
    registry.drop_alias(name, "previous")
    assert registry.alias(name, "previous") is None
    assert second.tags["framework"] == "torch"


def test_another_runs_page_shows_a_versions_model_once_however_often_it_is_asked(
    tracker: RunStore, registry: Registry, project: Project, release: Release, settings: Settings
) -> None:
    version = release()
    with tracker.start(project, name="retrain", kind="retrain") as parent:
        for _ in range(2):
            registry.show_with(parent.id, version)
    client = mlflow.MlflowClient(settings.tracking_uri)
    own, shown = (client.get_run(each).outputs.model_outputs for each in (version.run_id, parent.id))
    assert [each.model_id for each in shown] == [each.model_id for each in own]
    assert len(shown) == 1


def test_a_run_registers_once(
    tracker: RunStore, registry: Registry, project: Project, rows: pd.DataFrame, make_graph: MakeGraph, tmp_path: Path
) -> None:
    graph = make_graph(tmp_path / "g.onnx")
    with tracker.start(project, name="torch", kind="candidate") as run:
        made = [
            registry.register(project, run, graph, digest=sha256_of(graph), example=rows, card="c", tags={})
            for _ in range(2)
        ]
    assert made[0] == made[1]
    assert len(registry.versions(project.name)) == 1


def test_the_registered_graph_is_the_exported_one_and_mlflow_gives_the_same_answers(
    registry: Registry, release: Release, rows: pd.DataFrame, project: Project, settings: Settings
) -> None:
    version = release()
    graph = registry.graph(version)
    assert sha256_of(graph) == version.digest
    session = onnxruntime.InferenceSession(str(graph))
    ours = session.run(["probability"], tensors(rows, project.inputs))[0].reshape(-1)
    mlflow.set_tracking_uri(settings.tracking_uri)
    registry.set_alias(version.name, "champion", version.version)
    # float64, as a frame from anywhere has it
    frame = rows[["carrier", "distance"]].astype({"distance": "float64"})
    theirs = mlflow.pyfunc.load_model(f"models:/{version.name}@champion").predict(frame)
    assert list(theirs.columns) == ["probability"]
    np.testing.assert_array_equal(theirs["probability"].to_numpy(), ours)


def test_a_graph_that_was_tampered_with_is_not_used(registry: Registry, release: Release, settings: Settings) -> None:
    version = release()
    kept = registry.graph(version)
    kept.write_bytes(b"something else")
    assert sha256_of(registry.graph(version)) == version.digest, "a damaged copy is fetched again"
    for original in (settings.home / "mlartifacts" / version.name).rglob("graph.onnx"):
        original.write_bytes(b"something else")
    kept.unlink()
    with pytest.raises(ModelUnavailable, match=f"the graph of {version.name} version 1 has digest"):
        registry.graph(version)
    assert not kept.exists()


def test_a_graph_that_is_gone_is_named(registry: Registry, release: Release, settings: Settings) -> None:
    version = release()
    shutil.rmtree(settings.home / "mlartifacts" / version.name / "models")
    with pytest.raises(ModelUnavailable, match=f"the graph of {version.name} version 1 cannot be fetched"):
        registry.graph(version)


def test_a_kept_graph_needs_no_store(registry: Registry, release: Release, settings: Settings) -> None:
    version = release()
    registry.graph(version)
    shutil.rmtree(settings.home / "mlartifacts" / version.name)
    assert sha256_of(registry.graph(version)) == version.digest


def test_a_file_that_is_not_the_judged_one_is_not_registered(
    tracker: RunStore, registry: Registry, project: Project, rows: pd.DataFrame, make_graph: MakeGraph, tmp_path: Path
) -> None:
    graph = make_graph(tmp_path / "g.onnx")
    run = tracker.start(project, name="torch", kind="candidate")
    with pytest.raises(ModelUnavailable, match="not deadbeef as recorded"):
        registry.register(project, run, graph, digest="deadbeef", example=rows, card="c", tags={})
    run.end()
    assert registry.versions(project.name) == ()


def test_what_is_not_there_is_refused_with_what_is(registry: Registry, release: Release) -> None:
    with pytest.raises(ModelUnavailable, match="nothing is registered under 'nobody'"):
        registry.version("nobody", "champion")
    version = release()
    registry.set_alias(version.name, "champion", "1")
    with pytest.raises(ModelUnavailable, match=r"no version or alias '7' of model .*there are versions 1 \(champion\)"):
        registry.version(version.name, "7")
    with pytest.raises(ModelUnavailable, match="no version or alias '7'"):
        registry.set_alias(version.name, "champion", "7")
    assert registry.alias("nobody", "champion") is None


def test_a_long_card_is_kept_whole_with_the_run_and_cut_in_the_registry(
    registry: Registry, release: Release, tracker: RunStore, settings: Settings
) -> None:
    version = release(card="# Card\n" + "x" * 9000)
    assert len(tracker.download(version.run_id, "model_card.md").read_text()) > 9000
    client = mlflow.MlflowClient(settings.tracking_uri)
    assert len(client.get_model_version(version.name, version.version).description) <= 5000
    registry.describe(version.name, version.version, "# Short")
    registry.tag(version.name, version.version, {"verdict": "promote"})
    assert client.get_model_version(version.name, version.version).description == "# Short"
    assert registry.version(version.name, "1").tags["verdict"] == "promote"
