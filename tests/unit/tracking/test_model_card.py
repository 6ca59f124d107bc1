"""The model card answers a reviewer's questions in one page."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from fullcircle.core.project import Binary, Category, Image, Number, Project
from fullcircle.core.records.dataset import DataVersion, LeakageReport, Span, Split
from fullcircle.core.records.disagreement import Disagreement, GroupDisagreement, RowDisagreement
from fullcircle.core.records.training import RunRef
from fullcircle.core.records.verdicts import Candidate, Evaluation, GateResult, SliceScore, Verdict
from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.outcome import Outcome
from fullcircle.tracking.registry.card_groups import SHOWN_SLICES
from fullcircle.tracking.registry.model_card import model_card, shortened, spaced

PROJECT = Project(
    name="flights",
    owner="ops@example.com",
    purpose="Which flights arrive late.",
    limits="New York only.",
    runbook="docs/runbooks/flights.md",
    columns=(Category("carrier"), Number("distance")),
    target=Binary("late", positive="arrived more than 15 minutes late"),
    time="t",
    row_id="i",
    torch=lambda inputs, params: None,
)
REF = RunRef(run_id="r" * 32, framework="torch", seed=13, commit="c" * 40, dirty=True, environment="e" * 64)
DATA = DataVersion(
    project="flights",
    digest="d.dir",
    pointer="",
    files=(("2013-01.parquet", "m"),),
    rows=90,
    size_bytes=1,
    start=datetime(2013, 1, 1, tzinfo=UTC),
    end=datetime(2013, 3, 31, tzinfo=UTC),
    fingerprint="f",
)
SPAN = Span(start=DATA.start, end=DATA.end, rows=40, summary={"positives": 10.0})
SPLIT = Split(train=SPAN, validation=SPAN, test=SPAN, leakage=LeakageReport(leaks=(), strongest=()))


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.01, high=value + 0.01)


def evaluation(framework: str, auc: float, slices: int = 0) -> Evaluation:
    scores = tuple(
        SliceScore(
            column="carrier", group=f"A|{n}", rows=5, metric="roc_auc", score=interval(0.5 + n / 100), difference=None
        )
        for n in range(slices)
    )
    metrics = {"roc_auc": interval(auc), "log_loss": interval(0.5)}
    return Evaluation(framework=framework, rows=40, summary={"positives": 10.0}, metrics=metrics, slices=scores)


def test_a_card_shows_where_it_disagrees_with_the_champion_and_on_which_rows() -> None:
    found = Disagreement(
        start=DATA.start,
        end=DATA.end,
        rows=500,
        answered=480,
        unanswered=2,
        margin=0.1,
        share=0.124,
        mean=0.01,
        mean_absolute=0.05,
        groups=(GroupDisagreement(column="carrier", group="AA", rows=90, mean=-0.2, mean_absolute=0.21),),
        largest=(RowDisagreement(prediction_id="p", row_id="AA|1", champion=0.1, challenger=0.9, label=None),),
    )
    card = model_card(PROJECT, REF, DATA, SPLIT, {}, None, None, found)
    for words in (
        "## Where it disagrees with the champion",
        "On 500 of the rows that production answered from 2013-01-01 to 2013-03-31",
        "0.050 on average, and 12.4% of them by more than 0.1",
        "To **2** of them it has no finite answer.",
        "| carrier = AA | 90 | -0.200 | 0.210 |",
        r"| `AA\|1` | 0.100 | 0.900 | unknown |",
    ):
        assert words in card
    assert "disagrees" not in model_card(PROJECT, REF, DATA, SPLIT, {}, None, None)


def in_a_browser(chromium: Any, text: str, page: Path) -> tuple[list[str], str, int]:
    """What the Markdown says to the console, its text, and its links and pictures, where HTML in it is rendered too."""
    shown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    page.write_text(f"<!doctype html><meta charset='utf-8'>{shown}", encoding="utf-8")
    said = chromium.said(page.as_uri())
    seen = chromium.see(page.as_uri(), lambda page: (page.inner_text("body"), page.locator("a, img").count()))
    return said, *seen


def test_hostile_text_in_every_place_of_a_card_is_text(chromium: Any, tmp_path: Path, hostile: str) -> None:
    project = dataclasses.replace(
        PROJECT, owner=hostile, purpose=hostile, limits=hostile, runbook=hostile,
        columns=(Category(hostile), Number("distance")), target=Binary("late", positive=hostile),
    )  # fmt: skip
    ref = dataclasses.replace(REF, framework=hostile, commit=hostile, environment=hostile)
    gates = (GateResult(gate=hostile, passed=False, detail=hostile),)
    verdict = Verdict(
        outcome=Outcome.REJECT, reasons=(hostile, "2"), gates=gates, against={}, champion_version=hostile, rows=40
    )
    score = SliceScore(column=hostile, group=hostile, rows=5, metric="roc_auc", score=interval(0.5), difference=None)
    candidate = Candidate(framework="torch", graph=Path("g"), digest=hostile, parity=2e-7, size_mb=0.2, p99_ms=0.05)
    found = Disagreement(
        start=DATA.start, end=DATA.end, rows=5, answered=5, unanswered=0, margin=0.1, share=0.1, mean=0.0,
        mean_absolute=0.0,
        groups=(GroupDisagreement(column=hostile, group=hostile, rows=9, mean=-0.2, mean_absolute=0.2),),
        largest=(RowDisagreement(prediction_id="p", row_id=hostile, champion=0.1, challenger=0.9, label=None),),
    )  # fmt: skip
    judged = dataclasses.replace(evaluation(hostile, 0.7), slices=(score,))
    data = dataclasses.replace(DATA, digest=hostile)
    card = model_card(project, ref, data, SPLIT, {hostile: judged}, verdict, candidate, found)
    said, text, links = in_a_browser(chromium, card, tmp_path / "card.html")
    assert (said, links) == ([], 0)
    assert text.count("<script>console.log(31337)</script>") > 15
    assert not set(text) & set("\x1b\x07\u202e\u2066")
    assert "\nApproved" not in text  # no heading of its own
    assert "31337" in in_a_browser(chromium, hostile, tmp_path / "bare.html")[0]  # as it came it does run


def test_a_runbook_on_the_web_is_a_link_and_one_in_the_repository_is_named() -> None:
    web = dataclasses.replace(PROJECT, runbook="https://wiki.example/flights")
    assert "- runbook: <https://wiki.example/flights>" in card_of(web)
    assert "- runbook: docs/runbooks/flights.md" in card_of(PROJECT)


def card_of(project: Project) -> str:
    return model_card(project, REF, DATA, SPLIT, {}, None, None)


def test_a_card_says_what_for_from_what_how_good_against_whom_and_who_owns_it() -> None:
    verdict = Verdict(
        outcome=Outcome.INCONCLUSIVE,
        reasons=("too few rows",),
        gates=(GateResult(gate="NotWorse(log_loss)", passed=False, detail="[-0.01, 0.02]"),),
        against={"roc_auc": interval(0.01)},
        champion_version="3",
        rows=40,
        rows_needed=900,
    )
    candidate = Candidate(framework="torch", graph=Path("g"), digest="9" * 64, parity=2e-7, size_mb=0.2, p99_ms=0.05)
    evaluations = {"torch": evaluation("torch", 0.71, slices=20), "baseline": evaluation("baseline", 0.66)}
    card = model_card(PROJECT, REF, DATA, SPLIT, evaluations, verdict, candidate)
    for words in (
        "# flights, torch",
        "Which flights arrive late.",
        "## Verdict: inconclusive",
        "against champion version 3",
        "About 900 labelled rows",
        "- too few rows",
        "| NotWorse(log_loss) | **no** |",
        "| torch | 40 | 0.7100 [0.7000, 0.7200] |",
        "| baseline | 40 | 0.6600",
        "- roc_auc: 0.0100 [0.0000, 0.0200]",
        "DVC version `d.dir`: 90 rows in 1 files",
        r"| train | 2013-01-01 00:00 | 2013-03-31 00:00 | 40 | 25\.0% positive |",
        "New York only.",
        "owner: ops@example.com",
        "`cccccccccccc` with uncommitted changes",
        f"fullcircle data restore {'r' * 32}",
    ):
        assert words in card
    assert card.index(r"carrier = A\|0 ") < card.index(r"carrier = A\|1 "), "the weakest slice comes first"
    assert f"{20 - SHOWN_SLICES} more slices" in card


def test_a_card_says_what_a_row_costs_in_the_server_and_what_of_it_the_graph_costs() -> None:
    candidate = Candidate(
        framework="torch",
        graph=Path("g"),
        digest="9" * 64,
        parity=2e-7,
        size_mb=0.2,
        p99_ms=0.05,
        served_p99_ms=1.2345,
    )
    card = model_card(PROJECT, REF, DATA, SPLIT, {}, None, candidate)
    assert (
        "- one row: 1.23 ms at the 99th percentile over HTTP, logged (budget 10 ms); 0.05 ms of it in the graph" in card
    )


def test_a_card_of_a_first_model_needs_neither_verdict_nor_candidate() -> None:
    card = model_card(PROJECT, REF, DATA, SPLIT, {}, None, None)
    assert "Verdict" not in card
    assert "## Data" in card


def test_a_card_that_is_too_long_keeps_whole_sections_and_names_the_others() -> None:
    sections = [f"## {name}\n\n{'text ' * 60}\n\n" for name in ("Purpose", "Verdict", "Slices", "Limits")]
    card = "# flights\n\n" + "".join(sections)
    short = shortened(card, 800)
    assert len(short) <= 800
    assert short == (
        "# flights\n\n" + "".join(sections[:2]) + "\nMore in the artifact `model_card.md` of the run: Slices, Limits.\n"
    )
    assert shortened(card, len(card)) == card


@given(
    st.lists(st.text("ab |`\n", max_size=300), max_size=8),
    st.integers(min_value=500, max_value=1500),
)
def test_a_shortened_card_fits_and_has_no_line_that_the_card_has_not(sections: list[str], characters: int) -> None:
    card = "# flights\n" + "".join(f"## {number}\n{text}\n" for number, text in enumerate(sections))
    short = shortened(card, characters)
    assert len(short) <= characters
    assert set(short.splitlines()) - set(card.splitlines()) <= {short.splitlines()[-1]} | {""}


def test_every_table_has_as_many_cells_in_each_line() -> None:
    card = model_card(PROJECT, REF, DATA, SPLIT, {"torch": evaluation("torch", 0.7, slices=3)}, None, None)
    for block in card.split("\n\n"):
        lines = [line.replace(r"\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_the_card_of_an_image_project_says_the_size_of_its_images() -> None:
    project = dataclasses.replace(PROJECT, columns=(Image("scan", shape=(8, 8, 1)), Number("grade", after=True)))

    card = model_card(project, REF, DATA, SPLIT, {}, None, None)

    assert "One image a row: `scan`, 8 x 8 x 1." in card
    assert "raw columns" not in card


def test_a_space_stands_between_the_cells_of_a_table_and_nowhere_else() -> None:
    card = "# A | b\n\n| who | how | why |\n| --- | --- | --- |\n| torch | `a \\| b` | c |\n\n- a | b\n"
    head, row = "| who&emsp; | how&emsp; | why |", "| torch&emsp; | `a \\| b`&emsp; | c |"
    assert spaced(card) == f"# A | b\n\n{head}\n| --- | --- | --- |\n{row}\n\n- a | b\n"
