"""The files beside a segment: there when it is sealed, made anew when they are not of it, and never in its way."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from fullcircle.core.project import Category, Number
from fullcircle.predictions import log_reader, parquet_segments
from fullcircle.predictions.fingerprints import segment_file
from fullcircle.predictions.fingerprints.contract import contract_of
from fullcircle.predictions.fingerprints.reader import fingerprints
from fullcircle.predictions.label_files import LabelFiles
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import Batch, PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=30)


def sealed(project, batch, folder, *row_ids: str) -> Path:
    with PredictionLog(folder, project.inputs, project.target.answers, background=False) as log:
        log.append(batch(list(row_ids or ("a", "b", "c"))))
    (path,) = folder.glob("segments/*/*.parquet")
    return path


def test_a_sealed_segment_has_its_fingerprint_and_a_window_reads_nothing_else(project, batch, tmp_path):
    ids = [np.random.default_rng(index).bytes(400).hex() for index in range(12)]
    path = sealed(project, batch, tmp_path, *ids)
    assert segment_file.beside(path).is_file()
    before = fingerprints(project, tmp_path, START, END)
    assert (before.made, before.cut, before.unsealed) == (0, 0, 0)
    # Rows that cannot be read any more are not missed: size and end are as they were.
    held = path.read_bytes()
    path.write_bytes(held[:4] + bytes(200) + held[204:])
    segment = segment_file.read(path, contract_of(project))
    assert segment is not None
    assert before.versions == segment.versions


@pytest.mark.parametrize("what", ["gone", "cut short", "a bit flipped", "no log at all", "a newer format"])
def test_a_fingerprint_that_is_missing_or_not_whole_is_made_again_and_damage_is_said(
    project, batch, tmp_path, caplog, what
):
    path = sealed(project, batch, tmp_path)
    file, contract = segment_file.beside(path), contract_of(project)
    expected, good = fingerprints(project, tmp_path, START, END), file.read_bytes()
    if what == "gone":
        file.unlink()
    elif what == "cut short":
        file.write_bytes(good[:-9])
    elif what == "a bit flipped":
        file.write_bytes(good[:80] + bytes([good[80] ^ 1]) + good[81:])
    elif what == "no log at all":
        file.write_bytes(b"hello")
    else:
        found = segment_file.read(path, contract)
        segment_file.write(path, msgspec.structs.replace(found, format=segment_file.FORMAT + 1))
    again = fingerprints(project, tmp_path, START, END)
    assert (again.made, again.days) == (1, expected.days)
    said = f"{file} is damaged"
    assert (said in caplog.text) == (what in {"cut short", "a bit flipped", "no log at all"})
    assert fingerprints(project, tmp_path, START, END).made == 0


def test_a_segment_that_changed_gets_another_fingerprint(project, batch, tmp_path):
    path = sealed(project, batch, tmp_path)
    rows = pq.ParquetFile(path).read()
    parquet_segments.write_table(rows.slice(0, 2), path)
    found = fingerprints(project, tmp_path, START, END)
    assert (found.made, found.total.rows) == (1, 2)


def test_a_contract_that_changed_gets_another_fingerprint_and_a_unit_does_not(project, batch, tmp_path):
    sealed(project, batch, tmp_path)
    renamed = dataclasses.replace(project, columns=(Number("distance", unit="mile"), *project.columns[1:]))
    assert fingerprints(renamed, tmp_path, START, END).made == 0
    narrower = dataclasses.replace(project, columns=(Number("distance", high=1), *project.columns[1:]))
    found = fingerprints(narrower, tmp_path, START, END)
    assert (found.made, found.total.numbers["distance"].outside) == (1, 1)
    sliced = dataclasses.replace(narrower, slices=("carrier",))
    assert fingerprints(sliced, tmp_path, START, END).total.slices["carrier"]["UA"].rows == 3


def test_a_fingerprint_that_cannot_be_written_does_not_keep_its_segment_from_being_sealed(
    project, batch, tmp_path, caplog
):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        log.append(batch(["a", "b"]))
        (wal,) = (tmp_path / "wal").glob("*.wal")
        rows = parquet_segments.table(*next(iter(log_reader_rows(tmp_path))))
        day = tmp_path / "segments" / "date=2013-04-01"
        called = f"{wal.stem}.{parquet_segments.digits(rows['prediction_id'][0].as_py())}"
        (day / f"{called}-{called.split('.')[1]}.fingerprint").mkdir(parents=True)
        assert log.seal() == 1
        assert "no fingerprint was written" in caplog.text
        window, _ = log_reader.window(project, tmp_path, START, END)
        assert (window.rows, fingerprints(project, tmp_path, START, END).total.rows) == (2, 2)


def log_reader_rows(folder):
    from fullcircle.predictions.log_files import read_wals

    return read_wals(folder)


def test_a_window_that_cuts_through_a_segment_reads_its_rows(project, batch, tmp_path):
    sealed(project, batch, tmp_path)
    LabelLog(tmp_path / "labels", project.target).append(["a", "b"], [1, 0])
    found = fingerprints(project, tmp_path, START + timedelta(hours=1), END)
    assert (found.made, found.cut, found.total.rows, found.total.labelled) == (0, 1, 2, 1)
    assert fingerprints(project, tmp_path, START - timedelta(days=9), START).total is None


def test_what_is_not_sealed_yet_is_in_a_window_with_its_labels(project, batch, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        log.append(batch(["a", "b"]))
        LabelLog(tmp_path / "labels", project.target).append(["b"], [1])
        found = fingerprints(project, tmp_path, START, END)
        assert (found.unsealed, found.total.rows, found.total.labelled) == (2, 2, 1)


def test_late_rows_and_labels_update_what_a_window_says(project, batch, tmp_path):
    labels = LabelLog(tmp_path / "labels", project.target)
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        log.append(batch(["a", "b"], probability=0.25))
        log.seal()
        labels.append(["a"], [0])
        first = fingerprints(project, tmp_path, START, END).total
        assert (first.rows, first.labelled, first.calibration["probability"].mean_truth) == (2, 1, 0.0)
        log.append(batch(["late"], probability=0.75))
        log.seal()
        labels.append(["late", "b"], [1, 0])
        labels.append(["a"], [1])  # it was wrong
        labels.append(["b"], [1], arrived=datetime(2001, 1, 1, tzinfo=UTC))  # older than what we have
        found = fingerprints(project, tmp_path, START, END)
    assert (found.made, found.total.rows, found.total.labelled) == (0, 3, 3)
    assert pytest.approx(2 / 3) == found.total.calibration["probability"].mean_truth


@pytest.mark.parametrize("what", ["its end", "its cells", "its cells, and a label came since"])
def test_labels_beside_a_segment_that_are_damaged_are_looked_for_again_and_it_is_said(
    project, batch, tmp_path, caplog, what
):
    path = sealed(project, batch, tmp_path)
    labels = LabelLog(tmp_path / "labels", project.target)
    labels.append(["a", "b"], [1, 0])
    fingerprints(project, tmp_path, START, END)
    file = path.with_suffix(parquet_segments.LABELS)
    held = file.read_bytes()
    file.write_bytes(held[:-30] + bytes(30) if what == "its end" else held[:4] + bytes(60) + held[64:])
    if "since" in what:
        labels.append(["c"], [1])
    total = fingerprints(project, tmp_path, START, END).total
    window, rows = log_reader.window(project, tmp_path, START, END)
    known = 3 if "since" in what else 2
    assert (known, known) == (total.labelled, window.labelled)
    assert known - 1 == rows["label"].sum()
    assert f"{file} is damaged" in caplog.text


def test_labels_that_were_looked_for_are_not_looked_for_again_when_their_files_are_merged(project, batch, tmp_path):
    sealed(project, batch, tmp_path)
    labels = LabelLog(tmp_path / "labels", project.target)
    for index in range(parquet_segments.MERGE_FROM_FILES - 1):
        labels.append(["a"], [index % 2])
    looked = LabelFiles(tmp_path / "labels").names
    fingerprints(project, tmp_path, START, END)
    labels.append(["b"], [1])
    (merged,) = LabelFiles(tmp_path / "labels").names
    assert (merged,) == LabelFiles(tmp_path / "labels").new(looked)  # one label more than was looked at
    found = fingerprints(project, tmp_path, START, END).total
    assert (found.labelled, found.calibration["probability"].mean_truth) == (2, 0.5)
    replaced = parquet_segments.replaced(pq.read_schema(tmp_path / "labels" / merged))
    assert LabelFiles(tmp_path / "labels").new(replaced) == ()


def test_merged_segments_have_one_fingerprint_and_leave_none(project, batch, tmp_path):
    count = parquet_segments.MERGE_FROM_FILES
    labels = LabelLog(tmp_path / "labels", project.target)
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        for index in range(count):
            log.append(batch([f"r{index}"]))
            if index == count - 1:
                labels.append(["r0"], [1])
                before = fingerprints(project, tmp_path, START, END).total
            log.seal()
    (day,) = tmp_path.glob("segments/*")
    assert sorted(path.suffix for path in day.iterdir() if path.name != ".merge.lock") == [".fingerprint", ".parquet"]
    after = fingerprints(project, tmp_path, START, END)
    assert (after.made, after.total.rows, after.total.labelled) == (0, before.rows, 1)
    for name, summary in before.numbers.items():
        merged = after.total.numbers[name]
        assert (merged.rows, merged.mean, merged.std) == (summary.rows, summary.mean, summary.std)
        np.testing.assert_array_equal(merged.points(), summary.points())


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from datetime import UTC, datetime
    import numpy as np
    from fullcircle.core.project import Binary, Category, Number
    from fullcircle.predictions.prediction_log import Batch, PredictionLog

    folder, event, suffix, seals = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    log = PredictionLog(folder, [Number("distance"), Number("wind"), Category("carrier")],
                        Binary("late", "late").answers, background=False)
    armed = False

    def point(name, arguments):
        # os.rename: (from, to, ...), os.remove: (path, ...)
        path = arguments[1] if name == "os.rename" else arguments[0] if name == "os.remove" else ""
        if armed and name == event and str(path).endswith(suffix):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(point)
    for index in range(seals):
        log.append(Batch(
            model_version="1", digest="d", row_ids=[f"r{index}", f"s{index}"], answers=np.full(2, 0.25, "float32"),
            event_times=[datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 4, 2, tzinfo=UTC)],
            inputs={"distance": np.ones((2, 1), "float32"), "wind": np.ones((2, 1), "float32"),
                    "carrier": np.full((2, 1), "UA", object)},
        ))
        armed = index == seals - 1
        log.seal()
    print("not killed")
"""
MERGING = parquet_segments.MERGE_FROM_FILES


@pytest.mark.parametrize(
    ("event", "suffix", "seals"),
    [
        pytest.param("os.rename", ".parquet", 1, id="before the first segment is there"),
        pytest.param("os.rename", ".fingerprint", 1, id="between a segment and its fingerprint"),
        pytest.param("os.remove", ".wal", 1, id="behind the fingerprint, before the write-ahead file goes"),
        pytest.param("os.rename", ".fingerprint", MERGING, id="between the last segments before a merge"),
        pytest.param("os.remove", ".parquet", MERGING, id="between a merged segment and those that it replaces"),
        pytest.param("os.remove", ".fingerprint", MERGING, id="between a merged away segment and its fingerprint"),
    ],
)
def test_killed_anywhere_while_it_seals_a_window_counts_each_row_once(project, tmp_path, event, suffix, seals):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), event, suffix, str(seals)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", -signal.SIGKILL), done.stderr
    dead = fingerprints(project, tmp_path, START, END)
    assert 2 * seals == dead.total.rows
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        log.seal()  # takes over what the dead one left
        found = fingerprints(project, tmp_path, START, END)
        window, _ = log_reader.window(project, tmp_path, START, END)
    assert (2 * seals, 0) == (found.total.rows, found.total.row_ids.repeats.most)
    assert (found.unsealed, window.rows) == (0, 2 * seals)


def test_a_merge_that_was_killed_is_finished_by_the_next_one(project, batch, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        for index in range(3):
            log.append(batch([f"r{index}"]))
            log.seal()
        (day,) = tmp_path.glob("segments/*")
        old = {path.name: path.read_bytes() for path in parquet_segments.files(day)}
        assert parquet_segments.merge(day, unique_by="prediction_id", from_files=3) == 3
        for name, content in old.items():
            (day / name).write_bytes(content)
        assert fingerprints(project, tmp_path, START, END).total.rows == 3
        assert parquet_segments.merge(day, unique_by="prediction_id", from_files=3) == 0
        assert len(parquet_segments.files(day)) == 1


def test_a_segment_of_many_rows_has_a_fingerprint_of_kilobytes(project, tmp_path):
    rows, rng = 40_000, np.random.default_rng(0)
    columns = (Number("distance"), Number("wind"), Category("carrier"))
    project = dataclasses.replace(project, columns=columns)
    with PredictionLog(tmp_path, columns, project.target.answers, background=False) as log:
        log.append(
            Batch(
                model_version="1",
                digest="d",
                event_times=[START] * rows,
                row_ids=[""] * rows,
                inputs={
                    "distance": rng.normal(size=(rows, 1)).astype("float32"),
                    "wind": rng.normal(size=(rows, 1)).astype("float32"),
                    "carrier": np.array([f"id{index}" for index in range(rows)], object).reshape(-1, 1),
                },
                answers=rng.random(rows).astype("float32"),
            )
        )
    (path,) = tmp_path.glob("segments/*/*.parquet")
    assert segment_file.beside(path).stat().st_size < 50_000
    total = fingerprints(project, tmp_path, START, END).total
    assert total.categories["carrier"].unseen(()) == (total.categories["carrier"].unseen(()).least, rows)


def test_labels_in_more_files_than_are_held_at_once_are_all_found(project, batch, tmp_path, monkeypatch):
    from fullcircle.predictions import label_files

    monkeypatch.setattr(label_files, "AT_ONCE", 2)
    sealed(project, batch, tmp_path, "a", "b", "c")
    labels = LabelLog(tmp_path / "labels", project.target)
    for row_id, label in (("a", 1), ("b", 0), ("c", 1), ("a", 0), ("x", 1)):
        labels.append([row_id], [label])
    found = fingerprints(project, tmp_path, START, END).total
    assert (found.labelled, found.calibration["probability"].mean_truth) == (3, pytest.approx(1 / 3))


def test_two_ids_of_one_hash_keep_their_own_labels():
    import pyarrow as pa

    from fullcircle.predictions.label_files import Labels, no_labels

    times = pa.timestamp("us", tz="UTC")
    rows = pa.table(
        {
            "row_id": ["a", "b", "a"],
            "label": pa.array([1.0, 0.0, 0.5]),
            "arrived": pa.array([1, 1, 2]).cast(times),
            "recorded": pa.array([1, 2, 3]),
        }
    )
    labels, asked = Labels(rows), pa.array(["b", "a", "c"])
    labels._hashes = np.zeros(3, "uint64")
    found = labels.over(no_labels(3, pa.float64()), asked, np.zeros(3, "uint64"))
    assert found["label"].to_pylist() == [0.0, 0.5, None]
