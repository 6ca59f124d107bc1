"""The links of a trace where a place knows nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from fullcircle.core.records.lineage_trace import champion_periods
from fullcircle.loop.lineage.deployment_nodes import release


def test_a_ledger_without_an_entry_is_a_missing_release_and_no_failure() -> None:
    assert champion_periods([]) == ()
    link = release("flights", [], "3", "d" * 64, datetime(2013, 8, 15, tzinfo=UTC))
    assert [each.what for each in link.missing] == [
        "the ledger of flights has no release of version 3 with digest dddddddddddd"
    ]
