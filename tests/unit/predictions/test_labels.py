"""A label finds its row by one form of the id, at whichever door it comes in; what is no id or no label is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import BadRequest, UsageError
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.row_tensors import identities, identity
from fullcircle.predictions.labels import LabelLog
from fullcircle.serving import protocol
from fullcircle.serving.request_limits import Limits

PROJECT = Project(
    name="p", owner="o@example.com", columns=(Number("x"),), target=Binary("y", "yes"), time="at", row_id="id",
    torch=lambda *_: None,
)  # fmt: skip
LIMITS = Limits.of(PROJECT, rows=10, length=100_000)
NOW = datetime(2024, 1, 1, tzinfo=UTC)


def kept(log: LabelLog) -> list[str]:
    return sorted(pq.read_table(next(log.folder.glob("*.parquet")))["row_id"].to_pylist())


def test_ids_of_integers_and_of_text_are_one_form(tmp_path):
    log = LabelLog(tmp_path, LATE)

    assert log.append([7, "8", np.int64(2**62 + 1), "007"], [0, 1, 1, 0], arrived=NOW) == 4

    assert kept(log) == sorted(["7", "8", str(2**62 + 1), "007"])


@pytest.mark.parametrize(
    ("row_id", "label", "why"),
    [
        (7.0, 1, "a row id must be text or a whole number, got 7.0"),
        (True, 1, "a row id must be text or a whole number, got True"),
        (b"7", 1, "a row id must be text or a whole number"),
        (None, 1, "a row id must be text or a whole number, got None"),
        ("", 1, "a label without a row id"),
        ("a\0\0", 1, "must not have NUL characters"),
        ("a" * 1025, 1, "at most 1024 characters"),
        ("\ud800", 1, "valid Unicode"),
        ("a", "1", "must be 0 or 1, got '1'"),
        ("a", 2, "must be 0 or 1, got 2"),
        ("a", float("nan"), "must be 0 or 1, got nan"),
    ],
)
def test_what_is_no_id_or_no_label_is_refused_and_nothing_is_kept(tmp_path, row_id, label, why):
    with pytest.raises(UsageError, match=why):
        LabelLog(tmp_path, LATE).append(["fine", row_id], [0, label], arrived=NOW)

    assert not list(tmp_path.iterdir())


LATE = Binary("late", "arrived late")


def test_a_label_over_http_is_what_the_data_says():
    churn = Binary("churn", "left", labels=("no", "yes"))
    body = b'{"labels": [{"row_id": "a", "label": "yes"}, {"row_id": "b", "label": "no"}]}'
    assert protocol.labels(body, LIMITS, churn) == (["a", "b"], [1, 0])
    assert protocol.labels(b'{"labels": [{"row_id": "a", "label": true}]}', LIMITS, LATE) == (["a"], [1])
    with pytest.raises(BadRequest, match="must be 'no' or 'yes', got 1"):
        protocol.labels(b'{"labels": [{"row_id": "a", "label": 1}]}', LIMITS, churn)


@given(st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1))
def test_an_id_is_the_same_over_http_in_a_frame_and_in_a_file(value):
    one = identity(value)

    assert one == str(value)
    assert protocol.labels(json.dumps({"labels": [{"row_id": value, "label": 1}]}).encode(), LIMITS, LATE) == (
        [one],
        [1],
    )
    assert identities(pd.Series([value], dtype=object)) == [one]


@pytest.mark.parametrize(
    "label", ['{"row_id": 7.0, "label": 1}', '{"row_id": true, "label": 1}', '{"row_id": null, "label": 1}',
              '{"row_id": "a\\u0000", "label": 1}', '{"row_id": 7, "label": "1"}']
)  # fmt: skip
def test_a_label_over_http_that_names_no_row_or_no_outcome_is_refused(label):
    with pytest.raises(BadRequest):
        protocol.labels(f'{{"labels": [{label}]}}'.encode(), LIMITS, LATE)
