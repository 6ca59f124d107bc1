"""Reading the log back: windows, labels, single predictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, UsageError
from fullcircle.core.project import Number
from fullcircle.predictions import log_reader, parquet_segments
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=30)


@pytest.fixture
def log(project, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as open_log:
        yield open_log


def test_an_empty_log_is_an_empty_window_with_all_its_columns(project, tmp_path):
    window, frame = log_reader.window(project, tmp_path, START, END)
    assert (window.rows, window.labelled, window.versions) == (0, 0, ())
    expected = ["prediction_id", "row_id", "event_time", "model_version", "distance", "wind", "carrier", "probability"]
    assert [*expected, "label"] == list(frame.columns)
    assert str(frame["event_time"].dtype) == "datetime64[us, UTC]"
    assert (str(frame["wind"].dtype), str(frame["label"].dtype)) == ("float32", "float64")


def test_of_several_predictions_for_a_row_the_latest_is_the_one_that_counts(log, project, batch, tmp_path):
    log.append(batch(["a", "b"], version="9", probability=0.1))
    log.seal()
    log.append(batch(["a"], version="10", probability=0.75))
    window, frame = log_reader.window(project, tmp_path, START, END)
    assert window.versions == ("9", "10")
    assert {"a": 0.75, "b": np.float32(0.1)} == dict(zip(frame["row_id"], frame["probability"], strict=True))


def test_a_window_holds_its_start_but_not_its_end(log, project, batch, tmp_path):
    log.append(batch(["h0", "h1", "h2", "h3"]))
    inside = log_reader.logged_row_ids(tmp_path, START + timedelta(hours=1), START + timedelta(hours=3))
    assert {"h1", "h2"} == inside
    log.seal()
    assert inside == log_reader.logged_row_ids(tmp_path, START + timedelta(hours=1), START + timedelta(hours=3))


def test_only_the_days_that_a_window_needs_are_opened(log, project, batch, tmp_path):
    log.append(batch(["a"]))
    log.append(batch(["b"], hours=72))
    log.seal()
    (tmp_path / "segments" / "date=2013-04-04").rename(tmp_path / "segments" / "date=2013-05-20")
    (tmp_path / "segments" / "date=2013-05-20" / "broken.parquet").write_bytes(b"not parquet")
    assert {"a"} == log_reader.logged_row_ids(tmp_path, START, END)


def test_labels_find_their_rows_and_the_last_one_wins(log, project, batch, tmp_path):
    labels = LabelLog(tmp_path / "labels", project.target)
    labels.append(["c"], [1])  # before its row
    ids = log.append(batch(["a", "b", "c", ""]))
    assert labels.append(["a", "b", ids[3]], [0, 0, 1]) == 3
    labels.append(["a", "a"], [0, 1])
    labels.append(["b"], [1], arrived=datetime(2001, 1, 1, tzinfo=UTC))  # older than what we have
    window, frame = log_reader.window(project, tmp_path, START, END)
    assert window.labelled == 4
    assert frame["label"].tolist() == [1.0, 0.0, 1.0, 1.0]


def test_rows_without_a_label_are_nan_not_zero(log, project, batch, tmp_path):
    log.append(batch(["a", "b"]))
    LabelLog(tmp_path / "labels", project.target).append(["b", "never-predicted"], [0, 1])
    window, frame = log_reader.window(project, tmp_path, START, END)
    assert window.labelled == 1
    assert frame["label"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("row_ids", "labels", "message"),
    [
        (["a"], [2], "label of row 'a' must be 0 or 1, got 2"),
        (["a", "b"], [1], "2 row ids but 1 labels"),
        ([""], [1], "a label without a row id"),
    ],
)
def test_a_bad_label_is_refused_and_nothing_is_written(project, tmp_path, row_ids, labels, message):
    with pytest.raises(UsageError, match=message):
        LabelLog(tmp_path, project.target).append(row_ids, labels)
    assert list(tmp_path.iterdir()) == []


def test_many_label_files_become_one_and_say_the_same(log, project, batch, tmp_path):
    labels = LabelLog(tmp_path / "labels", project.target)
    log.append(batch(["a", "b"]))
    for index in range(parquet_segments.MERGE_FROM_FILES + 1):
        labels.append(["a", "b"], [index % 2, (index + 1) % 2])
    assert len(parquet_segments.files(tmp_path / "labels")) <= 2
    _, frame = log_reader.window(project, tmp_path, START, END)
    last = parquet_segments.MERGE_FROM_FILES % 2
    assert [last, 1 - last] == frame["label"].tolist()


def test_rows_logged_before_a_column_was_added_have_it_missing(project, batch, tmp_path):
    with PredictionLog(tmp_path, [Number("distance")], project.target.answers, background=False) as old:
        full = batch(["a"])
        old.append(full)
    _, frame = log_reader.window(project, tmp_path, START, END)
    assert frame["wind"].isna().all()
    assert frame["carrier"].tolist() == [""]


def test_a_days_files_are_merged_over_a_change_of_columns(project, batch, tmp_path):
    for columns, count in ([Number("distance")], 1), (project.inputs, parquet_segments.MERGE_FROM_FILES - 1):
        with PredictionLog(tmp_path, columns, project.target.answers, background=False) as log:
            for index in range(count):
                log.append(batch([f"{len(columns)}-{index}"]))
                log.seal()
    assert len(list(tmp_path.glob("segments/*/*.parquet"))) == 1
    _, frame = log_reader.window(project, tmp_path, START, END)
    first = frame.set_index("row_id").loc["1-0"]
    assert (first["carrier"], np.isnan(first["wind"]), len(frame)) == ("", True, parquet_segments.MERGE_FROM_FILES)


def test_a_damaged_segment_is_named_and_stops_neither_logging_nor_other_days(log, project, batch, tmp_path):
    for index in range(parquet_segments.MERGE_FROM_FILES - 1):
        log.append(batch([f"r{index}"]))
        log.seal()
    (tmp_path / "segments" / "date=2013-04-01" / "broken.parquet").write_bytes(b"not parquet")
    log.append(batch(["a", "b"], hours=23))
    assert log.seal() == 2
    with pytest.raises(DataUnavailable, match=r"broken.parquet cannot be read"):
        log_reader.window(project, tmp_path, START, END)
    assert log_reader.logged_row_ids(tmp_path, START + timedelta(days=1), END) == {"b"}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.floats(width=32, allow_nan=True, allow_infinity=False)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(number, number, text, st.integers(0, 40)), min_size=1, max_size=30),
    read_segment=st.booleans(),
)
def test_what_is_logged_comes_back_to_the_last_bit(project, tmp_path_factory, rows, read_segment):
    folder = tmp_path_factory.mktemp("log")
    distance, wind, carrier, day = (list(part) for part in zip(*rows, strict=True))
    with PredictionLog(folder, project.inputs, project.target.answers, background=False) as log:
        log.append(
            Batch(
                model_version="1",
                digest="d",
                event_times=[START + timedelta(days=d, microseconds=i) for i, d in enumerate(day)],
                row_ids=[f"{index:04}" for index in range(len(rows))],
                inputs={
                    "distance": np.array(distance, "float32"),
                    "wind": np.array(wind, "float32").reshape(-1, 1),
                    "carrier": np.array(carrier, object).reshape(-1, 1),
                },
                answers=np.array(distance, "float32"),
            )
        )
        if read_segment:
            log.seal()
        _, frame = log_reader.window(project, folder, START, START + timedelta(days=50))
    frame = frame.sort_values("row_id")
    np.testing.assert_array_equal(np.array(distance, "float32"), frame["distance"])
    np.testing.assert_array_equal(np.array(wind, "float32"), frame["wind"])
    assert carrier == frame["carrier"].tolist()
    assert [START + timedelta(days=d, microseconds=i) for i, d in enumerate(day)] == list(frame["event_time"])
