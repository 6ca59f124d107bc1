"""Replay one project's year: train, release, then live through it month by month, as one Prefect flow.

Run it here with `python flows/replay.py flights`; `fullcircle replay flights` adds the report and the pages.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from prefect import flow

from fullcircle.apps.replay.periods import ReplaySpan
from fullcircle.apps.replay.replay import ReplayResult
from fullcircle.apps.replay.replay import replay as circle
from fullcircle.apps.replay.replay_artifacts import show_replay
from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.artifacts import tagged
from fullcircle.orchestration.concurrency_limits import one_retrain
from fullcircle.orchestration.run_flow import run_flow
from fullcircle.orchestration.stage_tasks import as_tasks

# No retry of "train": a replay is watched by somebody, who wants to hear of the failure now.
RETRIES = {"version the data": 1, "load the champion": 1, "register": 1}


@flow(name="replay", flow_run_name="replay {project}", persist_result=False)
def replay(
    project: str,
    root: str | None = None,
    start: str | None = None,
    until: str | None = None,
    months: int | None = None,
    sample: float = 1.0,
    routes: list[str] | None = None,
) -> ReplayResult:
    """Replay the periods after the first model, all or those asked for; `routes` replace the project's alert routes."""
    settings, span = Settings.from_env(), ReplaySpan(start, until, months)
    found = load_project(project, Path(root) if root else None)
    if routes is not None:
        found = dataclasses.replace(found, routes=tuple(routes))
    # The replay retrains, so it holds the project's one place from its beginning to its end.
    with tagged(f"project:{found.name}", "replay"), one_retrain(found.name, settings), Workspace(settings) as workspace:
        result = circle(found, workspace, step=as_tasks(RETRIES), span=span, sample=sample)
        show_replay(result, workspace)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("--from", dest="start", metavar="YYYY-MM", help="the first month that is replayed")
    parser.add_argument("--until", metavar="YYYY-MM", help="only what begins before this month")
    parser.add_argument("--months", type=int, help="only the first months of the replay")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the rows that is sent")
    run_flow(replay, parser.parse_args())
