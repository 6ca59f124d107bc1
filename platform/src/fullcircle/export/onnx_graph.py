"""The one graph: a fitted preprocessor and a trained model, merged into a single ONNX file.

Inputs are the raw columns by name, (rows, 1), float32 or string, or an image, float32 (rows, height, width, channels);
the outputs are the task's answers, one each by its name: (rows, 1), float32, or string where an answer is text.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from pathlib import Path
from typing import Any

from fullcircle.core.errors import ExportFailed, FullcircleError
from fullcircle.core.records.training import Fitted, Preprocessor
from fullcircle.core.settings import home_unwritable
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec

FEATURES, ANSWERS = "features", "answers"

MODEL_PREFIX = "model/"
"""Before every name of the model's part: the two parts were named without knowing of each other."""


def export(preprocessor: Preprocessor, fitted: Fitted, path: Path, *, answers: AnswerSpec) -> Path:
    """Write the one graph; the file is whole or absent.

    Args:
        path: the `.onnx` file to write; its folder is made.
        answers: the task's.

    Returns:
        `path`.

    Raises:
        ExportFailed: a part cannot be written as ONNX, the parts do not fit, or the checker refuses the whole.
        HomeUnwritable: the disk is full or read-only.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            merged = _merge(preprocessor, fitted, answers, Path(folder))
            part = Path(folder) / path.name
            part.write_bytes(merged.SerializeToString())
            os.replace(part, path)
    except OSError as error:
        raise home_unwritable(path.parent, error) from error
    except FullcircleError:
        raise
    except Exception as error:  # onnx raises its checker's, compose's and protobuf's own classes
        raise ExportFailed(
            f"the {fitted.framework} model and its preprocessing cannot be one graph ({_first_line(error)})"
        ) from error
    return path


def _merge(preprocessor: Preprocessor, fitted: Fitted, answers: AnswerSpec, folder: Path) -> Any:
    import onnx
    from onnx import compose, helper

    preprocessor.save_onnx(folder / "preprocessing.onnx")
    fitted.save_onnx(folder / "model.onnx")
    first = onnx.load(folder / "preprocessing.onnx")
    second = compose.add_prefix(onnx.load(folder / "model.onnx"), MODEL_PREFIX)
    _same_sets(first, second)
    merged = compose.merge_models(
        first,
        second,
        io_map=[(FEATURES, MODEL_PREFIX + FEATURES)],
        outputs=[MODEL_PREFIX + ANSWERS],
        producer_name="fullcircle",
        producer_version=_version(),
    )
    _name_answers(merged.graph, answers)
    _declare_shapes(merged.graph)
    helper.set_model_props(merged, {"framework": fitted.framework, "fullcircle": _version()})
    onnx.checker.check_model(merged, full_check=True)
    return merged


def _same_sets(first: Any, second: Any) -> None:
    """Give both parts the same format and operator sets; refuse parts that use one set in two versions."""
    from onnx import helper

    versions: dict[str, set[int]] = {}
    for model in (first, second):
        for entry in model.opset_import:
            versions.setdefault(entry.domain, set()).add(entry.version)
    if uneven := {domain or "ai.onnx": sorted(found) for domain, found in versions.items() if len(found) > 1}:
        raise ExportFailed(f"preprocessing and model use operator sets in different versions: {uneven}")
    for model in (first, second):
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid(domain, found.copy().pop()) for domain, found in versions.items())
        model.ir_version = max(first.ir_version, second.ir_version)


def _name_answers(graph: Any, answers: AnswerSpec) -> None:
    """Make of the model's output (rows, numbers) one output for each answer, by its name."""
    from onnx import TensorProto, helper

    (output,) = graph.output
    names = answers.numbers
    if len(names) == 1:
        for node in graph.node:
            node.output[:] = [names[0] if name == output.name else name for name in node.output]
            node.input[:] = [names[0] if name == output.name else name for name in node.input]
    else:
        graph.node.append(helper.make_node("Split", [output.name], list(names), axis=1, num_outputs=len(names)))
    said = [_choose(graph, output.name, each) for each in answers.columns if not each.is_number]
    del graph.output[:]
    floats = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (None, 1)) for name in names)
    graph.output.extend((*floats, *said))


def _choose(graph: Any, numbers: str, column: AnswerColumn) -> Any:
    """Add what a column of text says: the choice whose number is the largest, as `AnswerSpec.words` has it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    largest, choices = (f"{MODEL_PREFIX}{column.name}/{part}" for part in ("largest", "choices"))
    graph.initializer.append(numpy_helper.from_array(np.array(column.choices, dtype=object), choices))
    graph.node.append(helper.make_node("ArgMax", [numbers], [largest], axis=1, keepdims=1))
    graph.node.append(helper.make_node("Gather", [choices, largest], [column.name], axis=0))
    return helper.make_tensor_value_info(column.name, TensorProto.STRING, (None, 1))


def _declare_shapes(graph: Any) -> None:
    """One symbolic number of rows for every input and output: a caller reads the signature from the file.

    Of an image the preprocessing has declared height, width and channels, which stay.
    """
    for value in (*graph.input, *graph.output):
        shape = value.type.tensor_type.shape
        lengths = [each.dim_value for each in shape.dim[1:]] if len(shape.dim) == 4 else [1]
        del shape.dim[:]
        shape.dim.add().dim_param = "rows"
        for length in lengths:
            shape.dim.add().dim_value = length
    del graph.value_info[:]  # the parts' own guesses of inner shapes speak of other symbols


def _version() -> str:
    try:
        return importlib.metadata.version("fullcircle")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
