"""The command that trains a run again and compares: reproduce."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fullcircle.core.settings import Settings
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from rich.console import Console

    from fullcircle.core.records.repro_compare import Comparison
    from fullcircle.core.records.repro_report import Reproduction

SHOWN = 8
"""So many differences are shown; --json has all."""


@click.command(
    short_help="Train a run again and compare, to the last bit.",
    epilog="Example: fullcircle reproduce 'train torch' --set training.seed=1",
)
@click.argument("run")
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    default=None,
    help="The project's folder, or one in its git repository (default: as the run says).",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=None,
    help="Learn from this folder of partitions (default: the run's data version).",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Another parameter, as training.seed=1, to see what it changes; repeatable.",
)
@click.option("--keep", is_flag=True, help="Leave the worktree, the data and the log, to be looked at.")
@click.option("--no-record", is_flag=True, help="Do not keep the verdict with the run.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON document.")
@click.pass_context
def reproduce(
    context: click.Context,
    run: str,
    project: Path | None,
    data: Path | None,
    overrides: tuple[str, ...],
    keep: bool,
    no_record: bool,
    as_json: bool,
) -> None:
    """Train a finished run again from what it recorded, and say how far it went as it did then.

    Code at its commit with its uncommitted changes in a worktree of its own, data by DVC, the same parameters, seed,
    threads and processes. The verdict is bitwise, within tolerance, or diverged at step N with the suspected causes.

    RUN is an id, the beginning of one, or a name. Exit code 1 when it diverged.
    """
    from fullcircle.apps.reproduction.reproduce import RerunOptions
    from fullcircle.apps.reproduction.reproduce import reproduce as train_again
    from fullcircle.cli.output.terminal import consoles, print_json, shown
    from fullcircle.core.records.repro_compare import Agreement

    settings = Settings.from_env()
    settings.check_writable()
    results, progress = consoles(as_json)
    again = RerunOptions(project=project, data=data, overrides=overrides, keep=keep, record=not no_record)
    with shown(progress), _sigterm_as_ctrl_c():
        result = train_again(Workspace(settings), run, again)
    if as_json:
        print_json({"verdict": result.verdict, **_document(result)})
    else:
        print_reproduction(results, result)
    if result.comparison.outcome is Agreement.DIVERGED:
        context.exit(1)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Told to stop in either way, the worktree is taken away before we go."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def print_reproduction(console: Console, result: Reproduction) -> None:
    """What was compared, the verdict, and what may be the cause."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from fullcircle.cli.output.terminal import styled

    seen = result.comparison
    title = f"{result.project}: {result.framework}, run {result.run_id[:12]}, trained again in {result.seconds:.0f} s"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_header=False)
    table.add_column("what", style="bold", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_row("code", result.code)
    table.add_row("rows learned from", _bits(seen.arrays))
    table.add_row("losses", _losses(seen))
    table.add_row("weights", _bits(seen.weights))
    console.print(table, highlight=False)
    console.print(styled("[bold]{}[/]", result.verdict), highlight=False)
    _print_differences(console, result)
    for note in result.notes:
        console.print(styled("  note: {}", note), highlight=False)
    if result.kept:
        console.print(styled("kept: {}", result.kept), highlight=False, soft_wrap=True)


def _print_differences(console: Console, result: Reproduction) -> None:
    from fullcircle.cli.output.terminal import styled

    found = result.differences
    if not found:
        if result.causes != () or result.comparison.unequal_at is not None:
            console.print("nothing that was recorded is another: look for something random without a seed")
        return
    console.print("suspected causes:" if result.causes else "not as it was, and without effect:")
    for number, each in enumerate(found[:SHOWN], 1):
        console.print(styled("  {}. {}: {}", number, each.kind, each.what), highlight=False)
    if len(found) > SHOWN:
        console.print(f"  and {len(found) - SHOWN} more (--json)", highlight=False)


def _bits(same: bool) -> str:
    return "the same bits" if same else "other bits"


def _losses(seen: Comparison) -> str:
    then, now = f"{seen.steps_then:,}", f"{seen.steps_now:,}"
    steps = f" ({then if then == now else f'{then} -> {now}'} steps)" if seen.steps_then else ""
    if seen.unequal_at is None:
        return f"the same bits{steps}"
    return f"other bits from {seen.unit} {seen.unequal_at:,} on, at most {seen.largest:.1e} relative{steps}"


def _document(result: Reproduction) -> dict[str, object]:
    import dataclasses

    causes = [dataclasses.asdict(each) for each in result.causes]
    return {**dataclasses.asdict(result), "causes": causes}
