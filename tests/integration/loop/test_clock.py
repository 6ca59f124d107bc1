"""A replay's project lives in the replay's time, and a project with a ledger of its own is never replayed beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from fullcircle.apps.replay.replay import replay
from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.loop.clock import now, replay_time
from fullcircle.loop.promotion.approval import promote
from fullcircle.loop.promotion.ledger_audit import who
from fullcircle.loop.promotion.release import release
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.training_runs.train import TrainRequest, train
from fullcircle.loop.watch import watch
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.replay_clock import Replays

JUNE = datetime(2013, 6, 1, tzinfo=UTC)
Make = Callable[..., ModelVersion]


@pytest.fixture
def dated(project: Project, tmp_path: Path) -> Project:
    """The project with four months of a few rows each, in May to August."""
    (tmp_path / "data").mkdir()
    for month in (5, 6, 7, 8):
        hours = pd.date_range(datetime(2013, month, 2, tzinfo=UTC), periods=4, freq="D")
        rows = pd.DataFrame({"id": [f"{month}-{day}" for day in range(4)], "hour": hours, "x": 1.0, "y": 0})
        rows.to_parquet(tmp_path / "data" / f"2013-{month:02}.parquet")
    return replace(project, folder=tmp_path)


@pytest.fixture
def replayed(settings: Settings, dated: Project, make: Make) -> Project:
    """A replay that has come to June, with version 1 released in its May."""
    replays = Replays(Database(settings))
    replays.reach(dated.name, JUNE - timedelta(days=31))
    first = make()
    release(dated, Workspace(settings), first, reason="r", decided_by="replay", data_until=JUNE - timedelta(days=31))
    replays.reach(dated.name, JUNE)
    return dated


def test_a_replays_clock_never_goes_back_and_is_its_own_projects_alone(settings: Settings, project: Project) -> None:
    replays = Replays(Database(settings))
    assert replay_time(project, Workspace(settings)) is None
    assert now(project, Workspace(settings)) > datetime.now(UTC) - timedelta(hours=1)
    for moment in (JUNE, JUNE - timedelta(days=5)):
        replays.reach(project.name, moment)
    assert (replay_time(project, Workspace(settings)), now(project, Workspace(settings))) == (JUNE, JUNE)
    assert replay_time(replace(project, name="another"), Workspace(settings)) is None


def test_who_served_is_asked_and_told_in_the_time_of_a_replay(
    settings: Settings, replayed: Project, make: Make
) -> None:
    promote(replayed, Workspace(settings), make().version, why="by hand, in the replay's June", who="ada")
    served = {day: who(replayed, Workspace(settings), datetime(2013, *day, tzinfo=UTC)) for day in ((5, 15), (6, 1))}
    assert [(each["version"], each["time"]) for each in served.values()] == [("1", "replay"), ("2", "replay")]
    assert served[6, 1]["since"] == JUNE
    assert who(replayed, Workspace(settings))["version"] == "2"
    with pytest.raises(UsageError, match="2013-07-01 00:00 UTC is still to come"):
        who(replayed, Workspace(settings), JUNE + timedelta(days=30))
    entry = Ledger(Database(settings)).entries(replayed.name)[-1]
    assert entry.data_until == JUNE
    assert entry.at > datetime(2026, 1, 1, tzinfo=UTC), "and when it was done stays known"


def test_what_is_ahead_of_a_replay_is_refused_in_one_line(settings: Settings, replayed: Project) -> None:
    ahead = JUNE + timedelta(days=30)
    for ask in (
        lambda: retrain(replayed, Workspace(settings), until=ahead),
        lambda: train(replayed, Workspace(settings), TrainRequest(framework="baseline", until=ahead)),
        lambda: watch(replayed, Workspace(settings), JUNE, ahead),
    ):
        with pytest.raises(
            UsageError, match=r"is a replay here, which has come to 2013-06-01 00:00 UTC: --\w+ 2013-07-01"
        ):
            ask()


def test_a_run_in_a_replay_learns_from_what_the_replay_has_lived_through_alone(
    settings: Settings, replayed: Project
) -> None:
    seen: list[tuple[str, object]] = []

    class Enough(Exception):
        pass

    def step(name: str, function: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        found = function(*args, **kwargs)
        if name == "version the data":
            seen.append((name, found))
            raise Enough
        return found

    with pytest.raises((Enough, DataUnavailable)):
        retrain(replayed, Workspace(settings), step=step)  # type: ignore[arg-type]
    ((_, data),) = seen
    assert [path for path, _ in data.files] == ["2013-05.parquet"]  # type: ignore[attr-defined]


def test_a_project_with_a_ledger_of_its_own_is_not_replayed_and_not_marked(
    settings: Settings, dated: Project, make: Make
) -> None:
    release(dated, Workspace(settings), make(), reason="r", decided_by="ada", data_until=JUNE)
    with pytest.raises(UsageError, match=r"has a ledger in .* that is no replay's \(1 entries\)"):
        replay(dated, Workspace(settings))
    assert replay_time(dated, Workspace(settings)) is None
