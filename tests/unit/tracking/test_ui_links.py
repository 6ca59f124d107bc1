"""Links of the MLflow UI, and what it shows of a release."""

from __future__ import annotations

from datetime import UTC, datetime

from fullcircle.core.records.ledger_entries import Action, Aliases, Entry
from fullcircle.tracking.ui.ui_links import links, release_tags, run_page

RUN, RETRAIN = "a" * 32, "b" * 32


def test_a_description_begins_with_links_to_run_retrain_and_version_and_names_the_data() -> None:
    line = links("7", run=RUN, retrain=RETRAIN, version=("flights", "3"), data="0123.dir")
    assert line == (
        f"run [aaaaaaaaaaaa](#/experiments/7/runs/{RUN}) · retrain [bbbbbbbbbbbb](#/experiments/7/runs/{RETRAIN}) · "
        "model version [flights 3](#/models/flights/versions/3) · data `0123.dir`\n\n"
    )


def test_while_the_tracking_server_is_away_runs_are_named_without_a_link() -> None:
    assert links("", retrain=RETRAIN, data="0123.dir") == "retrain `bbbbbbbbbbbb` · data `0123.dir`\n\n"


def test_an_artifact_has_a_page_of_its_own_whatever_it_is_called() -> None:
    page = run_page("7", RUN, "monitoring/a b#?.html")
    assert page == f"#/experiments/7/runs/{RUN}/artifacts/monitoring/a%20b%23%3F.html"


def test_a_release_is_shown_by_when_by_whom_and_why_however_long_that_is() -> None:
    at = datetime(2013, 5, 1, 12, 30, tzinfo=UTC)
    entry = Entry(
        project="flights",
        seq=1,
        at=at,
        recorded=at,
        action=Action.PROMOTE,
        version="3",
        previous=None,
        who="the gate",
        why="w" * 9000,
        verdict="promote",
        model_digest="",
        data_digest="",
        aliases=Aliases(champion="3"),
        format=1,
        previous_hash="",
        hash="",
    )
    assert release_tags(entry) == {
        "fullcircle.released_at": "2013-05-01T12:30:00+00:00",
        "fullcircle.released_by": "the gate",
        "fullcircle.released_why": "w" * 4900,
    }
