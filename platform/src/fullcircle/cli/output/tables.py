"""Results as tables on a terminal (rich)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fullcircle.apps.replay.report_table import months_table
from fullcircle.cli.output.terminal import styled
from fullcircle.core.errors import ContractViolated, LeakageFound
from fullcircle.core.records.ledger_entries import LEDGER_TIME
from fullcircle.core.security.identity import by
from fullcircle.core.statistics.interval import in_digits

if TYPE_CHECKING:
    from fullcircle.apps.replay.demo import ReplayOutcome
    from fullcircle.core.records.ledger_entries import Entry
    from fullcircle.core.records.lineage_trace import Affected, ChampionPeriod, Impact
    from fullcircle.core.records.verdicts import Evaluation
    from fullcircle.core.tasks import Task
    from fullcircle.loop.retraining.retrain_result import RetrainResult


@contextlib.contextmanager
def print_refusals(console: Console) -> Iterator[None]:
    """A batch or a split that is refused in this block is shown as a table before its error line."""
    try:
        yield
    except ContractViolated as refused:
        table = Table("column", "rule", "rows", "example row ids", title="Violations of the data contract")
        for broken in refused.report.violations:
            table.add_row(broken.column, broken.rule, f"{broken.count:,}", ", ".join(broken.examples))
        print_table(console, table)
        raise
    except LeakageFound as refused:
        table = Table("kind", "column", "what was found", title="Leaks")
        for leak in refused.report.leaks:
            table.add_row(leak.kind, leak.column, leak.detail)
        print_table(console, table)
        raise


def print_table(console: Console, table: Table) -> None:
    """The table; on a console too narrow for its words, each row as lines of `name: value`: nothing is left out."""
    if not table.row_count:
        console.print("there is nothing yet")
        return
    asked = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    if asked <= console.width:
        for column in table.columns:
            column.overflow = "fold"  # where one column is given less than its longest word, the word is not cut
        console.print(table)
        return
    columns = [(str(column.header), list(column.cells)) for column in table.columns]
    if table.title:
        console.print(table.title)
    for row in range(table.row_count):
        for name, cells in columns:
            value = cells[row]
            text = value if isinstance(value, Text) else Text(str(value))
            console.print(Text(f"{name}: ", style="bold") + text)
        console.print()


def print_retrain(console: Console, task: Task, result: RetrainResult) -> None:
    """The candidates beside each other, the verdict, and what to do next."""
    table = Table(title=f"{result.project}: candidates on the same test rows", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("candidate")
    headline = [task.metrics[name] for name in task.headline]
    for metric in headline:
        table.add_column(metric.heading, justify="right")
    for framework, evaluation in result.evaluations.items():
        figures = (evaluation.metrics.get(metric.name) for metric in headline)
        mark = " *" if framework == result.winner else ""
        table.add_row(framework + mark, *(str(figure) if figure else "" for figure in figures))
    print_table(console, table)
    print_classes(console, task, result.evaluations)
    console.print(styled("[bold]{}[/]: {}, version {}", result.verdict.outcome, result.winner, result.version.version))
    for reason in result.verdict.reasons:
        console.print(styled("  - {}", reason), highlight=False)
    console.print(f"data version {result.data.digest}, run {result.winner_run_id}", highlight=False, soft_wrap=True)
    if result.verdict.outcome == "promote" and not result.promoted:
        words = f"{result.project} {result.version.version} --why TEXT"
        console.print(f"it waits for: fullcircle approve {words}   or: fullcircle reject {words}", highlight=False)
    first = "serve" if result.promoted else "status"  # without a release there may be nothing to serve
    console.print(f"next: fullcircle {first} {result.project}   fullcircle ui", highlight=False)


def print_classes(console: Console, task: Task, evaluations: Mapping[str, Evaluation]) -> None:
    """How each model does on the rows of each actual class; nothing for a target that is no class."""
    by_class = task.by_class
    found = {name: each.by_column(by_class.column) for name, each in evaluations.items()} if by_class else {}
    if by_class is None or not any(found.values()):
        return
    title = f"{by_class.main.title} of each actual class"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column(by_class.column)
    table.add_column("rows", justify="right")
    for name in found:
        table.add_column(name, justify="right")
    for scores in zip(*found.values(), strict=True):  # all on the same rows
        few = "" if scores[0].judged else " (too few to judge)"
        table.add_row(Text(scores[0].group), f"{scores[0].rows:,}{few}", *(str(each.score) for each in scores))
    print_table(console, table)


def show_replay(console: Console, outcome: ReplayOutcome) -> None:
    """The table of months (or longer periods), the page that on-call got, the report, and the next commands."""
    metric = outcome.result.metric
    console.print(months_table(outcome.result.rows, outcome.result.target, metric, outcome.result.period))
    console.print(
        styled(
            "{}: the circle [bold]{:.4f}[/], never retrained {:.4f} ([bold %s]{}[/]) with {}"
            % ("red" if outcome.result.gain < 0 else "green"),
            metric.mean,
            outcome.mean_champion,
            outcome.mean_frozen,
            metric.signed(outcome.result.gain, 4),
            _count(outcome.result.retrains, "retrain"),
        ),
        highlight=False,
    )
    if outcome.page:
        # As text, not markup: a title begins with "[flights]".
        # In the panel, not on its edge, where a long title is cut.
        title, body = (Text(str(outcome.page.get(key, ""))) for key in ("title", "message"))
        title.stylize("bold")
        console.print(Panel(title + "\n\n" + body, title="what on-call got", title_align="left"))
    console.print(styled("report: [bold]{}[/]", outcome.report), highlight=False, soft_wrap=True)
    console.print("next:")
    for command, what in (
        ("fullcircle ui", "MLflow UI and Prefect UI with links to the runs"),
        (f"fullcircle serve {outcome.result.project}", "serve the champion over HTTP"),
        ("fullcircle new my-project", "a project of your own"),
    ):
        console.print(styled("  [bold]{:<28}[/] {}", command, what), highlight=False)


def incidents_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Incidents, one a line."""
    table = Table("id", "severity", "what", box=SIMPLE_HEAD)
    for name in ("since", "last seen", "resolved"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        over = f"{row['resolved']:%Y-%m-%d}" if row["resolved"] else ""
        resolved = over or Text(row["state"], style=_STATES[row["state"]])
        what = styled("{}\n[dim]{}[/]", row["title"], ", ".join(row["columns"][:4]))
        dates = (f"{row['since']:%Y-%m-%d}", f"{row['seen']:%Y-%m-%d}", resolved)
        table.add_row(str(row["id"]), row["severity"], what, *dates)
    return table


_STATES = {"open": "bold red", "acknowledged": "yellow", "silenced": "yellow", "recovering": "green"}


def print_incident(console: Console, found: Mapping[str, Any]) -> None:
    """One incident: what, since when, its evidence, where to look, what was done."""
    console.print(styled("[bold]{}[/]", found["title"]), highlight=False)
    told = found["told_by"]
    facts = {
        "state": found["state"] + (f" until {found['silenced']:%Y-%m-%d %H:%M} UTC" if found["silenced"] else ""),
        "severity": found["severity"],
        "cause": found["cause"],
        "since": f"{found['since']:%Y-%m-%d %H:%M} UTC, last seen {found['seen']:%Y-%m-%d %H:%M} UTC",
        "resolved": f"{found['resolved']:%Y-%m-%d %H:%M} UTC" if found["resolved"] else "",
        "told with": f"incident {told}" if told not in (None, found["id"]) else "",
        **found["evidence"],
        **found["links"],
    }
    for name, value in facts.items():
        if value:
            console.print(styled("  {:<18} {}", name, value), highlight=False, soft_wrap=True)
    for done in found["actions"]:
        said = f"{done['at']:%Y-%m-%d %H:%M} UTC by {done['identity']['user']}"
        said += f": {done['why']}" if done["why"] else ""
        console.print(styled("  {:<18} {}", done["action"], said), highlight=False, soft_wrap=True)


def ledger_table(entries: Sequence[Entry]) -> Table:
    """The ledger's entries, one a line."""
    table = Table("entry", box=SIMPLE_HEAD)
    for name in ("at (UTC)", "version", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("what, by whom and why", ratio=1)
    table.add_column("hash", no_wrap=True)
    for each in entries:
        version = f"{each.previous or '-'} > {each.version or '-'}"
        data = f", on data until {each.data_until:%Y-%m-%d}" if each.data_until else ""
        claimed = "" if each.format >= LEDGER_TIME else " (its time as claimed)"
        what = styled("{} by {}: {}{}{}", each.action.value, each.by, each.why, data, claimed)
        table.add_row(str(each.seq), f"{each.at:%Y-%m-%d %H:%M}", version, each.verdict or "-", what, each.hash[:8])
    return table


def print_impact(console: Console, found: Impact) -> None:
    """What came from one thing: the runs, and the model versions with when they served and what they answered."""
    of = f" in {_count(len(found.data), 'data version')}" if found.kind == "data file" else ""
    counts = (_count(len(found.runs), "run"), _count(len(found.versions), "model version"))
    said = Text(f"{found.kind} {found.name}", style="bold") + Text(f"{of}: {', '.join(counts)}, ")
    console.print(said, end="", soft_wrap=True)
    console.print(f"{_count(found.releases, 'release')}, {_count(found.predictions, 'prediction')}", highlight=False)
    if found.runs:
        runs = Table("run", "name", "for", "status", "data version", box=SIMPLE_HEAD)
        for run in found.runs:
            runs.add_row(run.run_id[:12], run.name, run.kind, run.status, run.data_digest[:12])
        print_table(console, runs)
    if found.versions:
        print_table(console, _versions_table(found.versions))


def _versions_table(versions: Sequence[Affected]) -> Table:
    table = Table("model version", "champion from .. until (UTC)", box=SIMPLE_HEAD)
    table.add_column("predictions", justify="right")
    table.add_column("for events from .. to (UTC)")
    for each in versions:
        gone = "" if each.registered else "\n(not in the registry)"
        spans = [f"{term.since:%Y-%m-%d %H:%M} .. {_until(term)}" for term in each.champion_periods]
        events = f"{each.first:%Y-%m-%d %H:%M} .. {each.last:%Y-%m-%d %H:%M}" if each.first and each.last else "-"
        served = "\n".join(spans) or "never released"
        table.add_row(f"{each.project}/{each.version}{gone}", served, f"{each.predictions:,}", events)
    return table


def _until(term: ChampionPeriod) -> str:
    return f"{term.until:%Y-%m-%d %H:%M}" if term.until else "now"


def print_overview(console: Console, task: Task, found: Mapping[str, Any]) -> None:
    """Who serves, what was released and decided, and what is open."""
    for alias, version in found["aliases"].items():
        score = version[f"test_{task.primary}"]
        said = f", test {task.main.title} {in_digits(float(score))} {task.main.measure}".rstrip() if score else ""
        made = version["framework"] or "not made by fullcircle"
        line = styled("[bold]{:<11}[/] version {} ({}{})", alias, version["version"], made, said)
        console.print(line, highlight=False)
    if not found["aliases"]:
        console.print(f"{found['project']} has no champion yet; 'fullcircle run {found['project']}' trains one")
    for wrong in found["ledger"]:
        console.print(styled("[red]{}; see 'fullcircle ledger verify {}'[/]", wrong, found["project"]))
    if found["unfinished_releases"]:
        console.print(
            styled("[yellow]{} releases were cut short; the next run finishes them[/]", found["unfinished_releases"])
        )
    table = Table("released", "version", "before", "by", "reason", box=SIMPLE_HEAD)
    for made in found["releases"]:
        who = Text(by(made["by"], made["identity"]))
        table.add_row(f"{made['at']:%Y-%m-%d}", made["version"], made["previous"] or "-", who, Text(made["reason"]))
    if found["releases"]:
        print_table(console, table)
    if found["open_incidents"]:
        print_table(console, incidents_table(found["open_incidents"]))
    print_undelivered(console, found["undelivered"])


def print_undelivered(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The pages that did not arrive; nothing when all did."""
    if not rows:
        return
    table = Table("page not delivered", "route", "since", "tries", "why", box=SIMPLE_HEAD)
    for row in rows:
        why = row["why"] or "not tried yet, or its route is no longer in the project"
        since = f"{row['queued']:%Y-%m-%d %H:%M}"
        table.add_row(Text(row["title"]), row["route"], since, str(row["attempts"]), Text(why))
    print_table(console, table)


def print_unsent(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """What runs told and the tracker does not have; nothing when it has all."""
    if not rows:
        return
    table = Table("unsent run", "points", "artifacts", "other", "since", "why", box=SIMPLE_HEAD)
    for row in rows:
        kept = [f"damaged, kept aside: {path}" for path in row["damaged"]]
        kept += [f"left out: {each['what']}, kept in {' and '.join(each['kept'])}" for each in row["left_out"]]
        why = "; ".join([*filter(None, [row["why"]]), *kept])
        if not why:
            why = "its process is at work" if row["writing"] else "'fullcircle sync' sends it"
        counts = (f"{row[name]:,}" for name in ("points", "artifacts", "entries"))
        since = f"{row['since']:%Y-%m-%d %H:%M}" if row["since"].timestamp() else "-"  # not known of a newer format
        table.add_row(row["run"][:12], *counts, since, why)
    print_table(console, table)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
