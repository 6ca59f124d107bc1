"""What happens when nobody answers a page, or nobody watches: it escalates once, and a missing watch is a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.alerting.page import Kind, page
from fullcircle.alerting.senders import alertmanager, opsgenie, pagerduty, signed_webhook
from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.project import Binary, Number, OnCall, Project
from fullcircle.core.records.incidents import Incident, Severity, WindowCheck
from fullcircle.core.records.ledger_entries import Action, Aliases
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.loop.incident_actions import acknowledge
from fullcircle.loop.on_call_round import deliver_pages
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.incidents.check_table import WindowChecks
from fullcircle.store.incidents.incident_table import Incidents

AT_ONCE, NEVER = timedelta(microseconds=1), timedelta(days=300)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})) as workspace:
        yield workspace


@pytest.fixture
def receivers() -> Iterator[tuple[WebhookReceiver, WebhookReceiver]]:
    """Of on-call, and of whoever comes next."""
    with ExitStack() as opened:
        yield opened.enter_context(WebhookReceiver()), opened.enter_context(WebhookReceiver())


def project(*routes: str, **on_call: object) -> Project:
    return Project(
        name="flights", owner="o", columns=(Number("temp"),), target=Binary("late", positive="late"), time="t",
        row_id="i", torch=lambda inputs, params: None, routes=routes, on_call=OnCall(**on_call),  # type: ignore[arg-type]
    )  # fmt: skip


def check(*causes: str, end: datetime | None = None, severity: Severity = Severity.CRITICAL) -> WindowCheck:
    """A window of a day that ended just now."""
    end = end or datetime.now(UTC)
    start = end - timedelta(days=1)
    faults = tuple(
        Incident(
            key=f"flights:{cause}", project="flights", cause=cause, severity=severity, title=f"{cause} it is",
            since=start, seen=end, columns=(), evidence={}, links={},
        )
        for cause in causes
    )  # fmt: skip
    return WindowCheck(
        project="flights", start=start, end=end, champion="1", rows=900, labelled=900, faults=faults, subjects=("temp",)
    )


def titles(receiver: WebhookReceiver) -> list[str]:
    return [each["title"] for each in receiver.pages]


def test_a_page_that_nobody_acknowledges_goes_to_the_next_route_once_and_is_over_there_too(
    workspace: Workspace, receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    first, second = receivers
    routed = project(first.url, escalate_after=AT_ONCE, escalate_to=(second.url,))
    dispatcher = Dispatcher(workspace.database, routed, workspace.settings)
    dispatcher.report(check("degraded"))
    for _ in range(3):
        deliver_pages(routed, workspace)
    assert titles(first) == ["[flights] critical: degraded it is"]
    assert titles(second) == ["[flights] nobody has acknowledged critical: degraded it is"]
    for days in (1, 2):
        dispatcher.report(check(end=datetime.now(UTC) + timedelta(days=days)))
    assert [each[-1] for each in (titles(first), titles(second))] == ["[flights] resolved: degraded it is"] * 2


@pytest.mark.parametrize("patience", [NEVER, None])
def test_a_page_does_not_escalate_before_its_time(
    workspace: Workspace, receivers: tuple[WebhookReceiver, WebhookReceiver], patience: timedelta | None
) -> None:
    first, second = receivers
    routed = project(first.url, escalate_after=patience, escalate_to=(second.url,) if patience else ())
    Dispatcher(workspace.database, routed, workspace.settings).report(check("degraded"))
    deliver_pages(routed, workspace)
    assert (len(first.pages), second.pages) == (1, [])


def test_a_page_that_somebody_took_does_not_escalate_and_neither_does_one_that_only_informs(
    workspace: Workspace, receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    first, second = receivers
    patient = project(first.url, escalate_after=NEVER, escalate_to=(second.url,))
    Dispatcher(workspace.database, patient, workspace.settings).report(check("degraded"))
    (row,) = Incidents(workspace.database).open("flights")
    acknowledge(patient, workspace, row.id, why="at it")
    hasty = replace(patient, on_call=OnCall(escalate_after=AT_ONCE, escalate_to=(second.url,)))
    deliver_pages(hasty, workspace)
    assert second.pages == []
    Incidents(workspace.database).change(row.id, acknowledged=None, severity="info")
    deliver_pages(hasty, workspace)
    assert second.pages == []
    Incidents(workspace.database).change(row.id, severity="critical")
    deliver_pages(hasty, workspace)
    assert len(second.pages) == 1, "the same page, taken by nobody, does"


def test_without_another_route_on_call_is_paged_once_more(
    workspace: Workspace, receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    first, _ = receivers
    routed = project(first.url, escalate_after=AT_ONCE)
    Dispatcher(workspace.database, routed, workspace.settings).report(check("degraded"))
    for _ in range(2):
        deliver_pages(routed, workspace)
    assert [each.split(":")[0] for each in titles(first)] == [
        "[flights] critical", "[flights] nobody has acknowledged critical",
    ]  # fmt: skip


def released(workspace: Workspace, at: datetime) -> None:
    change = Release(
        project="flights", action=Action.PROMOTE, version="1", previous=None, reason="better", decided_by="gate", at=at
    )
    Ledger(workspace.database).append(change, aliases=Aliases(champion="1"))


def test_a_champion_that_nobody_watches_is_a_page_and_the_next_watch_ends_it(
    workspace: Workspace, receivers: tuple[WebhookReceiver, WebhookReceiver]
) -> None:
    first, _ = receivers
    routed = project(first.url)
    start = datetime.now(UTC)
    assert deliver_pages(routed, workspace, now=start).opened == (), "without a champion there is nothing to watch"
    released(workspace, start)
    assert deliver_pages(routed, workspace, now=start + timedelta(days=2)).opened == ()
    late = start + timedelta(days=2, minutes=1)
    for _ in range(2):
        deliver_pages(routed, workspace, now=late)
    assert len(titles(first)) == 1 and "nobody has watched its predictions since" in titles(first)[0]
    WindowChecks(workspace.database).record(check(end=late))
    done = deliver_pages(routed, workspace, now=late + timedelta(hours=1))
    assert [each.cause for each in done.resolved] == ["overdue"]
    assert titles(first)[-1].startswith("[flights] resolved: ")
    assert deliver_pages(routed, workspace, now=late + timedelta(days=2, hours=1)).opened, "and it may come again"


def test_a_watch_of_an_old_window_is_no_watch_of_today(workspace: Workspace) -> None:
    routed, start = project(overdue_after=timedelta(hours=6)), datetime.now(UTC)
    released(workspace, start)
    late = start + timedelta(hours=7)
    assert deliver_pages(routed, workspace, now=late).opened
    WindowChecks(workspace.database).record(check(end=start - timedelta(days=365)))
    assert deliver_pages(routed, workspace, now=late).resolved == ()


def test_routes_that_are_never_paged_are_refused() -> None:
    with pytest.raises(ProjectInvalid, match=r"on_call\.escalate_after must be given where on_call\.escalate_to is"):
        OnCall(escalate_to=("json://127.0.0.1",))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_sender_knows_every_kind_of_page(kind: Kind) -> None:
    """A page that got worse ended in a KeyError at two of them, and held up the route for good."""
    (fault,) = check("degraded").faults
    made = page(fault, kind=kind, project=project())
    assert pagerduty.event(made, routing_key="k")["event_action"] in ("trigger", "acknowledge", "resolve")
    assert signed_webhook.cloud_event(made)["type"].startswith("fullcircle.incident.")
    assert opsgenie.request(made, [])[1]
    assert alertmanager.alerts(made, datetime.now(UTC))
