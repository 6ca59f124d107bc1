"""What a flow run leaves to read in the Prefect UI is text, whatever columns and reasons are called."""

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt

from fullcircle.core.records.verdicts import Evaluation, SliceScore
from fullcircle.core.statistics.interval import Interval
from fullcircle.orchestration.artifacts import shown, slices_table


def test_a_cell_of_a_table_which_the_ui_takes_for_markdown_is_text_and_figures_stay_figures(hostile: str) -> None:
    (row,) = shown([{"column": hostile, hostile: hostile, "rows": 12, "share": 0.5}])
    rendered = MarkdownIt("commonmark", {"html": True}).enable("strikethrough").render
    for cell in (row["column"], *(key for key in row if key not in ("column", "rows", "share"))):
        text = rendered(cell)
        assert re.findall(r"<[^>]*>", text) == ["<p>", "</p>"]
        assert "<script>console.log(31337)</script>" in html.unescape(text)
    assert "<script>" in rendered(hostile)  # as it came it is HTML
    assert (row["rows"], row["share"]) == (12, 0.5)


def test_the_candidates_stand_beside_each_other_on_each_group_of_rows() -> None:
    def evaluation(value: float) -> Evaluation:
        score = Interval(value=value, low=0.0, high=1.0)
        slices = tuple(
            SliceScore(
                column="wind", group=group, rows=rows, metric="recall", score=score, difference=None, judged=rows > 20
            )
            for group, rows in (("calm", 300), ("low", 12))
        )
        return Evaluation(framework="torch", rows=312, summary={}, metrics={}, slices=slices)

    assert slices_table({"torch": evaluation(0.7), "champion": evaluation(0.5)}) == [
        {
            "slice": "wind = calm",
            "rows": 300,
            "metric": "recall",
            "torch": "0.7000 [0.0000, 1.0000]",
            "champion": "0.5000 [0.0000, 1.0000]",
        },
        {
            "slice": "wind = low",
            "rows": 12,
            "metric": "recall (too few rows to judge)",
            "torch": "0.7000 [0.0000, 1.0000]",
            "champion": "0.5000 [0.0000, 1.0000]",
        },
    ]
    assert slices_table({}) == []
