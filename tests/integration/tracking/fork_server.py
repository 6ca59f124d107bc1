"""Forks MLflow servers and trainers that have imported all they need: real processes to kill, up in a moment.

    python fork_server.py server|trainer

It says `ready`, then takes a JSON line of arguments each on stdin and says the id of the process that it forked. Its
children end with it, and it ends with its stdin.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fullcircle.core.system.processes import die_with_parent


class Kills:
    """Ends this process with kill -9 where a plan says so: the n-th time that it comes to a named point.

    Args:
        plan: a file that is replaced from outside: `{"round": 1, "server": {"point": "commit", "times": 2,
            "too": []}}`; `too` are processes that are killed at the same moment. Without one nobody is killed.
    """

    def __init__(self, plan: str, who: str) -> None:
        self._plan, self._who = Path(plan), who
        self._round, self._seen = 0, 0

    def at(self, point: str) -> None:
        """We are at this point."""
        try:
            plan = json.loads(self._plan.read_text())
        except OSError:
            return
        if plan["round"] != self._round:
            self._round, self._seen = plan["round"], 0
        wanted = plan.get(self._who, {})
        if wanted.get("point") != point:
            return
        self._seen += 1
        if self._seen >= wanted["times"]:
            for pid in (*wanted["too"], os.getpid()):
                os.kill(pid, signal.SIGKILL)


def server() -> Callable[..., None]:
    """An MLflow server, as `mlflow server` has uvicorn run it; no file of it gets longer than `largest_file`."""
    import uvicorn
    from mlflow.server import constants
    from mlflow.server.fastapi_app import app
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def serve(*, database: str, artifacts: str, port: int, largest_file: int, log: str, plan: str = "") -> None:
        kills, inserted = Kills(plan, "server"), set[int]()

        @event.listens_for(Engine, "before_cursor_execute")
        def executes(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO metrics"):
                inserted.add(id(connection))
                kills.at("insert")

        @event.listens_for(Engine, "commit")
        def commits(connection: Any) -> None:
            if id(connection) in inserted:
                inserted.discard(id(connection))
                kills.at("commit")

        async def killed(scope: Any, receive: Any, send: Any) -> None:
            batch = scope.get("path", "").endswith("/runs/log-batch")

            async def answer(message: Any) -> None:
                if batch and message["type"] == "http.response.start":
                    kills.at("answer")
                await send(message)

            if batch:
                kills.at("request")
            await app(scope, receive, answer)

        _into(log)
        os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = database
        os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
        os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = artifacts
        os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
        os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
        uvicorn.run(killed, host="127.0.0.1", port=port, log_level="warning")

    return serve


def trainer() -> Callable[..., None]:
    """Tells five metrics a step; every ten steps it tells one more, flushes and then writes its checkpoint, as our
    trainings do. It ends when `enough` is in its folder, and leaves `done` there."""
    from fullcircle.core.project import Binary, Number, Project
    from fullcircle.core.settings import Settings
    from fullcircle.tracking.connection.client import connect
    from fullcircle.tracking.runs.run_store import RunStore

    assert connect

    def train(*, folder: str, env: dict[str, str], log: str, plan: str) -> None:
        _into(log)
        kills = Kills(plan, "trainer")

        def watch(happens: str, arguments: tuple[Any, ...]) -> None:
            if happens == "open" and str(arguments[0]).endswith(".cursor") and arguments[2] & os.O_WRONLY:
                kills.at("cursor")  # the server has what it is moved behind
            elif happens == "http.client.send" and b"/runs/log-batch " in bytes(arguments[1])[:200]:
                kills.at("send")
            elif happens == "os.rename" and str(arguments[1]).endswith(("/run.json", "/checkpoint.json")):
                kills.at(Path(str(arguments[1])).name)

        sys.addaudithook(watch)
        here, state = Path(folder), Path(folder) / "checkpoint.json"
        project = Project(
            name="tracked",
            owner="o",
            columns=(Number("x"),),
            target=Binary("y", positive="p"),
            time="t",
            row_id="i",
            torch=lambda inputs, params: None,
            folder=here,
        )
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        tracker = RunStore(Settings.from_env(env))
        kept = json.loads(state.read_text()) if state.exists() else {"run": None, "step": 0}
        run = tracker.resume(kept["run"]) if kept["run"] else tracker.start(project, name="killed", kind="train")
        step = kept["step"]
        with run:
            while not (here / "enough").exists() or step % 10:
                step += 1
                run.points({f"metric_{n}": step / (n + 1) for n in range(5)}, step)
                kills.at("told")
                if step % 10 == 0:
                    run.metrics({"epoch_loss": 1 / step}, step)
                    kills.at("flushed")
                    (here / "part").write_text(json.dumps({"run": run.id, "step": step}))
                    os.replace(here / "part", state)
                    kills.at("checkpointed")
                time.sleep(0.005)
        (here / "done").touch()

    return train


def _into(log: str) -> None:
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)


def main() -> None:
    """Import, and then fork as often as asked."""
    work = {"server": server, "trainer": trainer}[sys.argv[1]]()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    die_too = die_with_parent(os.getpid(), signal.SIGKILL)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if pid := os.fork():
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
            continue
        try:
            die_too()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work(**json.loads(line))
        except BaseException:  # the log has it
            traceback.print_exc()
        finally:
            os._exit(0)


if __name__ == "__main__":
    main()
