"""Single predictions out of many files, and how many answers came from each model."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pytest

from fullcircle.predictions import lookup, parquet_segments
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_counts import prediction_counts
from fullcircle.predictions.prediction_log import PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture
def log(project, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as open_log:
        yield open_log


def test_one_prediction_is_found_by_its_id_sealed_or_not(log, project, batch, tmp_path):
    ids = log.append(batch(["a", "b"], probability=0.25))
    read_wals = lookup.find(tmp_path, ids[1])
    log.seal()
    LabelLog(tmp_path / "labels", project.target).append(["b"], [1])
    found = lookup.find(tmp_path, ids[1])
    assert read_wals == {**found, "label": None}
    assert tuple(
        found[name]
        for name in ("row_id", "model_version", "model_digest", "distance", "carrier", "probability", "label")
    ) == ("b", "1", "sha-of-1", 1.0, "UA", 0.25, 1)
    assert lookup.find(tmp_path, "00000000-0000-7000-8000-000000000000") is None


def test_a_prediction_is_found_though_no_other_days_file_can_be_read(log, batch, tmp_path):
    first = log.append(batch(["a"]))
    log.seal()
    log.append(batch(["b"], hours=48))
    log.seal()
    (other,) = tmp_path.glob("segments/date=2013-04-03/*.parquet")
    other.write_bytes(b"not parquet")
    assert lookup.find(tmp_path, first[0])["row_id"] == "a"


def test_a_file_that_an_earlier_version_wrote_is_looked_into_all_the_same(log, batch, tmp_path):
    ids = log.append(batch(["a", "b"]))
    log.seal()
    (path,) = tmp_path.glob("segments/*/*.parquet")
    assert parquet_segments.span(path) == (parquet_segments.digits(ids[0]), parquet_segments.digits(ids[1]))
    old = path.rename(path.with_name(f"{path.name.split('.')[0]}.parquet"))
    assert parquet_segments.span(old) is None
    assert lookup.find(tmp_path, ids[1])["row_id"] == "b"
    assert lookup.nearest(tmp_path, ids[0][:-1] + "x", count=2) == ids
    assert [each.predictions for each in prediction_counts(tmp_path)] == [2]


def test_an_id_that_is_not_there_has_its_neighbours_in_time_and_a_beginning_has_all_that_fit(log, batch, tmp_path):
    read_segment = log.append(batch(["a", "b"]))
    log.seal()
    read_wals = log.append(batch(["c"]))
    everything = (*read_segment, *read_wals)
    later = f"{int(read_wals[0][:8], 16) + 1:08x}{read_wals[0][8:]}"
    assert lookup.nearest(tmp_path, later, count=2) == everything[-2:]
    assert lookup.nearest(tmp_path, read_segment[1][:-1] + "~", count=2) == (read_segment[1], read_wals[0])
    assert set(lookup.nearest(tmp_path, "no id at all")) == set(everything)
    assert lookup.beginning_with(tmp_path, read_segment[0][:8]) == everything
    assert lookup.beginning_with(tmp_path, read_segment[0]) == read_segment[:1]
    assert lookup.beginning_with(tmp_path, "00000000") == ()
    assert lookup.nearest(tmp_path / "empty", later) == ()


def test_all_predictions_of_a_row_are_found(log, batch, tmp_path):
    first = log.append(batch(["a", "b"]))
    log.seal()
    second = log.append(batch(["b"]))
    assert lookup.of_row(tmp_path, "b") == (first[1], second[0])
    assert lookup.of_row(tmp_path, "c") == ()


def test_the_last_label_of_a_prediction_wins_however_many_files_hold_one(log, project, batch, tmp_path):
    (id_,) = log.append(batch(["b"]))
    labels = LabelLog(tmp_path / "labels", project.target)
    for value in (0, 1):
        labels.append(["a", "b", "c"], [value, 1 - value, value])
    labels.append(["a", "c"], [1, 1])  # its statistics allow a "b", and it has none
    labels.append(["b"], [1], arrived=datetime(2001, 1, 1, tzinfo=UTC))
    assert lookup.find(tmp_path, id_)["label"] == 0


def test_answers_are_counted_by_model_once_each(log, batch, tmp_path):
    assert prediction_counts(tmp_path) == ()
    for version, rows in (("9", ["a", "b", "c"]), ("10", ["d"]), ("9", ["e"])):
        log.append(batch(rows, version=version))
        log.seal()
    log.append(batch(["f", "g"], version="10", hours=47))
    nine, ten = prediction_counts(tmp_path)
    assert [(each.model_version, each.model_digest, each.predictions) for each in (nine, ten)] == [
        ("9", "sha-of-9", 4),
        ("10", "sha-of-10", 3),
    ]
    assert (nine.first, nine.last) == (START, START + timedelta(hours=2))
    assert (ten.first, ten.last) == (START, START + timedelta(hours=48))


def test_a_row_that_lies_in_two_files_after_a_killed_merge_counts_once(log, batch, tmp_path):
    log.append(batch(["a", "b"], version="1"))
    log.seal()
    log.append(batch(["c"], version="2"))
    log.seal()
    small = parquet_segments.files(tmp_path / "segments" / "date=2013-04-01")
    kept = [shutil.copyfile(path, tmp_path / path.name) for path in small]
    assert parquet_segments.merge(small[0].parent, unique_by="prediction_id", from_files=2) == 2
    merged = prediction_counts(tmp_path)
    for path in kept:
        shutil.move(path, small[0].parent / path.name)
    assert len(parquet_segments.files(small[0].parent)) == 3
    assert prediction_counts(tmp_path) == merged
    assert [each.predictions for each in merged] == [2, 1]
