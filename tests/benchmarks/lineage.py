"""How long does a trace take with a million logged predictions?

    python tests/benchmarks/lineage.py [--rows 1000000] [--traces 200] [--commands 40]

A year of predictions in a home of its own, as a server leaves them: eight segments a day, written by the log's own code
with the ids of that day, and the last rows still in its write-ahead file; a label for each row; one real registered
model, whose run, data, verdict and release are walked to. Each trace is of another random prediction, from scratch: in
this process, and as the whole command, with Python's start and all imports.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.releases import ModelVersion
from fullcircle.core.settings import Settings, quiet_dependencies
from fullcircle.core.system.files import sha256_of
from fullcircle.core.system.processes import Service, free_port
from fullcircle.data.data_versions import Versions
from fullcircle.data.partitions import Partition
from fullcircle.loop.lineage.impact import impact
from fullcircle.loop.lineage.trace import trace
from fullcircle.loop.promotion.release import release
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.ids import PredictionIds, microseconds
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

DAYS, SEGMENTS_A_DAY, UNSEALED = 365, 8, 10_000
START = datetime(2013, 1, 1, tzinfo=UTC)
REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = Project(
    name="flights",
    owner="bench@example.com",
    columns=(*(Number(f"x{index}") for index in range(12)), *(Category(f"c{index}") for index in range(3))),
    target=Binary("late", positive="late"),
    time="time",
    row_id="id",
    torch=lambda inputs, params: None,
    folder=REPOSITORY / "projects" / "flights",
)


class IdsOf(PredictionIds):
    """Ids as they were made at a moment of the past."""

    def __init__(self, moment: datetime) -> None:
        super().__init__()
        self._at = microseconds(moment) // 1000

    def take(self, count: int) -> list[str]:
        """As the log's own, with that moment in place of the clock's."""
        made = super().take(count)
        high = f"{self._at:012x}"
        return [f"{high[:8]}-{high[8:]}{id_[13:]}" for id_ in made]


def registered(settings: Settings, folder: Path) -> ModelVersion:
    """A version with a run, data in the DVC remote, a verdict, and a release."""
    import onnx
    from onnx import TensorProto, helper

    shape = [None, 1]
    node = helper.make_node("Sigmoid", ["x0"], ["probability"])
    inputs, outputs = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", "probability"))
    model = helper.make_model(
        helper.make_graph([node], "bench", [inputs], [outputs]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    graph, data = folder / "model.onnx", folder / "2012-12.parquet"
    onnx.save(model, graph)
    hours = pd.to_datetime(["2012-12-01", "2012-12-02"], utc=True)
    pd.DataFrame({"x0": [1.0, 2.0], "late": [0, 1], "time": hours, "id": ["a", "b"]}).to_parquet(data)
    version = Versions(settings).commit(PROJECT, [Partition(month="2012-12", path=data)])
    with RunStore(settings).start(PROJECT, name="torch", kind="candidate") as run:
        run.params({"seed": 7})
        run.data(version)
        run.json({"outcome": "promote", "reasons": ["better"], "gates": [], "rows": 2}, "gate/verdict.json")
    example = pd.DataFrame({"x0": np.ones(2, "float32")})
    tags = {"fullcircle.data.digest": version.digest, "fullcircle.verdict": "promote"}
    small = Project(**{**vars(PROJECT), "columns": (Number("x0"),)})
    made = Registry(settings).register(
        small,
        RunStore(settings).append(run.id),
        graph,
        digest=sha256_of(graph),
        example=example,
        card="# Card",
        tags=tags,
    )
    release(PROJECT, Workspace(settings), made, reason="first model", decided_by="bench", data_until=START)
    return made


def fill(settings: Settings, version: ModelVersion, rows: int) -> list[str]:
    """Log that many rows over the year, and their labels; all prediction ids."""
    folder, header = settings.folder("predictions", PROJECT.name), wal.Header.of(PROJECT.inputs, PROJECT.target.answers)
    labels, rng = LabelLog(folder / "labels", PROJECT.target), np.random.default_rng(7)
    each, ids = (rows - UNSEALED) // (DAYS * SEGMENTS_A_DAY), []
    for day in range(DAYS):
        named: list[str] = []
        for part in range(SEGMENTS_A_DAY):
            moment = START + timedelta(days=day, hours=part * 24 / SEGMENTS_A_DAY)
            batch = IdsOf(moment).take(each)
            row_ids = [f"{rng.integers(1 << 40):010x}-{day}" for _ in batch]
            record = wal.Record(
                model_version=version.version,
                model_digest=version.digest,
                logged_at=microseconds(moment),
                prediction_ids=batch,
                row_ids=row_ids,
                event_times=np.full(each, microseconds(moment), "<i8").tobytes(),
                numbers=rng.normal(size=(12, each)).astype("<f4").tobytes(),
                categories=[[f"w{word}" for word in rng.integers(16, size=each)] for _ in range(3)],
                answers=rng.random(each).astype("<f4").tobytes(),
            )
            parquet_segments.write(
                parquet_segments.table(header, [record]), folder / "segments", PredictionIds().take(1)[0]
            )
            ids, named = ids + batch[:: max(1, each // 50)], named + row_ids
        labels.append(named, rng.integers(2, size=len(named)).tolist())
    log = PredictionLog(folder, PROJECT.inputs, PROJECT.target.answers, background=False, seal_rows=1 << 30)
    inputs = {column.name: np.ones(UNSEALED, "float32") for column in PROJECT.inputs if isinstance(column, Number)}
    inputs |= {f"c{index}": np.full(UNSEALED, "w1", object) for index in range(3)}
    ids += log.append(
        Batch(
            model_version=version.version,
            digest=version.digest,
            event_times=[START + timedelta(days=DAYS)] * UNSEALED,
            row_ids=[""] * UNSEALED,
            inputs=inputs,
            answers=np.full(UNSEALED, 0.5, "float32"),
        )
    )[:: UNSEALED // 1000]
    return ids


def main() -> None:
    """Fill, trace, and print the distribution."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--traces", type=int, default=200)
    asked.add_argument("--commands", type=int, default=40)
    wanted = asked.parse_args()
    quiet_dependencies()
    with tempfile.TemporaryDirectory() as aside:
        settings = Settings.from_env({"FULLCIRCLE_HOME": str(Path(aside) / "home")})
        version = registered(settings, Path(aside))
        began = time.perf_counter()
        ids = fill(settings, version, wanted.rows)
        files = len(list((settings.home / "predictions").glob("*/segments/*/*.parquet")))
        print(f"{wanted.rows:,} predictions over {DAYS} days in {files:,} segments, made in {_since(began):.0f} s")
        chosen = np.random.default_rng(1).choice(ids, wanted.traces, replace=False)
        _report("found", [_timed(settings, str(id_)) for id_ in chosen])
        _report("not found", [_timed(settings, str(id_)[:-4] + "zzzz") for id_ in chosen[: wanted.traces // 4]])
        began = time.perf_counter()
        found = impact(Workspace(settings), f"{PROJECT.name}/{version.version}")
        print(f"{'impact':<22} {_since(began):6.2f} s for {found.predictions:,} predictions")
        some = [str(id_) for id_ in chosen[: wanted.commands]]
        _report("the whole command", [_commanded(settings, id_, settings.tracking_uri) for id_ in some])
        with server(settings, Path(aside)) as address:
            _report("through a server", [_commanded(settings, id_, address) for id_ in some])


@contextlib.contextmanager
def server(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of an MLflow server on the same store, as a team has one."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ("--backend-store-uri", settings.tracking_uri)
    with Service(name="MLflow", command=[*command, *store], ready_url=f"{url}/health", log=folder / "mlflow.log"):
        yield url


def _commanded(settings: Settings, prediction_id: str, tracker: str) -> float:
    """Seconds of `fullcircle trace` in a process of its own, from its start to its end."""
    environment = {**os.environ, "FULLCIRCLE_HOME": str(settings.home), "MLFLOW_TRACKING_URI": tracker}
    command = [sys.executable, "-m", "fullcircle.cli", "trace", prediction_id]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    took = _since(began)
    assert prediction_id in done.stdout, done.stderr
    return took


def _timed(settings: Settings, prediction_id: str) -> float:
    began = time.perf_counter()
    try:
        assert trace(Workspace(settings), prediction_id, checkout=REPOSITORY).links
    except UsageError:
        assert prediction_id.endswith("zzzz")
    return _since(began)


def _since(began: float) -> float:
    return time.perf_counter() - began


def _report(what: str, took: list[float]) -> None:
    middle, late = np.percentile(took, [50, 95])
    print(f"{len(took)} traces, {what:<18} p50 {middle:6.3f} s, p95 {late:6.3f} s, max {max(took):6.3f} s")


if __name__ == "__main__":
    main()
