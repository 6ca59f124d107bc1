"""Replay a year: train on its first months, release, then live through the rest month by month.

Each month is sent over HTTP to the running server in the order of time, its labels arrive, the window is watched,
on-call is paged, and what was decided is done. What is finished is in the store: a killed replay goes on from there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fullcircle.apps.replay.primary_metric import ROC_AUC, PrimaryMetric
from fullcircle.apps.replay.report_rows import month_row
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import Judged
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.row_tensors import identities
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.data.parquet_reader import load
from fullcircle.data.partitions import partitions
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

    from fullcircle.data.partitions import Partition

FIRST_MONTHS = 3
REPLAY = "replay"
"""Who decided, in the releases that a replay makes."""
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ReplayResult:
    """What a replay came to, in the primary metric: one row a month (see `apps.replay.report_rows`), in the order of
    time."""

    project: str
    target: str
    rows: tuple[Row, ...]
    frozen_version: str
    retrains: int
    metric: PrimaryMetric = ROC_AUC

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
    months: int | None = None,
    sample: float = 1.0,
) -> ReplayResult:
    """Train on the first three months, release, then replay the following ones (all, or the first `months`).

    Args:
        sample: share of each month's rows that is sent, for quick looks; drawn by row id, so it is stable.

    From its first moment on the project is marked as a replay's: what else is asked for it here goes on in its time.

    Raises:
        UsageError: when there are too few partitions, releases wait for a human, or the project has a ledger here that
            is no replay's.
        LeaseLost: this replay was given up meanwhile, and another one goes on with it; nothing more was written.
        FullcircleError: what a stage raises; what was finished before stays, and the next replay goes on from it.
    """
    parts = _partitions(project)
    refuse_real(project, workspace)
    windows = Windows(workspace.database)
    ahead = parts[FIRST_MONTHS : FIRST_MONTHS + months if months else None]
    with retrain_lease(project, workspace, doing="a replay") as lease:
        step = FencedStep(step, workspace, lease)
        step("recover what was cut short", recover, project, workspace)
        frozen = _first_champion(project, workspace, start_of(parts[FIRST_MONTHS].month), step, lease)
        if any(not _done(windows, project, part) for part in ahead):
            with _served(project, workspace.settings) as client:
                for number, part in enumerate(ahead):
                    progress.current().advance("replay", number, len(ahead))
                    if not _done(windows, project, part):
                        _live_through(project, workspace, part, client, frozen, step, sample, lease)
                progress.current().advance("replay", len(ahead), len(ahead))
    rows = tuple(row for part in ahead if (row := windows.get(project.name, part.month)))
    return ReplayResult(
        project=project.name,
        target=project.target.name,
        rows=rows,
        frozen_version=frozen.version,
        retrains=sum(1 for row in rows if row["retrained"]),
        metric=PrimaryMetric.of(project.target),
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


def start_of(month: str) -> datetime:
    """The first moment of a partition's month, UTC."""
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def end_of(month: str) -> datetime:
    """The first moment after a partition's month, UTC."""
    first = start_of(month)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _partitions(project: Project) -> tuple[Partition, ...]:
    """The project's months. Raises UsageError when a replay of them is not possible."""
    if project.approval != "gate":
        raise UsageError(
            f"{project.name} has approval={project.approval!r}, and there is nobody to ask in a replay",
            hint="set approval='gate' for it",
        )
    parts = partitions(project)
    if len(parts) <= FIRST_MONTHS:
        raise UsageError(
            f"{project.name} has {len(parts)} monthly partitions; a replay needs {FIRST_MONTHS + 1} or more"
        )
    for part in parts:
        held = part.footer
        if held and held.first and held.last and not (part.start <= held.first and held.last < part.end):
            raise UsageError(
                f"{part.path.name} of {project.name} has rows from {held.first:%Y-%m-%d} to {held.last:%Y-%m-%d}",
                hint="a replay goes month by month: move each row into the file of its month",
            )
    return parts


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
    part: Partition,
    client: Client,
    frozen: ModelVersion,
    step: Step,
    sample: float,
    lease: Lease,
) -> None:
    """One month: send its rows, let the labels arrive, watch, decide, act, and write the month down."""
    database = workspace.database
    windows, leases = Windows(database), Leases(database)
    start, end = start_of(part.month), end_of(part.month)
    row = windows.get(project.name, part.month)
    if row is None:
        serving = _serving(project, workspace)
        client.wait_for(serving.version, timeout_s=60.0)
        rows = step(f"{part.month}: send the rows", send_month, project, workspace.settings, part, client, sample)
        step(f"{part.month}: labels arrive", send_labels, project, rows, client)
        # Only now: who learns from the month, if told to beside the replay, must not answer it as well.
        Replays(database).reach(project.name, end)
        seen = watch(project, workspace, start, end, step=step, lease=lease)
        row = month_row(project, workspace, part.month, seen, serving, frozen)
        with database.session():
            leases.check(lease)
            windows.record(project.name, part.month, at=end, row=row)
    acted = _act(project, workspace, row, end, step, lease)
    with database.session():
        leases.check(lease)
        windows.record(project.name, part.month, at=end, row={**row, **acted, "done": True})


def send_month(project: Project, settings: Settings, part: Partition, client: Client, sample: float) -> pd.DataFrame:
    """Send the month's rows that were not answered yet, in the order of time. Returns all of the month's rows."""
    rows = _sampled(load([part], project), project, sample)
    logged = logged_row_ids(settings.folder("predictions", project.name), start_of(part.month), end_of(part.month))
    unsent = rows[[row_id not in logged for row_id in identities(rows[project.row_id])]]
    progress.current().stage("serve", f"{part.month}: {len(unsent):,} rows over HTTP")
    for begin in range(0, len(unsent), 5000):
        client.predict(unsent.iloc[begin : begin + 5000])
        progress.current().advance(f"serve {part.month}", min(begin + 5000, len(unsent)), len(unsent))
    return rows


def send_labels(project: Project, rows: pd.DataFrame, client: Client) -> None:
    """The month's outcomes become known: send them as labels."""
    client.labels(identities(rows[project.row_id]), project.target.label_codec.sent(rows))


def _sampled(rows: pd.DataFrame, project: Project, share: float) -> pd.DataFrame:
    if share >= 1.0:
        return rows
    import pandas as pd

    hashed = pd.util.hash_array(rows[project.row_id].to_numpy(dtype=object)) % 10_000
    return rows[hashed < share * 10_000]


def _act(project: Project, workspace: Workspace, row: Row, end: datetime, step: Step, lease: Lease) -> dict[str, Any]:
    """Do what was decided, once: a release that a killed replay already made at this month's end is not made again."""
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


def _done(windows: Windows, project: Project, part: Partition) -> bool:
    row = windows.get(project.name, part.month)
    return row is not None and bool(row.get("done"))


def mean_auc(rows: Sequence[Row], key: str) -> float:
    """Mean of one model's metric over the months that have it; NaN when none has."""
    values = [row[key] for row in rows if row[key] is not None]
    return sum(values) / len(values) if values else float("nan")
