"""What an exported graph would do and cost in production: parity with the native model, latency, size."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.training import Fitted, Preprocessor
from fullcircle.core.records.verdicts import Candidate
from fullcircle.core.row_tensors import tensors
from fullcircle.graph.onnx_session import Graph

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SINGLE_ROWS = 500
"""One-row requests that the latency is measured on, after `WARM_UP` of them."""

WARM_UP = 20
ROUNDS = 5

BYTES_PER_MB = 1_000_000


def measure(
    project: Project,
    graph: Path,
    preprocessor: Preprocessor,
    fitted: Fitted,
    frame: pd.DataFrame,
    *,
    reference: NDArray[np.float32] | None = None,
) -> Candidate:
    """Measure an exported graph on held-out rows.

    Args:
        graph: the file that `export` wrote.
        frame: raw rows, at least one: the test rows.
        reference: the native model's answers to these rows, when they are known already.

    Returns:
        The candidate. A row on which either side's answer is not finite counts as a parity of infinity.

    Raises:
        DataUnavailable: no rows.
        ModelUnavailable: the graph does not load.
    """
    if len(frame) == 0:
        raise DataUnavailable(f"project {project.name!r}: no rows to measure the exported {fitted.framework} graph on")
    session = Graph.load(graph)
    native = fitted.answers(preprocessor.transform(frame)) if reference is None else reference
    return Candidate(
        framework=fitted.framework,
        graph=graph,
        digest=session.digest,
        parity=project.target.answers.largest_difference(session(frame), native),
        size_mb=graph.stat().st_size / BYTES_PER_MB,
        p99_ms=latency_p99_ms(project, session, frame),
    )


def latency_p99_ms(project: Project, session: Graph, frame: pd.DataFrame) -> float:
    """99th percentile of answering one raw row, in milliseconds, tensors in hand: the graph's own cost.

    The least of a few rounds: other work on the machine only ever adds to a round, and is no fault of the model.
    """
    rows = frame.iloc[np.arange(SINGLE_ROWS) % len(frame)]
    columns = tensors(rows, project.inputs)
    singles = [{name: values[i : i + 1] for name, values in columns.items()} for i in range(len(rows))]
    for single in singles[:WARM_UP]:
        session.predict(single)
    return min(_round_p99_ms(session, singles) for _ in range(ROUNDS))


def _round_p99_ms(session: Graph, singles: list[dict[str, NDArray[np.generic]]]) -> float:
    seconds = np.empty(len(singles))
    for index, single in enumerate(singles):
        start = time.perf_counter()
        session.predict(single)
        seconds[index] = time.perf_counter() - start
    return float(np.percentile(seconds, 99) * 1e3)
