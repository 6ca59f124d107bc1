"""Commands on data: check a batch, list versions, restore a run's data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullcircle.cli.nearest_group import NearestGroup
from fullcircle.cli.output.lines import say
from fullcircle.core.errors import ContractViolated
from fullcircle.core.security.permissions import as_the_user_makes_it
from fullcircle.core.settings import Settings
from fullcircle.loop.lineage.model_data_versions import data_of_versions
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fullcircle.core.records.dataset import Violation

JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@click.group(cls=NearestGroup)
def data() -> None:
    """Check, list and restore data versions."""


@data.command(epilog="Example: fullcircle data check flights --file new-batch.parquet")
@click.argument("project")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Parquet batch; default: the project's partitions.",
)
@JSON
def check(project: str, file: Path | None, as_json: bool) -> None:
    """Hold a batch against the project's data contract. Exit code 1 and a table when it is violated."""
    from fullcircle.cli.output.tables import print_refusals
    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.data.contract import enforce
    from fullcircle.data.parquet_reader import read, single
    from fullcircle.data.partitions import survey

    loaded, settings = load_project(project), Settings.from_env()
    surveyed = None if file else survey(loaded)
    parts = single(file) if file else surveyed.parts if surveyed else ()
    rows = read(parts, loaded)
    notes = [*(surveyed.notes if surveyed else ()), *rows.notes]
    for sentence in notes if not as_json else ():
        say(sentence, err=True)
    checked = {"project": loaded.name, "rows": len(rows.frame), "files": len(parts), "notes": notes}
    with print_refusals(consoles(as_json)[1]):
        try:
            enforce(loaded, rows.frame, settings.folder("quarantine", loaded.name))
        except ContractViolated as refused:
            if as_json:
                print_json(checked | _found(refused.report.violations) | {"kept": refused.quarantine})
            raise
    if as_json:
        print_json(checked | _found(()))
    else:
        say(f"{len(rows.frame):,} rows of {_files(len(parts))} keep the contract of {loaded.name}")


@data.command("list", epilog="Example: fullcircle data list flights")
@click.argument("project")
@JSON
def list_versions(project: str, as_json: bool) -> None:
    """The data version behind each registered model version."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fullcircle.cli.output.tables import print_table
    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.core.project.loading import load_project

    found = data_of_versions(Settings.from_env(), load_project(project).name, whole=as_json)
    if as_json:
        print_json([{"version": each.version, "run_id": each.run_id, "data": each.data} for each in found])
        return
    table = Table("model", "run", "data version", "rows", "from", "to", box=SIMPLE_HEAD)
    for each in found:
        table.add_row(
            each.version,
            each.run_id[:12],
            each.digest[:16] or "?",
            *(text or "?" for text in (each.rows, each.first, each.last)),
        )
    print_table(consoles(False)[0], table)


@data.command(
    short_help="Bring back the bytes that a run learned from.",
    epilog="Example: fullcircle data restore 4f1c0b2a --into restored/",
)
@click.argument("run")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="An empty or new folder; default: restored-<run>.",
)
@JSON
def restore(run: str, into: Path | None, as_json: bool) -> None:
    """Bring back exactly the bytes that a run learned from, into an empty folder.

    RUN is an MLflow run id or the beginning of one. Says which hash differs when they cannot come back.
    """
    from fullcircle.cli.output.terminal import print_json

    workspace = Workspace(Settings.from_env())
    version = workspace.run_store.data_version(run)
    folder = into or Path(f"restored-{run[:12]}")
    files = workspace.data_versions.restore(version, folder)
    as_the_user_makes_it(folder)
    if as_json:
        print_json({"run": run, "digest": version.digest, "rows": version.rows, "folder": folder, "files": files})
        return
    say(f"restored {len(files)} files, {version.rows:,} rows, digest {version.digest} into {folder}/")


def _found(violations: Sequence[Violation]) -> dict[str, object]:
    return {"holds": not violations, "violations": list(violations)}


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
