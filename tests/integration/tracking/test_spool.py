"""Runs whose tracker goes away: a real MLflow server on SQLite, killed, restarted, full, and never there at all."""

from __future__ import annotations

import dataclasses
import http.server
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest

from fullcircle.core.errors import TrackerAway, UsageError
from fullcircle.core.framed_log.layout import VERSION
from fullcircle.core.project import Project
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.settings import Settings
from fullcircle.core.system.outages import Patience, patient
from fullcircle.core.system.processes import free_port, process_exists
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore, RunWriter
from fullcircle.tracking.spool.mlflow_backend import MlflowBackend
from fullcircle.tracking.spool.spool_file import KIND
from fullcircle.tracking.spool.sync import backlog, sync

pytestmark = pytest.mark.slow

FULL = 50_000
"""Bytes: where no file may get longer, the disk is full for SQLite, which writes a thousand points to its log first."""


class ForkServer:
    """A process that forks servers or trainers; see fork_server.py."""

    def __init__(self, kind: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fork(self, **arguments: object) -> int:
        """The id of a new process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(arguments) + "\n")
        self.process.stdin.flush()
        while (said := self.process.stdout.readline().strip()) == "ready":
            pass
        return int(said)


def kill(pid: int) -> None:
    """kill -9, and wait until the kernel has taken away all that the process held."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not process_exists(pid))


class Server:
    """An MLflow server that can be killed with -9 and started again on the same port, database and files."""

    def __init__(self, folder: Path, fork_server: ForkServer) -> None:
        own = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "server")})
        RunStore(own).prepare()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.fork_server, self.pid = fork_server, 0
        self.plan = folder / "kill.json"
        self.arguments = {
            "plan": str(self.plan),
            "database": own.tracking_uri,
            "artifacts": str(folder / "artifacts"),
            "port": self.port,
            "log": str(folder / "mlflow.log"),
        }

    def start(self, largest_file: int = resource.RLIM_INFINITY) -> None:
        self.pid = self.fork_server.fork(**self.arguments, largest_file=largest_file)
        until(self.answers, self.pid)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.pid:
            kill(self.pid)
            self.pid = 0


def until(true: Callable[[], bool], alive: int | None = None) -> None:
    """Poll until it is so, while the process is alive."""
    ends = time.monotonic() + 120
    while not true():
        assert time.monotonic() < ends, "it never came to be"
        assert alive is None or process_exists(alive), "the process ended; its log is in the folder"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def nurseries() -> Iterator[dict[str, ForkServer]]:
    made = {kind: ForkServer(kind) for kind in ("server", "trainer")}
    yield made
    for each in made.values():
        each.process.communicate()  # its stdin ends


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, nurseries: dict[str, ForkServer]) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("mlflow"), nurseries["server"])
    yield made
    made.kill()


@pytest.fixture
def up(server: Server) -> Server:
    """The server, which answers."""
    if not server.pid:
        server.start()
    return server


@pytest.fixture
def settings(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": server.url})


def points(settings: Settings, run_id: str) -> dict[str, Counter[int]]:
    """Metric -> how often each step is there."""
    client = mlflow.MlflowClient(settings.tracking_uri)
    keys = client.get_run(run_id).data.metrics
    return {key: Counter(point.step for point in client.get_metric_history(run_id, key)) for key in keys}


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, train_loss=1 / number, validation_loss=2.0, validation={"roc_auc": 0.6}, seconds=0.1
    )


TRAINER = ("told", "flushed", "checkpoint.json", "checkpointed", "send", "cursor")
"""Where a trainer is killed: behind a call that told a point, behind the flush of an epoch, before and behind the
checkpoint, before a request is sent, and between the server's answer and the cursor that says so."""
OPENING = ("run.json", "send", "cursor")
"""Where one is killed that goes on with the run: before its spool is there, and while what is left is sent."""
SERVER = ("request", "insert", "commit", "answer")
"""Where the server is killed in a request of points: before it is read, written, committed and answered."""
DISK = ("insert", "answer")


class Siege:
    """A trainer and the server that it tells, either of which is killed at a named point, and started again."""

    def __init__(
        self, server: Server, folder: Path, settings: Settings, forks: ForkServer, chance: random.Random
    ) -> None:
        self.server, self.folder, self.spools, self.forks = server, folder, settings.home / "spool", forks
        self.chance, self.rounds = chance, 0
        env = {"FULLCIRCLE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": server.url}
        self.arguments = {"folder": str(folder), "env": env, "log": str(folder / "log"), "plan": str(server.plan)}
        self.start()

    def start(self) -> None:
        self.trainer = self.forks.fork(**self.arguments)

    @property
    def state(self) -> dict[str, Any]:
        """The trainer's checkpoint."""
        path = self.folder / "checkpoint.json"
        return dict(json.loads(path.read_text())) if path.exists() else {"step": 0}

    def trained(self, steps: int) -> None:
        goal = self.state["step"] + steps
        until(lambda: self.state["step"] >= goal, self.trainer)

    def plan(self, who: str = "", point: str = "", most: int = 1, too: Sequence[int] = ()) -> None:
        self.rounds += 1
        plan = {"round": self.rounds, who: {"point": point, "times": self.chance.randint(1, most), "too": too}}
        part = self.server.plan.with_name("kill.part")
        part.write_text(json.dumps(plan))
        part.replace(self.server.plan)

    def kill_trainer(self, point: str) -> None:
        self.plan("trainer", point, most=100 if point == "told" else 3)
        self._trainer_again()

    def kill_opening(self, point: str) -> None:
        self.plan("trainer", "flushed")
        gone(self.trainer)
        self.plan("trainer", point)
        self.start()
        self._trainer_again()

    def kill_server(self, point: str) -> None:
        self.plan("server", point, most=3)
        self._server_again()

    def kill_both(self, point: str) -> None:
        self.plan("server", point, most=3, too=[self.trainer])
        gone(self.trainer)
        gone(self.server.pid)
        self.plan()
        self.server.start()
        self.start()

    def kill_on_a_full_disk(self, point: str) -> None:
        kill(self.server.pid)
        self.server.start(largest_file=FULL)
        until(self._disk_is_full, self.trainer)
        self.plan("server", point)
        self._server_again()

    def _trainer_again(self) -> None:
        gone(self.trainer)
        self.plan()
        self.start()

    def _server_again(self) -> None:
        gone(self.server.pid, self.trainer)
        self.trained(self.chance.randint(10, 50))  # it goes on without a tracker
        self.plan()
        self.server.start()

    def _disk_is_full(self) -> bool:
        whys = [path.read_text() for path in self.spools.glob("*/trouble.json")]
        return any("disk I/O" in why or "disk is full" in why for why in whys)


def gone(pid: int, alive: int | None = None) -> None:
    """Wait for the end of a process that a plan kills, while another one is alive."""
    until(lambda: not process_exists(pid), alive)


@pytest.mark.timeout(900)
def test_twenty_kills_of_trainer_server_and_both_and_full_disks_lose_and_double_no_point(
    up: Server, settings: Settings, tmp_path: Path, nurseries: dict[str, ForkServer]
) -> None:
    chance = random.Random(20)
    siege = Siege(up, tmp_path, settings, nurseries["trainer"], chance)
    kills = [
        *((siege.kill_trainer, point) for point in TRAINER),
        *((siege.kill_opening, point) for point in OPENING),
        *((siege.kill_server, point) for point in SERVER),
        *((siege.kill_both, point) for point in (*SERVER, "commit", "answer")),
        *((siege.kill_on_a_full_disk, point) for point in DISK),
    ]
    assert len(kills) > 20
    chance.shuffle(kills)
    for strike, point in kills:
        siege.trained(10)
        strike(point)
    siege.trained(10)
    (tmp_path / "enough").touch()
    gone(siege.trainer)
    assert (tmp_path / "done").exists(), (tmp_path / "log").read_text()
    assert sync(settings) == ()
    run_id, last = siege.state["run"], siege.state["step"]
    found = points(settings, run_id)
    everything = Counter(dict.fromkeys(range(1, last + 1), 1))
    assert [found[f"metric_{n}"] for n in range(5)] == [everything] * 5
    assert found["epoch_loss"] == Counter(dict.fromkeys(range(10, last + 1, 10), 1))
    assert all(times == 1 for counts in found.values() for times in counts.values())
    assert mlflow.MlflowClient(up.url).get_run(run_id).info.status == "FINISHED"
    assert list((settings.home / "spool").iterdir()) == []


def test_a_run_that_begins_and_ends_while_the_tracker_is_away_is_there_after_sync_with_its_own_times(
    server: Server, settings: Settings, project: Project, tmp_path: Path
) -> None:
    server.kill()
    (tmp_path / "report.txt").write_text("fine")
    with RunStore(settings).start(project, name="offline", kind="train") as run:
        run.params({"epochs": 3})
        run.epoch(epoch(1))
        run.points({"nan": float("nan"), "huge": float("inf")}, 7)
        run.file(tmp_path / "report.txt", "reports")
        (tmp_path / "report.txt").write_text("changed later")
    assert run.backlog is not None
    assert (run.backlog.begun, run.backlog.writing) == (False, False)
    assert run.backlog.artifacts >= 2
    (waits,) = backlog(settings)
    assert "failed while connecting" in waits.why
    away = sync(settings)
    assert [each.run for each in away] == [run.id]
    ended_ms = time.time() * 1000
    server.start()
    assert sync(settings) == ()
    assert backlog(settings) == ()
    client, tracker = mlflow.MlflowClient(server.url), RunStore(settings)
    run_id = tracker.find(run.id)
    found = client.get_run(run_id)
    assert (found.info.status, found.data.params) == ("FINISHED", {"epochs": "3"})
    assert max(found.info.start_time, found.info.end_time) <= ended_ms
    assert client.get_metric_history(run_id, "train_loss")[0].timestamp <= ended_ms
    assert tracker.download(run_id, "reports/report.txt").read_text() == "fine"
    assert tracker.state(run.id).key == run.id
    assert points(settings, run_id)["nan"] == Counter({7: 1})


class Interrupting:
    """A loss during whose reading Ctrl-C is pressed."""

    def __float__(self) -> float:
        signal.raise_signal(signal.SIGINT)
        return 0.25


def test_ctrl_c_pressed_again_while_the_end_is_written_loses_neither_the_end_nor_what_was_told(
    up: Server, settings: Settings, project: Project
) -> None:
    def pressed_twice() -> None:
        with RunStore(settings).start(project, name="impatient", kind="train") as run:
            runs.append(run)
            run.step_points.add(1, [0.5], [1.0], 100.0)
            run.step_points.add(2, [Interrupting()], [1.0], 100.0)  # the newest step becomes a point when the run ends
            raise KeyboardInterrupt

    runs: list[RunWriter] = []
    with pytest.raises(KeyboardInterrupt):
        pressed_twice()
    assert sync(settings) == ()
    found = mlflow.MlflowClient(up.url).get_run(runs[0].id)
    assert (found.info.status, found.data.tags["fullcircle.failure"]) == ("KILLED", "KeyboardInterrupt")
    assert points(settings, runs[0].id)["step_loss"] == Counter({1: 1, 2: 1})


def test_a_run_that_begins_while_the_tracker_is_away_gets_its_mlflow_run_when_it_answers(
    server: Server, settings: Settings, project: Project
) -> None:
    server.kill()
    with RunStore(settings).start(project, name="early", kind="train") as run:
        run.epoch(epoch(1))
        server.start()
        assert run.flush(patience_s=60)
        run_id = RunStore(settings).find(run.id)
        assert mlflow.MlflowClient(server.url).get_run(run_id).info.status == "RUNNING"
        run.epoch(epoch(2))
    assert run.backlog is None
    assert points(settings, run_id)["train_loss"] == Counter({1: 1, 2: 1})


def test_a_run_is_not_marked_as_finished_before_all_of_its_artifacts_are_there(
    up: Server, settings: Settings, project: Project, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(os.urandom(300_000))
    run = RunStore(settings).start(project, name="artifacts", kind="train")
    assert run.flush()
    up.kill()
    run.file(tmp_path / "weights.bin", "weights")
    run.end()
    assert run.backlog is not None
    assert run.backlog.artifacts == 1
    (copy,) = (settings.home / "spool").glob("*/artifacts/*/weights.bin")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    up.start()
    (left,) = sync(settings)
    assert "does not match its SHA-256" in left.why
    client = mlflow.MlflowClient(up.url)
    assert client.get_run(run.id).info.status == "RUNNING"
    copy.write_bytes(whole)
    assert sync(settings) == ()
    assert client.get_run(run.id).info.status == "FINISHED"
    assert RunStore(settings).download(run.id, "weights/weights.bin").read_bytes() == whole


def test_what_another_thread_tells_while_a_run_is_being_ended_is_refused_and_not_lost_without_a_word(
    up: Server, settings: Settings, project: Project
) -> None:
    run = RunStore(settings).start(project, name="ended", kind="train")
    run.points({"loss": 1.0}, 1)
    assert run.flush()
    up.kill()  # so that the end waits for it
    ending = threading.Thread(target=run.end)
    ending.start()
    told, refused = [1], ""
    while not refused and ending.is_alive():
        try:
            run.points({"loss": 1.0}, told[-1] + 1)
            told.append(told[-1] + 1)
        except UsageError as error:
            refused = str(error)
        time.sleep(0.001)
    ending.join()
    assert refused.startswith(f"run {run.id} is being ended, and was told loss of step {told[-1] + 1}")
    up.start()
    assert sync(settings) == ()
    assert points(settings, run.id)["loss"] == Counter(told)


def test_a_tracker_whose_disk_is_full_gets_every_point_once_when_it_has_room_again(
    up: Server, settings: Settings, project: Project
) -> None:
    with RunStore(settings).start(project, name="full", kind="train") as run:
        assert run.flush(patience_s=60)
        up.kill()
        up.start(largest_file=FULL)
        for step in range(1, 4001):
            run.points({"loss": 1 / step}, step)
        until(lambda: any("disk" in waits.why for waits in backlog(settings)))
        up.kill()
        up.start()
    assert run.backlog is None or sync(settings) == ()
    assert points(settings, run.id)["loss"] == Counter(dict.fromkeys(range(1, 4001), 1))


def test_damage_in_the_spool_is_kept_aside_and_named_and_what_is_before_it_is_sent(
    server: Server, settings: Settings, project: Project
) -> None:
    server.kill()
    run = RunStore(settings).start(project, name="damaged", kind="train")
    run.metrics({"loss": 1.0}, 1)
    run.metrics({"loss": 0.5}, 2)
    run.end()
    (file,) = (settings.home / "spool").glob("*/main.spool")
    data = file.read_bytes()
    at = data.rindex(b"loss")
    file.write_bytes(data[:at] + b"lass" + data[at + 4 :])
    server.start()
    (left,) = sync(settings)
    (kept,) = left.damaged
    assert f"{left}" == f"run {left.run}: nothing but its beginning not sent; damaged and kept aside: {kept}"
    assert b"lass" in Path(kept).read_bytes()
    assert points(settings, left.run)["loss"] == Counter({1: 1})
    assert backlog(settings) == (left,)


def test_a_tracker_that_goes_away_for_a_moment_is_not_seen_by_who_appends_or_named_with_where_it_waits(
    up: Server, settings: Settings, project: Project
) -> None:
    with RunStore(settings).start(project, name="appended", kind="train") as run:
        pass
    appended = RunStore(settings).append(run.id)
    appended.metrics({"later": 1.0})
    assert points(settings, run.id)["later"] == Counter({0: 1})
    with pytest.raises(UsageError, match="MLflow does not take 'a%b' as a name"):
        appended.metrics({"a%b": 1.0})
    assert isinstance(appended, RunWriter)
    assert backlog(settings) == ()


class Heard(list[str]):
    """What was said; the first line starts the server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def hear(self, text: str) -> None:
        self.append(text)
        if len(self) == 1:
            self.server.start()


def test_whoever_is_patient_outlasts_a_tracker_that_goes_away_wherever_it_is_asked(
    up: Server, settings: Settings, project: Project, tmp_path: Path
) -> None:
    def patience(heard: Heard) -> Patience:
        return Patience(limit_s=600, say=heard.hear, kept=str(settings.home), setting="FULLCIRCLE_WAIT")

    tracker = RunStore(settings)
    with tracker.start(project, name="before", kind="train") as known:
        pass
    appended = tracker.append(known.id)
    asked: dict[str, Callable[[], object]] = {
        "read": lambda: tracker.state(known.id).status,
        "connect": lambda: RunStore(settings).state(known.id).status,
        "append": lambda: appended.text("later", "later.txt"),
        "download": lambda: RunStore(settings).download(known.id, "later.txt").read_text(),
        "registry": lambda: Registry(settings).versions(project.name),
    }
    expected = {"read": "FINISHED", "connect": "FINISHED", "append": None, "download": "later", "registry": ()}
    for name, ask in asked.items():
        up.kill()
        heard = Heard(up)
        with patient(patience(heard)):
            assert ask() == expected[name]
        away, back = heard
        assert away.startswith(f"the tracking server at {up.url} is away since"), name
        assert f"everything is safe in {settings.home}" in away
        assert back.startswith("it answers again")
    # A run that began and ended meanwhile is known to whoever appends to it.
    up.kill()
    heard = Heard(up)
    with patient(patience(heard)):
        with tracker.start(project, name="meanwhile", kind="train") as early:
            early.epoch(epoch(1))
        assert heard == [], "a run can begin and end without the tracker: nobody waits for that"
        tracker.append(early.id).tags({"later": "yes"})
    assert len(heard) == 2
    assert tracker.state(early.id).tags["later"] == "yes"
    assert points(settings, tracker.find(early.id))["train_loss"] == Counter({1: 1})
    assert backlog(settings) == ()


def test_sync_and_status_say_what_waits_and_exit_with_one_until_it_is_sent(
    server: Server, settings: Settings, project: Project, tmp_path: Path
) -> None:
    server.kill()
    with RunStore(settings).start(project, name="waits", kind="train") as run:
        run.epoch(epoch(1))
    env = {**os.environ, "FULLCIRCLE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": server.url}

    def fullcircle(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "fullcircle.cli", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)

    away = fullcircle("sync", "--json")
    assert away.returncode == 1, away.stderr
    (row,) = json.loads(away.stdout)["unsent"]
    assert (row["run"], row["begun"], row["points"] >= 4) == (run.id, False, True)
    assert "failed while connecting" in row["why"]
    server.start()
    done = fullcircle("sync")
    assert (done.returncode, done.stdout) == (0, "the tracker has all that runs of this home told\n"), done.stderr


def test_a_spool_of_a_newer_version_is_refused_and_not_changed(
    server: Server, settings: Settings, project: Project
) -> None:
    server.kill()
    with RunStore(settings).start(project, name="newer", kind="train"):
        pass
    (about,) = (settings.home / "spool").glob("*/run.json")
    file, saying = about.with_name("main.spool"), about.read_text()
    server.start()
    for newer in (about, file):
        if newer is about:
            about.write_text(saying.replace('"format": 1', '"format": 2'))
        else:
            about.write_text(saying)
            start = KIND.magic + (VERSION + 1).to_bytes(4, "little")
            start += zlib.crc32(start).to_bytes(4, "little")
            file.write_bytes(start + file.read_bytes()[len(start) :])
        before = {path: path.read_bytes() for path in about.parent.rglob("*") if path.is_file()}
        (left,) = sync(settings)
        what = f"{file} has format 3 and this version reads up to 2"
        if newer is about:
            what = f"{about.parent} has format 2 and this version reads up to 1"
        assert what in left.why
        assert "nothing of it was changed" in left.why
        assert {path: path.read_bytes() for path in about.parent.rglob("*") if path.is_file()} == before
    with pytest.raises(UsageError, match="no run"):
        RunStore(settings).find(left.run)


class Silent(http.server.BaseHTTPRequestHandler):
    """What answers in the place of a tracker that is not there: nothing, and that all is well."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_an_empty_answer_is_not_taken_for_the_trackers(settings: Settings) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent) as silent:
        threading.Thread(target=silent.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{silent.server_address[1]}"
        backend = MlflowBackend(dataclasses.replace(settings, tracking_uri=url), mlflow.MlflowClient(url))
        with pytest.raises(TrackerAway, match=r"answered nothing to /api/2.0/mlflow/runs/log-batch: is it MLflow"):
            backend.log_points("r", [("loss", 1.0, 1, 1)])
        silent.shutdown()


def test_a_step_of_numpys_is_kept_and_one_that_is_none_costs_no_other_point(
    up: Server, settings: Settings, project: Project
) -> None:
    with RunStore(settings).start(project, name="steps", kind="train") as run:
        run.points({"loss": 1.0}, 1)
        run.points({"loss": 1.0}, np.int64(2))
        with pytest.raises(UsageError, match=r"a step is a whole number of at most 64 bits, got 3.0"):
            run.points({"loss": 1.0}, 3.0)  # type: ignore[arg-type]
    assert points(settings, run.id)["loss"] == Counter({1: 1, 2: 1})


class Guarded(http.server.BaseHTTPRequestHandler):
    """A tracker that lets nobody in."""

    def do_GET(self) -> None:
        self.send_error(401)

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        """Nothing."""


def test_a_tracker_that_asks_for_credentials_is_told_with_the_variables_at_the_start_of_a_run(
    settings: Settings, project: Project
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as guarded:
        threading.Thread(target=guarded.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{guarded.server_address[1]}"
        with pytest.raises(UsageError, match=r"it got no credentials, or not the right ones \(HTTP 401\)") as refused:
            RunStore(dataclasses.replace(settings, tracking_uri=url)).start(project, name="guarded", kind="train")
        guarded.shutdown()
    assert refused.value.hint.startswith(
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_T"
    )
    assert backlog(settings) == ()
