"""Commands that make and run a project: demo, new, run, replay."""

from __future__ import annotations

from pathlib import Path

import click

from fullcircle.cli.decided_by import decided_by
from fullcircle.cli.output.lines import say
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace
from fullcircle.scaffold.kinds import DEFAULT_KIND, KINDS


@click.command(short_help="The whole circle on a year of real flights.", epilog="Example: fullcircle demo --fresh")
@click.option(
    "--fresh", is_flag=True, help="Start over: forget runs, models, predictions and incidents (data stays cached)."
)
@click.option("--months", type=click.IntRange(1, 9), default=None, help="Replay only the first so many months.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
def demo(fresh: bool, months: int | None, as_json: bool) -> None:
    """The whole circle on the 336,776 flights that left New York in 2013.

    Prepares the data (DVC), trains on January to March, releases, then lives through April to December.
    Stopped or killed, the next call goes on from what was finished.
    """
    from fullcircle.apps.replay.demo import run_demo
    from fullcircle.cli.output.tables import print_refusals, show_replay
    from fullcircle.cli.output.terminal import consoles, print_json, shown

    results, progress = consoles(as_json)
    with print_refusals(progress), shown(progress):
        outcome = run_demo(Settings.from_env(), Path.cwd(), fresh=fresh, months=months)
    if as_json:
        print_json(outcome.as_json())
    else:
        show_replay(results, outcome)


@click.command(
    short_help="Make a project, ready to run.",
    epilog="Example: fullcircle new my-project --task regression",
)
@click.argument("name")
@click.option(
    "--task",
    type=click.Choice(KINDS),
    default=DEFAULT_KIND,
    show_default=True,
    help="What it predicts: yes or no, a number, one of several classes, or any number of labels.",
)
@click.option("--git/--no-git", default=True, show_default=True, help="Commit it to a git repository of its own.")
def new(name: str, task: str, git: bool) -> None:
    """Make a project: a commented project.py, a small generated data set, a README.

    Each run names the commit of its code. A project that is made in a git checkout is left for you to commit.
    """
    from fullcircle.scaffold.new_project import create, put_under_git

    folder = create(name, Path.cwd(), kind=task)
    committed = git and put_under_git(folder)
    where = ", in a git repository of its own" if committed else ""
    say(f"made {folder.relative_to(Path.cwd())}/ with project.py, data/ and README.md{where}")
    if not committed:
        say("to let each run name its code, commit it with git")
    say(f"next: fullcircle run {name}")


@click.command(
    short_help="The circle once, to a registered champion.", epilog="Example: fullcircle run flights --until 2013-04-01"
)
@click.argument("project")
@click.option("--until", metavar="DATE", help="Learn only from rows before this UTC date (default: all).")
@click.option(
    "--reason", "--why", default="asked for on the command line", show_default=True, help="Kept with the release."
)
@click.option("--key", metavar="TEXT", help="Do this once: the same key again is refused with exit code 1.")
@click.option("--no-wait", is_flag=True, help="Exit with code 75 when another retrain of the project is under way.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
def run(project: str, until: str | None, reason: str, key: str | None, no_wait: bool, as_json: bool) -> None:
    """The circle once: check, version, split, train, judge, explain, export, register, release.

    While another retrain of the project is under way, on whatever machine, it waits, and says for whom.
    Exit code 1 when the data contract, the leakage check or a stage failed; the champion then stays as it was.
    """
    from fullcircle.cli.output.tables import print_refusals, print_retrain
    from fullcircle.cli.output.terminal import consoles, parse_time, print_json, shown
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.promotion.approval import reason_given
    from fullcircle.loop.retraining.retrain import retrain
    from fullcircle.loop.retraining.retrain_budget import by_hand

    settings, loaded, asked = Settings.from_env(), load_project(project), by_hand(key)
    reason_given(reason)
    settings.check_writable()
    results, progress = consoles(as_json)
    with print_refusals(progress), shown(progress):
        result = retrain(
            loaded,
            Workspace(settings),
            until=parse_time(until),
            reason=reason,
            decided_by=decided_by(),
            wait=not no_wait,
            asked=asked,
        )
    if as_json:
        print_json(result)
    else:
        print_retrain(results, loaded.target, result)


@click.command(
    short_help="Live through past months over HTTP.",
    epilog="Example: fullcircle replay flights --months 2 --sample 0.1",
)
@click.argument("project")
@click.option(
    "--from",
    "start",
    metavar="YYYY-MM",
    help="The first month that is replayed; default: by project.py, or its split.",
)
@click.option("--until", metavar="YYYY-MM", help="Replay only what begins before this month.")
@click.option("--months", type=click.IntRange(min=1), default=None, help="Replay only the first so many months.")
@click.option(
    "--sample",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of each month's rows to send.",
)
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
def replay(
    project: str, start: str | None, until: str | None, months: int | None, sample: float, as_json: bool
) -> None:
    """Train on a project's first months, release, then live through the following ones over HTTP.

    The first model learns from three months, or from what `replay=ReplayPlan(...)` in project.py or --from says; a
    project may go through quarters or years (seasons) instead of months.

    Runs as a Prefect flow, on a server of its own unless PREFECT_API_URL is set.
    """
    from fullcircle.apps.replay.demo import run_replay
    from fullcircle.cli.output.tables import print_refusals, show_replay
    from fullcircle.cli.output.terminal import consoles, print_json, shown

    results, progress = consoles(as_json)
    with print_refusals(progress), shown(progress):
        outcome = run_replay(
            project, Settings.from_env(), Path.cwd(), start=start, until=until, months=months, sample=sample
        )
    if as_json:
        print_json(outcome.as_json())
    else:
        show_replay(results, outcome)
