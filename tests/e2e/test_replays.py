"""The replay of each project beside the flights: its first period, by the command that its README names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FIRST = {
    # project: (until, its first period, rows, from where to where the primary metric may be)
    "bikes": ("2012-02", "2012-01", 741, (20.0, 120.0)),
    "storms": ("2003-03", "2002", 400, (0.8, 1.0)),
    "digits": ("2024-05", "2024-04", 417, (0.9, 1.0)),
}
"""Wide bounds: what is asked is that the figures are of the project's own metric, not how good the models are."""


def prepare(project: str, repository: Path) -> None:
    """The project's data stages, as its README says; what did not change is not made again."""
    stages = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", f"projects/{project}/dvc.yaml"]
    done = subprocess.run(stages, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def replayed(
    project: str, home: Path, repository: Path, *words: str, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run `fullcircle replay` in the checkout with that home."""
    done = subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", "replay", project, *words],
        cwd=repository,
        env={**os.environ, "FULLCIRCLE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def require_first_period(project: str, result: dict[str, Any]) -> None:
    """Of the document that `--json` prints: the first period's row, by both models."""
    _, name, rows, (low, high) = FIRST[project]
    (row,) = result["rows"]
    assert (row["month"], row["rows"], row["done"]) == (name, rows, True)
    assert low < row["auc_frozen"] < high
    # The first model serves its first period: the circle and the one that is never retrained are one.
    assert row["auc_champion"] == pytest.approx(row["auc_frozen"], rel=1e-6)
    assert row["auc_champion_low"] < row["auc_champion"] < row["auc_champion_high"]


@pytest.mark.nightly
@pytest.mark.e2e
@pytest.mark.timeout(900)
@pytest.mark.parametrize("project", sorted(FIRST))
def test_a_replay_lives_through_the_first_period_of_each_project(
    project: str, tmp_path: Path, repository: Path
) -> None:
    prepare(project, repository)
    result = json.loads(replayed(project, tmp_path, repository, "--until", FIRST[project][0], "--json").stdout)
    require_first_period(project, result)
    report = Path(result["report"]).read_text()
    assert ("Year by year" if project == "storms" else "Month by month") in report
    assert ("their months are made up" in report) == (project == "digits")


@pytest.mark.nightly
@pytest.mark.e2e
def test_a_replay_that_would_have_nothing_to_learn_from_ends_in_one_line(tmp_path: Path, repository: Path) -> None:
    prepare("storms", repository)
    done = replayed("storms", tmp_path, repository, "--from", "1976-03", expect=2)
    assert "storms has nothing to learn from before 1976-03: its first partition is 1975-06" in done.stderr
    assert "Traceback" not in done.stderr
