"""Retrain one project: the circle's first half as a Prefect flow, one at a time a project.

Run it here with `python flows/retrain.py flights`, or by a worker through the deployment `retrain/<project>-weekly`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.states import Completed

from fullcircle.core.errors import RetrainRefused
from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.retrain import retrain as circle
from fullcircle.loop.retraining.retrain_result import RetrainResult
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.artifacts import show_retrain, tagged
from fullcircle.orchestration.concurrency_limits import one_retrain
from fullcircle.orchestration.flow_trigger import retrain_trigger
from fullcircle.orchestration.reschedule import reschedule_if_preempted
from fullcircle.orchestration.run_flow import moment, run_flow
from fullcircle.orchestration.stage_tasks import as_tasks

# What talks to a remote, a tracking server or a registry may fail for a moment; training and judging do not.
RETRIES = {"version the data": 2, "load the champion": 2, "train": 1, "register": 2, "release": 2}


@flow(name="retrain", flow_run_name="retrain {project}: {reason}", persist_result=False)
def retrain(
    project: str, until: str | None = None, reason: str = "scheduled", root: str | None = None, key: str | None = None
) -> RetrainResult | State[Any]:
    """Train a challenger on the data before `until` (ISO time; default: all) and release it when the gate says so."""
    settings = Settings.from_env()
    found = load_project(project, Path(root) if root else None)
    with (
        tagged(f"project:{found.name}", "retrain"),
        one_retrain(found.name, settings),
        reschedule_if_preempted(),
        Workspace(settings) as workspace,
    ):
        try:
            result = circle(
                found,
                workspace,
                until=moment(until),
                reason=reason,
                decided_by="prefect",
                step=as_tasks(RETRIES),
                asked=retrain_trigger(key),
            )
        except RetrainRefused as refused:  # what the policy forbids is no failure of the run
            return Completed(name="Skipped", message=str(refused))
        show_retrain(result, workspace)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("--until", help="train on data before this ISO time only")
    parser.add_argument("--reason", default="asked for")
    parser.add_argument("--key", help="do this once: the same key again is not done again")
    run_flow(retrain, parser.parse_args())
