"""What a flow run leaves to read in the Prefect UI is text, whatever columns and reasons are called."""

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt

from fullcircle.orchestration.artifacts import shown


def test_a_cell_of_a_table_which_the_ui_takes_for_markdown_is_text_and_figures_stay_figures(hostile: str) -> None:
    (row,) = shown([{"column": hostile, hostile: hostile, "rows": 12, "share": 0.5}])
    rendered = MarkdownIt("commonmark", {"html": True}).enable("strikethrough").render
    for cell in (row["column"], *(key for key in row if key not in ("column", "rows", "share"))):
        text = rendered(cell)
        assert re.findall(r"<[^>]*>", text) == ["<p>", "</p>"]
        assert "<script>console.log(31337)</script>" in html.unescape(text)
    assert "<script>" in rendered(hostile)  # as it came it is HTML
    assert (row["rows"], row["share"]) == (12, 0.5)
