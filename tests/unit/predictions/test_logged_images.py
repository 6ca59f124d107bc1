"""Images survive the log: the write-ahead file, sealing, merging, a kill, and files from before there were any."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Image, Number, Project
from fullcircle.predictions import parquet_segments, wal
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.log_reader import window
from fullcircle.predictions.prediction_log import PredictionLog

SCAN = Image("scan", shape=(2, 3, 1), high=16)
START = datetime(2024, 4, 1, tzinfo=UTC)
END = datetime(2024, 5, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def scans() -> Project:
    return project_of(SCAN)


def project_of(column: Image | Number) -> Project:
    return Project(
        name="scans",
        owner="someone@example.com",
        columns=(column,),
        target=Binary("ill", positive="ill"),
        time="at",
        row_id="scan_id",
        torch=lambda inputs, params: None,
    )


def images(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 16, (rows, *SCAN.shape)).astype("float32")


def batch(values: np.ndarray, first: int = 0) -> Batch:
    rows = len(values)
    return Batch(
        model_version="1",
        digest="sha",
        event_times=[START + timedelta(hours=first + index) for index in range(rows)],
        row_ids=[f"s{first + index:03d}" for index in range(rows)],
        inputs={"scan": values},
        answers=np.full(rows, 0.5, "float32"),
    )


def read(project: Project, folder) -> np.ndarray:
    _, frame = window(project, folder, START, END)
    return np.stack(list(frame["scan"]))


def test_images_come_back_to_the_last_bit_before_and_after_sealing(scans, tmp_path):
    given = images(30)
    with PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False) as log:
        log.append(batch(given[:10]))
        log.append(batch(given[10:], first=10))
        read_wals = read(scans, tmp_path)
        log.seal()
        read_segment = read(scans, tmp_path)

    np.testing.assert_array_equal(given.reshape(30, 6), read_wals)
    np.testing.assert_array_equal(given.reshape(30, 6), read_segment)
    assert read_segment.dtype == np.float32


def test_images_survive_a_writer_that_died(scans, tmp_path):
    dead = PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False)
    dead.append(batch(images(5)))
    dead._wal.close()  # what the kernel does with the lock of a killed process

    with PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False):
        assert len(list(tmp_path.glob("segments/*/*.parquet"))) == 1
        np.testing.assert_array_equal(images(5).reshape(5, 6), read(scans, tmp_path))


def test_a_day_of_many_small_files_of_images_is_merged_into_one(scans, tmp_path):
    given = images(6)
    with PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False) as log:
        for index in range(6):
            log.append(batch(given[index : index + 1], first=index))
            log.seal()
    (day,) = tmp_path.glob("segments/*")

    merged = parquet_segments.merge(day, unique_by="prediction_id", from_files=2)

    assert (merged, len(parquet_segments.files(day))) == (6, 1)
    np.testing.assert_array_equal(given.reshape(6, 6), read(scans, tmp_path))


def test_a_batch_of_another_image_size_is_refused_and_not_logged(scans, tmp_path):
    with PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False) as log:
        wrong = Batch(**{**vars(batch(images(2))), "inputs": {"scan": np.zeros((2, 2, 2, 1), "float32")}})
        with pytest.raises(UsageError, match="2 row ids, but inputs of shape"):
            log.append(wrong)

        assert window(scans, tmp_path, START, END)[0].rows == 0


@pytest.mark.parametrize("before", [Image("scan", shape=(4, 4, 1)), Number("scan")])
def test_rows_from_before_the_image_had_its_size_are_images_of_nan(scans, tmp_path, before):
    shape = (3, *before.shape) if isinstance(before, Image) else (3, 1)
    with PredictionLog(tmp_path, project_of(before).inputs, scans.target.answers, background=False) as log:
        log.append(batch(np.ones(shape, "float32")))
    with PredictionLog(tmp_path, scans.inputs, scans.target.answers, background=False) as log:
        log.append(batch(images(2), first=3))

    found = read(scans, tmp_path)

    assert np.isnan(found[:3]).all()
    np.testing.assert_array_equal(images(2).reshape(2, 6), found[3:])


def test_write_ahead_files_from_before_images_are_still_read(tmp_path):
    header = msgspec.msgpack.encode([["x"], [], 1, 0.0])
    record = msgspec.msgpack.encode(["1", "sha", 0, ["p"], ["r"], b"\0" * 8, b"\0" * 4, [], b"\0" * 4])
    path = tmp_path / f"old{wal.SUFFIX}"
    frames = [
        len(each).to_bytes(4, "little") + zlib.crc32(each).to_bytes(4, "little") + each for each in (header, record)
    ]
    path.write_bytes(b"FCWAL\x01\r\n" + b"".join(frames))

    found = wal.read(path)

    assert found.header is not None
    assert (found.header.images, [each.images for each in found.records]) == ([], [[]])
    assert parquet_segments.table(found.header, found.records)["x"].to_pylist() == [0.0]
