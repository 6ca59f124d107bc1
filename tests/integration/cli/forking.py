"""Runs many command lines at once, each in a fork of one process that has imported what they need.

    python forking.py < jobs.json     # [{"words": [...], "cwd": "...", "env": {...}, "largest_file": 0 or null}, ...]

Writes the jobs back with `code` and `said` (both streams) of each.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import traceback
from typing import Any

Job = dict[str, Any]


def main() -> None:
    """Import, fork for each job, and listen to all of them at once."""
    import mlflow.store.tracking.sqlalchemy_store

    import fullcircle.loop.retraining.retrain
    import fullcircle.loop.watch
    import fullcircle.store.database

    assert fullcircle.loop and mlflow.store, "imported for all of them"
    jobs: list[Job] = json.load(sys.stdin)
    children = [_started(job) for job in jobs]  # all forks before the first thread
    listeners = [threading.Thread(target=_hear, args=(job, *child)) for job, child in zip(jobs, children, strict=True)]
    for listener in listeners:
        listener.start()
    for listener in listeners:
        listener.join()
    json.dump(jobs, sys.stdout)


def _started(job: Job) -> tuple[int, int]:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        code = 99
        try:
            for stream in (1, 2):  # a pipe: no limit on the size of files holds for it
                os.dup2(writing, stream)
            code = _run(job)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    return pid, reading


def _run(job: Job) -> int:
    from fullcircle.cli import main as fullcircle

    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    sys.argv = ["fullcircle", *job["words"]]
    if job["largest_file"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], resource.RLIM_INFINITY))
    try:
        fullcircle()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _hear(job: Job, pid: int, reading: int) -> None:
    with os.fdopen(reading, errors="replace") as stream:
        job["said"] = stream.read()
    job["code"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
