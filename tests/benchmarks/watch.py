"""What it costs to watch a standing log of any size, beside Evidently on whole frames.

    python tests/benchmarks/watch.py [--rows 300000] [--window 200000] [--wide 100] [--wide-rows 60000] [--json]
    make bench-watch

A log of 13 columns (10 numbers, 3 categories) is sealed day by day, 100,000 rows a day, each with its label; another of
very many columns has one day. Then each window is watched by a fresh process, as the schedule does it: the champion of
the registry, its reference, fingerprints and labels, the decision, the page. Of each window:

    read_s, judge_s   to read the log, and to judge it; processor_s: what both took of the processor
    judged_s          from the start of the process until the window is judged, imports and MLflow's registry included
    whole_s           until the process is over: the ledger, the outbox, what is kept with the run; all_processor_s
    memory_mb         the largest memory of the process

The same again after late rows of every day and late labels came, and after all fingerprints were lost. Evidently gets
whole frames of at most 300,000 rows a side, with its own defaults, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np

from fullcircle.core.project import Binary, Category, Number, Project
from fullcircle.core.records.releases import CHAMPION, PREVIOUS
from fullcircle.core.settings import Settings, quiet_dependencies
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.fingerprints import segment_file
from fullcircle.predictions.fingerprints.contract import contract_of
from fullcircle.predictions.ids import PredictionIds, microseconds
from fullcircle.predictions.labels import LabelLog

quiet_dependencies()

A_DAY, AT_ONCE, LATE = 100_000, 20_000, 2_000
START = datetime(2024, 1, 1, tzinfo=UTC)
REFERENCE_ROWS, FRAME_ROWS = 10_000, 300_000
WORDS = np.array([f"word{number}" for number in range(40)], dtype=object)
SMALL = {"numbers": 10, "categories": 3}


def project_of(name: str, numbers: int, categories: int) -> Project:
    """A project of so many columns."""
    columns = (*(Number(f"x{n}") for n in range(numbers)), *(Category(f"c{n}") for n in range(categories)))
    target = Binary("late", positive="late")
    return Project(
        name=name, owner="bench@example.com", columns=columns, target=target, time="time", row_id="id",
        torch=lambda inputs, params: None,
    )  # fmt: skip


class Log:
    """Fills the prediction log of a project, and says how long the parts of sealing took.

    Args:
        version: the model version that answers.
    """

    def __init__(self, settings: Settings, project: Project, version: str) -> None:
        self.project, self.version = project, version
        self.folder = settings.folder("predictions", project.name)
        self.rng = np.random.default_rng(7)
        self.parquet_s = self.fingerprint_s = 0.0
        self.rows = 0

    def day(self, day: int, rows: int, *, labels: bool = True) -> list[str]:
        """Seal a day's segment, append its labels; the ids of its rows."""
        header = wal.Header.of(self.project.inputs, self.project.target.answers)
        records = [self._record(header, day, at, rows) for at in range(0, rows, AT_ONCE)]
        table = parquet_segments.table(header, records)
        begun = time.process_time()
        (path,) = parquet_segments.write(table, self.folder / "segments", PredictionIds().take(1)[0])
        written = time.process_time()
        segment_file.sealed(path, table, contract_of(self.project))
        self.fingerprint_s += time.process_time() - written
        self.parquet_s += written - begun
        self.rows += rows
        ids = [row_id for record in records for row_id in record.row_ids]
        if labels:
            self.label(ids)
        return ids

    def label(self, ids: list[str]) -> None:
        """Append a label of each of these rows."""
        LabelLog(self.folder / "labels", self.project.target).append(ids, self.rng.integers(2, size=len(ids)).tolist())

    def _record(self, header: wal.Header, day: int, at: int, rows: int) -> wal.Record:
        count, first = min(AT_ONCE, rows - at), microseconds(START + timedelta(days=day))
        ids = PredictionIds().take(count)
        return wal.Record(
            model_version=self.version,
            model_digest="d",
            logged_at=time.time_ns() // 1000,
            prediction_ids=ids,
            row_ids=[f"{day}-{id_[-12:]}-{n}" for n, id_ in enumerate(ids)],
            event_times=(first + np.arange(at, at + count) * (86_000_000_000 // rows)).astype("<i8").tobytes(),
            numbers=self.rng.normal(size=(len(header.numbers), count)).astype("<f4").tobytes(),
            categories=[WORDS[self.rng.integers(len(WORDS), size=count)].tolist() for _ in header.categories],
            answers=self.rng.beta(2, 5, count).astype("<f4").tobytes(),
        )


def release_champion(settings: Settings, project: Project, folder: Path, alias: str = CHAMPION) -> str:
    """A version with a real graph and a reference of the log's own kind, under an alias; its number."""
    import onnx
    import pandas as pd
    from onnx import TensorProto, helper

    from fullcircle.core.system.files import sha256_of
    from fullcircle.loop.retraining.select_challenger import REFERENCE
    from fullcircle.tracking.registry.model_registry import Registry
    from fullcircle.tracking.runs.run_store import RunStore

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("x0", "probability")]
    made = helper.make_graph([helper.make_node("Sigmoid", ["x0"], ["probability"])], "bench", value[:1], value[1:])
    graph, reference = folder / "model.onnx", folder / "reference.parquet"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), graph)
    rng = np.random.default_rng(1)
    cells: dict[str, Any] = {
        column.name: WORDS[rng.integers(len(WORDS), size=REFERENCE_ROWS)] if column.is_text
        else rng.normal(size=REFERENCE_ROWS).astype("float32")
        for column in project.inputs
    }  # fmt: skip
    cells |= {"id": [f"t{n}" for n in range(REFERENCE_ROWS)], "probability": rng.beta(2, 5, REFERENCE_ROWS)}
    pd.DataFrame(cells).to_parquet(reference, index=False)
    small = project_of(project.name, 1, 0)  # what the graph takes
    with RunStore(settings).start(small, name="torch", kind="candidate") as run:
        run.file(reference, str(Path(REFERENCE).parent))
        example = pd.DataFrame({"x0": np.ones(2, "float32")})
        version = Registry(settings).register(
            small, run, graph, digest=sha256_of(graph), example=example, card="# Card",
            tags={"fullcircle.verdict": "promote"},
        )  # fmt: skip
    Registry(settings).set_alias(project.name, alias, version.version)
    return version.version


def watch_here(asked: dict[str, Any]) -> dict[str, Any]:
    """Watch a window in this process, which is asked for nothing else."""
    from fullcircle.loop.watch import watch
    from fullcircle.loop.workspace import Workspace

    spent: dict[str, float] = {}

    def step(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.perf_counter(), time.process_time()
        found = call(*arguments)
        spent[name] = time.perf_counter() - begun[0]
        spent[f"{name}, processor"] = time.process_time() - begun[1]
        spent[f"{name}, over"] = time.time() - asked["begun"]
        return found

    project = project_of(asked["project"], asked["numbers"], asked["categories"])
    span = [START + timedelta(days=day) for day in asked["days"]]
    seen = watch(project, Workspace(Settings.from_env()), *span, step=step, report=False)
    return {
        "rows": seen.window.rows,
        "labelled": seen.window.labelled,
        "drifted": len(seen.health.drifted),
        "incidents": [incident.title for incident in seen.incidents],
        "made": seen.seen.prints.made,
        "read_s": spent["read the prediction log"],
        "judge_s": spent["judge the window"],
        "processor_s": sum(spent[f"{name}, processor"] for name in ("read the prediction log", "judge the window")),
        "judged_s": spent["judge the window, over"],
    }


def evidently_here(asked: dict[str, Any]) -> dict[str, Any]:
    """Evidently's own drift preset, with its defaults, on whole frames of a window and of as many reference rows."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    paths = sorted(Path(asked["folder"]).glob("segments/*/*.parquet"))
    names = [*(f"x{n}" for n in range(asked["numbers"])), *(f"c{n}" for n in range(asked["categories"]))]
    kept, rows = [], 0
    for path in paths:
        if rows < asked["rows"]:
            kept.append(pd.read_parquet(path, columns=names))
            rows += len(kept[-1])
    current = pd.concat(kept)[: asked["rows"]].reset_index(drop=True)
    made = Report([DataDriftPreset()]).run(current, current.sample(frac=1, random_state=1).reset_index(drop=True))
    return {"rows": len(current), "metrics": len(made.dict()["metrics"])}


def largest_memory_mb() -> float:
    """Of this process: `ru_maxrss` begins with what its parent had."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


CHILDREN = {"watch": watch_here, "evidently": evidently_here}


def fresh(kind: str, **asked: Any) -> dict[str, Any]:
    """What a fresh process found, with its seconds and its largest memory."""
    asked |= {"kind": kind, "begun": time.time()}
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1]) | {"whole_s": time.time() - asked["begun"]}


def cases(options: argparse.Namespace, settings: Settings, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(what was watched, what it took), one after the other on the same logs."""
    project = project_of("bench", **SMALL)
    log = Log(settings, project, release_champion(settings, project, folder))
    days, asked = options.rows // A_DAY, {"project": project.name, **SMALL}
    few = max(1, options.window // A_DAY)
    for day in range(days):
        log.day(day, A_DAY)
    yield (
        "sealing 100,000 rows (processor)",
        {
            "whole_s": (log.parquet_s + log.fingerprint_s) * A_DAY / log.rows,
            "fingerprint_s": log.fingerprint_s * A_DAY / log.rows,
        },
    )
    watched = {
        "one day": [days - 1, days], "the window": [0, few], "the whole log": [0, days],
    }  # fmt: skip
    for name, span in watched.items():
        yield f"{name}, labels joined for the first time", fresh("watch", days=span, **asked)
        yield f"{name}, again", fresh("watch", days=span, **asked)
    late = [row_id for day in range(few) for row_id in log.day(day, LATE, labels=False)]
    log.label(late[::2])
    yield "the window, late rows and labels came", fresh("watch", days=watched["the window"], **asked)
    for path in log.folder.glob("segments/*/*.fingerprint"):
        path.unlink()
    yield "the window, all fingerprints lost", fresh("watch", days=watched["the window"], **asked)
    release_champion(settings, project, folder, PREVIOUS)
    yield "the window, beside a previous champion", fresh("watch", days=watched["the window"], **asked)
    rows = min(FRAME_ROWS, options.rows)
    yield "ours, 300,000 rows at most", fresh("watch", days=[0, rows // A_DAY], **asked)
    yield "Evidently, the same rows in whole frames", fresh("evidently", folder=str(log.folder), rows=rows, **SMALL)
    wide = project_of("wide", options.wide, 0)
    log = Log(settings, wide, release_champion(settings, wide, folder))
    log.day(0, options.wide_rows)
    yield (
        f"one day of {options.wide:,} columns",
        fresh("watch", days=[0, 1], project="wide", numbers=options.wide, categories=0),
    )


def said(figures: dict[str, Any]) -> Iterator[str]:
    """Each figure in words."""
    for key, value in figures.items():
        yield f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=300_000, help="of the log, in days of 100,000")
    options.add_argument("--window", type=int, default=200_000, help="rows of the window that is watched")
    options.add_argument("--wide", type=int, default=100, help="columns of the wide log")
    options.add_argument("--wide-rows", type=int, default=60_000)
    options.add_argument("--json", action="store_true")
    options.add_argument("--child", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        asked = json.loads(given.child)
        found = CHILDREN[asked["kind"]](asked)
        used = resource.getrusage(resource.RUSAGE_SELF)
        found |= {"all_processor_s": used.ru_utime + used.ru_stime, "memory_mb": largest_memory_mb()}
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FULLCIRCLE_HOME"] = str(folder / "home")
        found = []
        for what, figures in cases(given, Settings.from_env(), folder):
            found.append({"what": what, **figures})
            if not given.json:
                said = (
                    f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in figures.items()
                )
                print(f"{what}: {', '.join(said)}", flush=True)
    if given.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
