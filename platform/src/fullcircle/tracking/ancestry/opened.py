"""The quickest way to what MLflow knows: its server's REST API, its SQLite file, or its own client for all else."""

from __future__ import annotations

import os

from fullcircle.core.settings import Settings
from fullcircle.tracking.ancestry.client import Ancestry
from fullcircle.tracking.client import is_server, settled, sqlite_file


def opened(settings: Settings) -> Ancestry:
    """What reads the settings' MLflow. Nothing is asked before the first call of one of its methods.

    MLflow's client takes over a second to be imported, and whoever is paged waits for it.
    """
    if is_server(settings):
        from fullcircle.tracking.ancestry.server import OfServer

        return OfServer(settings)
    settled(settings)
    file = sqlite_file(settings)
    if file is not None and not os.environ.get("MLFLOW_WORKSPACE"):
        from fullcircle.tracking.ancestry.file import OfFile, readable

        if readable(file):
            return OfFile(settings, file)
    return Ancestry(settings)
