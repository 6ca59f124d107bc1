"""A sample of a window has each row as likely as any other, is the same twice, and knows its labels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from fullcircle.predictions import log_reader
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.predictions.window_sample import window_sample

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=400)
DROPPED = ["prediction_id"]


@pytest.fixture
def log(project, batch, tmp_path):
    """6,000 rows in three segments and 500 that wait, every third with a label."""
    log = PredictionLog(tmp_path, project.inputs, project.target.answers, background=False)
    for part in range(3):
        log.append(batch([f"{part}-{number}" for number in range(2_000)]))
        log.seal()
    log.append(batch([f"3-{number}" for number in range(500)]))
    LabelLog(tmp_path / "labels", project.target).append(
        [f"{part}-{number}" for part in range(4) for number in range(0, 2_000, 3)],
        [number % 2 for part in range(4) for number in range(0, 2_000, 3)],
    )
    yield log
    log.close()


def test_all_rows_are_the_window_itself(project, log):
    _, rows = log_reader.window(project, log.folder, START, END)
    found = window_sample(project, log.folder, START, END, share=1)
    assert len(rows) == 6_500
    assert rows.drop(columns=DROPPED).equals(found)


def test_a_share_is_drawn_from_every_part_and_the_same_twice(project, log):
    found = window_sample(project, log.folder, START, END, share=0.2)
    assert len(found) == pytest.approx(1_300, abs=5 * (6_500 * 0.2 * 0.8) ** 0.5)
    assert found.equals(window_sample(project, log.folder, START, END, share=0.2))
    assert not found.equals(window_sample(project, log.folder, START, END, share=0.2, seed=1))
    parts = found["row_id"].str.split("-").str[0].value_counts(normalize=True)
    np.testing.assert_allclose(parts.sort_index(), np.array([4, 4, 4, 1]) / 13, atol=0.06)
    assert found["label"].notna().mean() == pytest.approx(1 / 3, abs=0.06)


def test_labelled_rows_alone_are_drawn_and_only_the_inputs_that_are_asked_for_are_read(project, log):
    found = window_sample(project, log.folder, START, END, share=1, columns=(), labelled_only=True)
    assert list(found) == ["row_id", "event_time", "model_version", "probability", "label"]
    assert (len(found), found["label"].isna().sum()) == (3 * 667 + 167, 0)


def test_an_answer_that_a_later_one_superseded_is_in_no_sample(project, batch, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log:
        log.append(batch(["a", "b"], probability=0.1))
        log.append(batch(["a"], probability=0.9))
        for _ in range(2):  # while it waits, and when it is sealed
            found = window_sample(project, tmp_path, START, END, share=1).set_index("row_id")
            assert found["probability"].round(1).to_dict() == {"a": np.float32(0.9), "b": np.float32(0.1)}
            log.seal()


def test_a_window_without_rows_has_an_empty_sample(project, tmp_path):
    found = window_sample(project, tmp_path, START, END, share=1)
    assert found.empty
    assert {"probability", "label", "carrier"} <= set(found)
