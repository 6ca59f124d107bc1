"""A graph that nobody released answers in the real server, is timed there, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.project import Budgets, Number
from fullcircle.core.statistics.latency import judge_latency
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.core.system.files import sha256_of
from fullcircle.export.candidate import latency_p99_ms
from fullcircle.graph.onnx_session import Graph
from fullcircle.serving.latency_benchmark import Reference, served_latency


def test_a_row_takes_longer_in_the_server_than_in_the_graph_and_production_hears_nothing_of_it(
    project, settings, graph_file, make_rows
):
    path, rows = graph_file(1.0), make_rows(50)
    ours = dataclasses.replace(settings, token="a-token-that-is-long-enough-for-it-to-be-one")  # which it asks for, too
    served = served_latency(project, ours, path, sha256_of(path), rows)
    assert served.p99_ms > latency_p99_ms(project, Graph.load(path), rows) > 0
    assert served.cpu_ms is not None and served.cpu_ms > 0, "Linux tells"
    assert served.reference == "", "within the budget nobody else has to be asked"
    assert not (settings.home / "predictions").exists()
    assert list((settings.home / "exports").iterdir()) == []


def test_a_graph_that_the_server_cannot_answer_with_is_named_with_the_reason(project, settings, graph_file, make_rows):
    path = graph_file(1.0)
    with pytest.raises(ServiceUnavailable, match=r"was answered 503.*has the digest"):
        served_latency(project, settings, path, "0" * 64, make_rows(3))


def test_a_column_that_the_servers_project_does_not_have_breaks_the_rehearsal_off(
    project, settings, graph_file, make_rows
):
    path = graph_file(1.0)
    fewer = dataclasses.replace(project, columns=(Number("distance"), Number("wind", nullable=True)))
    with pytest.raises(ServiceUnavailable, match=r"was answered 400.*carrier"):
        served_latency(fewer, settings, path, sha256_of(path), make_rows(3))


@contextlib.contextmanager
def every_core_busy():
    """Processes that do nothing but take processor time, one a core."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@pytest.fixture
def slow_graph(graph_file, tmp_path):
    """The same answers after 600 million multiplications that no optimiser can leave out."""
    model = onnx.load(graph_file(1.0))
    graph, size = model.graph, 840
    matrix = np.random.default_rng(0).random((size, size), dtype="float32")
    steps = [
        ("ReduceMax", ["distance"], "largest"),
        ("Mul", ["largest", "matrix"], "scaled_matrix"),
        ("MatMul", ["scaled_matrix", "matrix"], "product"),
        ("ReduceMin", ["product"], "least"),
        ("Mul", ["least", "nothing"], "none"),
        ("Add", ["slow_probability", "none"], "probability"),
    ]
    next(node for node in graph.node if node.output[0] == "probability").output[0] = "slow_probability"
    graph.node.extend(helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps)
    graph.initializer.append(numpy_helper.from_array(matrix, "matrix"))
    graph.initializer.append(helper.make_tensor("nothing", TensorProto.FLOAT, [1], [0.0]))
    path = tmp_path / "slow.onnx"
    onnx.save(model, path)
    return path


def test_on_a_busy_machine_a_model_as_fast_as_the_champion_is_not_rejected(project, settings, graph_file, make_rows):
    tight = dataclasses.replace(project, budgets=Budgets(p99_ms=4.0))
    path, champion = graph_file(1.0), graph_file(2.0)
    reference = Reference(name="version 2", graph=champion, digest=sha256_of(champion), kept_ms=0.7)
    with every_core_busy():
        found = served_latency(
            tight, settings, path, sha256_of(path), make_rows(50), reference=reference, patience_s=0.0
        )  # fmt: skip
    assert judge_latency(found, 4.0)[0] is not Outcome.REJECT
    if found.p99_ms > 4.0:  # else it was answered in a quiet moment, and nobody else had to be asked
        asked_in_turn = [each for each in found.rounds if each.reference_p99_ms is not None]
        assert (found.reference, len(asked_in_turn)) == ("version 2", 3)
        assert found.processor_ratio is not None, "Linux tells"


@pytest.mark.nightly
def test_on_a_busy_machine_a_model_that_works_too_long_is_rejected(
    project, settings, graph_file, slow_graph, make_rows
):
    tight = dataclasses.replace(project, budgets=Budgets(p99_ms=4.0))
    champion = graph_file(2.0)
    reference = Reference(name="version 2", graph=champion, digest=sha256_of(champion), kept_ms=0.7)
    with every_core_busy():
        found = served_latency(
            tight, settings, slow_graph, sha256_of(slow_graph), make_rows(50), reference=reference, patience_s=0.0
        )  # fmt: skip
    outcome, sentence = judge_latency(found, 4.0)
    assert outcome is Outcome.REJECT
    assert "are processor time" in sentence and sentence.endswith("of version 2, however busy the machine was")


def test_a_reference_that_cannot_be_served_any_more_leaves_the_model_to_itself(
    project, settings, graph_file, make_rows
):
    path = graph_file(1.0)
    work = served_latency(project, settings, path, sha256_of(path), make_rows(3)).cpu_ms
    assert work is not None
    little = dataclasses.replace(project, budgets=Budgets(p99_ms=work / 2))  # over it, and not yet by its work alone
    gone = Reference(name="version 2", graph=path, digest="0" * 64)
    found = served_latency(little, settings, path, sha256_of(path), make_rows(3), reference=gone, patience_s=0.0)
    assert found.reference == "" and found.p99_ms > work / 2
