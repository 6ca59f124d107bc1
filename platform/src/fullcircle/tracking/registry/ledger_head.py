"""The ledger's head, saved a second time as a tag of the registered model, and the model's aliases.

The head is a tag of the registered model: whoever removes the newest entries of the ledger, or computes it anew, would
have to change MLflow as well.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from fullcircle.core.records.ledger_entries import Aliases, Head
from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import connect, translated
from fullcircle.tracking.reader.open_reader import open_reader

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from fullcircle.tracking.reader.mlflow_reader import MlflowReader
    from fullcircle.tracking.reader.records import RegisteredModel

HEAD = "fullcircle.ledger.head"
_HEAD = re.compile(r"([1-9]\d*):([0-9a-f]{64})")


class LedgerHeadStore:
    """The aliases and the ledger's head of registered models. Nothing is read or written before the first call.

    Every method raises TrackingUnavailable when the registry does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _client(self) -> MlflowClient:
        return connect(self._settings)

    @cached_property
    def _read(self) -> MlflowReader:
        """Reading takes no client of MLflow's, whose import alone is a second."""
        return open_reader(self._settings)

    def aliases(self, name: str) -> Aliases:
        """What the aliases of a model name, in one request. None of them when the model does not exist."""
        found = self._model(name)
        return Aliases.of(dict(found.aliases)) if found else Aliases()

    def head(self, name: str) -> Head | None:
        """The ledger's head as it was saved; None when none was, or what is there is none."""
        found = self._model(name)
        saved = _HEAD.fullmatch(found.tags.get(HEAD, "")) if found else None
        return Head(seq=int(saved[1]), hash=saved[2]) if saved else None

    def save(self, name: str, head: Head) -> None:
        """Keep the ledger's head. Safe to call when the model does not exist: there is then nothing to keep it with."""
        if self._model(name) is None:
            return
        with translated(self._settings, f"keeping the head of the ledger of {name}"):
            self._client.set_registered_model_tag(name, HEAD, f"{head.seq}:{head.hash}")

    def models(self) -> list[str]:
        """The models that a head is saved with, sorted."""
        names: list[str] = []
        token: str | None = None
        with translated(self._settings, "listing the registered models"):
            while True:
                page = self._client.search_registered_models(max_results=200, page_token=token)
                names += [each.name for each in page if HEAD in each.tags]
                token = page.token
                if not token:
                    return sorted(names)

    def copies(self, name: str) -> tuple[str, ...]:
        """Versions of the model that MLflow copied from another one ("Promote model" in its UI), the oldest first.

        A copy has the run and the tags of its original: only where it comes from tells it from a version of ours.
        """
        return self._read.copies(name)

    def _model(self, name: str) -> RegisteredModel | None:
        return self._read.model(name)
