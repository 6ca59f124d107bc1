"""Chooses the fastest reader: MLflow's REST API, its SQLite file, or its own client for all else."""

from __future__ import annotations

import os

from fullcircle.core.settings import Settings
from fullcircle.tracking.connection.client import is_server, settled, sqlite_file
from fullcircle.tracking.reader.mlflow_reader import MlflowReader
from fullcircle.tracking.reader.rest_reader import RestReader
from fullcircle.tracking.reader.sqlite_reader import SqliteReader, readable


def open_reader(settings: Settings) -> MlflowReader:
    """What reads the settings' MLflow. Nothing is asked before the first call of one of its methods.

    MLflow's client takes over a second to be imported, and whoever is paged waits for it.
    """
    if is_server(settings):
        return RestReader(settings)
    settled(settings)
    file = sqlite_file(settings)
    if file is not None and not os.environ.get("MLFLOW_WORKSPACE") and readable(file):
        return SqliteReader(settings, file)
    return MlflowReader(settings)
