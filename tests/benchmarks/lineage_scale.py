"""How long do `impact`, `data list` and `status` take in a home with ten thousand runs and a thousand versions?

    python tests/benchmarks/lineage_scale.py [--runs 10000] [--versions 1001] [--commands 5] [--server]

Each retrain is a run with three candidates beneath it, and learned from a data version of its own; each version is one
of a candidate. The rows are written into MLflow's SQLite file in bulk, as its own store writes them one by one, and
each data version is kept with its runs. Timed is the whole command, with Python's start, all imports and what it
prints; and the processor's time of it, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.settings import Settings, quiet_dependencies
from fullcircle.core.system.processes import Service, free_port
from fullcircle.store.json_values import to_json
from fullcircle.tracking.runs.run_schema import DATA, DIGEST, data_tags
from fullcircle.tracking.runs.run_store import RunStore

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT, EACH, START = "flights", 4, datetime(2013, 1, 1, tzinfo=UTC)
METRICS, PARAMS, OTHER_TAGS = 12, 20, 15


def fill(settings: Settings, runs: int, versions: int) -> dict[str, str]:
    """Write that many runs and versions; names of things to ask about."""
    RunStore(settings).prepare()
    assert settings.tracking_uri.startswith("sqlite:///")
    place = (settings.home / "mlartifacts" / PROJECT).as_uri()
    with closing(sqlite3.connect(settings.home / "mlflow.db")) as connection:
        write = _writer(connection)
        now = int(START.timestamp() * 1000)
        write(
            "experiments",
            [{"experiment_id": 1, "name": PROJECT, "artifact_location": place, "lifecycle_stage": "active",
              "creation_time": now, "last_update_time": now, "workspace": "default"}],
        )  # fmt: skip
        write(
            "registered_models",
            [{"name": PROJECT, "creation_time": now, "last_updated_time": now, "workspace": "default"}],
        )
        retrains = [_retrain(settings, place, number) for number in range(runs // EACH)]
        for table in ("runs", "tags", "params", "latest_metrics", "metrics"):
            write(table, (row for each in retrains for row in each[table]))
        candidates = [row["run_uuid"] for each in retrains for row in each["runs"][1:]]
        digests = [each["data"] for each in retrains for _ in each["runs"][1:]]
        chosen = np.linspace(0, len(candidates) - 1, versions).astype(int)
        made = [_version(place, number, candidates[at], digests[at]) for number, at in enumerate(chosen, 1)]
        for table in ("model_versions", "model_version_tags"):
            write(table, (row for each in made for row in each[table]))
        alias = {"alias": "champion", "version": versions, "name": PROJECT, "workspace": "default"}
        write("registered_model_aliases", [alias])
        connection.commit()
    middle = len(retrains) // 2
    return {
        "a version": f"{PROJECT}/{versions // 2}",
        "a data version": retrains[middle]["data"],
        "a run": retrains[middle]["runs"][0]["run_uuid"],
        "a file": f"{PROJECT}:part-{middle:05d}.parquet",
        "nothing": "flihgts/1",
    }


def _retrain(settings: Settings, place: str, number: int) -> dict[str, list[dict[str, object]]]:
    data = _data(number)
    tags = {"fullcircle.project": PROJECT, **data_tags(data)} | {f"other.{i}": f"{i}" for i in range(OTHER_TAGS)}
    rows: dict[str, list[dict[str, object]]] = {
        "runs": [],
        "tags": [],
        "params": [],
        "latest_metrics": [],
        "metrics": [],
    }
    parent = ""
    for part in range(EACH):
        run_id = hashlib.md5(f"{number}/{part}".encode()).hexdigest()
        at = int((START + timedelta(hours=number, minutes=part)).timestamp() * 1000)
        rows["runs"].append(
            {"run_uuid": run_id, "name": f"run {number}/{part}", "source_type": "LOCAL", "status": "FINISHED",
             "user_id": "bench", "start_time": at, "end_time": at + 1, "lifecycle_stage": "active",
             "artifact_uri": f"{place}/{run_id}/artifacts", "experiment_id": 1, "deleted_time": None}
        )  # fmt: skip
        own = {**tags, "fullcircle.kind": "candidate" if part else "retrain"}
        own |= {"mlflow.parentRunId": parent} if parent else {}
        rows["tags"] += [{"key": key, "value": value, "run_uuid": run_id} for key, value in own.items()]
        rows["params"] += [{"key": f"p{i}", "value": "1", "run_uuid": run_id} for i in range(PARAMS)]
        for table in ("latest_metrics", "metrics"):
            rows[table] += [
                {"key": f"m{i}", "value": 0.5, "timestamp": at, "run_uuid": run_id, "step": 0, "is_nan": False}
                for i in range(METRICS)
            ]
        if not part:
            parent = run_id
        kept = settings.home / "mlartifacts" / PROJECT / run_id / "artifacts" / DATA
        kept.parent.mkdir(parents=True)
        kept.write_text(to_json(data))
    return {**rows, "data": data.digest}  # type: ignore[dict-item]


def _data(number: int) -> DataVersion:
    names = [f"part-{at:05d}.parquet" for at in range(max(0, number - 11), number + 1)]
    files = tuple((name, hashlib.md5(name.encode()).hexdigest()) for name in names)
    digest = hashlib.md5(json.dumps(files).encode()).hexdigest() + ".dir"
    return DataVersion(
        project=PROJECT, digest=digest, pointer=f"outs:\n- md5: {digest}\n", files=files, rows=1000, size_bytes=1 << 20,
        start=START, end=START + timedelta(days=number), fingerprint="f" * 64,
    )  # fmt: skip


def _version(place: str, number: int, run_id: str, data: str) -> dict[str, list[dict[str, object]]]:
    key = {"name": PROJECT, "version": number, "workspace": "default"}
    source = f"{place}/models/m-{number:032d}/artifacts"
    now = int(START.timestamp() * 1000) + number
    tags = {DIGEST: hashlib.sha256(str(number).encode()).hexdigest(), "fullcircle.data.digest": data}
    tags |= {f"other.{i}": "x" * 40 for i in range(OTHER_TAGS)}
    return {
        "model_versions": [
            {**key, "creation_time": now, "last_updated_time": now, "current_stage": "None", "source": source,
             "storage_location": source, "run_id": run_id, "status": "READY"}
        ],
        "model_version_tags": [{**key, "key": tag, "value": value} for tag, value in tags.items()],
    }  # fmt: skip


class _writer:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, table: str, rows: Iterable[dict[str, object]]) -> None:
        """Insert rows; columns that this MLflow does not have are left out."""
        there = {row[1] for row in self._connection.execute(f"PRAGMA table_info({table})")}
        for row in rows:
            names = [name for name in row if name in there]
            marks = ", ".join("?" for _ in names)
            statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
            self._connection.execute(statement, [row[name] for name in names])


def commanded(settings: Settings, tracker: str, words: list[str], code: int) -> tuple[float, float]:
    """Seconds of the whole command, and of the processor."""
    environment = {**os.environ, "FULLCIRCLE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": tracker}
    command = [sys.executable, "-m", "fullcircle.cli", *words]
    began, computed = time.perf_counter(), _computed()
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    assert done.returncode == code, done.stderr
    return took, _computed() - computed


def _computed() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(settings: Settings, tracker: str, asked: dict[str, str], times: int) -> None:
    """Time each command so many times, and print the middle and the worst."""
    commands = [(f"impact, {what}", ["impact", name]) for what, name in asked.items()]
    commands += [(" ".join(words), [*words, PROJECT]) for words in (["data", "list"], ["status"])]
    commands += [("data list --json", ["data", "list", PROJECT, "--json"])]
    for title, words in commands:
        took = np.array([commanded(settings, tracker, words, 2 if "nothing" in title else 0) for _ in range(times)])
        (middle, computed), worst = np.median(took, axis=0), took.max(axis=0)[0]
        print(f"{title:<24} p50 {middle:6.2f} s, max {worst:6.2f} s, of the processor {computed:6.2f} s", flush=True)


def main() -> None:
    """Fill, ask, and print how long each answer took."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=10_000)
    asked.add_argument("--versions", type=int, default=1_001)
    asked.add_argument("--commands", type=int, default=5)
    asked.add_argument("--server", action="store_true", help="also through an MLflow server on the same store")
    wanted = asked.parse_args()
    quiet_dependencies()
    with tempfile.TemporaryDirectory() as aside:
        settings = Settings.from_env({"FULLCIRCLE_HOME": str(Path(aside) / "home")})
        began = time.perf_counter()
        names = fill(settings, wanted.runs, wanted.versions)
        print(f"{wanted.runs:,} runs and {wanted.versions:,} versions, made in {time.perf_counter() - began:.0f} s")
        report(settings, settings.tracking_uri, names, wanted.commands)
        if wanted.server:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
            store = ("--workers", "1", "--backend-store-uri", settings.tracking_uri)
            log = Path(aside) / "mlflow.log"
            with Service(name="MLflow", command=[*command, *store], ready_url=f"{url}/health", log=log):
                print("through a server")
                report(settings, url, names, wanted.commands)


if __name__ == "__main__":
    main()
