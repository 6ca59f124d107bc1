"""One convention for every ONNX file that training writes: operator sets, format version, one atomic write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fullcircle.core.system.files import replacing

OPSET = 18
"""Version of the standard operators: the newest that torch, tf2onnx and skl2onnx all write."""

OPSET_ML = 3
"""Version of the `ai.onnx.ml` operators (one-hot encoding, scaling)."""

IR_VERSION = 10
"""Version of the file format; onnxruntime reads it from 1.18 on."""


def save_normalized(model: Any, path: Path) -> None:
    """Bring a model to our operator sets and format, and write it as one file that is whole or absent.

    Raises:
        ValueError: the model uses other standard operators than ours and cannot be converted.
    """
    import onnx
    from onnx import version_converter

    used = {node.domain for node in model.graph.node}
    standard = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OPSET)
    if standard != OPSET:
        model = version_converter.convert_version(model, OPSET)
    known = {"": OPSET, "ai.onnx.ml": OPSET_ML}
    others = {o.domain: o.version for o in model.opset_import if o.domain in used and o.domain not in known}
    del model.opset_import[:]
    for domain, version in {**known, **others}.items():
        model.opset_import.append(onnx.helper.make_opsetid(domain, version))
    model.ir_version = IR_VERSION
    with replacing(path) as part:
        onnx.save(model, part)
