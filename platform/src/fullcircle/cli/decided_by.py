"""Who decides when a command does: the system's user; what else was said is written down as a claim."""

from __future__ import annotations

from pathlib import Path

import click

from fullcircle.core.security.identity import claim, system_user
from fullcircle.tracking.provenance.git import git


def _claimed(_context: click.Context, _parameter: click.Parameter, name: str | None) -> None:
    if name:
        claim({"--by": name})


BY = click.option(
    "--by",
    metavar="NAME",
    expose_value=False,
    callback=_claimed,
    help="Who asks for it, kept as a claim beside the system's user.",
)


def decided_by() -> str:
    """The user that this process runs as. From now on git's user name is among what is claimed."""
    said = git(Path.cwd(), "config", "user.name")
    claim({"git user.name": said.stdout.strip() if said.returncode == 0 else ""})
    return system_user()
