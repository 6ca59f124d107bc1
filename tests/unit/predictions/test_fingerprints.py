"""Fingerprints say of the sum of parts what the rows themselves say."""

from __future__ import annotations

import dataclasses
import functools
import operator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.project import Binary, Category, Multiclass, Number, Project, Regression
from fullcircle.core.statistics.binary_metrics import brier
from fullcircle.core.tasks.answers import AnswerColumn
from fullcircle.predictions import log_reader
from fullcircle.predictions.fingerprints.answer_bins import Calibration, auc_bounds, bins_of, bounds_of
from fullcircle.predictions.fingerprints.build import fingerprints_of
from fullcircle.predictions.fingerprints.category_summary import MOST, CategorySummary
from fullcircle.predictions.fingerprints.contract import contract_of
from fullcircle.predictions.fingerprints.number_summary import NumberSummary
from fullcircle.predictions.fingerprints.reader import fingerprints
from fullcircle.predictions.fingerprints.row_ids import SIZE, RowIds
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import Batch, PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=30)
PROBABILITY = AnswerColumn(name="probability", low=0.0, high=1.0)
ANY_NUMBER = AnswerColumn(name="prediction")

numbers = st.lists(
    st.one_of(st.floats(width=32, allow_infinity=True), st.sampled_from([float("nan"), 0.0, 1.0])), max_size=40
)
texts = st.lists(st.one_of(st.sampled_from(["", "UA", "AA"]), st.text(max_size=4)), max_size=40)


@pytest.fixture
def sliced(project) -> Project:
    columns = (Number("distance", low=0, high=2), Number("wind", nullable=True), Category("carrier"))
    return dataclasses.replace(project, columns=columns, slices=("carrier", "distance"))


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=5))
def test_numbers_added_up_are_as_the_numbers_together(parts):
    cells = [np.array(part, "float32") for part in parts]
    added = functools.reduce(operator.add, (NumberSummary.of(each, -1.0, 1.0) for each in cells))
    whole = NumberSummary.of(np.concatenate(cells), -1.0, 1.0)
    assert (added.rows, added.missing, added.outside, added.values) == (
        whole.rows,
        whole.missing,
        whole.outside,
        whole.values,
    )
    finite = np.concatenate(cells).astype("float64")
    finite = finite[np.isfinite(finite)]
    if len(finite):
        scale = max(1.0, float(np.abs(finite).max()))
        np.testing.assert_allclose([added.mean, added.std], [finite.mean(), finite.std()], rtol=1e-6, atol=1e-6 * scale)
        if added.rank_error == 0:  # so few that all of them are kept
            shares = [0, 0.25, 0.5, 1]
            expected = np.quantile(finite.astype("float32"), shares, method="inverted_cdf")
            np.testing.assert_array_equal(expected, added.quantiles(shares).astype("float32"))


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_many_parts_are_within_their_stated_error(seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(scale=1 + index % 3, size=7_000).astype("float32") for index in range(20)]
    added = functools.reduce(operator.add, (NumberSummary.of(part, None, None) for part in parts))
    values = np.sort(np.concatenate(parts))
    shares = np.linspace(0, 1, 21)
    ranks = np.searchsorted(values, added.quantiles(shares.tolist()).astype("float32"), side="right") / len(values)
    # The error is of one quantile in 99% of the cases: of 21 at once it is allowed to be twice that.
    assert np.abs(ranks - shares).max() <= 2 * added.rank_error
    assert 0 < added.rank_error < 0.014
    assert all(len(each) < 4_000 for each in added.sketches)
    assert values[[0, -1]].tolist() == added.quantiles([0, 1]).tolist()


def test_the_mode_of_numbers_is_found_within_the_error():
    values = np.concatenate([np.zeros(30_000), np.random.default_rng(0).normal(size=70_000)]).astype("float32")
    value, share = NumberSummary.of(np.random.default_rng(1).permutation(values), None, None).mode()
    assert (value, pytest.approx(0.3, abs=0.034)) == (0.0, share)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_categories_added_up_are_as_the_categories_together(parts):
    added = functools.reduce(
        operator.add, (CategorySummary.of(pa.chunked_array([pa.array(p, pa.string())])) for p in parts)
    )
    every = [text for part in parts for text in part]
    assert (len(every), every.count(""), 0) == (added.rows, added.missing, added.error)
    assert {t: (every.count(t), every.count(t)) for t in set(every) - {""}} == dict(added.counts())
    unseen = sum(text not in ("", "UA") for text in every)
    assert (unseen, unseen) == added.unseen({"UA"})


def test_the_counts_of_more_categories_than_are_kept_lie_within_their_bounds():
    rng, parts = np.random.default_rng(3), []
    for _ in range(12):
        rare = [f"rare{number}" for number in rng.integers(1 << 20, size=2 * MOST)]
        parts.append(["often"] * 900 + ["sometimes"] * 200 + rare)
    added = functools.reduce(operator.add, (CategorySummary.of(pa.chunked_array([pa.array(part)])) for part in parts))
    counts = added.counts()
    assert counts["often"].least <= 12 * 900 <= counts["often"].most
    assert counts["often"].most - counts["often"].least <= 0.01 * added.rows
    assert ("often", counts["often"]) == added.mode()
    unseen = added.unseen({"often", "sometimes"})
    assert unseen.least <= 12 * 2 * MOST <= unseen.most
    assert len(counts) <= MOST
    assert len(added.sketch) < 32_000


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 300)), min_size=1, max_size=6))
def test_few_rows_that_several_parts_hold_are_counted_exactly(parts):
    added = functools.reduce(operator.add, (RowIds.of(map(str, sorted(part))) for part in parts))
    again = sum(map(len, parts)) - len(set().union(*parts))
    assert (again, again) == added.repeats
    assert sum(map(len, parts)) == added.rows


def test_of_many_rows_the_sum_has_the_sample_of_the_rows_themselves_and_bounds_what_is_twice():
    ids = [f"row-{number}" for number in range(60_000)]
    apart = RowIds.of(ids[:30_000]) + RowIds.of(ids[30_000:])
    assert RowIds.of(ids).hashes == apart.hashes
    assert apart.repeats.estimate == 0
    assert apart.repeats.most < 0.0024 * 60_000
    overlapping = RowIds.of(ids[:30_000]) + RowIds.of(ids[24_000:])
    assert pytest.approx(6_000, rel=0.25) == overlapping.repeats.estimate
    assert overlapping.repeats.most > 6_000
    assert len(overlapping.hashes) == 8 * SIZE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=30))
def test_a_value_is_in_its_bin_and_its_bin_is_narrow(values):
    cells = np.array(values, "float32")
    for value, bin_ in zip(cells.tolist(), bins_of(cells, ANY_NUMBER).tolist(), strict=True):
        low, high = bounds_of(bin_, ANY_NUMBER)
        assert low - 1e-6 * abs(low) <= value <= high + 1e-6 * abs(high)
        assert high - low <= max(2.1e-9, 0.051 * abs(low))


@pytest.mark.parametrize("seed", range(3))
def test_calibration_adds_up_and_bounds_the_area_under_the_curve(seed):
    rng = np.random.default_rng(seed)
    answers = rng.beta(2, 5, size=3_000).astype("float32")
    truths = (rng.random(3_000) < answers).astype("float64")
    halves = [Calibration.of(answers[part], truths[part], PROBABILITY) for part in (slice(0, 900), slice(900, None))]
    added = halves[0] + halves[1]
    assert added.rows == 3_000
    assert brier(truths, answers) == pytest.approx(added.mean_squared_error, rel=1e-6)
    assert answers.mean(dtype="float64") == pytest.approx(added.mean_answer, rel=1e-6)
    least, most = auc_bounds(added)
    assert least <= Binary("y", positive="y").metrics["roc_auc"].value(truths.astype("int16"), answers) <= most
    assert most - least < 0.03


row = st.tuples(
    st.integers(0, 25),  # which row
    st.integers(0, 60),  # hour of its event
    st.sampled_from(["1", "2"]),
    st.one_of(st.just(float("nan")), st.floats(-3, 3, width=32)),
    st.sampled_from(["", "UA", "AA", "é"]),
    st.floats(0, 1, width=32),
)
act = st.one_of(
    st.tuples(st.just("log"), st.lists(row, min_size=1, max_size=8)),
    st.tuples(st.just("label"), st.dictionaries(st.integers(0, 25), st.integers(0, 1), min_size=1, max_size=8)),
    st.tuples(st.just("read"), st.just(None)),
)


SMALL = Project(
    name="small",
    owner="someone@example.com",
    columns=(Number("distance", low=-1, high=2), Category("carrier")),
    target=Binary("late", positive="late"),
    time="time",
    row_id="id",
    slices=("carrier",),
    torch=lambda inputs, params: None,
)


def _do(what, given_rows, log, folder, start, end) -> None:
    if what == "log":
        # In one part of the log an id is once here: what is twice in one is in another test.
        once = {(each[2], each[0]): each for each in given_rows}
        for version in ("1", "2"):
            if rows := [each for key, each in once.items() if key[0] == version]:
                log.append(_batch(version, rows))
                log.seal()
    elif what == "label":
        labels = LabelLog(folder / "labels", SMALL.target)
        labels.append([f"r{key}" for key in given_rows], list(given_rows.values()))
    else:
        fingerprints(SMALL, folder, start, end)


@settings(max_examples=25, deadline=None)
@given(st.lists(act, max_size=12), st.integers(0, 40), st.integers(1, 40))
def test_whatever_was_logged_sealed_and_labelled_a_window_is_as_its_rows_say(tmp_path_factory, acts, first, hours):
    folder = tmp_path_factory.mktemp("log")
    start = START + timedelta(hours=first)
    end = start + timedelta(hours=hours)
    with PredictionLog(folder, SMALL.inputs, SMALL.target.answers, background=False, slices=("carrier",)) as log:
        for what, given_rows in acts:
            _do(what, given_rows, log, folder, start, end)
        found = fingerprints(SMALL, folder, start, end)
        _, frame = log_reader.window(SMALL, folder, start, end)
        for path in [*folder.glob("segments/*/*.fingerprint"), *folder.glob("segments/*/*.labels")]:
            path.unlink()
        again = fingerprints(SMALL, folder, start, end)
    assert found.days == again.days
    total = found.total
    if total is None:
        assert frame.empty
        return
    assert len(frame) == total.rows - total.row_ids.repeats.estimate
    if not total.row_ids.repeats.most:  # else these count once for each segment that has them, which is what is said
        _same(total, frame)


def _same(total, frame) -> None:
    distance = frame["distance"].to_numpy("float64")
    summary, categories = total.numbers["distance"], total.categories["carrier"]
    assert (np.isnan(distance).sum(), ((distance < -1) | (distance > 2)).sum()) == (summary.missing, summary.outside)
    expected = frame["carrier"].value_counts().to_dict()
    assert expected.pop("", 0) == categories.missing
    assert expected == {text: bounds.least for text, bounds in categories.counts().items()}
    assert frame["label"].notna().sum() == total.labelled
    known = frame[frame["label"].notna()]
    if len(known):
        calibration = total.calibration["probability"]
        assert known["label"].mean() == pytest.approx(calibration.mean_truth)
        apart = known["label"] - known["probability"].astype("float64")
        assert np.square(apart).mean() == pytest.approx(calibration.mean_squared_error)
    for group, summed in total.slices["carrier"].items():
        inside = frame[frame["carrier"] == group]
        assert len(inside) == summed.rows
        labelled = summed.calibration["probability"].rows if summed.calibration else 0
        assert inside["label"].notna().sum() == labelled


def _batch(version, rows) -> Batch:
    return Batch(
        model_version=version,
        digest="d" + version,
        event_times=[START + timedelta(hours=each[1]) for each in rows],
        row_ids=[f"r{each[0]}" for each in rows],
        inputs={
            "distance": np.array([[each[3]] for each in rows], "float32"),
            "carrier": np.array([[each[4]] for each in rows], object),
        },
        answers=np.array([each[5] for each in rows], "float32"),
    )


def test_in_one_part_of_the_log_a_row_counts_by_its_latest_answer(sliced, batch, tmp_path):
    with PredictionLog(tmp_path, sliced.inputs, sliced.target.answers, background=False) as log:
        log.append(batch(["a", "b"], version="1", probability=0.1))
        log.append(batch(["a"], version="2", probability=0.75))
    versions = fingerprints(sliced, tmp_path, START, END).versions
    assert {name: (fp.rows, fp.superseded) for name, fp in versions.items()} == {"1": (1, 1), "2": (1, 0)}
    assert {name: fp.histograms["probability"] for name, fp in versions.items()} == {"1": {10: 1}, "2": {75: 1}}


def test_a_row_that_is_in_two_segments_counts_in_both_and_is_said_to(sliced, batch, tmp_path):
    with PredictionLog(tmp_path, sliced.inputs, sliced.target.answers, background=False) as log:
        log.append(batch(["a", "b"]))
        log.seal()
        log.append(batch(["a"]))
        log.seal()
    total = fingerprints(sliced, tmp_path, START, END).total
    assert total is not None
    assert (total.rows, *total.row_ids.repeats) == (3, 1, 1)


def test_a_slice_of_numbers_has_no_groups(sliced):
    assert contract_of(sliced).slices == ("carrier",)


@pytest.mark.parametrize(
    ("target", "answers", "labels", "expected"),
    [
        (
            Multiclass("kind", classes=("a", "b", "c")),
            [[0.8, 0.2, 0.0], [0.3, 0.7, 0.0]],
            [0, 0],
            {"p_a": 1.0, "p_b": 0.0},
        ),
        (Regression("delay"), [[10.0], [-3.0]], [12.0, -6.0], {"prediction": 3.0}),
    ],
)
def test_every_kind_of_answer_has_its_truths(project, tmp_path, target, answers, labels, expected):
    project = dataclasses.replace(project, columns=(Number("distance"),), target=target, gates=None)
    with PredictionLog(tmp_path, project.inputs, target.answers, background=False) as log:
        log.append(
            Batch(
                model_version="1",
                digest="d",
                event_times=[START] * 2,
                row_ids=["x", "y"],
                inputs={"distance": np.ones((2, 1), "float32")},
                answers=np.array(answers, "float32"),
            )
        )
    LabelLog(tmp_path / "labels", target).append(["x", "y"], labels)
    total = fingerprints(project, tmp_path, START, END).total
    assert total is not None
    assert {name: total.calibration[name].mean_truth for name in expected} == expected


def test_of_an_image_it_is_counted_where_it_is_missing_or_out_of_range(tmp_path):
    from fullcircle.core.project import Image

    image = Image("scan", shape=(2, 2, 1), low=0, high=1)
    cells = [np.full(4, np.nan), np.array([0, 0.5, 1, 2.0]), np.zeros(4)]
    rows = pa.table(
        {
            "prediction_id": ["1", "2", "3"],
            "row_id": ["1", "2", "3"],
            "event_time": pa.array([1, 2, 3]).cast(pa.timestamp("us", tz="UTC")),
            "logged_at": pa.array([1, 2, 3]).cast(pa.timestamp("us", tz="UTC")),
            "model_version": ["1"] * 3,
            "scan": pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(cells).astype("float32")), 4),
            "probability": pa.array(np.array([0.1, 0.2, 0.3], "float32")),
        }
    )
    project = Project(
        name="scans",
        owner="someone@example.com",
        columns=(image,),
        target=Binary("ill", positive="ill"),
        time="time",
        row_id="id",
        torch=lambda inputs, params: None,
    )
    summary = fingerprints_of(rows, contract_of(project))["1"].numbers["scan"]
    assert (summary.rows, summary.missing, summary.outside) == (3, 1, 1)
