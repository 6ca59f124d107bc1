"""Commands for whoever operates a project: serve, ui, watch, rollback, incidents, status, sync, schedule."""

from __future__ import annotations

from pathlib import Path

import click

from fullcircle.cli.decided_by import BY, decided_by
from fullcircle.cli.output.lines import say
from fullcircle.core.errors import TrackerAway
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

INSECURE = click.option(
    "--insecure", is_flag=True, help="An address that others reach, without FULLCIRCLE_TOKEN, is meant."
)
JSON = click.option("--json", "as_json", is_flag=True, help="As one JSON document.")


@click.command(short_help="Serve the champion over HTTP.", epilog="Example: fullcircle serve flights --port 8080")
@click.argument("project")
@click.option("--host", default=None, help="Address to listen on (default: FULLCIRCLE_HOST or 127.0.0.1).")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=None, help="Port (default: FULLCIRCLE_SERVE_PORT or 8080)."
)
@INSECURE
def serve(project: str, host: str | None, port: int | None, insecure: bool) -> None:
    """Serve the champion: Open Inference Protocol v2 and MLflow's /invocations.

    Follows the champion alias without a restart; every answered row goes to the durable prediction log. With
    FULLCIRCLE_TOKEN each request needs it.
    """
    import dataclasses

    from fullcircle.serving.server import serve as run_server

    settings = Settings.from_env()
    settings = dataclasses.replace(settings, insecure=settings.insecure or insecure)
    settings.check_writable()
    run_server(project, settings, host=host or settings.host, port=settings.serve_port if port is None else port)


@click.command(short_help="MLflow UI and Prefect UI, until Ctrl-C.", epilog="Example: fullcircle ui --worker")
@click.option("--worker", is_flag=True, help="Run scheduled flows too, as a Prefect worker.")
@INSECURE
def ui(worker: bool, insecure: bool) -> None:
    """Start the MLflow UI and the Prefect UI on loopback or FULLCIRCLE_HOST, until Ctrl-C.

    With FULLCIRCLE_TOKEN both ask for it; a browser takes it as the password of any user.
    """
    import dataclasses

    from fullcircle.orchestration.local_uis import ui as run_ui

    settings = Settings.from_env()
    settings = dataclasses.replace(settings, insecure=settings.insecure or insecure)
    settings.check_writable()
    run_ui(settings, with_worker=worker)


@click.command(
    short_help="Judge a window of predictions and decide.",
    epilog="Example: fullcircle watch flights --start 2013-04-01 --end 2013-05-01",
)
@click.argument("project")
@click.option(
    "--start", metavar="DATE", help="First UTC moment of the window (default: the project's window before --end)."
)
@click.option("--end", metavar="DATE", help="First UTC moment after the window (default: now).")
@click.option(
    "--report/--no-report", default=True, help="Write Evidently's report; without, only for a window with an incident."
)
@JSON
def watch(project: str, start: str | None, end: str | None, report: bool, as_json: bool) -> None:
    """Judge a window of predictions: drift, quality, performance; page on-call; decide.

    Exit code 1 when the window has an incident, which is printed.
    """
    from fullcircle.cli.output.terminal import consoles, parse_time, print_json, shown, styled
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.clock import now
    from fullcircle.loop.watch import watch as watch_window

    loaded, settings = load_project(project), Settings.from_env()
    settings.check_writable()
    workspace = Workspace(settings)
    until = parse_time(end) or now(loaded, workspace)
    since = parse_time(start) or until - loaded.watch.window
    results, progress = consoles(as_json)
    with shown(progress):
        seen = watch_window(loaded, workspace, since, until, report=report)
    if as_json:
        print_json(
            {"health": seen.health, "incidents": seen.incidents, "decision": seen.decision, "report": seen.report}
        )
    else:
        results.print(styled("{}: {}", type(seen.decision).__name__, seen.decision.reason))
        for incident in seen.incidents:
            results.print(styled("incident, {}: {}", incident.severity, incident.title), soft_wrap=True)
        if seen.report is not None:
            results.print(styled("report: {}", seen.report), soft_wrap=True)
    raise click.exceptions.Exit(1 if seen.incidents else 0)


@click.command(
    short_help="Give the traffic back to the previous champion.",
    epilog="Example: fullcircle rollback flights --reason 'complaints since noon'",
)
@click.argument("project")
@click.option(
    "--reason", "--why", default="asked for on the command line", show_default=True, help="Kept with the release."
)
@BY
@JSON
def rollback(project: str, reason: str, as_json: bool) -> None:
    """Give the traffic back to the previous champion, after loading it successfully."""
    from fullcircle.cli.output.terminal import print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.clock import replay_time
    from fullcircle.loop.promotion.approval import reason_given
    from fullcircle.loop.promotion.release import rollback as roll_back

    settings = Settings.from_env()
    settings.check_writable()
    reason_given(reason)
    loaded = load_project(project)
    workspace = Workspace(settings)
    time = replay_time(loaded, workspace)
    made = roll_back(loaded, workspace, reason=reason, decided_by=decided_by(), data_until=time)
    if as_json:
        print_json(made)
    else:
        say(f"{made.project}: version {made.version} serves again, version {made.previous} is the previous one")


@click.command(short_help="Who serves since when, and why.", epilog="Example: fullcircle status flights")
@click.argument("project")
@JSON
def status(project: str, as_json: bool) -> None:
    """Who serves since when and why, what came before, what is open, and what the tracker does not have yet.

    Exit code 1 while a page to on-call waits to be delivered.
    """
    from fullcircle.cli.output.tables import print_overview, print_unsent
    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.overview import overview, waiting

    loaded, settings = load_project(project), Settings.from_env()
    unsent = waiting(settings)
    try:
        found = overview(loaded, Workspace(settings))
    except TrackerAway:  # just then it is asked what waits for the tracker
        if as_json:
            print_json({"project": loaded.name, "unsent": unsent})
        else:
            print_unsent(consoles(False)[0], unsent)
        raise
    if as_json:
        print_json({**found, "unsent": unsent})
    else:
        print_overview(consoles(False)[0], loaded.target, found)
        print_unsent(consoles(False)[0], unsent)
    raise click.exceptions.Exit(1 if found["undelivered"] else 0)


@click.command(short_help="Send what runs told while the tracker was away.", epilog="Example: fullcircle sync --json")
@click.option("--leave-out", metavar="RUN", help="Of this run, give up what the tracker refuses, and send the rest.")
@JSON
def sync(leave_out: str | None, as_json: bool) -> None:
    """Send what is left in the spool: points, parameters, artifacts and ends of runs that the tracker does not have.

    What a tracker refuses for good holds up all that its run told later. --leave-out RUN (an id, its beginning, or a
    name) gives up the first such thing: it is kept in the spool, and the run's tag fullcircle.left_out names it.

    Exit code 1 when something of it could not be sent; a run that is being written is sent by its own process.
    """
    from fullcircle.cli.output.tables import print_unsent
    from fullcircle.cli.output.terminal import consoles, print_json
    from fullcircle.loop.overview import sent

    left = sent(Settings.from_env(), leave_out)
    if as_json:
        print_json({"unsent": left})
    elif left:
        print_unsent(consoles(False)[0], left)
    else:
        whose = "runs of this home" if leave_out is None else f"run {leave_out}"
        say(f"the tracker has all that {whose} told")
    raise click.exceptions.Exit(1 if any(not row["writing"] and (row["owed"] or row["damaged"]) for row in left) else 0)


@click.command(short_help="Weekly retrains, daily watches (Prefect).", epilog="Example: fullcircle schedule flights")
@click.argument("project")
@JSON
def schedule(project: str, as_json: bool) -> None:
    """Create the cron deployments, the drift automation and the limit of one retrain at a time (Prefect)."""
    from fullcircle.cli.output.terminal import print_json
    from fullcircle.core.project.loading import load_project
    from fullcircle.orchestration.schedule import schedule_and_print

    loaded = load_project(project)
    made = schedule_and_print(loaded, Settings.from_env(), Path.cwd())
    if as_json:
        print_json(made.as_json())
    else:
        say(made.text(), keep="\n")
