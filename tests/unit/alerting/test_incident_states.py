"""Incidents follow from looks at windows, in whatever order these come; each cause is one page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.alerting.episodes import Episode, episodes
from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.core.errors import UsageError
from fullcircle.core.project import Binary, Number, Project, Watch
from fullcircle.core.records.incidents import Incident, Severity, WindowCheck, incident_key
from fullcircle.core.settings import Settings
from fullcircle.loop import incident_actions
from fullcircle.loop.workspace import Workspace
from fullcircle.store.incidents.check_table import WindowChecks
from fullcircle.store.incidents.incident_table import Incidents

DAY = timedelta(days=1)
MAY = datetime(2013, 5, 1, tzinfo=UTC)
SUBJECTS = ("temp", "wind")
NAME = "flights"


def fault(cause: str, subject: str = "", severity: Severity = Severity.WARNING) -> Incident:
    about = subject or "the model"
    return Incident(
        key=incident_key(NAME, cause, subject),
        project=NAME,
        cause=cause,
        subject=subject,
        severity=severity,
        title=f"{about} is {cause}",
        since=MAY,
        seen=MAY,
        columns=(subject,) if subject else (),
        evidence={"how bad": cause},
        links={},
    )


NULLS, RANGE = fault("missing", "temp"), fault("out of range", "wind")
DEGRADED, DRIFT = fault("degraded"), fault("drift")


def look(
    *faults: Incident, day: int = 0, days: int = 1, unknown: tuple[str, ...] = (), quiet: bool = False
) -> WindowCheck:
    end = MAY + day * DAY
    start = end - days * DAY
    return WindowCheck(
        project=NAME,
        start=start,
        end=end,
        champion="3",
        rows=900,
        labelled=900,
        faults=tuple(replace(each, since=start, seen=end) for each in faults),
        subjects=SUBJECTS,
        unknown=unknown,
        quiet=quiet,
    )


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")}))


def project(*routes: str, watch: Watch | None = None) -> Project:
    return Project(
        name=NAME,
        owner="ops@example.com",
        columns=tuple(Number(name) for name in SUBJECTS),
        target=Binary("late", positive="late"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        routes=routes,
        watch=watch or Watch(),
    )


class OnCall:
    """A project's pages as they arrive."""

    def __init__(self, workspace: Workspace, receiver: WebhookReceiver, watch: Watch | None = None) -> None:
        self.workspace, self.receiver = workspace, receiver
        self.project = project(receiver.url, watch=watch)

    def take(self, *looks: WindowCheck) -> list[str]:
        """The titles of the pages that these looks send, without the project's name."""
        before = len(self.receiver.pages)
        for each in looks:
            Dispatcher(self.workspace.database, self.project, self.workspace.settings).report(each)
        return [page["title"].removeprefix(f"[{NAME}] ") for page in self.receiver.pages[before:]]

    def states(self) -> dict[str, str]:
        """Cause and subject -> state."""
        rows = incident_actions.all_incidents(self.project, self.workspace)
        return {f"{row['cause']} {row['subject']}".strip(): row["state"] for row in reversed(rows)}

    def number(self, cause: str) -> int:
        rows = incident_actions.all_incidents(self.project, self.workspace)
        return int(next(row["id"] for row in rows if row["cause"] == cause))


@pytest.fixture
def on_call(workspace: Workspace, receiver: WebhookReceiver) -> OnCall:
    return OnCall(workspace, receiver)


def test_a_broken_column_that_costs_performance_is_one_page(on_call: OnCall) -> None:
    assert on_call.take(look(NULLS, DEGRADED, DRIFT)) == ["warning: temp is missing"]
    (page,) = on_call.receiver.pages
    assert "with it, degraded: the model is degraded" in page["message"]
    assert "with it, drift: the model is drift" in page["message"]
    assert on_call.states() == {"missing temp": "open", "degraded": "open", "drift": "open"}


def test_columns_that_break_together_are_one_page_and_one_that_breaks_later_another(on_call: OnCall) -> None:
    third = fault("unknown category", "temp")
    assert on_call.take(look(NULLS, RANGE)) == ["warning: temp is missing, and 1 more column went bad"]
    assert on_call.take(look(NULLS, RANGE, third, day=1)) == ["warning: temp is unknown category"]


def test_performance_that_falls_behind_drift_is_told_by_itself_and_drift_with_it_is_not(on_call: OnCall) -> None:
    assert on_call.take(look(DRIFT)) == ["warning: the model is drift"]
    assert on_call.take(look(DRIFT, DEGRADED, day=1)) == ["warning: the model is degraded"]


def test_drift_and_a_fall_in_one_look_are_one_page(on_call: OnCall) -> None:
    assert on_call.take(look(DRIFT, DEGRADED)) == ["warning: the model is degraded"]


def test_what_outlives_its_explanation_gets_its_own_page(on_call: OnCall) -> None:
    on_call.take(look(NULLS, DEGRADED))
    assert on_call.take(look(DEGRADED, day=1)) == []
    assert on_call.take(look(DEGRADED, day=2)) == ["warning: the model is degraded", "resolved: temp is missing"]
    assert on_call.states() == {"missing temp": "resolved", "degraded": "open"}


def test_an_incident_that_gets_worse_is_told_once_more(on_call: OnCall) -> None:
    critical = replace(NULLS, severity=Severity.CRITICAL)
    assert on_call.take(look(NULLS)) == ["warning: temp is missing"]
    assert on_call.take(look(critical, day=1)) == ["now critical: temp is missing"]
    assert on_call.take(look(critical, day=2), look(NULLS, day=3), look(critical, day=4)) == []


@pytest.mark.parametrize(
    "blind", [look(day=1, quiet=True), look(day=1, unknown=("missing",)), replace(look(day=1), subjects=("wind",))]
)
def test_a_look_that_could_not_tell_closes_nothing(on_call: OnCall, blind: WindowCheck) -> None:
    on_call.take(look(NULLS))
    later = [replace(blind, start=blind.start + day * DAY, end=blind.end + day * DAY) for day in range(5)]
    assert on_call.take(*later) == []
    assert on_call.states() == {"missing temp": "open"}
    assert on_call.take(look(day=8), look(day=9)) == ["resolved: temp is missing"]


def test_twenty_windows_of_flapping_send_two_pages_at_most(on_call: OnCall) -> None:
    flapping = [look(*([NULLS] if day % 2 else []), day=day) for day in range(20)]
    assert len(on_call.take(*flapping)) <= 2
    assert on_call.states() == {"missing temp": "open"}


def test_a_look_at_an_earlier_window_takes_nothing_away(on_call: OnCall) -> None:
    on_call.take(look(NULLS, day=30))
    before = incident_actions.all_incidents(on_call.project, on_call.workspace)
    assert on_call.take(*(look(day=day) for day in range(1, 6))) == []
    assert incident_actions.all_incidents(on_call.project, on_call.workspace) == before


def test_a_bad_window_that_is_looked_at_late_pages_nobody(on_call: OnCall) -> None:
    on_call.take(look(day=9), look(day=10))
    assert on_call.take(look(NULLS, day=5)) == []
    assert on_call.states() == {"missing temp": "resolved"}, "it is on record"


def test_half_a_day_its_afternoon_and_the_month_are_three_windows(on_call: OnCall) -> None:
    hours = replace(look(NULLS), start=MAY - DAY / 2)
    afternoon = replace(look(), start=MAY - DAY / 4)
    month = look(days=31)
    on_call.take(hours, afternoon, month)
    assert len(WindowChecks(on_call.workspace.database).all(NAME)) == 3


def test_labels_that_arrive_change_what_is_known_of_a_window(on_call: OnCall) -> None:
    assert on_call.take(look(unknown=("degraded",))) == []
    assert on_call.take(look(DEGRADED)) == ["warning: the model is degraded"]
    assert on_call.take(look(DEGRADED)) == [], "the same facts again"
    assert on_call.take(look()) == ["resolved: the model is degraded"], "the newest look at the window says so"


def test_what_began_before_there_were_checks_keeps_its_beginning(on_call: OnCall) -> None:
    Incidents(on_call.workspace.database).see(replace(DRIFT, since=MAY - 60 * DAY, seen=MAY - 30 * DAY))
    on_call.take(look(DRIFT))
    (row,) = incident_actions.all_incidents(on_call.project, on_call.workspace)
    assert (row["since"], row["seen"], row["state"]) == (MAY - 60 * DAY, MAY, "open")


def test_a_route_that_is_added_later_hears_of_what_is_open_and_of_nothing_else(
    workspace: Workspace, receiver: WebhookReceiver
) -> None:
    first = OnCall(workspace, receiver)
    first.take(look(RANGE, NULLS), look(NULLS, day=1), look(NULLS, day=2))
    first.take(look(DEGRADED, NULLS, day=3))
    first.take(look(NULLS, day=4), look(NULLS, day=5))
    with WebhookReceiver() as second:
        both = replace(first.project, routes=(receiver.url, second.url))
        Dispatcher(workspace.database, both, workspace.settings).flush()
        assert len(second.pages) == 1
        assert "temp is missing" in second.pages[0]["title"]
        for day in (6, 7):
            Dispatcher(workspace.database, both, workspace.settings).report(look(day=day))
        assert [page["title"].split()[1] for page in second.pages] == ["warning:", "resolved:"]
    with WebhookReceiver() as third:
        late = replace(first.project, routes=(third.url,))
        Dispatcher(workspace.database, late, workspace.settings).flush()
        Dispatcher(workspace.database, late, workspace.settings).report(look(day=8))
        assert third.pages == []


def test_k_of_n_looks_open_an_incident(workspace: Workspace, receiver: WebhookReceiver) -> None:
    patient = OnCall(workspace, receiver, Watch(checks_to_open=2, of_checks=3))
    assert patient.take(look(NULLS), look(day=1), look(day=2), look(NULLS, day=3)) == []
    assert patient.take(look(quiet=True, day=4), look(NULLS, day=5)) == ["warning: temp is missing"]
    (row,) = incident_actions.all_incidents(patient.project, workspace)
    assert row["since"] == MAY + 2 * DAY


def test_two_to_open_without_a_number_of_checks_are_two_in_a_row(
    workspace: Workspace, receiver: WebhookReceiver
) -> None:
    patient = OnCall(workspace, receiver, Watch(checks_to_open=2))
    assert patient.take(look(NULLS), look(day=1), look(NULLS, day=2)) == []
    assert patient.take(look(NULLS, day=3)) == ["warning: temp is missing"]


def test_an_acknowledged_incident_stays_open_and_says_who_took_it(on_call: OnCall) -> None:
    on_call.take(look(NULLS))
    number = on_call.number("missing")
    taken = incident_actions.acknowledge(on_call.project, on_call.workspace, number, why="the feed is being mended")
    assert taken["state"] == "acknowledged"
    assert taken["acknowledged"]["why"] == "the feed is being mended"
    assert [done["action"] for done in taken["actions"]] == ["acknowledge"]
    assert on_call.take(look(NULLS, day=1)) == []
    assert on_call.take(look(replace(NULLS, severity=Severity.CRITICAL), day=2)) == ["now critical: temp is missing"]


def test_a_silenced_incident_sends_nothing_and_is_told_when_the_silence_is_over(on_call: OnCall) -> None:
    on_call.take(look(NULLS))
    number = on_call.number("missing")
    incident_actions.silence(on_call.project, on_call.workspace, number, timedelta(hours=8), why="maintenance")
    worse = replace(NULLS, severity=Severity.CRITICAL)
    assert on_call.take(look(worse, day=1)) == []
    assert on_call.states() == {"missing temp": "silenced"}
    Incidents(on_call.workspace.database).change(number, silenced=datetime.now(UTC))
    assert on_call.take(look(worse, day=2)) == ["now critical: temp is missing"]


def test_what_a_human_resolved_opens_again_only_by_a_later_window(on_call: OnCall) -> None:
    on_call.take(look(NULLS), look(NULLS, day=1))
    done = incident_actions.resolve(on_call.project, on_call.workspace, on_call.number("missing"), why="known gap")
    assert done["state"] == "resolved"
    assert on_call.receiver.pages[-1]["title"] == f"[{NAME}] resolved: temp is missing"
    assert on_call.take(look(NULLS, day=1), replace(look(NULLS, day=1), rows=901)) == [], "that window is settled"
    assert on_call.take(look(NULLS, day=2)) == ["warning: temp is missing"]
    with pytest.raises(UsageError, match="is over since"):
        incident_actions.acknowledge(on_call.project, on_call.workspace, 1, why="")
    with pytest.raises(UsageError, match="has no incident 99"):
        incident_actions.one_incident(on_call.project, on_call.workspace, 99)


@pytest.mark.parametrize("text", ["", "8", "h", "0m", "-1h", "91d", "1y", "8 h", "9" * 40 + "m", "1.5h"])
def test_a_silence_without_a_proper_span_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no span from 1m to 90d"):
        incident_actions.parse_span(text)


verdicts = st.lists(st.sampled_from(["bad", "healthy", "unknown"]), min_size=1, max_size=12)


def _looks(said: list[str]) -> list[WindowCheck]:
    made = {"bad": (NULLS,), "healthy": (), "unknown": ()}
    return [look(*made[each], day=day, quiet=each == "unknown") for day, each in enumerate(said)]


@given(said=verdicts, data=st.data())
def test_episodes_are_the_same_in_whatever_order_the_looks_came(said: list[str], data: st.DataObject) -> None:
    looks = _looks(said)
    shuffled = data.draw(st.permutations(looks))
    watch = Watch(
        checks_to_open=data.draw(st.integers(1, 2)), of_checks=2, checks_to_close=data.draw(st.integers(1, 3))
    )
    found = episodes(looks, NULLS, watch)
    assert episodes(shuffled, NULLS, watch) == found
    assert all(each.over is not None for each in found[:-1])
    known = [each for each in looks if not each.quiet]
    assert episodes(known, NULLS, watch) == found, "a look that could not tell changes nothing"
    if found and found[-1].over is None and not found[-1].healthy:
        assert known[-1].faults, "open means that the newest look that could tell found it"


@given(said=verdicts)
def test_between_two_episodes_there_is_positive_evidence(said: list[str]) -> None:
    watch = Watch()
    found = episodes(_looks(said), NULLS, watch)
    for one, other in itertools.pairwise(found):
        assert one.over is not None
        assert other.last.since >= one.over - DAY
    runs = "".join({"bad": "b", "healthy": "h", "unknown": ""}[each] for each in said)
    assert len(found) == len([run for run in runs.split("h" * watch.checks_to_close) if "b" in run])
    assert all(isinstance(each, Episode) for each in found)


@settings(max_examples=12, deadline=None)
@given(said=st.lists(st.sampled_from(["bad", "healthy", "unknown"]), min_size=3, max_size=5), data=st.data())
def test_the_record_is_the_same_in_whatever_order_windows_were_looked_at(
    said: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    looks = _looks(said)
    records = []
    for order in (looks, data.draw(st.permutations(looks))):
        home = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})
        workspace = Workspace(home)
        for each in order:
            Dispatcher(workspace.database, project(), home).report(each)
        rows = incident_actions.all_incidents(project(), workspace)
        records.append([(row["since"], row["seen"], row["resolved"], row["state"]) for row in rows])
        workspace.database.close()
    assert records[0] == records[1]
