"""Lineage both ways on the real tools: whole, and with each of its links removed by hand."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from fullcircle.cli import main
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.lineage_trace import NodeKind, Trace, champion_periods
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.security.identity import system_user
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.data.data_versions import Versions
from fullcircle.data.partitions import Partition
from fullcircle.loop.lineage.deployment_nodes import release as release_link
from fullcircle.loop.lineage.impact import impact
from fullcircle.loop.lineage.trace import predictions_of_row, trace
from fullcircle.loop.promotion.release import recover, release
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

MARCH = datetime(2013, 3, 1, tzinfo=UTC)
VERDICT = {"outcome": "promote", "reasons": ["better"], "gates": [], "champion_version": None, "rows": 10}


@dataclass(frozen=True)
class Circle:
    """One model version from its data to its answers."""

    retrain: str
    run: str
    version: ModelVersion
    predictions: tuple[str, ...]


Turn = Callable[[], Circle]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project under git, with a change that is not committed."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "project.py").write_text("project = 1\n")
    as_someone = ("-c", "user.name=someone", "-c", "user.email=someone@example.com")
    for words in (("init", "--quiet"), ("add", "."), (*as_someone, "commit", "--quiet", "-m", "first")):
        subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)
    (folder / "project.py").write_text("project = 2\n")
    return Project(
        name="traced",
        owner="ops@example.com",
        columns=(Number("x"),),
        target=Binary("y", positive="yes"),
        time="hour",
        row_id="id",
        torch=lambda inputs, params: None,
        folder=folder,
    )


@pytest.fixture(scope="module")
def data(settings: Settings, project: Project) -> DataVersion:
    """Two partitions in the DVC remote."""
    parts = []
    for month in ("2013-01", "2013-02"):
        path = project.folder / "data" / f"{month}.parquet"
        path.parent.mkdir(exist_ok=True)
        hours = pd.to_datetime([f"{month}-01", f"{month}-02"], utc=True)
        pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1], "hour": hours, "id": [f"{month}-a", f"{month}-b"]}).to_parquet(path)
        parts.append(Partition(month=month, path=path))
    return Versions(settings).commit(project, parts)


@pytest.fixture(scope="module")
def turn(
    settings: Settings,
    project: Project,
    data: DataVersion,
    tmp_path_factory: pytest.TempPathFactory,
    write_graph: Callable[[Path, float], Path],
) -> Turn:
    """Trains nothing, but tells, registers, releases and answers as a retrain and a server do; each time a version."""
    folder, slopes = tmp_path_factory.mktemp("graphs"), iter(range(1, 100))
    tracker = RunStore(settings)

    def once() -> Circle:
        slope = next(slopes)
        graph = write_graph(folder / f"{slope}.onnx", float(slope))
        with tracker.start(project, name=f"retrain {slope}", kind="retrain") as parent:
            parent.data(data)
            with tracker.start(project, name=f"torch {slope}", kind="candidate", parent=parent.id) as run:
                run.params({"seed": 7})
                run.data(data)
                run.tags({"fullcircle.framework": "torch", "fullcircle.verdict": "promote"})
                run.json(VERDICT, "gate/verdict.json")
        version = Registry(settings).register(
            project,
            tracker.append(run.id),
            graph,
            digest=sha256_of(graph),
            example=pd.DataFrame({"x": np.ones(2, "float32")}),
            card="# Card",
            tags={
                "fullcircle.data.digest": data.digest,
                "fullcircle.verdict": "promote",
                "fullcircle.reasons": "better | cheap",
                "fullcircle.retrain": parent.id,
            },
        )
        at = MARCH + timedelta(days=slope)
        release(project, Workspace(settings), version, reason="it is better", decided_by="the gate", data_until=at)
        return Circle(parent.id, run.id, version, answer(settings, project, version, [f"row-{slope}", "every-row"]))

    return once


@pytest.fixture(scope="module")
def whole(turn: Turn) -> Circle:
    """One that nobody touches."""
    return turn()


@pytest.fixture
def mlflow(settings: Settings) -> MlflowClient:
    """What anybody has who can reach the tracking server."""
    return MlflowClient(settings.tracking_uri, registry_uri=settings.tracking_uri)


def answer(settings: Settings, project: Project, version: ModelVersion, rows: list[str]) -> tuple[str, ...]:
    with PredictionLog(
        settings.folder("predictions", project.name), project.inputs, project.target.answers, background=False
    ) as log:
        return log.append(
            Batch(
                model_version=version.version,
                digest=version.digest,
                event_times=[MARCH] * len(rows),
                row_ids=rows,
                inputs={"x": np.ones(len(rows), "float32")},
                answers=np.full(len(rows), 0.25, "float32"),
            )
        )


def traced(settings: Settings, project: Project, circle: Circle) -> Trace:
    return trace(Workspace(settings), circle.predictions[0], checkout=project.folder)


def broken(found: Trace) -> list[NodeKind]:
    """The links in which something is missing."""
    return [link.kind for link in found.links if link.missing]


def artifacts(settings: Settings, run: str) -> Path:
    (folder,) = (settings.home / "mlartifacts").glob(f"*/{run}/artifacts")
    return folder


def test_a_prediction_leads_to_everything_that_it_came_from(
    settings: Settings, project: Project, data: DataVersion, whole: Circle
) -> None:
    found = traced(settings, project, whole)
    facts = {link.kind: link.facts for link in found.links}
    assert [link.kind for link in found.links] == list(NodeKind)
    assert found.missing == ()
    assert facts[NodeKind.PREDICTION]["row_id"] == "row-1"
    assert facts[NodeKind.PREDICTION]["inputs"] == {"x": 1.0}
    assert facts[NodeKind.VERSION]["digest"] == whole.version.digest
    assert (facts[NodeKind.RUN]["run_id"], facts[NodeKind.RUN]["seed"]) == (whole.run, "7")
    head = subprocess.run(
        ["git", "-C", project.folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    assert facts[NodeKind.CODE]["commit"] == head.stdout.strip()
    assert facts[NodeKind.CODE]["diff_files"] == ["project.py"]
    assert facts[NodeKind.ENVIRONMENT]["same_as_here"]
    assert facts[NodeKind.DATA]["digest"] == data.digest
    assert list(facts[NodeKind.DATA]["files"]) == ["2013-01.parquet", "2013-02.parquet"]  # type: ignore[call-overload]
    assert facts[NodeKind.VERDICT]["reasons"] == ["better"]
    assert (facts[NodeKind.RELEASE]["by"], facts[NodeKind.RELEASE]["why"]) == ("the gate", "it is better")
    assert facts[NodeKind.RELEASE]["champion_when_answered"]


def test_the_command_waits_for_neither_mlflow_nor_pandas_to_be_imported(
    settings: Settings, project: Project, whole: Circle
) -> None:
    program = f"""
import sys
from fullcircle.cli import main
sys.argv = ["fullcircle", "trace", {whole.predictions[0]!r}, "--json"]
try:
    main()
finally:
    print(sorted({{"mlflow", "pandas"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FULLCIRCLE_HOME": str(settings.home)},
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert json.loads(done.stdout)["whole"]


def test_the_registry_shows_by_whom_and_why_a_version_was_released(
    settings: Settings, project: Project, turn: Turn, mlflow: MlflowClient
) -> None:
    circle = turn()
    shown = mlflow.get_model_version(project.name, circle.version.version).tags
    assert shown["fullcircle.released_by"].startswith(f"the gate (run by {system_user()}")
    assert shown["fullcircle.released_why"] == "it is better"
    (entry,) = [
        each for each in Ledger(Database(settings)).entries(project.name) if each.version == circle.version.version
    ]
    assert shown["fullcircle.released_at"] == entry.at.isoformat(timespec="seconds")
    mlflow.delete_model_version_tag(project.name, circle.version.version, "fullcircle.released_by")
    recover(project, Workspace(settings))  # as after a kill between the ledger's entry and the tags
    assert mlflow.get_model_version(project.name, circle.version.version).tags == shown


def test_a_run_in_the_trash_is_said_to_be_there_and_still_read(
    settings: Settings, project: Project, turn: Turn, mlflow: MlflowClient
) -> None:
    circle = turn()
    mlflow.delete_run(circle.run)
    found = traced(settings, project, circle)
    assert broken(found) == [NodeKind.RUN]
    assert found.missing[0].what == f"run {circle.run} was deleted"
    assert circle.run in found.missing[0].hint


def test_a_run_that_is_gone_leaves_code_environment_and_data_with_its_parent(
    settings: Settings, project: Project, data: DataVersion, turn: Turn, mlflow: MlflowClient
) -> None:
    circle = turn()
    mlflow.delete_run(circle.run)
    mlflow._tracking_client.store._hard_delete_run(circle.run)  # what 'mlflow gc' does
    found = traced(settings, project, circle)
    assert broken(found) == [NodeKind.RUN, NodeKind.VERDICT]
    assert found.missing[0].what == f"run {circle.run} is not in MLflow"
    assert found[NodeKind.CODE].facts["run"] == circle.retrain
    assert found[NodeKind.DATA].facts["digest"] == data.digest
    assert found[NodeKind.VERDICT].facts["reasons"] == ["better", "cheap"]


def test_without_the_run_and_its_parent_each_link_says_what_is_not_known(
    settings: Settings, project: Project, data: DataVersion, turn: Turn, mlflow: MlflowClient
) -> None:
    circle = turn()
    for run in (circle.run, circle.retrain):
        mlflow.delete_run(run)
        mlflow._tracking_client.store._hard_delete_run(run)
    found = traced(settings, project, circle)
    assert broken(found) == [NodeKind.RUN, NodeKind.CODE, NodeKind.ENVIRONMENT, NodeKind.DATA, NodeKind.VERDICT]
    assert found[NodeKind.DATA].facts == {"digest": data.digest}
    assert found[NodeKind.RELEASE].facts["by"] == "the gate"


def test_of_a_deleted_version_the_graphs_digest_still_leads_to_its_run(
    settings: Settings, project: Project, turn: Turn, mlflow: MlflowClient
) -> None:
    circle = turn()
    for _ in range(2):  # neither the champion nor the one before is deleted
        turn()
    mlflow.delete_model_version(project.name, circle.version.version)
    found = traced(settings, project, circle)
    assert broken(found) == [NodeKind.VERSION]
    assert f"version {circle.version.version} of traced is not in the registry" in found.missing[0].what
    assert found[NodeKind.RUN].facts["run_id"] == circle.run
    (version,) = impact(Workspace(settings), circle.run).versions
    assert (version.version, version.registered, version.predictions) == (circle.version.version, False, 2)


def test_a_version_with_another_graph_than_the_one_that_answered_is_named(
    settings: Settings, project: Project, turn: Turn
) -> None:
    circle = turn()
    registry, version = Registry(settings), circle.version
    registry.tag(project.name, version.version, {"fullcircle.digest": "f" * 64})
    found = traced(settings, project, circle)
    registry.tag(project.name, version.version, {"fullcircle.digest": version.digest})
    assert broken(found) == [NodeKind.VERSION]
    assert "that answered is not the one in the registry (ffffffffffff)" in found.missing[0].what


@pytest.mark.parametrize(
    ("artifact", "kind", "left"),
    [
        ("gate/verdict.json", NodeKind.VERDICT, "promote"),
        ("environment/requirements.txt", NodeKind.ENVIRONMENT, "the same as here"),
        ("code/uncommitted.diff", NodeKind.CODE, "commit"),
    ],
)
def test_an_artifact_that_is_gone_is_named_with_its_run(
    settings: Settings, project: Project, whole: Circle, artifact: str, kind: NodeKind, left: str
) -> None:
    with aside(artifacts(settings, whole.run) / artifact):
        found = traced(settings, project, whole)
    assert broken(found) == [kind]
    assert artifact in found.missing[0].what
    assert whole.run in found.missing[0].what
    assert left in found[kind].title


def test_data_that_is_kept_with_the_parent_alone_is_found_there(
    settings: Settings, project: Project, whole: Circle
) -> None:
    with aside(artifacts(settings, whole.run) / "data/version.json"):
        assert traced(settings, project, whole).missing == ()
        with aside(artifacts(settings, whole.retrain) / "data/version.json"):
            found = traced(settings, project, whole)
    assert broken(found) == [NodeKind.DATA]
    assert "is not kept with any run that is left" in found.missing[0].what


def test_a_blob_that_the_dvc_remote_lost_is_named_with_its_file(
    settings: Settings, project: Project, data: DataVersion, whole: Circle
) -> None:
    name, md5 = data.files[1]
    with aside(Path(settings.dvc_remote) / "files" / "md5" / md5[:2] / md5[2:]):
        found = traced(settings, project, whole)
    assert broken(found) == [NodeKind.DATA]
    assert f"{name} ({md5})" in found.missing[0].what
    assert found[NodeKind.DATA].facts["rows"] == 4


def test_a_release_that_was_taken_out_of_the_ledger_is_missed(settings: Settings, project: Project, turn: Turn) -> None:
    circle = turn()
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db", timeout=30)) as database:
        (trigger,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'ledger_no_delete'").fetchone()
        rows = database.execute("SELECT * FROM ledger WHERE version = ?", (circle.version.version,)).fetchall()
        database.execute("DROP TRIGGER ledger_no_delete")
        database.execute("DELETE FROM ledger WHERE version = ?", (circle.version.version,))
        database.commit()
        try:
            found = traced(settings, project, circle)
        finally:
            database.executemany(f"INSERT INTO ledger VALUES ({', '.join('?' * len(rows[0]))})", rows)
            database.execute(trigger)
            database.commit()
    assert broken(found) == [NodeKind.RELEASE]
    assert f"has no release of version {circle.version.version}" in found.missing[0].what
    assert traced(settings, project, circle).missing == ()


def test_a_version_that_answered_without_being_the_champion_is_named(
    settings: Settings, project: Project, turn: Turn
) -> None:
    circle = turn()
    entries = Ledger(Database(settings)).entries(project.name)
    (term,) = (each for each in champion_periods(entries) if each.version == circle.version.version)
    asked = (project.name, entries, term.version, circle.version.digest)
    assert release_link(*asked, term.recorded + timedelta(seconds=1)).missing == ()
    just_before = release_link(*asked, term.recorded - timedelta(seconds=2))
    assert (just_before.missing, just_before.facts["seconds_off"]) == ((), 2.0)
    (missing,) = release_link(*asked, term.recorded - timedelta(hours=1)).missing
    assert f"version {term.version} was not the champion at" in missing.what


def test_a_commit_that_this_checkout_does_not_have_is_named(
    settings: Settings, whole: Circle, tmp_path: Path, repository: Path
) -> None:
    outside = trace(Workspace(settings), whole.predictions[0], checkout=tmp_path)
    assert broken(outside) == [NodeKind.CODE]
    assert "is not in a git checkout here" in outside.missing[0].what
    subprocess.run(["git", "-C", tmp_path, "init", "--quiet"], check=True)
    other = trace(Workspace(settings), whole.predictions[0], checkout=tmp_path)
    assert "is not in this checkout" in other.missing[0].what
    assert other[NodeKind.CODE].facts["diff_files"] == ["project.py"]


def test_impact_of_data_a_file_a_run_and_a_version_is_what_came_from_each(
    settings: Settings, project: Project, data: DataVersion, whole: Circle, turn: Turn
) -> None:
    later = turn()
    of_run, of_retrain = impact(Workspace(settings), whole.run[:10]), impact(Workspace(settings), whole.retrain)
    assert [each.version for each in of_run.versions] == ["1"]
    assert {run.run_id for run in of_run.runs} == {whole.run}
    assert {run.run_id for run in of_retrain.runs} == {whole.run, whole.retrain}
    assert (of_retrain.predictions, of_retrain.releases) == (2, 1)
    of_version = impact(Workspace(settings), f"{project.name}/{later.version.version}")
    assert of_version == impact(Workspace(settings), f"{project.name}:champion")
    assert of_version.versions[0].champion_periods[0].until is None
    assert of_version.versions[0].first == MARCH
    of_data = impact(Workspace(settings), data.digest[:8])
    assert {whole.run, later.run} < {run.run_id for run in of_data.runs}
    assert of_data.predictions == 2 * len(of_data.versions) == 2 * of_data.releases
    for name in ("2013-02.parquet", f"{project.name}:2013-02.parquet", data.files[1][1][:12]):
        of_file = impact(Workspace(settings), name)
        assert (of_file.kind, of_file.name, of_file.data) == ("data file", "traced:2013-02.parquet", (data.digest,))
        assert of_file.versions == of_data.versions


@pytest.mark.parametrize(
    ("what", "near"),
    [("traced/99", "traced/"), ("traced:2013-03.parquet", "traced:2013-02.parquet"), ("retrain 01", "retrain 1")],
)
def test_what_is_unknown_is_one_line_with_the_nearest(settings: Settings, whole: Circle, what: str, near: str) -> None:
    with pytest.raises(UsageError, match="is called") as caught:
        impact(Workspace(settings), what)
    assert near in caught.value.hint


def test_a_prediction_is_named_by_a_beginning_of_its_id_or_by_its_row(
    settings: Settings, project: Project, whole: Circle, turn: Turn
) -> None:
    turn()
    prediction = whole.predictions[0]
    without_dashes = prediction.replace("-", "")
    for written in (prediction[:-2], f" {prediction.upper()}\n", without_dashes, without_dashes[:-2].upper()):
        assert trace(Workspace(settings), written, checkout=project.folder).prediction_id == prediction
    with pytest.raises(UsageError, match="more than one prediction begins with") as caught:
        trace(Workspace(settings), whole.predictions[0][:8], checkout=project.folder)
    assert whole.predictions[0] in caught.value.hint
    assert predictions_of_row(settings, "row-1") == whole.predictions[:1]
    assert predictions_of_row(settings, "every-row")[0] == whole.predictions[1]
    with pytest.raises(UsageError, match="no prediction of a row 'row-0'"):
        predictions_of_row(settings, "row-0", project=project.name)


def test_the_commands_say_it_as_a_tree_or_as_json(
    settings: Settings,
    project: Project,
    whole: Circle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FULLCIRCLE_HOME", str(settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(project.folder)
    prediction = whole.predictions[0]
    code, output, _ = said(monkeypatch, capsys, "trace", prediction, "--json")
    found = json.loads(output)
    assert (code, found["whole"], found["prediction_id"]) == (0, True, prediction)
    assert [link["link"] for link in found["links"]] == [kind.value for kind in NodeKind]
    assert found["links"][3]["facts"]["diff_files"] == ["project.py"]
    code, output, _ = said(monkeypatch, capsys, "trace", "--row", "row-1")
    assert code == 0
    for words in (prediction, whole.run, whole.version.digest[:12], "with uncommitted changes", "promote by the gate"):
        assert words in output
    with aside(artifacts(settings, whole.run) / "gate/verdict.json"):
        code, output, _ = said(monkeypatch, capsys, "trace", prediction)
    assert code == 1
    assert f"1 link is missing: gate/verdict.json of run {whole.run} is gone or damaged" in output
    code, output, _ = said(monkeypatch, capsys, "impact", "traced/1")
    assert code == 0
    assert "model version traced/1: 1 run, 1 model version, 1 release, 2 predictions" in output
    code, output, _ = said(monkeypatch, capsys, "impact", "traced/1", "--json")
    assert json.loads(output)["versions"][0]["predictions"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trace", "0" * 8), "the nearest are"),
        (("trace", "0" * 8, "--project", "tracde"), "did you mean traced?"),
        (("trace",), "name a prediction id or"),
        (("impact", "traced/99"), "the nearest are"),
    ],
)
def test_what_the_commands_do_not_know_is_one_line_and_exit_code_2(
    settings: Settings,
    whole: Circle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("FULLCIRCLE_HOME", str(settings.home))
    code, output, errors = said(monkeypatch, capsys, *words)
    assert (code, output) == (2, "")
    assert message in errors


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of a command."""
    monkeypatch.setattr(sys, "argv", ["fullcircle", *words])
    code = 0
    try:
        main()
    except SystemExit as left:
        code = int(left.code or 0)
    output, errors = capsys.readouterr()
    return code, output, errors


@contextlib.contextmanager
def aside(path: Path) -> Iterator[None]:
    """The file is not there while the block runs."""
    kept = path.with_name(f"{path.name}.aside")
    shutil.move(path, kept)
    try:
        yield
    finally:
        shutil.move(kept, path)
