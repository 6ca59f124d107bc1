"""Watch one project: judge a window of predictions, page on-call, decide; a wish to retrain becomes an event.

Run it here with `python flows/watch.py flights`, or by a worker through the deployment `watch/<project>-watch`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect import flow

from fullcircle.core.project.loading import load_project
from fullcircle.core.records.health import Retrain
from fullcircle.core.settings import Settings
from fullcircle.loop.clock import now
from fullcircle.loop.retraining.retrain_budget import is_open
from fullcircle.loop.watch import WatchResult
from fullcircle.loop.watch import watch as circle
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.artifacts import show_watch, tagged
from fullcircle.orchestration.events import emit_drift, summary
from fullcircle.orchestration.run_flow import moment, run_flow
from fullcircle.orchestration.stage_tasks import as_tasks

# Paging is not here: a page that is undelivered stays in the outbox and goes out with the next look.
RETRIES = {"read the prediction log": 1, "load the champion's reference rows": 2, "write the drift report": 1}


@flow(name="watch", flow_run_name="watch {project}", persist_result=False)
def watch(project: str, start: str | None = None, end: str | None = None, root: str | None = None) -> WatchResult:
    """Judge the predictions of [start, end) (ISO times; default: the project's window up to now)."""
    workspace = Workspace(Settings.from_env())
    found = load_project(project, Path(root) if root else None)
    until = moment(end) or now(found, workspace)
    since = moment(start) or until - found.watch.window
    with tagged(f"project:{found.name}", "watch"), workspace:
        # Evidently's report is megabytes: on schedule it is written for a window with an incident.
        result = circle(found, workspace, since, until, step=as_tasks(RETRIES), report=False)
        show_watch(result, workspace)
        match result.decision:
            # A decision that its retrain answered already is not said again; one whose event was lost is.
            case Retrain(reason=reason) if is_open(found, workspace, result.window.name):
                emit_drift(found.name, summary(result.health, reason))
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    parser.add_argument("--start", help="first ISO time of the window")
    parser.add_argument("--end", help="first ISO time after the window")
    run_flow(watch, parser.parse_args())
