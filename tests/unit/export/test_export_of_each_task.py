"""One graph for every kind of problem: an output for each answer by its name, and in words what the numbers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from fullcircle.core.project import (
    Binary,
    Category,
    Costs,
    Multiclass,
    Multilabel,
    Number,
    Project,
    Regression,
    Training,
)
from fullcircle.core.records.dataset import SplitFrames
from fullcircle.core.row_tensors import tensors
from fullcircle.core.tasks import Task
from fullcircle.export.candidate import measure
from fullcircle.export.onnx_graph import export
from fullcircle.graph.onnx_session import Graph
from fullcircle.training import trainers
from fullcircle.training.arrays import store
from fullcircle.training.preprocessing.tabular import fit

ROWS = 300
TASKS: dict[str, Task] = {
    "decision": Binary("y", "yes", threshold=Costs(false_negative=4.0)),
    "classes": Multiclass("y", ("no storm", "storm </script>", "7")),
    "labels": Multilabel("y", ("red", "green")),
    "interval": Regression("y", unit="rentals", loss="quantile", transform="log1p"),
}


def drawn(task: Task, x: np.ndarray) -> list[Any]:
    random = np.random.default_rng(3)
    level = x + random.normal(size=len(x))
    match task:
        case Multiclass(classes=classes):
            return [classes[index] for index in np.digitize(level, (-0.5, 0.5))]
        case Multilabel(labels=labels):
            return [[label for at, label in enumerate(labels) if value > at - 0.5] for value in level]
        case Binary():
            return (level > 0.3).astype(int).tolist()
    return np.exp(level).tolist()


@pytest.mark.parametrize("name", TASKS)
def test_the_graph_has_an_output_for_each_answer_and_agrees_with_the_model(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    columns = (Number("class weight"), Category("maker"))
    project = Project(
        name="p", owner="o", columns=columns, target=task, time="t", row_id="id", torch=lambda inputs, params: None
    )
    random = np.random.default_rng(2)
    frame = pd.DataFrame({"class weight": random.normal(size=ROWS), "maker": random.choice(["a", "b", ""], ROWS)})
    frame = frame.assign(y=drawn(task, frame["class weight"].to_numpy()), id=[f"r{row}" for row in range(ROWS)])
    preprocessor = fit(project, frame)
    rows = store(project, preprocessor, SplitFrames(train=frame, validation=frame, test=frame), tmp_path / "arrays")
    fitted = trainers.fit("baseline", None, rows, Training(), task=task, folder=tmp_path)

    path = export(preprocessor, fitted, tmp_path / "graph.onnx", answers=task.answers)

    graph, native = Graph.load(path), fitted.answers(preprocessor.transform(frame))
    assert graph.answers == task.answers.numbers
    assert task.fault(graph(frame), ROWS) is None
    assert measure(project, path, preprocessor, fitted, frame).parity < 1e-5
    assert graph(frame.iloc[:0]).shape == native[:0].shape
    session = onnxruntime.InferenceSession(path)
    outputs = [each.name for each in session.get_outputs()]
    assert outputs == [*task.answers.numbers, *task.answers.texts]
    words = task.answers.words(graph(frame))
    for text in task.answers.texts:
        (said,) = session.run([text], tensors(frame, columns))
        assert said.reshape(-1).tolist() == words[text].tolist()
