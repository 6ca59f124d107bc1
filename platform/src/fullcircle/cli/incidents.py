"""Commands about incidents: what on-call was told, and what on-call does about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from fullcircle.cli.nearest_group import NearestGroup
from fullcircle.cli.operate import JSON
from fullcircle.cli.output.lines import say
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from fullcircle.core.project import Project

WHY = click.option("--why", default="", metavar="TEXT", help="Why; kept with the incident.")
NUMBER = click.argument("number", type=click.IntRange(1, 2**31 - 1), metavar="ID")


class IncidentGroup(NearestGroup):
    """`fullcircle incidents flights` is `fullcircle incidents list flights`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names, else `list` with this word as the project."""
        if args[0] not in self.list_commands(ctx) and not args[0].startswith("-"):
            args = ["list", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=IncidentGroup,
    short_help="What on-call was told; acknowledge, silence, resolve.",
    epilog="Example: fullcircle incidents flights --json",
)
def incidents() -> None:
    """Incidents of a project: one fault each, open until checks of later windows show that it is gone.

    `fullcircle incidents PROJECT` lists them.
    """


@incidents.command("list", short_help="All, open ones first.", epilog="Example: fullcircle incidents list flights")
@click.argument("project")
@JSON
def list_(project: str, as_json: bool) -> None:
    """The project's incidents, open ones first. Exit code 1 while one is open, or a page waits to be delivered."""
    from fullcircle.loop.incident_actions import all_incidents, undelivered

    loaded, workspace = _opened(project)
    rows, waits = all_incidents(loaded, workspace), undelivered(loaded, workspace)
    if not rows and not as_json:
        say(f"{project} has had no incidents")
    _print(rows, as_json, waits)
    raise click.exceptions.Exit(1 if waits or any(row["resolved"] is None for row in rows) else 0)


@incidents.command(short_help="One, with its evidence.", epilog="Example: fullcircle incidents show flights 3")
@click.argument("project")
@NUMBER
@JSON
def show(project: str, number: int, as_json: bool) -> None:
    """One incident: since when, its evidence, where to look, what was done about it."""
    from fullcircle.loop.incident_actions import one_incident

    found = one_incident(*_opened(project), number)
    _print(found, as_json)


@incidents.command(
    short_help="Take one on.", epilog="Example: fullcircle incidents ack flights 3 --why 'feed is being mended'"
)
@click.argument("project")
@NUMBER
@WHY
@JSON
def ack(project: str, number: int, why: str, as_json: bool) -> None:
    """Say that somebody is at it. It stays open; a page follows only if it gets worse."""
    found = _act(project, number, why, "acknowledge")
    _say(found, f"incident {number} is acknowledged by {found['acknowledged']['by']}", as_json)


@incidents.command(
    short_help="Send nothing about one for a while.", epilog="Example: fullcircle incidents silence flights 3 --for 8h"
)
@click.argument("project")
@NUMBER
@click.option("--for", "span", required=True, metavar="SPAN", help="How long: 30m, 8h, 2d; at most 90d.")
@WHY
@JSON
def silence(project: str, number: int, span: str, why: str, as_json: bool) -> None:
    """Send nothing about an incident for a while. It stays open, and what is bad then is told."""
    from fullcircle.loop.incident_actions import parse_span, silence

    found = silence(*_opened(project), number, parse_span(span), why=why)
    _say(found, f"incident {number} is silenced until {found['silenced']:%Y-%m-%d %H:%M} UTC", as_json)


@incidents.command(
    short_help="Close one by hand.", epilog="Example: fullcircle incidents resolve flights 3 --why 'column was dropped'"
)
@click.argument("project")
@NUMBER
@WHY
@JSON
def resolve(project: str, number: int, why: str, as_json: bool) -> None:
    """Close an incident by hand: what was seen until now is settled. A later window that shows it opens a new one."""
    found = _act(project, number, why, "resolve")
    _say(found, f"incident {number} is resolved", as_json)


@incidents.command(
    short_help="Send what waits, escalate what nobody took.", epilog="Example: fullcircle incidents deliver flights"
)
@click.argument("project")
@JSON
def deliver(project: str, as_json: bool) -> None:
    """Send pages that wait, escalate those that nobody acknowledged, and page when nobody watches.

    For a scheduler, every few minutes, beside the watch itself. Exit code 1 when a page did not arrive.
    """
    from fullcircle.loop.on_call_round import deliver_pages

    done = deliver_pages(*_opened(project))
    if as_json:
        _print({"pages": done.pages, "failed": list(done.failed), "opened": [each.key for each in done.opened]}, True)
    else:
        say(f"{done.pages} pages sent, {len(done.failed)} routes failed")
        for line in done.failed:
            say(f"  {line}")
    raise click.exceptions.Exit(1 if done.failed else 0)


def _act(project: str, number: int, why: str, action: Literal["acknowledge", "resolve"]) -> dict[str, Any]:
    from fullcircle.loop.incident_actions import acknowledge, resolve

    return (acknowledge if action == "acknowledge" else resolve)(*_opened(project), number, why=why)


def _opened(project: str) -> tuple[Project, Workspace]:
    from fullcircle.core.project.loading import load_project

    return load_project(project), Workspace(Settings.from_env())


def _say(found: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        _print(found, as_json)
    else:
        say(words)


def _print(found: Any, as_json: bool, waits: Sequence[Mapping[str, Any]] = ()) -> None:
    """A list of incidents and the pages that wait, or one incident."""
    from fullcircle.cli.output import tables, terminal

    console = terminal.consoles(False)[0]
    if as_json:
        terminal.print_json(found)
    elif isinstance(found, list):
        if found:
            tables.print_table(console, tables.incidents_table(found))
        tables.print_undelivered(console, waits)
    else:
        tables.print_incident(console, found)
