"""The command of hyperparameter tuning: tune."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from fullcircle.apps.tuning.tune import TuneResult


@click.command(
    short_help="Search for the parameters of a model.",
    epilog="Example: fullcircle tune flights --framework torch --trials 40 --workers 2",
)
@click.argument("project")
@click.option(
    "--trials", type=click.IntRange(min=1), default=20, show_default=True, help="Trials of each study in all."
)
@click.option("--framework", default=None, help="torch or keras (default: all that the project has, one study each).")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that train.")
@click.option("--timeout", metavar="SPAN", default=None, help="Stop after 90s, 30m or 1h30m; another call goes on.")
@click.option("--study", metavar="NAME", default=None, help="A name, for another study of the same project.")
@click.option(
    "--space",
    metavar="KEY[=RANGE]",
    multiple=True,
    help="Search this, not what the project says: training.dropout=0..0.5, training.learning_rate=log:1e-4..1e-1, "
    "training.batch_size=[64,128]; without a range, the project's own; repeatable.",
)
@click.option(
    "--set", "overrides", metavar="KEY=VALUE", multiple=True, help="A parameter that all trials share; repeatable."
)
@click.option("--until", metavar="DATE", default=None, help="Learn only from rows before this UTC date (default: all).")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
def tune(
    project: str,
    trials: int,
    framework: str | None,
    workers: int,
    timeout: str | None,
    study: str | None,
    space: tuple[str, ...],
    overrides: tuple[str, ...],
    until: str | None,
    as_json: bool,
) -> None:
    """Search for the parameters of a project's models by what they are worth on the validation rows.

    Whatever stops it, the same command goes on: with the trials that ended, and those that had not from their newest
    checkpoint. The test rows take no part in it.
    """
    from fullcircle.apps.tuning.tune import TuneRequest, tune_each
    from fullcircle.cli.output.tables import print_refusals
    from fullcircle.cli.output.terminal import consoles, parse_span, parse_time, print_json, shown
    from fullcircle.core.project.loading import load_project

    settings, loaded = Settings.from_env(), load_project(project)
    frameworks = (framework,) if framework else loaded.frameworks
    request = TuneRequest(
        framework=frameworks[0],
        trials=trials,
        workers=workers,
        until=parse_time(until),
        timeout_s=None if timeout is None else parse_span(timeout),
        study=study,
        space=space,
        overrides=overrides,
    )
    settings.check_writable()
    console, progress = consoles(as_json)
    with print_refusals(progress), shown(progress):
        results = tune_each(loaded, Workspace(settings), frameworks, request)
    if as_json:
        print_json({"studies": results})
    for result in results:
        print_study(console, result)


def print_study(console: Console, result: TuneResult) -> None:
    """The best trials, what matters, and what to do next."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fullcircle.cli.output.terminal import styled

    title = f"{result.study}: the best of {result.ended} trials on the validation rows"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for name in ("trial", result.metric, "epochs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("parameters", overflow="fold")
    shown = [*result.best]
    if result.present is not None and result.present not in shown:
        shown.append(result.present)
    for trial in shown:
        mark = " (present)" if trial == result.present else ""
        worth = f"{trial.value:.4f}" if trial.value is not None else ""
        words = ", ".join(word.removeprefix("training.") for word in trial.settings)
        table.add_row(f"{trial.number}{mark}", worth, f"{len(trial.curve)}", words)
    if shown:
        console.print(table, highlight=False)
    console.print(styled("{}", _counts(result)), highlight=False)
    if result.importance:
        shares = (f"{name.removeprefix('training.')} {share:.0%}" for name, share in result.importance.items())
        console.print(styled("what matters: {}", ", ".join(shares)), highlight=False)
    console.print(styled("data version {}, run {}", result.data, result.run_id), highlight=False, soft_wrap=True)
    if result.command:
        console.print(styled("next: {}", result.command), highlight=False, soft_wrap=True)


def _counts(result: TuneResult) -> str:
    parts: Sequence[str] = (
        f"{result.done} to the end",
        f"{result.pruned} pruned",
        *([f"{result.failed} failed"] if result.failed else []),
    )
    of = f"{result.ended} of {result.asked} done" if result.ended <= result.asked else f"{result.ended} done"
    return f"{of}: {', '.join(parts)}"
