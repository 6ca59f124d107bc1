"""Optuna storage backend: its journal in the platform's database."""

from __future__ import annotations

import json
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from fullcircle.store.study_journal import Studies


class OptunaJournal(BaseJournalBackend):
    """The journal of one study. Each operation is an entry; replayed in their order they are the study."""

    def __init__(self, studies: Studies, study: str) -> None:
        self._studies, self._study = studies, study

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write operations down; they are in the database when this returns."""
        self._studies.append(self._study, [json.dumps(log) for log in logs])

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """The operations from this number on, in their order."""
        return [json.loads(entry) for entry in self._studies.entries(self._study, log_number_from)]
