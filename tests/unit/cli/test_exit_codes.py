"""A command's exit code is the program's: scripts and alerts hang on it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fullcircle.cli import main
from fullcircle.core.health import Incident, Severity
from fullcircle.core.settings import Settings
from fullcircle.scaffold.new import create
from fullcircle.store.database import Database
from fullcircle.store.incidents import Incidents

MAY = datetime(2013, 5, 1, tzinfo=UTC)


def test_incidents_exit_with_1_while_one_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create("tickets", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fullcircle", "incidents", "tickets"])
    main()
    incident = Incident(
        key="tickets:drift",
        project="tickets",
        cause="drift",
        severity=Severity.WARNING,
        title="drift",
        since=MAY,
        seen=MAY,
        columns=(),
        evidence={},
        links={},
    )
    incidents = Incidents(Database(Settings.from_env()))
    incidents.see(incident)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    incidents.resolve_missing("tickets", set(), MAY)
    main()
