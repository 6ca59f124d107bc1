"""Commands for whoever works on a model: train, tensorboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fullcircle.cli.output.lines import say
from fullcircle.core.errors import UsageError
from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from fullcircle.core.tasks import Task
    from fullcircle.loop.training_runs.train import TrainResult


@click.command(
    short_help="One model in one framework, in one MLflow run.",
    epilog="Example: fullcircle train flights --framework torch --where local:2",
)
@click.argument("project")
@click.option("--framework", default=None, help="baseline, torch or keras (default: the project's, if it has one).")
@click.option(
    "--where", default=None, help="inline, local:N, ray, ray://host:port or auto (default: as the project says)."
)
@click.option("--until", metavar="DATE", default=None, help="Learn only from rows before this UTC date (default: all).")
@click.option("--resume", "run", metavar="RUN", default=None, help="Go on with a run that was stopped, in that run.")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter for this training, as training.learning_rate=0.01 or compute.threads=2; repeatable.",
)
@click.option(
    "--profile",
    type=click.IntRange(min=1),
    metavar="STEPS",
    default=None,
    help="Record so many steps as a trace for TensorBoard and Perfetto.",
)
@click.option("--tensorboard", is_flag=True, help="Mirror the scalars as TensorBoard event files.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
def train(
    project: str,
    framework: str | None,
    where: str | None,
    until: str | None,
    run: str | None,
    overrides: tuple[str, ...],
    profile: int | None,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Train one model and evaluate it on the test rows; nothing is judged or released.

    Told to stop (SIGTERM), it writes a checkpoint and exits with code 75; --resume goes on from there, in the same run.
    """
    from fullcircle.cli.output.tables import print_refusals
    from fullcircle.cli.output.terminal import consoles, parse_time, print_json, shown
    from fullcircle.core.project.loading import load_project
    from fullcircle.loop.training_runs.train import TrainRequest, resume
    from fullcircle.loop.training_runs.train import train as train_new

    settings, loaded = Settings.from_env(), load_project(project)
    if run is not None:
        _refuse_beside_resume(until=until, overrides=overrides, profile=profile, tensorboard=tensorboard)
    settings.check_writable()
    results, progress = consoles(as_json)
    with print_refusals(progress), shown(progress):
        if run is not None:
            result = resume(loaded, Workspace(settings), run, framework=framework, where=where)
        else:
            request = TrainRequest(
                framework=framework or _only(loaded.name, loaded.frameworks),
                until=parse_time(until),
                where=where,
                overrides=overrides,
                profile_steps=profile or 0,
                tensorboard=tensorboard,
            )
            result = train_new(loaded, Workspace(settings), request)
    if as_json:
        print_json(result)
    else:
        print_training(results, loaded.target, result)


@click.command(
    short_help="A run's scalars and traces, until Ctrl-C.",
    epilog="Example: fullcircle tensorboard 'train torch' --port 6006",
)
@click.argument("run")
@click.option("--port", type=click.IntRange(1, 65535), default=None, help="Port (default: any that is free).")
def tensorboard(run: str, port: int | None) -> None:
    """Fetch a run's event files and show them in TensorBoard on loopback, until Ctrl-C."""
    from fullcircle.loop.training_runs.tensorboard import tensorboard as board

    service, url = board(Workspace(Settings.from_env()), run, port)
    with service:
        say(f"TensorBoard: {url}   (Ctrl-C ends it)")
        service.wait()


def print_training(console: Console, task: Task, result: TrainResult) -> None:
    """Metrics, where and why, the time, energy, cost, and what to do next."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fullcircle.cli.output.tables import print_classes
    from fullcircle.cli.output.terminal import styled

    title = f"{result.project}: {result.framework} on {result.evaluation.rows:,} test rows"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    for metric in (task.metrics[name] for name in task.headline):
        if (figure := result.evaluation.metrics.get(metric.name)) is not None:
            table.add_row(metric.heading, str(figure))
    for name, value in _rows(result):
        table.add_row(name, value)
    console.print(table, highlight=False)
    print_classes(console, task, {result.framework: result.evaluation})
    if result.utilisation is not None:
        console.print(styled("{}", result.utilisation.sentence), highlight=False)
    console.print(f"data version {result.data.digest}, run {result.run_id}", highlight=False, soft_wrap=True)
    console.print(f"next: fullcircle ui   fullcircle run {result.project}", highlight=False)


def _rows(result: TrainResult) -> list[tuple[str, str]]:
    rows = [("best epoch", f"{result.best_epoch} of {result.epochs}"), ("where", result.where)]
    if result.restarts:
        rows.append(("restarts", str(result.restarts)))
    if (told := result.utilisation) is not None:
        names = {"compute": "compute", "data": "data", "communication": "others", "checkpoint": "checkpoints"}
        split = ", ".join(f"{label} {told.shares[key]:.0%}" for key, label in names.items())
        rows += [
            ("samples a second", f"{told.samples_per_second:,.0f}"),
            ("time", f"{told.wall_s:.1f} s: {split}, rest {told.shares['other']:.0%}"),
            ("first step after", f"{told.first_step_s:.2f} s"),
            ("memory a process", f"{told.peak_mb:,.0f} MB"),
        ]
        if result.world_size > 1:
            rows.append(("parallel efficiency", f"{told.parallel_efficiency:.0%}"))
    rows.append(("energy", str(result.spent)))
    if result.cost is not None:
        rows.append(("cost", f"{result.cost:.4f} {result.currency}"))
    return rows


def _only(project: str, frameworks: tuple[str, ...]) -> str:
    if len(frameworks) != 1:
        raise UsageError(f"project {project!r} has models in {' and '.join(frameworks)}", hint="say --framework")
    return frameworks[0]


def _refuse_beside_resume(**options: object) -> None:
    """What was decided when the run began stays as it was."""
    words = {"until": "--until", "overrides": "--set", "profile": "--profile", "tensorboard": "--tensorboard"}
    if given := [words[name] for name, value in options.items() if value]:
        raise UsageError(f"{', '.join(given)} cannot be changed by --resume", hint="only --where may be another one")
