"""Answers and labels of every kind of task in the log: what was answered comes back, whatever the classes are today."""

from __future__ import annotations

import dataclasses
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Multiclass, Multilabel, Number, Project, Regression
from fullcircle.core.tasks import Task
from fullcircle.predictions import log_reader, lookup, parquet_segments, wal
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=30)
KINDS = Multiclass("status", classes=("calm", "storm", "hurricane"))
TASKS: dict[str, Task] = {
    "binary": Binary("late", positive="late"),
    "decided": Binary("late", positive="late", threshold=0.3),
    "multiclass": KINDS,
    "digits": Multiclass("digit", classes=tuple(range(10))),
    "many": Multiclass("one", classes=tuple(f"c{index}" for index in range(1000))),
    "regression": Regression("count", unit="bikes"),
    "interval": Regression("count", loss="quantile"),
    "multilabel": Multilabel("topics", labels=("art", "law", "war")),
    "separate": Multilabel("topics", labels=("art", "law", "war"), separate=True),
}


def project_of(task: Task) -> Project:
    return Project(
        name="any", owner="o@example.com", columns=(Number("x"),), target=task, time="at", row_id="id",
        torch=lambda *_: None,
    )  # fmt: skip


def batch(task: Task, row_ids: list[str], answers: np.ndarray | None = None) -> Batch:
    shape = task.answers.shape(len(row_ids))
    return Batch(
        model_version="1",
        digest="d",
        event_times=[START + timedelta(hours=index) for index in range(len(row_ids))],
        row_ids=row_ids,
        inputs={"x": np.arange(len(row_ids), dtype="float32")},
        answers=np.random.default_rng(7).random(shape, "float32") if answers is None else answers,
    )


def opened(folder: Path, task: Task) -> PredictionLog:
    return PredictionLog(folder, [Number("x")], task.answers, background=False)


def seen(folder: Path, task: Task) -> pd.DataFrame:
    return log_reader.window(project_of(task), folder, START, END)[1]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(set(TASKS) - {"many"})), sealed=st.booleans())
def test_answers_come_back_to_the_last_bit_from_the_write_ahead_file_and_from_segments(
    tmp_path_factory, data, name, sealed
):
    task, folder = TASKS[name], tmp_path_factory.mktemp("log")
    rows = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    elements = st.floats(width=32)
    told = [data.draw(arrays.arrays(np.float32, task.answers.shape(count), elements=elements)) for count in rows]
    with opened(folder, task) as log:
        for index, answers in enumerate(told):
            log.append(batch(task, [f"{index}-{row}" for row in range(len(answers))], answers))
            if sealed:
                log.seal()
        frame = seen(folder, task).sort_values("row_id")
    np.testing.assert_array_equal(task.answers.of(frame), np.concatenate(told))


@pytest.mark.parametrize("name", TASKS)
def test_a_segment_has_a_column_for_each_number_behind_the_inputs_and_none_for_words(tmp_path, name):
    task = TASKS[name]
    with opened(tmp_path, task) as log:
        log.append(batch(task, ["a"]))
    (path,) = tmp_path.glob("segments/*/*.parquet")
    schema = pq.read_schema(path)
    assert schema.names == [*parquet_segments.IDENTITY, "x", *task.answers.numbers]
    assert {str(schema.field(name).type) for name in task.answers.numbers} == {"float"}


@pytest.mark.parametrize("name", TASKS)
def test_what_a_killed_writer_left_is_recovered_whatever_an_answer_is(tmp_path, name):
    task = TASKS[name]
    rows = batch(task, ["a", "b", "c"])
    dead = opened(tmp_path, task)
    ids = dead.append(rows)
    dead._wal.close()  # what the kernel does with the lock of a killed process
    before = seen(tmp_path, task)

    with opened(tmp_path, task) as log:
        assert log.damaged == ()
        after = seen(tmp_path, task)

    pd.testing.assert_frame_equal(before, after)
    np.testing.assert_array_equal(task.answers.of(after), rows.answers)
    found = lookup.find(tmp_path, ids[1])
    assert found is not None
    assert [found[name] for name in task.answers.numbers] == np.reshape(rows.answers[1], -1).tolist()


def test_a_write_ahead_file_that_names_no_answers_holds_one_probability(tmp_path):
    header = msgspec.msgpack.encode([["x"], [], 1, 0.0, []])
    times = int(START.timestamp() * 1e6).to_bytes(8, "little") * 2
    records = msgspec.msgpack.encode(
        ["1", "sha", 0, ["p", "q"], ["r", "s"], times, np.float32([1, 2]).tobytes(), [],
         np.float32([0.25, 0.75]).tobytes()]
    )  # fmt: skip
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / f"old{wal.SUFFIX}").write_bytes(
        b"FCWAL\x01\r\n"
        + b"".join(len(each).to_bytes(4, "little") + zlib.crc32(each).to_bytes(4, "little") + each
                   for each in (header, records))
    )  # fmt: skip
    for _ in range(2):  # from the file itself, and once it is sealed
        assert seen(tmp_path, TASKS["binary"])["probability"].tolist() == [0.25, 0.75]
        with opened(tmp_path, TASKS["binary"]) as log:
            assert log.damaged == ()


@pytest.mark.parametrize("name", TASKS)
def test_answers_of_another_shape_are_refused_and_nothing_is_logged(tmp_path, name):
    task = TASKS[name]
    width = len(task.answers.numbers)
    with opened(tmp_path, task) as log:
        for shape in (
            (2,) if width > 1 else (2, 2),
            (3, width),
            (2, width + 1),
            (width, 2) if width != 2 else (4,),
            (),
        ):
            with pytest.raises(UsageError, match=f"answers of shape .* where an answer has {width} numbers"):
                log.append(batch(task, ["a", "b"], np.zeros(shape, "float32")))
    assert seen(tmp_path, task).empty


@pytest.mark.parametrize("name", TASKS)
def test_a_column_named_like_an_answer_is_refused(tmp_path, name):
    answers = TASKS[name].answers
    for column in answers.names:
        with pytest.raises(UsageError, match=f"columns {column} are names of the prediction log"):
            PredictionLog(tmp_path, [Number(column)], answers)


@pytest.mark.parametrize("merged", [False, True])
def test_a_class_that_another_version_did_not_know_is_nan_and_the_others_stay_in_place(tmp_path, merged):
    then, now = KINDS, dataclasses.replace(KINDS, classes=("hurricane", "calm", "breeze"))
    with opened(tmp_path, then) as log:
        log.append(batch(then, ["a", "b"], np.float32([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])))
    with opened(tmp_path, now) as log:
        log.append(batch(now, ["c"], np.float32([[0.5, 0.25, 0.25]])))
    if merged:
        (day,) = tmp_path.glob("segments/*")
        assert parquet_segments.merge(day, unique_by="prediction_id", from_files=2) == 2
    frame = seen(tmp_path, now).set_index("row_id").sort_index()
    assert frame["p_hurricane"].tolist() == np.float32([0.7, 0.1, 0.5]).tolist()
    assert frame["p_calm"].tolist() == np.float32([0.1, 0.6, 0.25]).tolist()
    np.testing.assert_array_equal(frame["p_breeze"], np.float32([np.nan, np.nan, 0.25]))
    assert list(seen(tmp_path, then).columns)[-4:] == ["p_calm", "p_storm", "p_hurricane", "label"]


TARGETS = {
    "binary": ([0, 1, 1], [0.0, 1.0, 1.0]),
    "multiclass": ([2, 0, 1], [2.0, 0.0, 1.0]),
    "digits": ([9, 0, 3], [9.0, 0.0, 3.0]),
    "regression": ([1.5, -2.0, 1e300], [1.5, -2.0, 1e300]),
    "interval": ([1.5, -2.0, 0.1], [1.5, -2.0, 0.1]),
    "multilabel": ([[0, 1, 1], [0, 0, 0], [1, 1, 1]], [[0, 1, 1], [0, 0, 0], [1, 1, 1]]),
    "separate": ([[0, 1, 1], [0, 0, 0], [1, 1, 1]], [[0, 1, 1], [0, 0, 0], [1, 1, 1]]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_labels_find_their_rows_and_are_the_targets_again(tmp_path, name):
    task, (targets, shown) = TASKS[name], TARGETS[name]
    if name == "regression":
        targets, shown = [*targets[:2], 1e30], [*shown[:2], 1e30]
    labels = LabelLog(tmp_path / "labels", task)
    with opened(tmp_path, task) as log:
        ids = log.append(batch(task, ["a", "b", "c", "d"]))
    assert seen(tmp_path, task)["label"].isna().all()
    labels.append(["a"], [targets[2]], arrived=datetime(2001, 1, 1, tzinfo=UTC))  # older: the other wins
    assert labels.append(["a", "b", ids[2], "c"], np.asarray([*targets, targets[2]])) == 4

    window, frame = log_reader.window(project_of(task), tmp_path, START, END)

    assert window.labelled == 3
    assert frame["label"].tolist()[:3] == shown
    assert pd.isna(frame["label"].iloc[3])
    codec = task.label_codec
    np.testing.assert_array_equal(codec.logged(codec.known_labels(frame["label"])[:3]), np.asarray(targets))


@pytest.mark.parametrize(
    ("name", "bad", "must"),
    [
        ("binary", 2, "0 or 1, got 2"),
        ("multiclass", 3, "a class's code, from 0 to 2, got 3"),
        ("multiclass", -1, "a class's code, from 0 to 2, got -1"),
        ("multiclass", 0.5, "a class's code, from 0 to 2, got 0.5"),
        ("multiclass", "calm", "a class's code, from 0 to 2, got 'calm'"),
        ("multiclass", [0], r"a class's code, from 0 to 2, got \[0\]"),
        ("regression", float("nan"), "a finite number, and no integer beyond 2.53, got nan"),
        ("regression", float("inf"), "a finite number, and no integer beyond 2.53, got inf"),
        ("regression", "1", "a finite number, and no integer beyond 2.53, got '1'"),
        ("regression", [1.0], r"a finite number, and no integer beyond 2.53, got \[1.0\]"),
        ("regression", None, "a finite number, and no integer beyond 2.53, got None"),
        ("multilabel", [0, 1], r"3 values of 0 or 1, got \[0, 1\]"),
        ("multilabel", [0, 1, 2], r"3 values of 0 or 1, got \[0, 1, 2\]"),
        ("multilabel", [0, 1, None], "3 values of 0 or 1, got"),
        ("multilabel", [0, 1, [1]], "3 values of 0 or 1, got"),
        ("multilabel", 1, "3 values of 0 or 1, got 1"),
    ],
)
def test_a_label_that_is_no_target_of_the_task_is_refused_and_nothing_is_written(tmp_path, name, bad, must):
    good = TARGETS[name][0][0]
    with pytest.raises(UsageError, match=f"the label of row 'b' must be {must}"):
        LabelLog(tmp_path, TASKS[name]).append(["a", "b"], [good, bad])
    assert list(tmp_path.iterdir()) == []


def test_labels_follow_their_classes_into_a_version_that_has_them_in_another_order_or_not_at_all(tmp_path):
    now = dataclasses.replace(KINDS, classes=("hurricane", "calm", "breeze"))
    with opened(tmp_path, now) as log:
        log.append(batch(now, ["a", "b", "c"]))
    LabelLog(tmp_path / "labels", KINDS).append(["a", "b", "c"], [0, 1, 2])
    LabelLog(tmp_path / "labels", now).append(["a"], [1])
    np.testing.assert_array_equal(seen(tmp_path, now)["label"], [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(seen(tmp_path, KINDS)["label"], [0.0, 1.0, 2.0])


def test_labels_of_a_row_are_known_where_each_label_of_today_was_known_then(tmp_path):
    then = Multilabel("topics", labels=("art", "law", "war"))
    fewer, more = (dataclasses.replace(then, labels=labels) for labels in (("war", "art"), ("art", "tax")))
    with opened(tmp_path, then) as log:
        log.append(batch(then, ["a", "b"]))
    LabelLog(tmp_path / "labels", then).append(["a", "b"], [[1, 1, 0], [0, 0, 0]])
    assert seen(tmp_path, fewer)["label"].tolist() == [[0, 1], [0, 0]]
    assert seen(tmp_path, more)["label"].tolist() == [None, None]


@pytest.mark.parametrize("then", TARGETS)
@pytest.mark.parametrize("now", TARGETS)
def test_labels_of_another_kind_of_task_cost_a_window_nothing_but_themselves(tmp_path, then, now):
    with opened(tmp_path, TASKS[now]) as log:
        log.append(batch(TASKS[now], ["a", "b"]))
    LabelLog(tmp_path / "labels", TASKS[then]).append(["a"], [TARGETS[then][0][0]])
    LabelLog(tmp_path / "labels", TASKS[now]).append(["b"], [TARGETS[now][0][0]])
    assert seen(tmp_path, TASKS[now])["label"].iloc[1] == TARGETS[now][1][0]


@pytest.mark.parametrize(
    ("name", "label"),
    [("binary", 1), ("multiclass", "storm"), ("regression", 1.5), ("multilabel", {"art": 1, "law": 0, "war": 1})],
)
def test_a_prediction_that_is_looked_up_shows_its_label_in_the_words_of_the_data(tmp_path, name, label):
    task = TASKS[name]
    with opened(tmp_path, task) as log:
        (id_,) = log.append(batch(task, ["a"]))
    target = {"multiclass": 1, "multilabel": [1, 0, 1]}.get(name, label)
    for older in (TARGETS[name][0][0], target):
        LabelLog(tmp_path / "labels", task).append(["a"], [older])
    found = lookup.find(tmp_path, id_)
    assert found is not None
    assert found["label"] == label


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_a_prediction_that_is_looked_up_knows_which_of_its_columns_are_its_answer(tmp_path, name, sealed):
    task = TASKS[name]
    with opened(tmp_path, task) as log:
        (id_,) = log.append(batch(task, ["a"]))
        if sealed:
            log.seal()
        found = lookup.find(tmp_path, id_)
    assert found is not None
    assert found.answers == task.answers.numbers


def test_a_prediction_knows_its_answer_in_a_file_that_was_merged_over_a_change_of_task(tmp_path):
    ids = {}
    for name in ("binary", "multiclass", "interval"):
        with opened(tmp_path, TASKS[name]) as log:
            (ids[name],) = log.append(batch(TASKS[name], [name]))
    (day,) = tmp_path.glob("segments/*")
    assert parquet_segments.merge(day, unique_by="prediction_id", from_files=2) == 3
    for name, id_ in ids.items():
        found = lookup.find(tmp_path, id_)
        assert found is not None
        assert found.answers == TASKS[name].answers.numbers


@pytest.mark.parametrize("name", TARGETS)
def test_many_label_files_of_any_kind_become_one_and_say_the_same(tmp_path, name):
    task, (targets, shown) = TASKS[name], TARGETS[name]
    with opened(tmp_path, task) as log:
        log.append(batch(task, ["a", "b"]))
    labels = LabelLog(tmp_path / "labels", task)
    for index in range(parquet_segments.MERGE_FROM_FILES + 1):
        labels.append(["a", "b"], [targets[index % 2], targets[1 - index % 2]])
    assert len(parquet_segments.files(tmp_path / "labels")) <= 2
    last = parquet_segments.MERGE_FROM_FILES % 2
    assert seen(tmp_path, task)["label"].tolist() == [shown[last], shown[1 - last]]
