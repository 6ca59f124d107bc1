"""Commands on the home as a whole: backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullcircle.cli.output.lines import say
from fullcircle.core.settings import Settings

if TYPE_CHECKING:
    from fullcircle.loop.backup.home_backup import Backup

JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@click.command(
    short_help="The home in one file, while its servers run.",
    epilog="Example: fullcircle backup /mnt/backups/circle.zip",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@JSON
def backup(file: Path, as_json: bool) -> None:
    """Write the home into FILE, a ZIP with a digest of each file, for its owner alone to read.

    Servers, trainings and replays may go on: what was acknowledged before the backup began is inside. What can be made
    again is left out (downloads, DVC's cache), and what lies elsewhere is named (PostgreSQL, S3).
    """
    from fullcircle.cli.output.terminal import consoles, shown
    from fullcircle.loop.backup.home_backup import backup as write

    with shown(consoles(as_json)[1]):
        made = write(Settings.from_env(), file)
    _say(made, f"{made.files:,} files of {made.home} are in {made.file}, {made.size_bytes:,} bytes", as_json)


@click.command(
    short_help="A home back from its backup.",
    epilog="Example: fullcircle restore circle.zip --into /srv/circle",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), help="An empty or new folder; default: FULLCIRCLE_HOME."
)
@JSON
def restore(file: Path, into: Path | None, as_json: bool) -> None:
    """Put a home back from FILE: all of it, each file held against its digest, or nothing.

    It may be put anywhere, also beside the home that it is a copy of. For a run's data alone: fullcircle data restore.
    """
    from fullcircle.cli.output.terminal import consoles, shown
    from fullcircle.loop.backup.home_backup import restore as put_back

    with shown(consoles(as_json)[1]):
        made = put_back(file, into.absolute() if into else Settings.from_env().home)
    _say(made, f"{made.files:,} files as they were at {made.began} are in {made.home}", as_json)


def _say(made: Backup, text: str, as_json: bool) -> None:
    import dataclasses

    from fullcircle.cli.output.terminal import print_json

    if as_json:
        print_json(dataclasses.asdict(made))
        return
    say(text)
    for each in made.outside:
        say(f"not inside: {each}")
