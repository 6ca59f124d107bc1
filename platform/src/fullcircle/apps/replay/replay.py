"""Replay a past: train on its beginning, release, then live through the rest month by month, or season by season.

Each period is sent over HTTP to the running server in the order of time, its labels arrive, the window is watched,
on-call is paged, and what was decided is done. What is finished is in the store: a killed replay goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fullcircle.apps.replay.periods import Period, ReplaySpan, plan_periods
from fullcircle.apps.replay.primary_metric import ROC_AUC, PrimaryMetric
from fullcircle.apps.replay.report_rows import period_row
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Judged
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.row_tensors import identities
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.data.parquet_reader import load
from fullcircle.loop import progress
from fullcircle.loop.clock import replay_time
from fullcircle.loop.outage_retry import retry_outages
from fullcircle.loop.promotion.release import completed, recover, rollback
from fullcircle.loop.retraining.retrain import retrain
from fullcircle.loop.retraining.retrain_lease import FencedStep, retrain_lease
from fullcircle.loop.steps import Step, plain
from fullcircle.loop.watch import watch
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.log_reader import logged_row_ids
from fullcircle.serving.client import Client
from fullcircle.serving.server_process import service
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.leases import Lease, Leases
from fullcircle.store.replay_clock import Replays
from fullcircle.store.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

REPLAY = "replay"
"""Who decided, in the releases that a replay makes."""
WHOLE = ReplaySpan()
"""From where the project says to its last row."""
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay came to, in the primary metric: one row a period (see `apps.replay.report_rows`), in the order of
    time. `period`: what that is, `month`, `quarter` or `year`."""

    project: str
    target: str
    rows: tuple[Row, ...]
    frozen_version: str
    retrains: int
    metric: PrimaryMetric = ROC_AUC
    period: str = "month"

    @property
    def gain(self) -> float:
        """By how much the circle's champion was better, in the mean, than the model that was never retrained."""
        return self.metric.gain(mean_auc(self.rows, "auc_champion"), mean_auc(self.rows, "auc_frozen"))


@retry_outages
def replay(
    project: Project,
    workspace: Workspace,
    *,
    step: Step = plain,
    span: ReplaySpan = WHOLE,
    sample: float = 1.0,
) -> ReplayResult:
    """Train on the project's first months, release, then replay the following periods (all, or those of `span`).

    Args:
        span: where it begins and ends, where that is other than what `project.replay` says.
        sample: share of each month's rows that is sent, for quick looks; drawn by row id, so it is stable.

    From its first moment on the project is marked as a replay's: what else is asked for it here goes on in its time.

    Raises:
        UsageError: when there are too few partitions, there is nothing to learn from before the first period, releases
            wait for a human, or the project has a ledger here that is no replay's.
        LeaseLost: this replay was given up meanwhile, and another one goes on with it; nothing more was written.
        FullcircleError: what a stage raises; what was finished before stays, and the next replay goes on from it.
    """
    ahead = plan_periods(project, span)
    refuse_real(project, workspace)
    windows = Windows(workspace.database)
    with retrain_lease(project, workspace, doing="a replay") as lease:
        step = FencedStep(step, workspace, lease)
        step("recover what was cut short", recover, project, workspace)
        frozen = _first_champion(project, workspace, ahead[0].start, step, lease)
        if any(not _done(windows, project, period) for period in ahead):
            with _served(project, workspace.settings) as client:
                for number, period in enumerate(ahead):
                    progress.current().advance("replay", number, len(ahead))
                    if not _done(windows, project, period):
                        _live_through(project, workspace, period, client, frozen, step, sample, lease)
                progress.current().advance("replay", len(ahead), len(ahead))
    rows = tuple(row for period in ahead if (row := windows.get(project.name, period.name)))
    return ReplayResult(
        project=project.name,
        target=project.target.name,
        rows=rows,
        frozen_version=frozen.version,
        retrains=sum(1 for row in rows if row["retrained"]),
        metric=PrimaryMetric.of(project.target),
        period=project.replay.period,
    )


def refuse_real(project: Project, workspace: Workspace) -> None:
    """Raise UsageError when the project has a ledger here that is no replay's: the two would not be told apart."""
    if replay_time(project, workspace) is not None:
        return
    entries = len(Ledger(workspace.database).entries(project.name))
    if entries or completed(project, workspace):
        raise UsageError(
            f"{project.name} has a ledger in {workspace.settings.home} that is no replay's "
            f"({max(entries, 1)} entries): a replay would mix its past year into it",
            hint=f"replay in a home of its own: FULLCIRCLE_HOME=replay fullcircle replay {project.name}",
        )


@contextlib.contextmanager
def _served(project: Project, settings: Settings) -> Iterator[Client]:
    """A client of a server of our own, at a port of its own: the replay must not send a year of flights to whatever
    answers at the usual one."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with service(project, settings, port=port), Client(url, project, token=settings.token) as client:
        yield client


def _first_champion(project: Project, workspace: Workspace, until: datetime, step: Step, lease: Lease) -> ModelVersion:
    """The model that the replay starts with and that is never retrained: the project's first release."""
    Replays(workspace.database).reach(project.name, until)
    if not completed(project, workspace):
        result = retrain(
            project, workspace, until=until, reason="first model", decided_by=REPLAY, step=step, lease=lease
        )
        if not result.promoted:
            raise UsageError(
                f"the first model of {project.name} did not pass its gates ({'; '.join(result.verdict.reasons)})",
                hint="a replay needs a first champion: mend the model or its gates",
            )
    first = completed(project, workspace)[0]
    if first.data_until != until:
        # It may have learned from the very months that it would now be asked to predict.
        raise UsageError(
            f"version {first.version} of {project.name} was not released at the beginning of this replay, "
            f"{until:%Y-%m-%d}",
            hint="replay in a home of its own: FULLCIRCLE_HOME=replay fullcircle replay " + project.name,
        )
    return workspace.registry.version(project.name, first.version)


def _live_through(
    project: Project,
    workspace: Workspace,
    period: Period,
    client: Client,
    frozen: ModelVersion,
    step: Step,
    sample: float,
    lease: Lease,
) -> None:
    """One period: send its rows, let the labels arrive, watch, decide, act, and write it down."""
    database = workspace.database
    windows, leases = Windows(database), Leases(database)
    start, end = period.start, period.end
    row = windows.get(project.name, period.name)
    if row is None:
        serving = _serving(project, workspace)
        client.wait_for(serving.version, timeout_s=60.0)
        rows = step(f"{period.name}: send the rows", send_rows, project, workspace.settings, period, client, sample)
        step(f"{period.name}: labels arrive", send_labels, project, rows, client)
        # Only now: who learns from the period, if told to beside the replay, must not answer it as well.
        Replays(database).reach(project.name, end)
        seen = watch(project, workspace, start, end, step=step, lease=lease)
        row = period_row(project, workspace, period, seen, serving, frozen)
        with database.session():
            leases.check(lease)
            windows.record(project.name, period.name, at=end, row=row)
    acted = _act(project, workspace, row, end, step, lease)
    with database.session():
        leases.check(lease)
        windows.record(project.name, period.name, at=end, row={**row, **acted, "done": True})


def send_rows(project: Project, settings: Settings, period: Period, client: Client, sample: float) -> pd.DataFrame:
    """Send the period's rows that were not answered yet, in the order of time. Returns all of its rows."""
    rows = _sampled(load(period.parts, project), project, sample)
    logged = logged_row_ids(settings.folder("predictions", project.name), period.start, period.end)
    unsent = rows[[row_id not in logged for row_id in identities(rows[project.row_id])]]
    progress.current().stage("serve", f"{period.name}: {len(unsent):,} rows over HTTP")
    for begin in range(0, len(unsent), 5000):
        client.predict(unsent.iloc[begin : begin + 5000])
        progress.current().advance(f"serve {period.name}", min(begin + 5000, len(unsent)), len(unsent))
    return rows


def send_labels(project: Project, rows: pd.DataFrame, client: Client) -> None:
    """The period's outcomes become known: send them as labels."""
    client.labels(identities(rows[project.row_id]), project.target.label_codec.sent(rows))


def _sampled(rows: pd.DataFrame, project: Project, share: float) -> pd.DataFrame:
    if share >= 1.0:
        return rows
    import pandas as pd

    hashed = pd.util.hash_array(rows[project.row_id].to_numpy(dtype=object)) % 10_000
    return rows[hashed < share * 10_000]


def _act(project: Project, workspace: Workspace, row: Row, end: datetime, step: Step, lease: Lease) -> dict[str, Any]:
    """Do what was decided, once: a release that a killed replay already made at this period's end is not made again."""
    if row["decision"] == "keep":
        return {"retrained": False, "promoted": False, "verdict": None}
    done = _released_at(project, workspace, end)
    if row["decision"] == "rollback":
        if not done:
            made = step(
                "roll back",
                rollback,
                project,
                workspace,
                reason=row["reason"],
                decided_by=REPLAY,
                data_until=end,
                against=Judged(champion=row["serving"]),
                lease=lease,
            )
            done = made.version
        return {"retrained": False, "promoted": False, "verdict": None, "released": done}
    if done:
        return {"retrained": True, "promoted": True, "verdict": "promote", "released": done}
    result = retrain(project, workspace, until=end, reason=row["reason"], decided_by=REPLAY, step=step, lease=lease)
    return {
        "retrained": True,
        "promoted": result.promoted,
        "verdict": str(result.verdict.outcome),
        "verdict_reasons": list(result.verdict.reasons),
        "released": result.version.version if result.promoted else None,
    }


def _released_at(project: Project, workspace: Workspace, at: datetime) -> str | None:
    return next((made.version for made in completed(project, workspace) if made.data_until == at), None)


def _serving(project: Project, workspace: Workspace) -> ModelVersion:

    return workspace.registry.version(project.name, CHAMPION)


def _done(windows: Windows, project: Project, period: Period) -> bool:
    row = windows.get(project.name, period.name)
    return row is not None and bool(row.get("done"))


def mean_auc(rows: Sequence[Row], key: str) -> float:
    """Mean of one model's metric over the periods that have it; NaN when none has."""
    values = [row[key] for row in rows if row[key] is not None]
    return sum(values) / len(values) if values else float("nan")
