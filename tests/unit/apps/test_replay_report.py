"""The replay's report and its terminal table: what they say, and that they cannot be made to say something else."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.console import Console

from fullcircle.apps.replay import report_charts
from fullcircle.apps.replay.primary_metric import ROC_AUC, PrimaryMetric, headline
from fullcircle.apps.replay.report import (
    CandidateScore,
    ReportExtras,
    agreement,
    render,
    write_report,
)
from fullcircle.apps.replay.report_rows import known_rows
from fullcircle.apps.replay.report_table import drifted_text, months_table, serves_now
from fullcircle.core.errors import HomeUnwritable
from fullcircle.core.project import Binary, Category, Multiclass, Multilabel, Number, Project, Regression, Task

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def project() -> Project:
    return Project(
        name="kettles",
        owner="kitchen@example.com",
        columns=(Number("age"), Category("maker")),
        target=Binary("broke", positive="broke within a month"),
        time="at",
        row_id="id",
        torch=lambda inputs, params: None,
    )


def month(name: str, frozen: float | None = 0.65, circle: float | None = 0.70, **more: Any) -> dict[str, Any]:
    return {
        "month": name,
        "rows": 1200,
        "late_share": 0.25,
        "auc_frozen": frozen,
        "auc_champion": circle,
        "auc_champion_low": None if circle is None else circle - 0.01,
        "auc_champion_high": None if circle is None else circle + 0.01,
        "drifted": ["age", "maker"],
        "drifted_share": 1.0,
        "decision": "keep",
        "reason": "within tolerance",
        "serving": "1",
        "retrained": False,
        "promoted": False,
        "verdict": None,
        "run_url": "http://127.0.0.1:5000/#/experiments/1/runs/abc",
        "report_url": "file:///reports/2013-04.html",
    } | more


def test_the_headline_is_the_mean_over_months_known_for_both_models() -> None:
    head = headline([month("2013-04"), month("2013-05", 0.60, 0.75), month("2013-06", None, 0.9)], ROC_AUC)
    assert head["gain"] == pytest.approx(0.10)
    assert (head["judged"], head["ahead"], head["rows"]) == (2, 2, 3600)


def test_every_section_is_there_and_nothing_is_fetched(project: Project, tmp_path: Path) -> None:
    picture = tmp_path / "shap.png"
    picture.write_bytes(PIXEL)
    rows = [
        month("2013-04", decision="retrain", retrained=True, promoted=True, verdict="promote", released="2"),
        month("2013-05", serving="2"),
    ]
    extras = ReportExtras(
        drift={"2013-04": {"age": 3.5, "maker": 0.4}, "2013-05": {"age": float("inf"), "maker": 120.0}},
        reliability=(("v2", ((0.1, 0.12, 100), (0.5, 0.45, 100))),),
        shap_png=picture,
        page={"title": "kettles drifted", "message": "since April"},
        candidates=(CandidateScore(framework="baseline", value=0.6), CandidateScore(framework="torch", value=0.66)),
        cards={"Version 2": "# kettles v2"},
        links={"run": "http://127.0.0.1:5000/#/x"},
        notes=("one thing fell short",),
    )
    html = write_report(project, rows, extras, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    said = [
        "+0.050",
        "kettles drifted",
        "since April",
        "retrain: promote",
        "v2",
        "# kettles v2",
        "one thing fell short",
    ]
    said += ["above the logistic baseline (+0.0600)", "data:image/png;base64,", "default-src 'none'"]
    assert [words for words in said if words not in html] == []
    assert not re.findall(r"(?:src|xlink:href)=\"(?!data:|#)", html)
    assert not re.search(r"<script|<link|@import|url\((?!#)", html)
    assert html.count('<svg role="img"') == 4


def test_what_comes_from_data_is_escaped_and_links_run_no_script(project: Project) -> None:
    evil = "<script>alert(1)</script>"
    row = month("2013-04", drifted=[evil], reason=evil, run_url="javascript:alert(1)")
    extras = ReportExtras(
        drift={"2013-04": {evil: 2.0}},
        page={"title": evil, "message": evil},
        cards={evil: evil},
        links={"bad": " javascript:alert(1)", "good": "docs/runbook.md"},
        reliability=((evil, ((0.1, 0.1, 5),)),),
    )
    html = render(project, [row], extras)
    assert "<script" not in html
    assert "javascript:" not in html
    assert 'href="docs/runbook.md"' in html


def everywhere(text: str) -> dict[str, Any]:
    """A report's arguments, with the text in all that comes from outside."""
    project = Project(
        name="kettles",
        owner=text,
        columns=(Number("age"), Category(text)),
        target=Binary(f"target {text}", positive=text),
        time="at",
        row_id="id",
        torch=lambda inputs, params: None,
        purpose=text,
        limits=text,
        runbook=text,
    )
    row = month(
        text, decision="retrain", retrained=True, verdict="reject", verdict_reasons=[text], serving=text, released=text,
        reason=text, drifted=[text], run_url=f"http://a.example/{text}", report_url=f"file:///{text}",
    )  # fmt: skip
    extras = ReportExtras(
        generated_by=text,
        drift={text: {text: 2.0}},
        reliability=((text, ((0.1, 0.1, 5),)),),
        page={"title": text, "message": text},
        candidates=(CandidateScore(framework=text, value=0.6, run_url=text),),
        cards={text: text},
        links={text: text, f"2 {text}": "http://a.example"},
        notes=(text,),
    )
    return {"project": project, "rows": [row], "extras": extras}


def test_hostile_text_in_every_place_of_the_report_runs_nothing(chromium: Any, tmp_path: Path, hostile: str) -> None:
    html = render(**everywhere(hostile))
    page = tmp_path / "replay.html"
    page.write_text(html, encoding="utf-8")
    assert chromium.said(page.as_uri()) == []
    read = chromium.see(page.as_uri(), lambda page: page.inner_text("body"))
    assert read.count("<script>console.log(31337)</script>") > 10
    assert not set(read) & set("\x1b\x07\u202e\u2066")
    links = chromium.see(page.as_uri(), lambda page: page.eval_on_selector_all("a", "all => all.map(a => a.protocol)"))
    assert links and set(links) <= {"http:", "file:"}


def test_without_the_escape_it_runs_and_the_policy_alone_stops_it(
    chromium: Any, tmp_path: Path, project: Project, hostile: str
) -> None:
    from markupsafe import Markup

    bare = render(project, [month("2013-04")], ReportExtras(notes=(Markup(hostile),)))
    page = tmp_path / "bare.html"
    page.write_text(bare, encoding="utf-8")
    assert chromium.said(page.as_uri()) == []
    without = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", bare)
    assert without != bare
    page.write_text(without, encoding="utf-8")
    assert set(chromium.said(page.as_uri())) == {"31337"}


def test_the_report_looks_as_its_style_says_under_its_policy(chromium: Any, tmp_path: Path, project: Project) -> None:
    rows = [
        month("2013-04", decision="retrain", retrained=True, promoted=True, verdict="promote", released="2"),
        month("2013-05", decision="retrain", retrained=True, verdict="reject"),
        month("2013-06", decision="retrain", retrained=True, verdict="inconclusive"),
    ]
    page = write_report(project, rows, ReportExtras(drift={"2013-04": {"age": 2.0}}), tmp_path / "replay.html")
    colours, words, refused = chromium.see(
        page.as_uri(),
        lambda page: (
            page.eval_on_selector_all("td .badge:first-child", "all => all.map(b => getComputedStyle(b).color)"),
            page.eval_on_selector_all("td .badge:first-child", "all => all.map(b => b.innerText)"),
            page.eval_on_selector_all("[style]", "all => all.length"),
        ),
    )
    assert words == ["\u2713 retrain: promote", "\u2717 retrain: reject", "? retrain: inconclusive"]
    assert len(set(colours)) == 3
    assert refused == 0  # no style that the policy would not obey


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("2013-04.html", "./2013-04.html"),
        ("file:///old/machine/reports/kettles/2013-04-01..2013-04-08.html", "./2013-04-01..2013-04-08.html"),
        ("http://mlflow.example/#/x", "http://mlflow.example/#/x"),
    ],
)
def test_drift_reports_are_linked_beside_the_report_and_not_on_the_machine_that_wrote_it(
    project: Project, url: str, link: str
) -> None:
    html = render(project, [month("2013-04", report_url=url)], ReportExtras())
    assert f'<a href="{link}">drift report</a>' in html
    assert "file:" not in html


def test_a_replay_without_months_or_labels_still_makes_a_report(project: Project) -> None:
    assert "No month was replayed" in render(project, [], ReportExtras())
    unlabelled = month("2013-04", None, None, late_share=None, drifted=[], drifted_share=None, report_url=None)
    html = render(project, [unlabelled], ReportExtras())
    assert "–" in html and "nan" not in html.lower().replace("finance", "")


def test_a_report_that_cannot_be_written_is_one_line_and_leaves_the_old_one(project: Project, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(HomeUnwritable, match="cannot write"):
        write_report(project, [], ReportExtras(), blocked / "report.html")


def test_the_same_months_give_the_same_bytes(project: Project) -> None:
    rows = [month("2013-04"), month("2013-05")]
    assert render(project, rows, ReportExtras()) == render(project, rows, ReportExtras())


def test_the_html_is_well_formed(project: Project) -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img", "br"):
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    parser = Balance()
    parser.feed(render(project, [month("2013-04")], ReportExtras(drift={"2013-04": {"age": 2.0}})))
    assert parser.open == []


def test_the_frameworks_are_judged_honestly() -> None:
    scores = [("baseline", 0.66), ("torch", 0.68), ("keras", 0.65)]
    said = agreement([CandidateScore(framework=name, value=auc) for name, auc in scores], ROC_AUC)
    assert "NOT within 0.02" in said[0]
    assert "torch is above" in said[1]
    assert "keras is NOT above" in said[2]


@given(ratio=st.floats(allow_nan=True, allow_infinity=True), name=st.text(min_size=1, max_size=20))
@hypothesis_settings(max_examples=25, deadline=None)
def test_any_distance_and_any_column_name_give_a_heat_map_that_parses(ratio: float, name: str) -> None:
    printable = "".join(c for c in name if c.isprintable()) or "$x^$"
    svg = report_charts.heat_map({"2013-04": {printable: ratio}})
    assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_charts_follow_the_pages_colours() -> None:
    rows = [month("2013-04", retrained=True, promoted=True), month("2013-05")]
    for svg in (report_charts.metric_chart(rows, "ROC AUC"), report_charts.drift_chart(rows, "positives")):
        assert "var(--ink)" in svg
        assert not re.search(r"#0[1-7]0[1-7]0[1-7]", svg)


def test_ids_of_several_charts_do_not_collide() -> None:
    rows = [month("2013-04")]
    ids = [
        re.findall(r'\bid="([^"]+)"', svg)
        for svg in (report_charts.metric_chart(rows, "ROC AUC"), report_charts.drift_chart(rows, "positives"))
    ]
    assert not set(ids[0]) & set(ids[1])


def test_the_table_shows_every_column_that_the_issue_names() -> None:
    rows = [month("2013-04", decision="retrain", verdict="promote", released="2"), month("2013-05", serving="2")]
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(months_table(rows))
    text = console.export_text()
    for said in (
        "2013-04",
        "1,200",
        "25.0%",
        "0.650",
        "0.700",
        "2: age, maker",
        "retrain: promote",
        "v2",
        "+0.050",
        "2,400",
    ):
        assert said in text


def test_an_empty_table_still_prints() -> None:
    assert months_table([]).row_count == 0


def test_what_drifted_is_cut_short_but_counted() -> None:
    assert drifted_text({"drifted": list("abcde")}) == "5: a, b, c, ..."
    assert drifted_text({"drifted": None}) == "0"
    assert serves_now({"serving": "3", "released": None}) == "3"


NUMBER = Regression("count", unit="rentals", loss="quantile")
KINDS: tuple[Task, ...] = (
    Binary("broke", positive="broke within a month"),
    Multiclass("status", classes=("calm", "storm", "hurricane")),
    Multilabel("topics", labels=("sport", "money")),
    NUMBER,
)


def of(task: Task, name: str, frozen: float, circle: float, level: float) -> dict[str, Any]:
    """A month of such a task, as `report_rows` writes it."""
    shares = {"late_share": level} if task.level_is_share else {"late_share": None, "level": level}
    return month(name, frozen, circle) | shares


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_the_report_and_the_table_speak_of_the_tasks_own_metric(project: Project, task: Task) -> None:
    project = dataclasses.replace(project, target=task, gates=())
    rows = [of(task, "2013-04", 0.70, 0.60, 0.25), of(task, "2013-05", 0.80, 0.60, 0.25)]
    candidates = tuple(CandidateScore(framework=name, value=0.6) for name in ("baseline", "torch"))
    html = render(project, rows, ReportExtras(candidates=candidates))
    assert PrimaryMetric.of(task).title.lower() in html.lower()
    assert ("positive" in html) == (task.kind == "binary")
    # The circle's value is the smaller one: better where that is an error.
    better = not task.main.greater_is_better
    assert ("tile first behind" in html) == (not better)
    assert f"<b>{2 if better else 0} of 2</b>" in html


def test_a_regression_is_shown_in_its_unit_and_less_is_a_gain(project: Project) -> None:
    project = dataclasses.replace(project, target=NUMBER, gates=())
    rows = [of(NUMBER, "2013-04", 41.25, 30.5, 187.321), of(NUMBER, "2013-05", 1250.0, 1200.0, 2101.0)]
    candidates = tuple(CandidateScore(framework=name, value=v) for name, v in (("baseline", 50.0), ("torch", 40.0)))
    html = render(project, rows, ReportExtras(candidates=candidates))
    for said in (
        "Mean absolute error (rentals)",
        "MAE never",
        "187.3",
        "2,101",
        "torch is better than the baseline (+10)",
    ):
        assert said in html, said
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(months_table(rows, "count", PrimaryMetric.of(NUMBER)))
    table = console.export_text()
    assert "MAE" in table
    assert "AUC" not in table
    assert "+30.38" in table


def test_a_month_that_an_earlier_version_wrote_is_still_shown(project: Project) -> None:
    assert "0.700" in render(project, [month("2013-04")], ReportExtras())


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind)
def test_rows_whose_labels_are_known_have_a_level(task: Task) -> None:
    cells: dict[str, list[Any]] = {
        "binary": [1.0, 0.0, 1.0, 1.0],
        "multiclass": [2.0, 0.0, 2.0, 2.0],
        "multilabel": [[1, 0], [0, 0], [1, 1], [0, 0]],
        "regression": [3.0, 0.5, 7.5, 1.0],
    }
    labels = pd.Series([*cells[task.kind], None])
    rows, known = known_rows(task, pd.DataFrame({"x": range(5), "label": labels}))
    assert rows["x"].tolist() == [0, 1, 2, 3]
    nothing = known_rows(task, pd.DataFrame({"x": [], "label": pd.Series([], dtype=labels.dtype)}))
    assert [len(each) for each in nothing] == [0, 0]
    expected = {"binary": 0.75, "multiclass": 0.75, "multilabel": 0.75, "regression": 3.0}
    assert task.level(task.label_codec.logged(known)) == expected[task.kind]
