"""Runs on a real MLflow: what a reviewer finds there, and what is left when a run goes wrong."""

from __future__ import annotations

import errno
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest

from fullcircle.core.errors import DataUnavailable, HomeUnwritable, TrackingUnavailable, UsageError
from fullcircle.core.project import Project
from fullcircle.core.records.dataset import DataVersion, Split
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.records.verdicts import Evaluation
from fullcircle.core.settings import Settings
from fullcircle.core.statistics.interval import Interval
from fullcircle.loop.retraining.resume import plan_tags
from fullcircle.tracking.provenance.origin import Origin
from fullcircle.tracking.provenance.run_provenance import installed
from fullcircle.tracking.runs.run_schema import PROVENANCE
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import REASON, SPOOL, process_of
from fullcircle.tracking.runs.system_metrics import node_name
from fullcircle.tracking.secrets.telling_names import MARKER


@pytest.fixture
def client(settings: Settings, tracker: RunStore) -> mlflow.MlflowClient:
    tracker.prepare()
    return mlflow.MlflowClient(settings.tracking_uri)


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, train_loss=1 / number, validation_loss=2 / number, validation={"roc_auc": 0.6}, seconds=0.1
    )


def test_a_finished_run_answers_what_data_what_code_and_how_good(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, version: DataVersion, split: Split
) -> None:
    with tracker.start(project, name="retrain", kind="retrain") as parent:
        parent.data(version, split)
        with tracker.start(project, name="torch", kind="candidate", parent=parent.id, tags={"a": "b"}) as run:
            run.params({"epochs": 3, "extra": {"hidden": (128, 64)}})
            for number in (1, 2, 3):
                run.epoch(epoch(number))
            metrics = {"roc_auc": Interval(value=0.7, low=0.6, high=0.8)}
            run.evaluation(
                project.target,
                Evaluation(framework="torch", rows=9, summary={"positives": 3}, metrics=metrics, slices=()),
                "test",
            )
            run.note("# Good")

    found = client.get_run(run.id)
    tags = found.data.tags
    assert found.info.status == "FINISHED"
    assert found.data.params == {"epochs": "3", "extra.hidden": "(128, 64)"}
    assert {"test_roc_auc": 0.7, "test_roc_auc_low": 0.6, "test_rows": 9.0}.items() <= found.data.metrics.items()
    assert [point.step for point in client.get_metric_history(run.id, "train_loss")] == [1, 2, 3]
    assert f"system/{node_name()}/cpu_utilization_percentage" in found.data.metrics
    assert (tags["mlflow.parentRunId"], tags["mlflow.runName"], tags["a"]) == (parent.id, "torch", "b")
    assert (tags["mlflow.note.content"], tags["fullcircle.kind"]) == ("# Good", "candidate")
    assert client.get_run(parent.id).inputs.dataset_inputs[0].dataset.digest == version.digest
    assert (tracker.download(run.id, "environment/requirements.txt").read_text().count("mlflow==")) == 1
    assert tracker.link(run.id) == f"#/experiments/{found.info.experiment_id}/runs/{run.id}"
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(tracker._settings.home)


def test_the_page_of_a_run_shows_answers_and_all_else_lies_in_one_artifact(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, version: DataVersion
) -> None:
    tags = {REASON: "drift", **plan_tags(project, datetime(2024, 4, 1, tzinfo=UTC))}
    with tracker.start(project, name="retrain", kind="retrain", tags=tags) as run:
        run.data(version)
    found = client.get_run(run.id)
    # By MLflow's page: see `tracking.runs.run_tags`.
    shown = {name for name in found.data.tags if not name.startswith("mlflow.")}
    assert shown == {"fullcircle.project", "fullcircle.kind", "fullcircle.reason", "rows from", "rows until"}
    assert max(len(value) for value in found.data.tags.values()) < 5000, "which any of MLflow's stores takes"
    said = json.loads(tracker.download(run.id, PROVENANCE).read_text())
    assert (said["code"]["folder"], said["code"]["commit"]) == (str(project.folder), "")
    assert said["environment"]["digest"] == installed()[1]
    assert said["process"] | process_of(found.data.tags) == said["process"]
    assert said["spool"] == found.data.tags[SPOOL]
    assert (tracker.origin(tracker.state(run.id)).folder, tracker.append(run.id).ref("torch", 1).environment) == (
        str(project.folder),
        installed()[1],
    )


def test_a_run_of_an_earlier_version_says_in_tags_what_is_in_an_artifact_now(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    former = {"fullcircle.environment": "e" * 64, "fullcircle.code.folder": "f", "fullcircle.code.repository": "/r"}
    made = client.create_run(tracker.experiment_id(project), tags=former)
    assert tracker.origin(tracker.state(made.info.run_id)) == Origin(
        environment="e" * 64, folder="f", repository="/r", platform=""
    )
    assert tracker.append(made.info.run_id).ref("torch", 1).environment == "e" * 64
    nobodys = client.create_run(tracker.experiment_id(project))
    assert tracker.origin(tracker.state(nobodys.info.run_id)) == Origin()


def test_the_data_of_a_run_comes_back_by_id_prefix_name_and_from_a_child(
    tracker: RunStore, project: Project, version: DataVersion, split: Split
) -> None:
    with tracker.start(project, name=f"retrain of {project.name}", kind="retrain") as parent:
        parent.data(version, split)
        with tracker.start(project, name="torch", kind="candidate", parent=parent.id) as run:
            pass
    for reference in (parent.id, parent.id[:12], f"retrain of {project.name}", run.id):
        assert tracker.data_version(reference) == version
    assert tracker.split(run.id)["test"]["rows"] == 10
    assert tracker.download(parent.id, f"data/{project.name}.dvc").read_text() == version.pointer


def test_a_run_without_data_and_a_run_that_does_not_exist_say_so(tracker: RunStore, project: Project) -> None:
    name = f"bare-{project.name}"
    with tracker.start(project, name=name, kind="candidate") as run:
        pass
    with pytest.raises(DataUnavailable, match=f"run {run.id} has no artifact data/version.json"):
        tracker.data_version(run.id)
    with pytest.raises(UsageError, match=f"no run 'bear-{project.name}'; the nearest are {name}"):
        tracker.data_version(f"bear-{project.name}")
    with pytest.raises(UsageError, match="no run \"x' OR "):  # a quote must not reach MLflow's filter
        tracker.find("x' OR attributes.run_id != '")


def test_a_name_that_several_runs_have_is_refused_with_their_ids(tracker: RunStore, project: Project) -> None:
    runs = [tracker.start(project, name=f"twice-{project.name}", kind="candidate") for _ in range(2)]
    for run in runs:
        run.end()
    with pytest.raises(UsageError, match="2 runs are meant") as refusal:
        tracker.find(f"twice-{project.name}")
    assert all(run.id[:12] in str(refusal.value) for run in runs)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no rows"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (ValueError("no file \udcff"), "FAILED"),
        (OSError(errno.ENOSPC, "No space left on device"), "KILLED"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "KILLED"),
        (PermissionError(errno.EACCES, "Permission denied"), "FAILED"),
    ],
    ids=["failed", "killed", "in words that are no text", "disk full", "disk full of a database", "not ours"],
)
def test_a_run_that_ends_badly_says_how(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, error: BaseException, status: str
) -> None:
    run = tracker.start(project, name="bad", kind="candidate")
    run.epoch(epoch(1))
    with pytest.raises(type(error)), run:
        raise error
    found = client.get_run(run.id)
    assert found.info.status == status
    assert found.data.tags["fullcircle.failure"].startswith(type(error).__name__)
    assert found.data.metrics["train_loss"] == 1.0


def test_a_tag_that_mlflow_does_not_take_is_refused_before_it_holds_up_what_is_told_behind_it(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient
) -> None:
    with tracker.start(project, name="tagged", kind="candidate") as run:
        for name in ("50%", "", "a" * 251, "../x"):
            with pytest.raises(UsageError, match="MLflow does not take"):
                run.tags({"fine": "yes", name: "no"})
        run.tags({"größe 1": "x" * 100_000})
        run.epoch(epoch(1))
    assert run.backlog is None
    found = client.get_run(run.id)
    assert (found.info.status, len(found.data.tags["größe 1"]), "fine" in found.data.tags) == ("FINISHED", 7900, False)


def test_appending_leaves_the_status_alone(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="no"), tracker.start(project, name="bad", kind="candidate") as run:
        raise ValueError("no")
    report = tmp_path / "report.html"
    report.write_text("<p>drift</p>")
    with tracker.append(run.id) as more:
        more.file(report, "reports")
        more.metrics({"drifted_share": 0.5}, step=4)
    assert client.get_run(run.id).info.status == "FAILED"
    assert client.get_run(run.id).data.metrics["drifted_share"] == 0.5
    assert tracker.download(run.id, "reports/report.html").read_text() == "<p>drift</p>"


def test_a_changed_parameter_is_refused_in_one_line(tracker: RunStore, project: Project) -> None:
    with tracker.start(project, name="p", kind="candidate") as run:
        run.params({"epochs": 3})
        with pytest.raises(UsageError, match=f"parameter .epochs. of run {run.id} is .3. and cannot become .4."):
            run.params({"epochs": 4})


def test_uncommitted_changes_are_kept_with_the_run(tracker: RunStore, project: Project, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    (tmp_path / "project.py").write_text("learning_rate = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / "project.py").write_text("learning_rate = 2\n")
    (tmp_path / "new.py").write_text("hidden = 64\n")
    (tmp_path / ".env").write_text("PASSWORD=x\n")
    with tracker.start(project, name="dirty", kind="candidate") as run:
        ref = run.ref("torch", 13)
    patch = tracker.download(run.id, "code/uncommitted.diff").read_text()
    assert (ref.commit, ref.dirty, ref.framework, ref.seed) == (git("rev-parse", "HEAD").strip(), True, "torch", 13)
    assert "+learning_rate = 2" in patch
    assert "+hidden = 64" in patch
    assert "PASSWORD" not in patch


def test_a_tracker_does_nothing_before_it_is_asked(tmp_path: Path) -> None:
    RunStore(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")}))
    assert not (tmp_path / "home").exists()


def test_a_server_that_is_not_there_is_named(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://user:secret@127.0.0.1:9"
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri})
    with pytest.raises(
        TrackingUnavailable, match=r"MLflow at http://127\.0\.0\.1:9 failed while connecting: connection refused; is"
    ) as failure:
        RunStore(settings).experiment_id(project)
    assert "secret" not in str(failure.value)


def test_a_home_that_cannot_be_written_is_one_line(project: Project, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HomeUnwritable, match="cannot write to FULLCIRCLE_HOME"):
        RunStore(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "file" / "home")})).experiment_id(project)


def test_no_secret_that_a_run_is_told_reaches_mlflow_or_a_file_of_the_home(
    tracker: RunStore, project: Project, client: mlflow.MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url, secret = "postgresql://ada:hunter2-of-ada@db/x", "hunter2-of-ada"
    (tmp_path / "job.json").write_text(f'{{"database": "{url}"}}')
    run = tracker.start(project, name="a", kind="b")

    def failing() -> None:
        with run:
            run.params({"extra": {"db_password": secret, "max_tokens": 512}})
            run.tags({"where": url})
            run.note(f"trained from {url}")
            run.text(f"DB_PASSWORD={secret}\n", "config/.env")
            run.json({"url": url}, "config/a.json")
            run.file(tmp_path / "job.json", "training")
            run.folder(tmp_path, "all")
            raise OSError(f"cannot reach {url}")

    with pytest.raises(OSError, match="cannot reach"):
        failing()
    found = client.get_run(run.id)
    assert found.data.params == {"extra.db_password": MARKER, "extra.max_tokens": "512"}
    assert found.data.tags["fullcircle.failure"] == f"OSError: cannot reach postgresql://ada:{MARKER}@db/x"
    assert found.data.tags["fullcircle.masked.tag where"] == "a password in a URL"
    assert "masked in parameter extra.db_password" in caplog.text
    home = tracker._settings.home
    holds = [each for each in home.rglob("*") if each.is_file() and secret.encode() in each.read_bytes()]
    assert (holds, secret in caplog.text) == ([], False)
