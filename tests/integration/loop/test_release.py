"""Releases on a real registry and the real store: whatever a kill leaves behind, one champion serves."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from fullcircle.core.errors import ModelUnavailable
from fullcircle.core.models import CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.loop.release import completed, recover, release, rollback
from fullcircle.store.database import Database
from fullcircle.store.releases import Releases
from fullcircle.tracking.registry import Registry, digest_of
from fullcircle.tracking.runs import Tracker

AT = datetime(2013, 4, 1, tzinfo=UTC)
Make = Callable[[], ModelVersion]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture
def project() -> Project:
    return Project(
        name=f"p-{uuid.uuid4().hex[:8]}",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
    )


@pytest.fixture
def make(settings: Settings, project: Project, tmp_path: Path) -> Make:
    """Registers a new version, each time another real graph: probability = sigmoid(slope * x)."""
    slopes = iter(range(1, 100))

    def once() -> ModelVersion:
        slope = float(next(slopes))
        shape = [None, 1]
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "slope"], ["z"]), helper.make_node("Sigmoid", ["z"], ["probability"])],
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)],
            [helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        path = tmp_path / f"{slope}.onnx"
        onnx.save(model, path)
        example = pd.DataFrame({"x": np.array([1.0, 2.0], dtype="float32")})
        with Tracker(settings).start(project, name="torch", kind="candidate") as run:
            return Registry(settings).register(
                project, run, path, digest=digest_of(path), example=example, card="# Card", tags={}
            )

    return once


def serving(settings: Settings, project: Project) -> tuple[str | None, str | None]:
    registry = Registry(settings)
    champion, previous = (registry.alias(project.name, alias) for alias in (CHAMPION, PREVIOUS))
    return champion.version if champion else None, previous.version if previous else None


def released(settings: Settings, project: Project, version: ModelVersion, days: int = 0) -> Release:
    return release(project, settings, version, reason="test", decided_by="a test", at=AT + timedelta(days=days))


def break_graph(settings: Settings, version: ModelVersion) -> None:
    """Nothing of this version's graph can be had any more: neither the cached file nor the artifact."""
    shutil.rmtree(settings.home / "models" / version.name / version.version, ignore_errors=True)
    for path in (settings.home / "mlartifacts").rglob("*.onnx"):
        if digest_of(path) == version.digest:
            path.write_bytes(b"not a graph")


def cut_short(settings: Settings, project: Project, make: Make, aliases_moved: int) -> ModelVersion:
    """What kill -9 leaves after the intent to release version 2 was written, and 0, 1 or 2 aliases were moved."""
    first, second = make(), make()
    released(settings, project, first)
    Releases(Database(settings)).begin(
        Release(project=project.name, version=second.version, previous="1", at=AT, reason="r", decided_by="d")
    )
    for alias, version in [(PREVIOUS, "1"), (CHAMPION, "2")][:aliases_moved]:
        Registry(settings).set_alias(project.name, alias, version)
    return second


def test_a_release_moves_both_aliases_and_is_written_down(settings: Settings, project: Project, make: Make) -> None:
    first, second = make(), make()
    released(settings, project, first)
    assert serving(settings, project) == ("1", None)
    released(settings, project, second, days=30)
    assert serving(settings, project) == ("2", "1")
    assert [(made.version, made.previous) for made in completed(project, settings)] == [("1", None), ("2", "1")]


def test_a_rollback_gives_the_traffic_back_and_can_be_taken_back(
    settings: Settings, project: Project, make: Make
) -> None:
    for days, version in enumerate((make(), make())):
        released(settings, project, version, days)
    rollback(project, settings, reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("1", "2")
    rollback(project, settings, reason="it was not the model", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")


def test_a_rollback_to_a_graph_that_does_not_load_changes_nothing(
    settings: Settings, project: Project, make: Make
) -> None:
    first, second = make(), make()
    for days, version in enumerate((first, second)):
        released(settings, project, version, days)
    break_graph(settings, first)
    with pytest.raises(ModelUnavailable, match=r"version 1"):
        rollback(project, settings, reason="complaints", decided_by="on-call")
    assert serving(settings, project) == ("2", "1")
    assert Releases(Database(settings)).pending(project.name) == []


def test_without_a_previous_champion_a_rollback_says_so(settings: Settings, project: Project, make: Make) -> None:
    released(settings, project, make())
    with pytest.raises(ModelUnavailable, match="has no previous champion to roll back to"):
        rollback(project, settings, reason="x", decided_by="y")


@pytest.mark.parametrize("aliases_moved", [0, 1, 2])
def test_a_release_that_was_cut_short_is_finished_by_whoever_comes_next(
    settings: Settings, project: Project, make: Make, aliases_moved: int
) -> None:
    cut_short(settings, project, make, aliases_moved)
    assert recover(project, settings) == ("finished the release of version 2 that was cut short",)
    assert serving(settings, project) == ("2", "1")
    assert recover(project, settings) == ()


@pytest.mark.parametrize("aliases_moved", [0, 1, 2])
def test_a_release_that_was_cut_short_is_undone_when_its_graph_does_not_load(
    settings: Settings, project: Project, make: Make, aliases_moved: int
) -> None:
    second = cut_short(settings, project, make, aliases_moved)
    break_graph(settings, second)
    (said,) = recover(project, settings)
    assert said.startswith("undid the unfinished release of version 2")
    assert serving(settings, project)[0] == "1"
    assert [made.version for made in completed(project, settings)] == ["1"]
