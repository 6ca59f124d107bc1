"""What work and results look like: bars and tables on a terminal of any width, whole lines in a log."""

from __future__ import annotations

import io
import logging
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.table import Table

from fullcircle.cli.output.lines import say
from fullcircle.cli.output.tables import ledger_table, print_table, print_unsent
from fullcircle.cli.output.terminal import PlainConsole, TerminalProgress, parse_time, styled
from fullcircle.cli.output.trace_tree import trace_tree
from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.records.ledger_entries import Action, Aliases, Entry
from fullcircle.core.records.lineage_trace import MissingNode, NodeKind, Trace, TraceNode
from fullcircle.core.records.training import EpochMetrics
from fullcircle.core.security.untrusted import LineFormatter


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=number, train_loss=0.6, validation_loss=0.5, validation={"roc_auc": 0.7 + number / 100}, seconds=1
    )


def trained(*, terminal: bool) -> str:
    """What two epochs of four steps each wrote."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, color_system=None, legacy_windows=False)
    progress = TerminalProgress(console)
    with progress.live() as view:
        for number in (1, 2):
            for step in range(1, 5):
                view.moved("torch", number - 1 + step / 4, 3, 12_345.0)
                if terminal:
                    progress._bars.refresh()
            view.epoch("torch", epoch(number), 3)
    return text.getvalue()


def test_a_log_has_one_line_an_epoch_and_none_a_step() -> None:
    assert [line.strip() for line in trained(terminal=False).splitlines()] == [
        "torch epoch 1/3: validation loss 0.5000, AUC 0.7100",
        "torch epoch 2/3: validation loss 0.5000, AUC 0.7200",
    ]


@pytest.mark.parametrize("shows", ["train torch", "epoch 1/3, 12,345 rows/s", "epoch 2/3, AUC 0.7100", "ETA"])
def test_a_terminal_has_a_bar_with_the_epoch_the_rate_and_the_time_left(shows: str) -> None:
    assert shows in trained(terminal=True)


def test_a_terminal_prints_no_line_an_epoch() -> None:
    assert "torch epoch 1/3: validation loss" not in trained(terminal=True)


@pytest.mark.parametrize("text", ["yesterday", "2013-02-30", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_time_that_is_none_is_refused_with_how_one_looks(text: str) -> None:
    with pytest.raises(UsageError, match="a time must look like 2013-04-01 or 2013-04-01T12:00, got"):
        parse_time(text)


def test_a_trace_has_no_sign_that_a_plain_terminal_lacks() -> None:
    gone = MissingNode(what="the verdict", why="it was deleted", hint="nothing brings it back")
    found = Trace(
        prediction_id="01",
        project="tickets",
        links=(
            TraceNode(kind=NodeKind.PREDICTION, facts={}),
            TraceNode(kind=NodeKind.VERSION, title="version 1", facts={"link": "#/models/tickets/versions/1"}),
            TraceNode(kind=NodeKind.VERDICT, facts={}, missing=(gone,)),
        ),
    )
    text = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=text, width=80)
    console.print(trace_tree(found, ascii_only=console.options.ascii_only))
    text.seek(0)
    said = text.read()
    assert "+ model version version 1" in said
    assert "x verdict       missing" in said


def test_a_log_breaks_no_line_in_two_and_swallows_no_brackets() -> None:
    text = io.StringIO()
    progress = TerminalProgress(Console(file=text, width=40))
    progress.stage("judge", "inconclusive: [ticket 7] asks for 4,000 rows more than there are, " + "which takes a year")
    progress.note("[later] and this is a note that is longer than forty columns are wide")
    stage, note = text.getvalue().splitlines()
    assert stage.endswith("inconclusive: [ticket 7] asks for 4,000 rows more than there are, which takes a year")
    assert note == "        [later] and this is a note that is longer than forty columns are wide"


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_a_table_leaves_nothing_out_however_narrow_the_terminal_is(width: int) -> None:
    entry = Entry(
        project="tickets",
        seq=7,
        at=datetime(2024, 5, 1, tzinfo=UTC),
        recorded=datetime(2024, 5, 1, tzinfo=UTC),
        action=Action.PROMOTE,
        version="12",
        previous="11",
        who="somebody",
        why="because [it] is better",
        verdict="promote",
        model_digest="",
        data_digest="",
        aliases=Aliases(champion="12", previous="11"),
        format=1,
        previous_hash="",
        hash="6d489f4f" + "0" * 56,
    )
    text = io.StringIO()
    print_table(Console(file=text, width=width), ledger_table([entry]))
    said = " ".join(text.getvalue().split())
    for word in ("7", "2024-05-01 00:00", "11 > 12", "somebody:", "[it]", "better", "6d489f4f"):
        assert word in said
    assert max(len(line) for line in text.getvalue().splitlines()) <= width


def test_an_address_that_is_wider_than_its_column_is_not_cut() -> None:
    why = "MLflow at http://127.0.0.1:9 failed while connecting: connection refused"
    unsent = {"run": "6ca90450e2de48ae", "points": 57, "artifacts": 10, "entries": 7, "why": why}
    row = {**unsent, "damaged": (), "left_out": (), "since": datetime(2024, 5, 1, tzinfo=UTC)}
    text = io.StringIO()
    print_unsent(Console(file=text, width=80), [row])
    lines = text.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "http://127.0.0.1:9" in "".join(line[-20:].strip() for line in lines)


OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|[0-9]*A)|\r")
"""Colours, the cursor hidden and shown, and the bar's line drawn anew: what rich itself writes."""


def written(width: int = 4000) -> tuple[io.StringIO, PlainConsole]:
    """A terminal with colours, and what was written on it."""
    text = io.StringIO()
    return text, PlainConsole(
        file=text, force_terminal=True, width=width, color_system="standard", legacy_windows=False
    )


def harmless(text: str) -> str:
    """The text without what is rich's own: nothing in it does anything to a terminal, and no word is swallowed."""
    rest = OURS.sub("", text)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", rest)
    assert "[bold red]red[/] [/nothing]" in rest
    assert r"\x1b]0;pwned" in rest
    assert r"\x1b[2J\x1b[31m\u202egnp.exe" in rest
    return rest


def test_hostile_text_neither_colours_nor_clears_a_terminal_nor_forges_a_line(hostile: str) -> None:
    text, console = written()
    console.print(styled("[bold]{}[/]: {why:<13}", hostile, why=hostile))
    assert len(harmless(text.getvalue()).splitlines()) == 1
    assert "\x1b[1m" in text.getvalue()  # ours still is bold


@pytest.mark.parametrize("width", [4000, 30])
def test_hostile_text_in_a_table_is_text_on_a_wide_and_on_a_narrow_terminal(width: int, hostile: str) -> None:
    text, console = written(width)
    table = Table(hostile, "column", title=hostile)
    table.add_row(hostile, hostile)
    print_table(console, table)
    if width > 1000:
        harmless(text.getvalue())
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", OURS.sub("", text.getvalue()))


def test_hostile_text_in_what_long_work_says_is_text(hostile: str) -> None:
    text, console = written()
    with TerminalProgress(console).live() as view:
        view.stage(hostile, hostile)
        view.note(hostile)
        view.moved(hostile, 0.5, 3, 1.0)
        view.advance(hostile, 1, 2)
    harmless(text.getvalue())
    assert not [line for line in text.getvalue().splitlines() if line.startswith("# Approved")]


def test_a_line_and_an_error_and_a_log_record_stay_one_line(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"said: {hostile}")
    error = FullcircleError(f"no such column: {hostile}", hint=hostile)
    say(f"{error.what} {error.hint} {error}")
    lines = harmless(capsys.readouterr().out).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["said", "no such column"]
    assert len(str(error).splitlines()) == 1
    record = logging.LogRecord("fullcircle", logging.INFO, "", 0, "sent by %s", (hostile,), None)
    assert len(harmless(LineFormatter("%(message)s").format(record)).splitlines()) == 1


def test_without_our_console_the_same_text_does_take_over(hostile: str) -> None:
    text = io.StringIO()
    Console(file=text, force_terminal=True, width=4000, legacy_windows=False).print(
        hostile, markup=False, highlight=False
    )
    assert "\x1b]0;pwned" in text.getvalue()
    assert "\n# Approved" in text.getvalue()
