"""Commands on who serves: promote, approve, reject, who, and the ledger in which all of that is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fullcircle.cli.decided_by import BY, decided_by
from fullcircle.cli.nearest_group import NearestGroup
from fullcircle.cli.output.lines import say
from fullcircle.core.security.identity import by, process
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from fullcircle.core.project import Project
    from fullcircle.core.records.releases import Release

JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")
WHY = click.option("--why", "--reason", required=True, metavar="TEXT", help="The reason, kept in the ledger.")


@click.command(
    short_help="Make a version the champion, for a reason.",
    epilog="Example: fullcircle promote flights 4 --why 'better in storms'",
)
@click.argument("project")
@click.argument("version")
@WHY
@BY
@JSON
def promote(project: str, version: str, why: str, as_json: bool) -> None:
    """Make any registered VERSION the champion, whatever the gate said of it, after loading it successfully."""
    from fullcircle.loop.promotion import approval

    found, settings, user = _decider(project)
    made = approval.promote(found, Workspace(settings), version, why=why, who=user)
    _say(made, f"version {made.version} is the champion{_instead(made)}", as_json)


@click.command(
    short_help="Release the challenger that waits.",
    epilog="Example: fullcircle approve flights 5 --why 'read the card'",
)
@click.argument("project")
@click.argument("version")
@WHY
@BY
@JSON
def approve(project: str, version: str, why: str, as_json: bool) -> None:
    """Release the challenger VERSION, which passed its gate and waits for a human (approval="human")."""
    from fullcircle.loop.promotion import approval

    found, settings, user = _decider(project)
    made = approval.approve(found, Workspace(settings), version, why=why, who=user)
    _say(made, f"version {made.version} is approved and the champion{_instead(made)}", as_json)


@click.command(
    short_help="Refuse the challenger that waits.",
    epilog="Example: fullcircle reject flights 5 --why 'worse for small carriers'",
)
@click.argument("project")
@click.argument("version")
@WHY
@BY
@JSON
def reject(project: str, version: str, why: str, as_json: bool) -> None:
    """Refuse the challenger VERSION, which waits for a human. The champion stays as it is."""
    from fullcircle.loop.promotion import approval

    found, settings, user = _decider(project)
    made = approval.reject(found, Workspace(settings), version, why=why, who=user)
    stays = f"version {made.previous} stays the champion" if made.previous else "there is no champion"
    _say(made, f"version {made.version} is rejected, {stays}", as_json)


@click.command(
    short_help="Who served at a moment, by whom and why.",
    epilog="Example: fullcircle who flights --at 2013-08-15T12:00",
)
@click.argument("project")
@click.option(
    "--at", metavar="TIME", help="A UTC moment (default: now); in a replay's ledger, of the time of the data."
)
@JSON
def who(project: str, at: str | None, as_json: bool) -> None:
    """Which version served at a moment, since when, by whom, why and with which verdict: from the ledger alone.

    Exit code 1 when there was no champion then, or the ledger does not hold.
    """
    from fullcircle.cli.output.terminal import consoles, parse_time, print_json, styled
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.promotion.ledger_audit import who as who_served

    found = who_served(load_project(project), Workspace(Settings.from_env()), parse_time(at))
    if as_json:
        print_json(found)
        return
    console = consoles(False)[0]
    console.print(styled("[bold]version {}[/] of {}", found["version"], found["project"]), highlight=False)
    time = {"replay": ", in the time of a replay", "claimed": ", as was claimed"}.get(found["time"], "")
    since = f"{found['since']:%Y-%m-%d %H:%M} UTC{time} ({found['action']}, entry {found['entry']} of the ledger)"
    data = f"rows before {found['data_until']:%Y-%m-%d %H:%M} UTC" if found["data_until"] else "not recorded"
    clock = f"{found['recorded']:%Y-%m-%d %H:%M} UTC by the machine's clock"
    for name, value in (
        ("since", since),
        ("written", clock),
        ("data", data),
        ("by", by(found["by"], found["identity"])),
        ("known as", process(found["identity"]) or "not recorded: a name by its own account"),
        ("why", found["why"]),
        ("verdict", found["verdict"] or "not recorded"),
        ("model digest", found["model_digest"] or "not recorded"),
        ("data digest", found["data_digest"] or "not recorded"),
    ):
        console.print(styled("  {:<13} {}", name, value), highlight=False, soft_wrap=True)


@click.group(cls=NearestGroup, short_help="Verify and show the record of who served.")
def ledger() -> None:
    """The record of every change of an alias: append-only, each entry chained to the one before."""


@ledger.command(
    short_help="Find what was edited, removed, reordered or moved.", epilog="Example: fullcircle ledger verify flights"
)
@click.argument("project", required=False)
@JSON
def verify(project: str | None, as_json: bool) -> None:
    """Find entries that were edited, removed or reordered, and aliases that were moved and versions that were made
    behind the platform's back.

    Of one PROJECT, or of all that have a ledger. Changes nothing. Exit code 1 when something is wrong.
    """
    from fullcircle.cli.output.terminal import print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.promotion.ledger_audit import verify as verify_ledgers

    checked = verify_ledgers(Workspace(Settings.from_env()), [load_project(project).name] if project else None)
    if as_json:
        print_json([{**vars(each), "holds": each.holds} for each in checked])
    else:
        for each in checked:
            for what in each.wrong:
                say(f"{each.project}: {what}")
            if each.faults:
                say("  -> bring the database back from a backup; what was written into it stays in doubt")
            if each.moved:
                say(f"  -> 'fullcircle ledger heal {each.project} --why TEXT' or 'fullcircle ledger accept ...'")
            if each.copied:
                say("  -> delete it in MLflow, or leave it: it serves nobody until an alias names it")
            if each.unfinished:
                say(f"{each.project}: {each.unfinished}; the next command finishes or undoes it")
            if each.holds:
                say(f"{each.project}: {_entries(each.entries)}")
        if not checked:
            say("there is no ledger yet")
    raise click.exceptions.Exit(0 if all(each.holds for each in checked) else 1)


@ledger.command(epilog="Example: fullcircle ledger show flights --json")
@click.argument("project")
@JSON
def show(project: str, as_json: bool) -> None:
    """All entries of a project, oldest first. Whether they hold, 'ledger verify' says."""
    from fullcircle.cli.output.tables import ledger_table, print_table
    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.promotion.ledger_audit import show as entries

    found = entries(load_project(project), Workspace(Settings.from_env()))
    if as_json:
        print_json(found)
    else:
        print_table(consoles(False)[0], ledger_table(found))


@ledger.command(
    "heal",
    short_help="Put moved aliases back as the ledger says.",
    epilog="Example: fullcircle ledger heal flights --why 'moved by mistake'",
)
@click.argument("project")
@WHY
@BY
@JSON
def repair(project: str, why: str, as_json: bool) -> None:
    """Put aliases that were moved behind the platform's back to what the ledger says."""
    _mend(project, why, as_json, "heal", "put back")


@ledger.command(
    short_help="Take moved aliases as they are.",
    epilog="Example: fullcircle ledger accept flights --why 'moved in the outage'",
)
@click.argument("project")
@WHY
@BY
@JSON
def accept(project: str, why: str, as_json: bool) -> None:
    """Take aliases that were moved behind the platform's back as they are, with an entry that says so."""
    _mend(project, why, as_json, "accept", "taken as it is")


def _mend(project: str, why: str, as_json: bool, how: str, done: str) -> None:
    from fullcircle.cli.output.terminal import print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.promotion import ledger_audit as ledgers

    settings = Settings.from_env()
    settings.check_writable()
    mend = ledgers.repair if how == "heal" else ledgers.accept
    mended = mend(load_project(project), Workspace(settings), why=why, by=decided_by())
    if as_json:
        print_json({"project": project, how: list(mended)})
        return
    for what in mended:
        say(f"{what}: {done}")
    if not mended:
        say(f"nothing to {how}: the aliases of {project} are as the ledger says")


def _entries(count: int) -> str:
    return (
        "1 entry, and the aliases are as it says"
        if count == 1
        else f"{count:,} entries, and the aliases are as they say"
    )


def _instead(made: Release) -> str:
    return f", version {made.previous} the previous one" if made.previous else ""


def _decider(name: str) -> tuple[Project, Settings, str]:
    """The project, settings whose home can be written, and who decides."""
    from fullcircle.core.project.loading import load_project

    settings = Settings.from_env()
    settings.check_writable()
    return load_project(name), settings, decided_by()


def _say(made: Release, words: str, as_json: bool) -> None:
    from fullcircle.cli.output.terminal import print_json

    if as_json:
        print_json(made)
    else:
        say(f"{made.project}: {words}")
