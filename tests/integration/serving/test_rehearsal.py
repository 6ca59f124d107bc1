"""A graph that nobody released answers in the real server, is timed there, and leaves nothing behind."""

from __future__ import annotations

import dataclasses

import pytest

from fullcircle.core.errors import ServiceUnavailable
from fullcircle.core.files import sha256_of
from fullcircle.core.project import Number
from fullcircle.export.candidate import latency_p99_ms
from fullcircle.graph.session import Graph
from fullcircle.serving.rehearsal import served_p99_ms


def test_a_row_takes_longer_in_the_server_than_in_the_graph_and_production_hears_nothing_of_it(
    project, settings, graph_file, make_rows
):
    path, rows = graph_file(1.0), make_rows(50)
    served = served_p99_ms(project, settings, path, sha256_of(path), rows)
    assert served > latency_p99_ms(project, Graph.load(path), rows) > 0
    assert not (settings.home / "predictions").exists()
    assert list((settings.home / "exports").iterdir()) == []


def test_a_graph_that_the_server_cannot_answer_with_is_named_with_the_reason(project, settings, graph_file, make_rows):
    path = graph_file(1.0)
    with pytest.raises(ServiceUnavailable, match=r"was answered 503.*has the digest"):
        served_p99_ms(project, settings, path, "0" * 64, make_rows(3))


def test_a_column_that_the_servers_project_does_not_have_breaks_the_rehearsal_off(
    project, settings, graph_file, make_rows
):
    path = graph_file(1.0)
    fewer = dataclasses.replace(project, columns=(Number("distance"), Number("wind", nullable=True)))
    with pytest.raises(ServiceUnavailable, match=r"was answered 400.*carrier"):
        served_p99_ms(fewer, settings, path, sha256_of(path), make_rows(3))
