"""Runs a flow file by hand: `python flows/retrain.py flights`, with a server of its own when there is none."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.settings import Settings, quiet_dependencies
from fullcircle.orchestration.prefect_server import connect


def run_flow(flow: Callable[..., object], arguments: argparse.Namespace) -> None:
    """Call the flow with the arguments, connected to Prefect, and exit: 0, or the error's code after one line."""
    quiet_dependencies()
    try:
        with connect(Settings.from_env(), console="INFO"):
            flow(**vars(arguments))
    except FullcircleError as error:
        sys.exit(_print_error(error))


def moment(text: str | None) -> datetime | None:
    """A parameter of a flow as a moment in UTC (a time without a zone is UTC); None stays None.

    Raises:
        UsageError: when it is no ISO 8601 time.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no ISO 8601 time", hint="write it as 2013-04-01 or 2013-04-01T06:00") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _print_error(error: FullcircleError) -> int:
    sys.stderr.write(f"{type(error).__name__}: {error}\n")
    return error.exit_code
