"""Commands on lineage: trace, from a prediction backwards, and impact, from data, a run or a model forwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fullcircle.cli.output.lines import say
from fullcircle.core.errors import UsageError
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from fullcircle.core.records.lineage_trace import Trace

JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
PROJECT = click.option("--project", metavar="NAME", help="Look in this project alone (default: in all of this home).")


@click.command(
    short_help="All that a prediction came from.",
    epilog="Example: fullcircle trace 01a1fee8-21d2-7393-86f9-a1af6e7c29ad",
)
@click.argument("prediction_id", required=False)
@click.option("--row", metavar="ROW_ID", help="Instead of an id: the newest prediction of this row (reads more files).")
@PROJECT
@JSON
def trace(prediction_id: str | None, row: str | None, project: str | None, as_json: bool) -> None:
    """Walk from a prediction to model version, run, code, environment, data, verdict and release.

    PREDICTION_ID may be the beginning of an id. A missing link is named, and what can still be reached is shown. Exit
    code 1 when a link is missing.
    """
    from pathlib import Path

    from fullcircle.cli.output.terminal import consoles, print_json, styled
    from fullcircle.loop.lineage.trace import predictions_of_row
    from fullcircle.loop.lineage.trace import trace as walk

    if (prediction_id is None) == (row is None):
        raise UsageError("name a prediction id or, with --row, a row id", hint="one of the two")
    settings = Settings.from_env()
    if row is not None:
        *earlier, prediction_id = predictions_of_row(settings, row, project=project)
        if earlier:
            say(f"the newest of {len(earlier) + 1} predictions of row {row}", err=True)
    assert prediction_id is not None
    found = walk(Workspace(settings), prediction_id, project=project, checkout=Path())
    if as_json:
        print_json(as_plain(found))
    else:
        from fullcircle.cli.output.trace_tree import trace_tree

        console = consoles(False)[0]
        console.print(trace_tree(found, ascii_only=console.options.ascii_only))
        if found.missing:
            said = "1 link is missing" if len(found.missing) == 1 else f"{len(found.missing)} things are missing"
            what = "; ".join(each.what for each in found.missing)
            console.print(styled("[red]{}: {}[/]", said, what), highlight=False)
    raise click.exceptions.Exit(1 if found.missing else 0)


@click.command(
    short_help="All that came from a data version, a run or a model.",
    epilog="Example: fullcircle impact flights:2013-04.parquet",
)
@click.argument("what")
@PROJECT
@JSON
def impact(what: str, project: str | None, as_json: bool) -> None:
    """List every run, model version, release and count of predictions that came from WHAT.

    WHAT is a data version (digest or its beginning), a file of one (project:name, or its MD5), a run (id, its
    beginning, or name), or a model version (project/3, project/champion).
    """
    import dataclasses

    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.loop.lineage.impact import impact as affected

    found = affected(Workspace(Settings.from_env()), what, project=project)
    if as_json:
        print_json(dataclasses.asdict(found) | {"predictions": found.predictions, "releases": found.releases})
        return
    from fullcircle.cli.output.tables import print_impact

    print_impact(consoles(False)[0], found)


def as_plain(found: Trace) -> dict[str, object]:
    """A trace as docs/lineage.md says that its JSON is."""
    return {
        "prediction_id": found.prediction_id,
        "project": found.project,
        "whole": not found.missing,
        "links": [
            {
                "link": link.kind.value,
                "found": bool(link.title),
                "facts": dict(link.facts),
                "missing": [vars(each) for each in link.missing],
            }
            for link in found.links
        ],
    }
