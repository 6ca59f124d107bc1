"""Between two watches: send pages that wait, escalate those that nobody took, page when nobody watches.

Run it here with `python flows/deliver.py flights`, or by a worker through the deployment `deliver/<project>-deliver`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from prefect import flow

from fullcircle.core.project.loading import load_project
from fullcircle.core.settings import Settings
from fullcircle.loop.on_call_round import deliver_pages
from fullcircle.loop.workspace import Workspace
from fullcircle.orchestration.artifacts import tagged
from fullcircle.orchestration.run_flow import run_flow


@flow(name="deliver", flow_run_name="deliver {project}", persist_result=False)
def deliver(project: str, root: str | None = None) -> tuple[str, ...]:
    """Send what is due to on-call; a page that does not arrive waits for the next time. Returns a line for each route
    that failed.
    """
    found = load_project(project, Path(root) if root else None)
    with tagged(f"project:{found.name}", "deliver"), Workspace(Settings.from_env()) as workspace:
        return deliver_pages(found, workspace).failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project")
    run_flow(deliver, parser.parse_args())
