"""What the command of a search takes for a span of time, and how it shows a study."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fullcircle.apps.tuning.study import Trial, TrialStatus
from fullcircle.apps.tuning.tune import TuneResult
from fullcircle.cli.output.terminal import parse_span
from fullcircle.cli.tune import print_study
from fullcircle.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90", 90), ("30m", 1800), ("1h", 3600), ("1h30m", 5400), (" 2h5s ", 7205)]
)
def test_a_span_of_time_is_read(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "1d", "-5m", "1.5h", "30m1h", "soon"])
def test_what_is_no_span_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must look like 90s, 30m or 1h30m"):
        parse_span(text)


def trial(number: int, value: float, rate: float) -> Trial:
    return Trial(
        number=number,
        state=TrialStatus.DONE,
        parameters={"training.learning_rate": rate, "training.hidden": [128, 64]},
        curve=(value - 0.01, value),
        value=value,
    )


def test_a_study_shows_its_best_the_present_parameters_and_the_command_that_trains_the_best() -> None:
    present, top = trial(1, 0.7, 0.001), trial(4, 0.75, 0.01)
    result = TuneResult(
        project="flights",
        framework="torch",
        study="flights/torch",
        run_id="0" * 32,
        data="d.dir",
        asked=6,
        ended=5,
        done=3,
        pruned=1,
        failed=1,
        metric="ROC AUC",
        best=(top,),
        present=present,
        importance={"training.learning_rate": 0.9, "training.hidden": 0.1},
        command="fullcircle train flights --framework torch --set 'training.hidden=[128, 64]'",
    )
    console = Console(record=True, width=160, file=io.StringIO())
    print_study(console, result)
    text = console.export_text()
    rows = [line.split() for line in text.splitlines()]
    assert ["4", "0.7500", "2", "learning_rate=0.01,", "hidden=[128,", "64]"] in rows
    assert ["1", "(present)", "0.7000", "2", "learning_rate=0.001,", "hidden=[128,", "64]"] in rows
    assert "5 of 6 done: 3 to the end, 1 pruned, 1 failed\n" in text
    assert "what matters: learning_rate 90%, hidden 10%\n" in text
    assert "next: fullcircle train flights --framework torch --set 'training.hidden=[128, 64]'\n" in text
