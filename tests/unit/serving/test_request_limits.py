"""What one request may cost: bounded before anything is built of it, whatever it says, in each format."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Category, Image, Number
from fullcircle.serving.protocol import Protocol, labels
from fullcircle.serving.request_limits import Limits, TooLarge, _outside_texts

LENGTH = 64 << 10
PEAK = 6 << 20
"""Bytes that a request of `LENGTH` may take: a hundred times as many, for Python's objects; not its square."""


def image_of(project):
    return dataclasses.replace(project, columns=(Image("scan", shape=(8, 8, 1)),), slices=(), gates=())


@pytest.fixture(scope="module")
def parsers(project) -> dict[str, Callable[[bytes], object]]:
    """Every way in which bytes of a stranger become values."""
    found: dict[str, Callable[[bytes], object]] = {}
    for kind, of in (("table", project), ("image", image_of(project))):
        reads = Protocol(of, max_rows=1000, max_bytes=LENGTH)
        found[f"{kind} infer"] = reads.infer
        found[f"{kind} json"] = lambda body, reads=reads: reads.invocation(body, "application/json")
        found[f"{kind} csv"] = lambda body, reads=reads: reads.invocation(body, "text/csv")
        found[f"{kind} labels"] = lambda body, reads=reads: labels(body, reads.limits, reads.project.target)
    return found


def cost(parsers: dict[str, Callable[[bytes], object]], body: bytes) -> int:
    """Most memory that any parser takes for it; each understands it or refuses it in one line."""
    most, lines = 0, [0]
    for parse in parsers.values():
        tracemalloc.start()
        try:
            parse(body)
        except BadRequest as refused:
            lines.append(str(refused).count("\n"))
        finally:
            most = max(most, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(lines) == 0
    return most


def filled(begin: str, item: str, end: str) -> bytes:
    """As many of `item` as there is room for."""
    return (begin + ",".join([item] * ((LENGTH - len(begin) - len(end)) // (len(item) + 1))) + end).encode()


def different(length: int) -> bytes:
    rows: list[str] = []
    while sum(map(len, rows)) + len(rows) < length - 60:
        rows.append(f'{{"{len(rows):x}":1}}')
    return f'{{"dataframe_records":[{",".join(rows)}]}}'.encode()


TENSOR = '{"name":"scan","datatype":"FP32","shape":[1,64],"data":['
HOSTILE = {
    "each row a name of its own": different(LENGTH),
    "objects": filled('{"instances":[', "{}", "]}"),
    "objects as records": filled('{"dataframe_records":[', "{}", "]}"),
    "lists": filled('{"inputs":[', "[]", "]}"),
    "lists in a column": filled('{"inputs":{"distance":[', "[]", "]}}"),
    "rows without columns": filled('{"dataframe_split":{"columns":[],"data":[', "[]", "]}}"),
    "columns without rows": filled('{"dataframe_split":{"columns":[', '"a"', '],"data":[]}}'),
    "numbers": filled('{"inputs":{"distance":[', "1", "]}}"),
    "fractions": filled('{"inputs":{"distance":[', ".1", "]}}"),
    "scalars where images belong": filled('{"inputs":{"scan":[', "1", "]}}"),
    "rows of scalars where images belong": filled('{"instances":[', '{"scan":1}', "]}"),
    "an image with one long text": filled('{"instances":[{"scan":["' + "x" * (LENGTH // 2) + '",', "1", "]}]}"),
    "an image with one long text within": filled(
        '{"instances":[{"scan":[["' + "x" * (LENGTH // 2) + '"],', "[1]", "]}]}"
    ),
    "a tensor with one long text": filled('{"inputs":[' + TENSOR + '"' + "x" * (LENGTH // 2) + '",', "1", "]}]}"),
    "a tensor with a vast shape": (TENSOR.replace("[1,", f"[{2**62},") + "]}").join(['{"inputs":[', "]}"]).encode(),
    "tensors": filled('{"inputs":[', '{"name":"a","datatype":"FP32","shape":[0],"data":[]}', "]}"),
    "labels": filled('{"labels":[', '{"row_id":"","label":0}', "]}"),
    "depth": b'{"inputs":{"scan":[' + b"[" * (LENGTH // 2 - 20) + b"]" * (LENGTH // 2 - 20) + b"]}}",
    "depth without an end": b"[" * LENGTH,
    "a name without an end": b'{"inputs":{"' + b"x" * (LENGTH - 30) + b'":[1]}}',
    "a long text": b'{"inputs":{"distance":[1],"wind":[1],"carrier":["' + b"x" * (LENGTH - 80) + b'"]}}',
    "a huge integer": b'{"inputs":{"distance":[' + b"9" * (LENGTH - 80) + b'],"wind":[1],"carrier":["x"]}}',
    "huge integers": filled('{"inputs":{"scan":[[', "9" * 4000, "]]}}"),
    "one key again and again": filled('{"instances":[{', '"distance":1', "}]}"),
    "one format again and again": filled("{", '"instances":[]', "}"),
    "line breaks": b"distance\n" * 1 + b"\n" * (LENGTH - 20),
    "carriage returns": b"\r" * LENGTH,
    "commas": b"," * LENGTH,
    "lines of a comma": b",\n" * (LENGTH // 2),
    "short lines": b"a\n" * (LENGTH // 2),
    "a header without an end": b"a," * (LENGTH // 2),
    "a quote without an end": b'distance\n"' + b"\n" * (LENGTH - 20),
    "wide characters": b"distance\n" + "\U0001f600,".encode() * (LENGTH // 6),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_body_costs_more_than_its_length_a_hundred_times(parsers, name):
    assert len(HOSTILE[name]) <= LENGTH
    assert cost(parsers, HOSTILE[name]) < PEAK


SMALL = (
    *("objects", "objects as records", "lists", "lists in a column", "rows without columns", "columns without rows"),
    *("numbers", "tensors", "labels", "each row a name of its own", "one key again and again", "depth without an end"),
)


@pytest.mark.parametrize("name", SMALL)
def test_more_than_the_largest_table_is_refused_before_it_is_read(project, name):
    reads = Protocol(project, max_rows=20, max_bytes=LENGTH)
    for parse in (
        reads.infer,
        lambda body: reads.invocation(body, "x/json"),
        lambda body: labels(body, reads.limits, reads.project.target),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(TooLarge, match=r"the body has more than the \d+ values that one request may have"):
                parse(HOSTILE[name])
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < 8 * LENGTH, "nothing was built of it"


@pytest.mark.parametrize("text", [b'"' + b'\\"' * (LENGTH // 4), b'"' * (LENGTH // 2), b"\\" * (LENGTH // 2), b'"\\'])
def test_texts_that_do_not_end_are_looked_at_once(project, text):
    with pytest.raises(BadRequest):
        Protocol(project, max_rows=20, max_bytes=LENGTH).infer(b"," * (LENGTH // 3) + text)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.integers(10**30, 10**40),
    st.sampled_from(["distance", "wind", "carrier", "scan", "x" * 2000, [], {}]),
)  # fmt: skip
names = st.sampled_from(
    ["distance", "wind", "carrier", "scan", "id", "time", "name", "shape", "data", "datatype", "columns", "row_id"]
) | st.text(max_size=3)
some_json = st.recursive(leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(names, inner, max_size=6))
formats = st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "labels"])
bodies = st.one_of(
    st.dictionaries(formats, some_json, max_size=2).map(lambda body: json.dumps(body).encode()),
    st.lists(st.lists(st.text(max_size=4), max_size=4), max_size=6).map(
        lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=200),
)


@settings(max_examples=60, deadline=None)
@given(bodies, st.integers(1, 60))
@example(b"distance,distance\n1,1", 1)
def test_whatever_comes_is_understood_or_refused_and_costs_little(parsers, body, times):
    repeated = (body * times)[:LENGTH]
    assert cost(parsers, body) < PEAK
    assert cost(parsers, repeated) < PEAK


def test_what_is_not_read_is_named_and_not_built(project):
    wide = [{"distance": 1.0, "wind": None, "carrier": "UA", **{f"c{n}": n for n in range(40)}} for _ in range(50)]
    request = Protocol(project, max_rows=50).invocation(
        json.dumps({"dataframe_records": wide}).encode(), "application/json"
    )
    assert (request.rows, len(request.ignored)) == (50, 40)


def test_as_many_rows_as_are_allowed_may_have_the_spare_columns_too(project):
    reads = Protocol(project, max_rows=200)
    names = ["distance", "wind", "carrier", *(f"c{n}" for n in range(60))]
    rows = [[1.0, 2.0, "a, b, [c]", *range(60)] for _ in range(200)]
    split = json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode()
    nested = json.dumps({"inputs": {name: [[row[at]] for row in rows] for at, name in enumerate(names)}}).encode()
    for body in (split, nested):
        assert reads.invocation(body, "application/json").rows == 200


def test_texts_full_of_commas_are_no_cells(project):
    body = json.dumps({"inputs": {"distance": [1] * 9, "wind": [1] * 9, "carrier": ["," * 1000] * 9}}).encode()
    assert Protocol(project, max_rows=10).invocation(body, "application/json").rows == 9


@pytest.mark.parametrize("rows", [51, 60])
@pytest.mark.parametrize(
    "body",
    [
        lambda rows: {"dataframe_records": [{"distance": 1, "carrier": "x", "wind": 1}] * rows},
        lambda rows: {"dataframe_split": {"columns": ["distance", "carrier", "wind"], "data": [[1, "x", 1]] * rows}},
        lambda rows: {"inputs": {"distance": [1] * rows, "carrier": ["x"] * rows, "wind": [1] * rows}},
    ],
)
def test_one_row_too_many_is_too_large_in_every_format(project, rows, body: Callable[[int], Any]):
    with pytest.raises(TooLarge, match=f"{rows} rows are more than the 50 that one request may have"):
        Protocol(project, max_rows=50).invocation(json.dumps(body(rows)).encode(), "application/json")


def test_rows_of_large_images_are_counted_in_pixels():
    limits = Limits(rows=1000, length=1 << 20, width=300 * 300 * 3)
    limits.check_rows(1)
    with pytest.raises(TooLarge, match="2 rows of 270000 values are more than the "):
        limits.check_rows(2)


@pytest.mark.parametrize("sent", [{"content-length": "9" * 30}, {"content-length": str(1 << 40)}])
def test_a_refusal_is_one_short_line_whatever_the_request_was_called(http, sent):
    answer = http.post("/invocations", content=json.dumps({"inputs": {"x" * 9999: [[1, 2]]}}), headers=JSON)
    assert answer.status_code == 400
    assert len(answer.content) < 2000
    far = http.post(f"/v2/models/{'x' * 9999}/infer", content=b"{}", headers=JSON)
    assert (far.status_code, len(far.content) < 2000) == (404, True)
    assert http.post("/invocations", content=b"{}", headers={**JSON, **sent}).status_code == 413


JSON = {"Content-Type": "application/json"}


def test_the_kinds_of_columns_here_are_those_there_are(project):
    assert {type(column) for column in project.inputs} == {Number, Category}


def structure(value: Any) -> tuple[int, int]:
    """(objects, commas and lists) that JSON of this value has outside of its texts."""
    if not isinstance(value, list | dict):
        return 0, 0
    inner = [structure(each) for each in (value.values() if isinstance(value, dict) else value)]
    objects, others = (sum(each[at] for each in inner) for at in (0, 1))
    return objects + isinstance(value, dict), others + isinstance(value, list) + max(0, len(value) - 1)


anything = st.recursive(
    st.text(st.sampled_from('a"\\,[{')) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.sampled_from('"\\,[{')), inner, max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(anything)
def test_what_stands_in_texts_is_told_from_what_does_not(value):
    assert _outside_texts(json.dumps(value).encode()) == structure(value)
