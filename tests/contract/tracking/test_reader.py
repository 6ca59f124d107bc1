"""What is read from a server's REST API, or out of MLflow's SQLite file, is what MLflow's own client says."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput

from fullcircle.core.errors import TrackerAway
from fullcircle.core.project import Project
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.core.system.processes import Service, free_port
from fullcircle.loop.workspace import Workspace
from fullcircle.tracking.connection.client import sqlite_file
from fullcircle.tracking.reader.mlflow_reader import MlflowReader
from fullcircle.tracking.reader.open_reader import open_reader
from fullcircle.tracking.reader.rest_reader import RestReader
from fullcircle.tracking.reader.run_query import RunQuery
from fullcircle.tracking.reader.sqlite_reader import REVISIONS, SqliteReader
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_schema import DATA_DIGEST, DIGEST
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.runs.run_tags import DATA, ROWS, names

TEXTS = {"gate/verdict.json": '{"outcome": "promote"}', "code/änderung 1.diff": "+ ü\r\n- x\n", "empty.txt": ""}
KINDS = {"file": SqliteReader, "server": RestReader}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home whose tracker is an MLflow server with artifacts of its own."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    own = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "server")})
    RunStore(own).prepare()
    url = f"http://127.0.0.1:{port}"
    where = ("--backend-store-uri", own.tracking_uri, "--artifacts-destination", str(folder / "artifacts"))
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with Service(name="MLflow", command=[*command, *where], ready_url=f"{url}/health", log=folder / "mlflow.log"):
        yield Settings.from_env({"FULLCIRCLE_HOME": str(folder / "home"), "MLFLOW_TRACKING_URI": url})


@pytest.fixture(params=["file", "server"])
def store(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """Settings on each of the stores that are read without MLflow's client."""
    found = settings if request.param == "file" else request.getfixturevalue("served")
    RunStore(found).prepare()
    assert type(open_reader(found)) is KINDS[request.param]
    return found


@pytest.fixture
def run(store: Settings, project: Project) -> str:
    """A run with parameters, tags and artifacts, under another run."""
    tracker = RunStore(store)
    with tracker.start(project, name="parent", kind="retrain") as parent:
        told = tracker.start(project, name="ein Lauf 'ü'", kind="candidate", parent=parent.id)
        with told:
            told.params({"seed": 7, "torch": {"widths": [128, 64], "note": "ü \n x"}})
            told.tags({"fullcircle.framework": "torch", "empty": ""})
            told.points({"loss": 0.5}, 1)
            for path, text in TEXTS.items():
                told.text(text, path)
    return told.id


def registered(
    store: Settings, project: Project, run: str, tmp_path: Path, make_graph: Callable[[Path], Path], rows: pd.DataFrame
) -> ModelVersion:
    graph = make_graph(tmp_path / "graph.onnx")
    return Registry(store).register(
        project,
        RunStore(store).append(run),
        graph,
        digest=sha256_of(graph),
        example=rows[["carrier", "distance"]],
        card="# Card ü",
        tags={"fullcircle.verdict": "promote"},
    )


def test_a_run_is_the_same_whichever_way_it_is_read(store: Settings, project: Project, run: str) -> None:
    found = open_reader(store).run(run)
    assert found == MlflowReader(store).run(run)
    assert found is not None
    assert (found.name, found.status, found.deleted) == ("ein Lauf 'ü'", "FINISHED", False)
    assert found.params["torch.note"] == "ü \n x"
    assert (found.tags["empty"], found.project) == ("", project.name)
    assert open_reader(store).run(found.parent) == MlflowReader(store).run(found.parent) != None  # noqa: E711 - of three


def test_a_run_in_the_trash_is_read_and_one_that_is_gone_is_none(store: Settings, project: Project, run: str) -> None:
    MlflowClient(store.tracking_uri).delete_run(run)
    found = open_reader(store).run(run)
    assert found == MlflowReader(store).run(run)
    assert found is not None
    assert found.deleted
    assert open_reader(store).run("0" * 32) is MlflowReader(store).run("0" * 32) is None


def test_a_run_that_goes_on_has_no_end(store: Settings, project: Project) -> None:
    with RunStore(store).start(project, name="on", kind="candidate") as open_run:
        open_run.flush()
        found = open_reader(store).run(open_run.id)
        assert found == MlflowReader(store).run(open_run.id)
    assert found is not None
    assert (found.status, found.ended) == ("RUNNING", None)


def test_a_version_is_the_same_with_its_aliases_and_tags_and_a_deleted_one_is_none(
    store: Settings,
    project: Project,
    run: str,
    tmp_path: Path,
    make_graph: Callable[[Path], Path],
    rows: pd.DataFrame,
) -> None:
    version = registered(store, project, run, tmp_path, make_graph, rows)
    for alias in ("champion", "a"):
        Registry(store).set_alias(project.name, alias, version.version)
    found = open_reader(store).version(project.name, version.version)
    assert found == MlflowReader(store).version(project.name, version.version)
    assert found is not None
    assert (found.aliases, found.digest, found.run_id) == (("a", "champion"), version.digest, run)
    MlflowClient(store.tracking_uri, registry_uri=store.tracking_uri).delete_model_version(
        project.name, version.version
    )
    for name, number in ((project.name, version.version), (project.name, "99"), ("nobody", "1")):
        assert open_reader(store).version(name, number) is MlflowReader(store).version(name, number) is None
    graph = open_reader(store).run_of_graph(version.digest)  # MLflow keeps the model when its version is deleted
    assert graph == MlflowReader(store).run_of_graph(version.digest)
    assert graph is not None
    assert open_reader(store).run_of_graph("f" * 64) is MlflowReader(store).run_of_graph("f" * 64) is None


def test_texts_come_back_to_the_last_byte_and_one_that_is_gone_is_none(store: Settings, run: str) -> None:
    records = open_reader(store)
    found = records.run(run)
    assert found is not None
    assert {path: records.text(found, path) for path in TEXTS} == TEXTS
    for missing in ("gate/other.json", "nowhere/at all.txt", "gate"):
        assert records.text(found, missing) is None


def test_a_server_that_is_gone_is_said_to_be_away(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": url})
    with pytest.raises(TrackerAway, match="failed while reading run r: connection refused"):
        open_reader(settings).run("r")


def test_a_file_with_tables_that_nobody_here_knows_is_left_to_mlflow(settings: Settings, tmp_path: Path) -> None:
    RunStore(settings).prepare()
    source = sqlite_file(settings)
    assert source is not None
    other = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    assert type(open_reader(other)) is MlflowReader  # there is no file
    file = tmp_path / source.name
    with contextlib.closing(sqlite3.connect(source)) as connection, contextlib.closing(sqlite3.connect(file)) as copy:
        connection.backup(copy)
        assert type(open_reader(other)) is SqliteReader
        copy.execute("UPDATE alembic_version SET version_num = 'of tomorrow'")
        copy.commit()
    assert type(open_reader(other)) is MlflowReader
    file.write_bytes(b"no database at all, but a text that is long enough")
    assert type(open_reader(other)) is MlflowReader
    shutil.rmtree(tmp_path)
    assert not file.exists()  # looking made no file


def test_the_installed_mlflow_has_tables_that_are_known_here(settings: Settings) -> None:
    RunStore(settings).prepare()
    file = sqlite_file(settings)
    assert file is not None
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert revision in REVISIONS, "compare MLflow's tables runs, tags, params, model_versions and so on, and add it"


def test_neither_way_imports_mlflow(store: Settings, run: str) -> None:
    program = f"""
import sys
from fullcircle.core.settings import Settings
from fullcircle.tracking.reader.open_reader import open_reader
records = open_reader(Settings.from_env())
found = records.run({run!r})
print(records.text(found, "empty.txt") == "", records.version("nobody", "1"), "mlflow" in sys.modules)
"""
    environment = {**os.environ, "FULLCIRCLE_HOME": str(store.home), "MLFLOW_TRACKING_URI": store.tracking_uri}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "True None False\n"


def told(settings: Settings, project: str, parents: int, *, each: int = 4) -> list[str]:
    """Runs and versions as retrains tell them, without their training; the runs' ids."""
    client, made = MlflowClient(settings.tracking_uri), []
    found = client.get_experiment_by_name(project)
    experiment = found.experiment_id if found else client.create_experiment(project)
    if found is None:
        client.create_registered_model(project)
    for number in range(parents):
        parent = ""
        for part in range(each):
            digest = f"{len(made) - part + int(found is not None):032x}.dir"
            tags = {"fullcircle.project": project, "fullcircle.kind": "candidate" if parent else "retrain"}
            # Every other one as an earlier version of the platform wrote it.
            digest_tag, rows_tag = (names(name)[part % 2] for name in (DATA, ROWS))
            tags |= {digest_tag: digest, rows_tag: "1,000", "rows from": "2024-01-01", "rows until": "2024-02-01"}
            tags |= {"mlflow.parentRunId": parent} if parent else {}
            run = client.create_run(experiment, tags=tags, run_name=f"it's {number}/{part}")
            client.log_inputs(run.info.run_id, [_input(project, digest)])
            client.set_terminated(run.info.run_id)
            made.append(run.info.run_id)
            parent = parent or run.info.run_id
        of_version = {DIGEST: f"{number}-{parent}", DATA_DIGEST: digest}
        client.create_model_version(project, run.info.artifact_uri, run.info.run_id, tags=of_version)
    client.set_registered_model_alias(project, "champion", "1")
    return made


def _input(project: str, digest: str) -> DatasetInput:
    return DatasetInput(Dataset(name=project, digest=digest, source_type="local", source="{}"))


def test_lists_of_runs_and_versions_are_the_same_whichever_way_they_are_read(store: Settings, project: Project) -> None:
    runs = told(store, project.name, 3, each=3)
    MlflowClient(store.tracking_uri).delete_run(runs[4])
    read, slow = open_reader(store), MlflowReader(store)
    every = slow.holders(project=project.name)
    digests = sorted(every)
    asked = [
        RunQuery(ids=frozenset([*runs[:2], "0" * 32])),
        RunQuery(parents=frozenset([runs[0], runs[3]])),
        RunQuery(data=frozenset(digests[:1]), project=project.name),
        RunQuery(data=frozenset(digests), project=project.name),
        RunQuery(begins=runs[5][:8]),
        RunQuery(data_begins=digests[0][:31], project=project.name),
        RunQuery(name="it's 1/2", project=project.name),
        RunQuery(name="""it's "1/2" """, project=project.name),
        RunQuery(ids=frozenset(runs), project="another"),
        RunQuery(),
    ]
    found = [read.list_runs(each) for each in asked]
    assert found == [slow.list_runs(each) for each in asked]
    assert [len(each) for each in found][:6] == [2, 4, 3, 9, 1, 9]
    assert [len(each) for each in found][6:] == [1, 0, 0, 0]
    assert [run.deleted for run in read.list_runs(RunQuery(ids=frozenset(runs[4:5])))] == [True]
    assert read.holders(project=project.name) == every
    assert read.holders(digests[:1], project.name) == slow.holders(digests[:1], project.name)
    assert read.versions(project.name) == slow.versions(project.name)
    assert [each.version for each in read.versions(project.name)] == ["3", "2", "1"]
    assert read.model(project.name) == slow.model(project.name)
    assert read.model(project.name) is not None
    assert (read.versions("none"), read.model("none"), read.copies("none")) == ((), None, ())


def test_copies_of_versions_are_the_same_whichever_way_they_are_read(store: Settings, project: Project) -> None:
    told(store, project.name, 1, each=1)
    MlflowClient(store.tracking_uri).copy_model_version(f"models:/{project.name}/1", project.name)
    assert open_reader(store).copies(project.name) == MlflowReader(store).copies(project.name) == ("2",)


def test_a_data_version_is_read_from_whichever_run_keeps_it(
    store: Settings, project: Project, version: DataVersion
) -> None:
    tracker = RunStore(store)
    with (
        tracker.start(project, name="keeps", kind="retrain") as kept,
        tracker.start(project, name="names", kind="candidate", parent=kept.id) as named,
    ):
        kept.data(version)
        named.tags({names(DATA)[1]: version.digest})  # as an earlier version did
    holders = open_reader(store).holders([version.digest], project.name)[version.digest]
    assert {run.run_id for run in holders} == {kept.id, named.id}
    for order in (holders, holders[::-1]):
        assert open_reader(store).data_version(version.digest, order) == version
    assert open_reader(store).data_version("0" * 32 + ".dir", holders[:0]) is None


class _Counted(BaseHTTPRequestHandler):
    """Passes each request on, and notes it."""

    protocol_version = "HTTP/1.1"
    target = ""
    seen: list[str]

    def log_message(self, *arguments: object) -> None: ...

    def _pass_on(self) -> None:
        self.seen.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Content-Type": "application/json"}
        answer = requests.request(self.command, self.target + self.path, data=body, headers=headers, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = _pass_on


def test_how_often_a_server_is_asked_does_not_depend_on_how_many_runs_it_has(
    served: Settings, project: Project
) -> None:
    runs = told(served, project.name, 1)
    seen: list[str] = []
    handler = type("Handler", (_Counted,), {"target": served.tracking_uri, "seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{proxy.server_address[1]}"
            through = Settings.from_env({"FULLCIRCLE_HOME": str(served.home), "MLFLOW_TRACKING_URI": url})
            before = _asked(through, project, runs, seen)
            told(served, project.name, 11)
            assert len(open_reader(served).versions(project.name)) == 12
            assert _asked(through, project, runs, seen) == before
        finally:
            proxy.shutdown()
            thread.join()


def _asked(settings: Settings, project: Project, runs: list[str], seen: list[str]) -> dict[str, int]:
    """How many requests each of the commands takes."""
    from fullcircle.loop.lineage.impact import impact
    from fullcircle.loop.lineage.model_data_versions import data_of_versions
    from fullcircle.loop.overview import overview

    digest = open_reader(settings).list_runs(RunQuery(ids=frozenset(runs[:1])))[0].data_digest
    commands: dict[str, Callable[[], object]] = {
        "impact of a version": lambda: impact(Workspace(settings), f"{project.name}/1"),
        "impact of data": lambda: impact(Workspace(settings), digest, project=project.name),
        "impact of a run": lambda: impact(Workspace(settings), runs[0]),
        "data list": lambda: data_of_versions(settings, project.name),
        "status": lambda: overview(project, Workspace(settings)),
    }
    counts = {}
    for name, command in commands.items():
        seen.clear()
        command()
        counts[name] = len(seen)
    assert all(counts.values())
    return counts
