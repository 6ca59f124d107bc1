"""Paging: once when it opens, once when it is over, on every route that works, and no secret in any word of it."""

from __future__ import annotations

import logging
import re
import string
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.alerting.page import Page, page
from fullcircle.alerting.routes import deliver, route_name, scrub
from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.records.incidents import Incident, Severity, WindowCheck
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.incidents.incident_table import Incidents

MAY = datetime(2013, 5, 1, tzinfo=UTC)
NOBODY = "json://oncall:hunter2@127.0.0.1:9/token-abcdef"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "home")})


@pytest.fixture
def db(settings: Settings) -> Iterator[Database]:
    database = Database(settings)
    yield database
    database.close()


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def project(*routes: str) -> Project:
    return Project(
        name="flights",
        owner="ops@example.com",
        runbook="docs/runbooks/flights.md",
        columns=(Number("temp"),),
        target=Binary("late", positive="late"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
        routes=routes,
    )


def incident(cause: str = "drift", **fields: object) -> Incident:
    made = Incident(
        key=f"flights:{cause}",
        project="flights",
        cause=cause,
        severity=Severity.WARNING,
        title=f"{cause}: 7 columns",
        since=MAY,
        seen=MAY,
        columns=("temp", "dewp", "humid", "pressure", "visib", "precip", "wind_gust"),
        evidence={"drifted columns": "7 of 20"},
        links={"run": "http://127.0.0.1:5000/#/x", "report": "/reports/2013-05.html"},
    )
    return replace(made, **fields)


def look(*faults: Incident, days: int = 0, span: int = 1, **fields: object) -> WindowCheck:
    """A look at the `span` days that end so many days after MAY."""
    end = MAY + timedelta(days=days)
    start = end - timedelta(days=span)
    dated = tuple(replace(each, since=start, seen=end) for each in faults)
    made = WindowCheck(project="flights", start=start, end=end, champion="3", rows=900, labelled=900, faults=dated)
    return replace(made, **{"subjects": ("temp",), **fields})


def test_a_page_says_what_since_when_how_bad_and_what_to_do() -> None:
    made = page(incident(severity=Severity.CRITICAL), kind="open", project=project())
    assert made.title == "[flights] critical: drift: 7 columns"
    for words in (
        "Since: 2013-05-01 00:00 UTC",
        "- drifted columns: 7 of 20",
        "Top columns: temp, dewp, humid, pressure, visib and 2 more",
        "- run: http://127.0.0.1:5000/#/x",
        "- report: /reports/2013-05.html",
        "- runbook: docs/runbooks/flights.md",
        "Owner: ops@example.com",
    ):
        assert words in made.body
    over = page(incident(), kind="resolved", project=project())
    assert over.title == "[flights] resolved: drift: 7 columns"
    assert "Nobody has to do anything." in over.body


def test_a_page_comes_back_from_the_outbox_as_it_was(db: Database, settings: Settings) -> None:
    dispatcher, routed = Dispatcher(db, project(NOBODY), settings), project(NOBODY)
    for day, faults in enumerate(((incident(),), (), ())):
        dispatcher.report(look(*faults, days=day))
    dated = incident(since=MAY - timedelta(days=1))
    assert [Page.stored(row.page) for row in Incidents(db).undelivered("flights")] == [
        page(dated, kind="open", project=routed),
        page(dated, kind="resolved", project=routed, ends=MAY + timedelta(days=2)),
    ]


def test_a_page_has_an_id_of_its_own_for_each_event_and_the_same_key_on_all_of_them() -> None:
    told = [page(incident(), kind=kind, project=project()) for kind in ("open", "resolved", "open")]
    later = page(incident(since=MAY + timedelta(days=60)), kind="open", project=project())
    first, over, again = (each.id for each in told)
    assert first == again
    assert len({first, over, later.id}) == 3
    assert {each.key for each in (*told, later)} == {"flights:drift"}


def test_a_page_that_cannot_be_read_is_a_failed_delivery_and_holds_up_no_other_route(
    db: Database, settings: Settings, receiver: WebhookReceiver
) -> None:
    number, _ = Incidents(db).see(incident())
    Incidents(db).queue(number, route_name(NOBODY), "open", {"title": "t", "body": "b"})
    both = look(incident(), incident("rollback"))
    told = Dispatcher(db, project(NOBODY, receiver.url), settings).report(both)
    assert told.failed == (f"{route_name(NOBODY)}: page 1 cannot be read (KeyError)",)
    assert len(receiver.pages) == 2


def test_a_page_of_hostile_text_calls_nobody_and_adds_no_line(receiver: WebhookReceiver, hostile: str) -> None:
    ill = incident(
        hostile,
        title=hostile,
        columns=(hostile,) * 7,
        evidence={hostile: hostile},
        links={hostile: hostile, "2": "http://a.example"},
    )
    told = replace(project(), owner=hostile, runbook=hostile)
    plain = page(
        incident(evidence={"drifted": "7"}, links={"x": "x", "2": "http://a.example"}), kind="open", project=project()
    )
    for kind in ("open", "resolved"):
        assert deliver(page(ill, kind=kind, project=told), receiver.url) == ""
    opened, resolved = ((each["title"], each["message"]) for each in receiver.pages)
    assert len(opened[1].splitlines()) == len(plain.body.splitlines())
    for text in (*opened, *resolved):
        assert not re.search(r"@(channel|everyone)|<[!@]|\]\(|evil\.example/|https?://(?!a\.example)", text)
        assert not set(text) & set("\x1b\x07\u202e\u2066\r\x00")
        assert "gnp.exe" in text
    assert "- 2: http://a.example" in opened[1]


def test_an_incident_pages_once_and_resolves_itself(
    db: Database, settings: Settings, receiver: WebhookReceiver
) -> None:
    dispatcher = Dispatcher(db, project(receiver.url), settings)
    first = dispatcher.report(look(incident()))
    assert (len(first.opened), first.pages, first.failed) == (1, 1, ())
    for day in (1, 2):
        again = dispatcher.report(look(incident(), days=day))
        assert (again.opened, again.pages) == ((), 0)
    assert dispatcher.report(look(days=3)).resolved == (), "one look may be luck"
    over = dispatcher.report(look(days=4))
    assert [each.key for each in over.resolved] == ["flights:drift"]
    assert dispatcher.report(look(days=5)).pages == 0
    assert [(each["title"], each["type"]) for each in receiver.pages] == [
        ("[flights] warning: drift: 7 columns", "warning"),
        ("[flights] resolved: drift: 7 columns", "success"),
    ]
    assert "Top columns: temp, dewp" in receiver.pages[0]["message"]
    assert len(dispatcher.report(look(incident(), days=6)).opened) == 1, "after it was over it is a new incident"


def test_a_dead_route_neither_raises_nor_holds_up_the_others_nor_tells_its_secrets(
    db: Database, settings: Settings, receiver: WebhookReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    dispatcher = Dispatcher(db, project(NOBODY, receiver.url), settings)
    told = dispatcher.report(look(incident()))
    assert (told.pages, len(receiver.pages)) == (1, 1)
    (failure,) = told.failed
    assert failure.startswith("json-")
    kept = " ".join(str(row) for row in Incidents(db).undelivered())
    for secret in ("hunter2", "token-abcdef", "oncall"):
        assert secret not in failure + caplog.text + kept
    assert "hunter2" not in (settings.home / "fullcircle.db").read_bytes().decode("latin1")


def test_what_failed_is_tried_again_in_order(db: Database, settings: Settings, receiver: WebhookReceiver) -> None:
    broken = Dispatcher(db, project(NOBODY), settings)
    for day, faults in enumerate(((incident(),), (), ())):
        broken.report(look(*faults, days=day))
    assert len(Incidents(db).undelivered("flights")) == 2
    mended = Dispatcher(db, project(receiver.url), settings)
    assert mended.flush().pages == 2
    assert [each["title"].split()[1] for each in receiver.pages] == ["warning:", "resolved:"]
    assert mended.flush().pages == 0


def test_without_routes_incidents_are_still_recorded(db: Database, settings: Settings) -> None:
    told = Dispatcher(db, project(), settings).report(look(incident(), incident("degraded")))
    assert (len(told.opened), told.pages, told.failed) == (2, 0, ())
    assert len(Incidents(db).open("flights")) == 2


def test_an_incident_of_another_project_is_a_mistake(db: Database, settings: Settings) -> None:
    with pytest.raises(ValueError, match="is of project 'other', not 'flights'"):
        Dispatcher(db, project(), settings).report(look(incident(project="other")))
    assert Incidents(db).all("other") == []


@pytest.mark.parametrize("url", ["", "nonsense", "nosuch://host/token", "json://"])
def test_a_route_that_is_no_route_is_a_failed_delivery(url: str) -> None:
    assert deliver(page(incident(), kind="open", project=project()), url)


words = st.text(alphabet=string.ascii_letters + string.digits + "-_.+$", min_size=4, max_size=20)


@given(user=words, password=words, token=words, before=words)
def test_no_part_of_a_route_survives_the_scrub(user: str, password: str, token: str, before: str) -> None:
    url = f"slack://{user}:{password}@host.example/{token}?key={token}"
    told = scrub(f"{before} cannot post to {url}\nwith {token} as {user}:{password}", url)
    for secret in (user, password, token):
        assert (
            secret.lower() not in told.lower().replace(before.lower(), "") or secret.lower() in "cannot post to with as"
        )
    assert "\n" not in told


@given(url=st.text(max_size=60))
def test_a_route_is_named_without_its_secrets(url: str) -> None:
    name = route_name(url)
    assert name == route_name(url)
    assert len(name) <= 63
    assert url.partition("://")[2] not in name or len(url.partition("://")[2]) < 3


def test_the_receiver_refuses_what_is_not_a_page(receiver: WebhookReceiver) -> None:
    url = receiver.url.replace("json://", "http://")
    for body, status in ((b"[1]", 400), (b"{", 400)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(url, data=body))
        assert refusal.value.code == status
        refusal.value.close()
    assert receiver.pages == []
