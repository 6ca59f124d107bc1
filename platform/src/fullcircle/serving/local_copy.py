"""Local copy of the model version served last, so that a server can start while the registry is away.

The graph lies in `models/<name>/<version>/` since it was fetched; `served.json` beside the versions says which of them
answered last, and its digest. A home that has released and never served asks the ledger, which is its own, too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from datetime import datetime
from pathlib import Path

from fullcircle.core.errors import FullcircleError, ModelUnavailable
from fullcircle.core.records.ledger_entries import current
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import write_whole

RECORD, GRAPH = "served.json", "graph.onnx"
logger = logging.getLogger(__name__)


class LocalCopy:
    """The copies of one model's versions in a home, and which of them counts. Nothing of it asks the registry."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name = settings, name
        self._folder = settings.home / "models" / name

    def save(self, version: ModelVersion) -> None:
        """Write down, to the disk, that this version answers. What cannot be written is said, and is no error."""
        content = dataclasses.asdict(version) | {"created": version.created.isoformat()}
        try:
            self._settings.folder("models", self._name)
            write_whole(self._folder / RECORD, json.dumps(content, indent=1), durable=True)
        except (OSError, FullcircleError) as error:
            logger.warning(
                "version %s of %s answers, which could not be written down (%s)", version.version, self._name, error
            )

    def load(self) -> tuple[ModelVersion, Path]:
        """The version that answered last, and its graph, whose digest is still to be checked.

        Raises:
            ModelUnavailable: there is none: why.
        """
        version = self._recorded() or self._released()
        if version is None:
            raise ModelUnavailable(f"this home has no local copy of {self._name!r}: it never served or released one")
        graph = self._folder / version.version / GRAPH
        if not graph.is_file():
            raise ModelUnavailable(
                f"the local copy of version {version.version} of {self._name!r} is gone from {graph}"
            )
        return version, graph

    def _recorded(self) -> ModelVersion | None:
        path = self._folder / RECORD
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ModelUnavailable(f"{path} cannot be read ({error})", hint="remove it") from error
        try:
            version = ModelVersion(
                **{**found, "aliases": tuple(found["aliases"]), "created": datetime.fromisoformat(found["created"])}
            )
            sound = version.name == self._name and version.version.isalnum() and bool(version.digest)
        except (TypeError, KeyError, ValueError, AttributeError):
            sound = False
        if not sound:
            raise ModelUnavailable(f"{path} does not say which version of {self._name!r} answered", hint="remove it")
        return version

    def _released(self) -> ModelVersion | None:
        """The champion by the ledger of this home; None where there is none, or no ledger answers."""
        from fullcircle.store.champion_ledger import Ledger
        from fullcircle.store.database import Database

        try:
            entries = Ledger(Database(self._settings)).entries(self._name)
        except FullcircleError as error:
            raise ModelUnavailable(f"which version of {self._name!r} was released cannot be read ({error})") from error
        champion = current(entries).champion if entries else None
        about = [entry for entry in entries if entry.version == champion and entry.model_digest]
        if champion is None or not about:
            return None
        newest = about[-1]
        return ModelVersion(
            name=self._name,
            version=champion,
            run_id="",
            digest=newest.model_digest,
            aliases=(CHAMPION,),
            created=newest.at,
            tags={},
        )
