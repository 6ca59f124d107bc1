"""The links of a trace where a place knows nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fullcircle.core.records.lineage_trace import champion_periods
from fullcircle.loop.lineage.deployment_nodes import prediction, release
from fullcircle.predictions.lookup import LoggedRow


def test_a_ledger_without_an_entry_is_a_missing_release_and_no_failure() -> None:
    assert champion_periods([]) == ()
    link = release("flights", [], "3", "d" * 64, datetime(2013, 8, 15, tzinfo=UTC))
    assert [each.what for each in link.missing] == [
        "the ledger of flights has no release of version 3 with digest dddddddddddd"
    ]


@pytest.mark.parametrize(
    ("answer", "label", "title"),
    [
        ({"probability": 0.25}, None, "probability 0.2500, label unknown yet"),
        ({"probability": 0.25}, 1, "probability 0.2500, label 1"),
        (
            {"prediction": 7.5, "low": -1.0, "high": 9.0},
            8.25,
            "prediction 7.5000, low -1.0000, high 9.0000, label 8.25",
        ),
        (
            {"p_a": 0.1, "p_b": 0.2, "p_c": 0.4, "p_d": 0.3},
            "c",
            "p_c 0.4000, p_d 0.3000, p_b 0.2000 and 1 more, label c",
        ),
    ],
)
def test_a_traced_prediction_shows_its_answer_and_keeps_it_apart_from_what_was_asked(answer, label, title) -> None:
    names = ("prediction_id", "row_id", "event_time", "logged_at", "model_version", "model_digest")
    row = LoggedRow(dict.fromkeys(names, "id") | {"x": 1.0} | answer | {"label": label})
    row.answers = tuple(answer)
    node = prediction("p", row)
    assert node.title == f"id of p: {title}"
    assert list(node.facts) == [*names, *answer, "label", "project", "inputs"]
    assert node.facts["inputs"] == {"x": 1.0}
