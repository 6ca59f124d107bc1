"""Requests in two protocols: what is understood, and what is said of the rest."""

from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import BadRequest
from fullcircle.core.project import Number
from fullcircle.serving.column_decoding import raw_column
from fullcircle.serving.protocol import Protocol, labels
from fullcircle.serving.request_limits import TooLarge


@pytest.fixture(scope="module")
def protocol(project) -> Protocol:
    return Protocol(project, max_rows=50)


def tensor(name: str, data: list, datatype: str = "FP32", shape: list | None = None) -> dict:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def v2(*more: dict, **replaced: dict) -> bytes:
    tensors = {
        "distance": tensor("distance", [500.0, 1]),
        "wind": tensor("wind", [None, 2.5]),
        "carrier": tensor("carrier", ["UA", "B6"], "BYTES"),
    }
    return json.dumps({"id": "req", "inputs": [*(tensors | replaced).values(), *more]}).encode()


def columns(request) -> dict:
    return {name: values.reshape(-1).tolist() for name, values in request.tensors.items()}


def same(expected: dict, request) -> bool:
    return repr(expected) == repr(columns(request))  # repr: nan is nan


TWO_ROWS = {"distance": [500.0, 1.0], "wind": [math.nan, 2.5], "carrier": ["UA", "B6"]}


def test_a_v2_request_becomes_raw_columns(protocol):
    request = protocol.infer(v2())
    assert same(TWO_ROWS, request)
    assert {name: (str(values.dtype), values.shape) for name, values in request.tensors.items()} == {
        "distance": ("float32", (2, 1)),
        "wind": ("float32", (2, 1)),
        "carrier": ("object", (2, 1)),
    }
    assert (request.rows, request.request_id, list(request.row_ids)) == (2, "req", ["", ""])


@pytest.mark.parametrize("nested", [False, True])
def test_shape_n_by_1_may_be_flat_or_nested(protocol, nested):
    data = [[500], [1]] if nested else [500, 1]
    assert same(TWO_ROWS, protocol.infer(v2(distance=tensor("distance", data, "INT64", [2, 1]))))


def test_identities_come_along_and_columns_of_no_use_are_named(protocol):
    request = protocol.infer(
        v2(
            tensor("id", ["a", 7], "BYTES"),
            tensor("time", ["2013-04-01T10:00:00Z", 1364810400000], "BYTES"),
            tensor("delay", [1, 2]),
            tensor("late", [0, 1], "INT64"),
        )
    )
    assert list(request.row_ids) == ["a", "7"]
    assert list(request.event_times) == [datetime(2013, 4, 1, 10, tzinfo=UTC)] * 2
    assert request.ignored == ("delay", "late")


@pytest.mark.parametrize("datatype", ["FP64", "INT64"])
def test_a_number_is_the_same_as_an_integer_as_a_fraction_and_as_a_truth(protocol, datatype):
    whole = columns(protocol.infer(v2(distance=tensor("distance", [1, 0], datatype))))
    assert same(whole, protocol.infer(v2(distance=tensor("distance", [1.0, 0.0]))))
    assert same(whole, protocol.infer(v2(distance=tensor("distance", [True, False], "BOOL"))))


def test_a_time_is_converted_to_utc(protocol):
    request = protocol.infer(v2(tensor("time", ["2013-04-01 10:00Z", "2013-04-01T06:00:00-04:00"], "BYTES")))
    assert list(request.event_times) == [datetime(2013, 4, 1, 10, tzinfo=UTC)] * 2


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (v2(distance=tensor("distance", ["far", 1])), "distance", "row 0: must be a number, got a string"),
        (v2(distance=tensor("distance", [1, None])), "distance", "row 1: must not be null"),
        (v2(distance=tensor("distance", [1, 1e39])), "distance", r"row 1: must be finite .* got 1e\+39"),
        (v2(wind=tensor("wind", [10**400, 1])), "wind", "row 0: must be finite"),
        (v2(distance=tensor("distance", [1, "7"])), "distance", "row 1: must be a number, got a string"),
        (v2(distance=tensor("distance", [1, 2**53 + 1], "INT64")), "distance", r"row 1: .* beyond 2\^53"),
        (v2(carrier=tensor("carrier", ["B6", "UA\0\0"], "BYTES")), "carrier", "row 1: must not have NUL characters"),
        (v2(distance=tensor("distance", [1, {}])), "distance", "row 1: must be a number, got an object"),
        (v2(distance=tensor("distance", [1, 2], "BYTES")), "distance", "must have datatype FP32, .* got 'BYTES'"),
        (v2(distance=tensor("distance", [1, 2.5], "INT64")), "distance", "datatype INT64 but fractions"),
        (v2(carrier=tensor("carrier", [1, 2])), "carrier", "must have datatype BYTES, got 'FP32'"),
        (v2(carrier=tensor("carrier", ["UA", 2], "BYTES")), "carrier", "row 1: must be a string, got an integer"),
        (v2(carrier=tensor("carrier", ["UA", ""], "BYTES")), "carrier", "row 1: must not be empty"),
        (v2(carrier=tensor("carrier", ["UA", None], "BYTES")), "carrier", "row 1: must not be null"),
        (v2(carrier=tensor("carrier", ["x" * 2000, "B6"], "BYTES")), "carrier", "at most 1024 characters"),
        (v2(distance=tensor("distance", [1, 2], shape=[1])), "distance", r"shape \[1\] but 2 values"),
        (v2(distance=tensor("distance", [1, 2], shape=[1, 2])), "distance", r"must have shape \[n\] or \[n, 1\]"),
        (v2(distance=tensor("distance", [1, 2, 3])), "wind", "has 2 rows, the others have 3"),
        (v2(distance=tensor("elsewhere", [1, 2])), "distance", "column 'distance' is missing"),
        (v2(tensor("wind", [1, 2])), "wind", "given twice"),
        (v2(tensor("time", ["yesterday", None], "BYTES")), "time", "row 0: must be an ISO 8601 time"),
        (v2(tensor("time", [1e300, None], "FP64")), "time", "row 0: must be an ISO 8601 time"),
        (v2(tensor("time", ["2013-04-01 10:00", None], "BYTES")), "time", "row 0: must have an offset"),
        (v2(tensor("time", ["2013-04-01", None], "BYTES")), "time", "row 0: must have an offset"),
        (v2(tensor("time", [1364810400, None], "INT64")), "time", "row 0: .* which may be seconds"),
        (v2(tensor("time", [0, None], "INT64")), "time", "row 0: .* which may be seconds"),
        (v2(tensor("time", [True, None], "BOOL")), "time", "row 0: must be an ISO 8601 time"),
        (v2(tensor("id", ["UA\0", None], "BYTES")), "id", "row 0: must not have NUL"),
        (v2(tensor("id", [7.0, None], "FP64")), "id", "row 0: must be a string or an integer, got a number"),
        (v2(tensor("id", [True, None], "BOOL")), "id", "row 0: must be a string or an integer, got a boolean"),
        (v2(tensor("time", ["0001-01-01T00:00:00+05:00", None], "BYTES")), "time", "row 0: must "),
        (v2(tensor("time", ["0900-01-01T00:00Z", None], "BYTES")), "time", "between the years 1900 and 2200"),
        (v2(tensor("id", [1.5, "a"], "BYTES")), "id", "row 0: must be a string or an integer"),
        (b'{"inputs": [{"name": 3}]}', "inputs[0].name", "Expected `str`, got `int`"),
        (b'{"inputs": []}', "distance", "missing are distance, wind, carrier"),
        (b"[1]", "", "the body: Expected `object`, got `array`"),
        (b"{nonsense", "", "the body is not JSON"),
        (b'{"inputs": NaN}', "", "NaN and Infinity are no JSON"),
        (b"[" * 100_000, "", "the body"),
        (b'\xff\xfe{"inputs": []}', "", "the body is not JSON"),
    ],
)
def test_a_bad_v2_request_is_refused_naming_the_field(protocol, body, field, message):
    with pytest.raises(BadRequest, match=message) as refusal:
        protocol.infer(body)
    assert refusal.value.field == field


def test_an_unknown_output_is_refused_and_a_known_one_alone_is_given(protocol):
    parsed = json.loads(v2())
    assert protocol.infer(json.dumps(parsed | {"outputs": [{"name": "probability"}]}).encode()).outputs == (
        "probability",
    )
    with pytest.raises(BadRequest, match="no output 'logit'; there are probability, prediction_id"):
        protocol.infer(json.dumps(parsed | {"outputs": [{"name": "logit"}]}).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["wind", "carrier", "distance"], "data": [[None, "UA", 500], [2.5, "B6", 1]]}},
        {"dataframe_records": [{"distance": 500, "carrier": "UA"}, {"distance": 1, "wind": 2.5, "carrier": "B6"}]},
        {"inputs": {"distance": [500, 1], "wind": [None, 2.5], "carrier": ["UA", "B6"]}},
        {"inputs": {"distance": [[500], [1]], "wind": [[None], [2.5]], "carrier": [["UA"], ["B6"]]}},
        {
            "instances": [
                {"distance": 500, "wind": None, "carrier": "UA"},
                {"distance": 1, "wind": 2.5, "carrier": "B6"},
            ]
        },
    ],
    ids=lambda body: next(iter(body)),
)
def test_all_of_mlflows_json_formats_say_the_same(protocol, body):
    assert same(TWO_ROWS, protocol.invocation(json.dumps(body).encode(), "application/json"))


def test_csv_says_the_same(protocol):
    body = "\ufeffcarrier,distance,wind,id\nUA,500,,a\nB6,1,2.5,b\n".encode()
    request = protocol.invocation(body, "text/csv")
    assert same(TWO_ROWS, request)
    assert list(request.row_ids) == ["a", "b"]


def test_one_row_as_scalars_is_one_row(protocol):
    body = {"inputs": {"distance": 500, "wind": 2.5, "carrier": "UA"}}
    assert protocol.invocation(json.dumps(body).encode(), "application/json").rows == 1


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ('{"rows": []}', "", "exactly one of dataframe_split"),
        ('{"inputs": {}, "instances": []}', "", "exactly one of"),
        ('{"dataframe_split": [1]}', "dataframe_split", "must be an object with the lists"),
        ('{"dataframe_split": {"columns": ["wind", "wind"], "data": []}}', "wind", "given twice"),
        ('{"dataframe_split": {"columns": ["wind"], "data": [[1, 2]]}}', "data", "row 0 must be a list of 1 values"),
        ('{"dataframe_records": [1]}', "dataframe_records", "list of objects"),
        ('{"dataframe_records": []}', "distance", "is missing"),
        ('{"inputs": "x"}', "inputs", "must be an object of columns or a list of rows"),
        ('{"inputs": {"distance": [[1, 2]], "wind": [1], "carrier": ["a"]}}', "distance", "one value for each row"),
        ('{"inputs": {"distance": [1], "wind": 2, "carrier": ["a"]}}', "wind", "must be a list of values"),
        ('{"inputs": {"distance": [], "wind": [], "carrier": []}}', "", "there are no rows"),
    ],
)
def test_a_bad_invocation_is_refused_naming_the_field(protocol, body, field, message):
    with pytest.raises(BadRequest, match=message) as refusal:
        protocol.invocation(body.encode(), "application/json")
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no header line"),
        (b"\xff", "not CSV in UTF-8"),
        (b"distance,wind,carrier\n1,2\n", "row 0 must be a list of 3 values"),
        (b"distance,wind,carrier\nfar,2,UA\n", "column 'distance', row 0: must be a number, got 'far'"),
        (b"distance,wind,carrier\ninf,2,UA\n", "must be finite"),
        (b"distance,wind,carrier\n,2,UA\n", "must not be null"),
    ],
)
def test_bad_csv_is_refused(protocol, body, message):
    with pytest.raises(BadRequest, match=message):
        protocol.invocation(body, "text/csv")


@settings(max_examples=300)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.floats(width=32),
        st.sampled_from([10**400, -(10**400)]),
        st.sampled_from([2.0**128, float(2**128 - 2**103), math.nextafter(float(2**128 - 2**103), 0), 5e-324]),
    ),
    st.booleans(),
)
def test_a_number_alone_is_judged_and_converted_as_one_among_many(value, nullable):
    column = Number("n", nullable=nullable)

    def outcome(values: list) -> str:
        try:
            return repr(raw_column(column, values)[0, 0])
        except BadRequest as refusal:
            return str(refusal)

    assert outcome([value]) == outcome([value, 1.0])


def test_too_many_rows_are_refused_as_too_large(protocol):
    rows = [{"distance": 1, "wind": 1, "carrier": "UA"}] * 51
    with pytest.raises(TooLarge, match="51 rows are more than the 50"):
        protocol.invocation(json.dumps({"dataframe_records": rows}).encode(), "application/json")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"labels": [{"row_id": "a", "label": 2}]}', r"labels\[0\].label must be 0 or 1, got 2"),
        (b'{"labels": [{"row_id": "a"}]}', "missing required field `label`"),
        (b'{"labels": [{"row_id": 1.0, "label": 1}]}', r"labels\[0\].row_id: Expected `int \| str`"),
        (b"{}", "missing required field `labels`"),
    ],
)
def test_bad_labels_are_refused(protocol, body, message):
    with pytest.raises(BadRequest, match=message):
        labels(body, protocol.limits, protocol.project.target)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
words = st.sampled_from(["distance", "wind", "carrier", "id", "time", "columns", "data"])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "id"]),
        json_values | st.dictionaries(words, json_values) | st.lists(st.dictionaries(words, json_values), max_size=3),
        max_size=2,
    )
)
def test_any_json_is_either_understood_or_refused(protocol, body):
    for parse in (protocol.infer, lambda raw: protocol.invocation(raw, "application/json")):
        try:
            request = parse(json.dumps(body).encode())
        except BadRequest:
            continue
        assert all(values.shape == (request.rows, 1) for values in request.tensors.values())
        assert np.isfinite(request.tensors["distance"]).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_either_understood_or_refused(protocol, body):
    reads_labels = partial(labels, limits=protocol.limits, task=protocol.project.target)
    for parse in (
        protocol.infer,
        reads_labels,
        *(lambda b, m=m: protocol.invocation(b, m) for m in ("text/csv", "x/json")),
    ):
        with contextlib.suppress(BadRequest):
            parse(body)
