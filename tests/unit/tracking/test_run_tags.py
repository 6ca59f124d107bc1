"""The tags of a run under their names of today, whichever version wrote them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.tracking.provenance.origin import Origin, origin_of
from fullcircle.tracking.runs.run_tags import DATA, LOOK, PLAN, PROCESS, filters, known, packed, parts, process_of

FORMER = {
    "fullcircle.host": "h",
    "fullcircle.pid": "7",
    "fullcircle.process": "boot 3",
    "fullcircle.until": "2024-04-01T00:00:00+00:00",
    "fullcircle.plan": "p",
    "fullcircle.look.at": "2024-05-01T00:00:00+00:00",
    "fullcircle.look.level": "0.025",
    "fullcircle.data.digest": "d.dir",
}


def test_the_tags_of_an_earlier_version_say_the_same_under_the_names_of_today() -> None:
    found = known(FORMER)
    assert process_of(FORMER) == {"host": "h", "pid": "7", "mark": "boot 3"}
    assert parts(found, PLAN) == {"until": FORMER["fullcircle.until"], "digest": "p"}
    assert parts(found, LOOK) == {"at": FORMER["fullcircle.look.at"], "level": "0.025"}
    assert found[DATA] == "d.dir"
    assert FORMER.items() <= found.items()


def test_what_this_version_wrote_over_it_counts() -> None:
    resumed = FORMER | {PROCESS: packed({"host": "another", "pid": "8", "mark": "m"}), DATA: "e.dir"}
    assert process_of(resumed)["host"] == "another"
    assert known(resumed)[DATA] == "e.dir"


@given(st.dictionaries(st.text(), st.text()))
def test_several_things_come_out_of_one_tag_as_they_went_in(values: dict[str, str]) -> None:
    assert parts(known({LOOK: packed(values)}), LOOK) == values


@pytest.mark.parametrize("value", ["", "{", "[1]", "null", "7"])
def test_a_tag_that_somebody_made_something_else_of_says_nothing(value: str) -> None:
    assert parts({LOOK: value}, LOOK) == {}


def test_a_search_asks_for_both_names() -> None:
    asked = ["tags.`mlflow.fullcircle.data` = 'd'", "tags.`fullcircle.data.digest` = 'd'"]
    assert list(filters(DATA, "= 'd'")) == asked


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"code": 7, "environment": {}}'])
def test_a_damaged_artifact_leaves_the_word_to_the_tags(text: str | None) -> None:
    assert origin_of(text, {"fullcircle.environment": "e"}) == Origin(environment="e")
