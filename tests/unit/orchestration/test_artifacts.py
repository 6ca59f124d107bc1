"""What a flow run leaves to read in the Prefect UI is text, whatever columns and reasons are called."""

from __future__ import annotations

from fullcircle.orchestration.artifacts import shown


def test_no_cell_of_a_table_holds_a_tag_or_a_hidden_character_and_figures_stay_figures(hostile: str) -> None:
    (row,) = shown([{"column": hostile, hostile: hostile, "rows": 12, "share": 0.5}])
    for text in (*row, row["column"]):
        assert not set(text) & set("<>\n\r\x00\x1b\u202e")
    assert (row["rows"], row["share"]) == (12, 0.5)
