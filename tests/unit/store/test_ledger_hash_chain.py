"""The ledger's chain: whatever is edited, removed or reordered in it is found, and two writers never fork it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.ledger_entries import (
    Action,
    Aliases,
    Entry,
    Head,
    after,
    current,
    serving_at,
    timeline,
    waiting,
)
from fullcircle.core.records.releases import Release
from fullcircle.core.settings import Settings
from fullcircle.store.champion_ledger import Ledger, faults, follow, hash_of
from fullcircle.store.database import Database
from fullcircle.store.json_values import to_plain
from fullcircle.store.releases import Releases

APRIL = datetime(2013, 4, 1, tzinfo=UTC)
COLUMNS = [field.name for field in dataclasses.fields(Entry)]

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
versions = st.none() | st.integers(1, 99).map(str)
times = st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2099, 1, 1))  # noqa: DTZ001
contents = st.fixed_dictionaries(
    {
        "project": st.just("p"),
        "data_until": st.none() | times,
        "action": st.sampled_from(Action),
        "version": st.integers(1, 99).map(str),
        "previous": versions,
        "who": words,
        "why": words,
        "verdict": st.sampled_from(["", "promote", "reject"]),
        "model_digest": words,
        "data_digest": words,
        "aliases": st.builds(Aliases, champion=versions, challenger=versions, previous=versions),
    }
)


@st.composite
def chains(draw: st.DrawFn, least: int = 1) -> list[Entry]:
    chain: list[Entry] = []
    for content in draw(st.lists(contents, min_size=least, max_size=6)):
        chain.append(follow(chain[-1] if chain else None, content, clock=draw(times)))
    return chain


def head_of(chain: list[Entry]) -> Head:
    return Head(seq=chain[-1].seq, hash=chain[-1].hash)


def other(value: Any, draw: st.DrawFn, field: str = "") -> Any:
    """Another value of the same kind."""
    match value:
        case Action():
            return draw(st.sampled_from([each for each in Action if each is not value]))
        case None if field == "data_until":
            return APRIL
        case datetime():
            return value + timedelta(microseconds=draw(st.integers(1, 10**12)))
        case int():
            return value + draw(st.integers(1, 9))
        case Aliases():
            return dataclasses.replace(value, champion=other(value.champion, draw))
        case _:
            return f"{value or ''}{draw(st.sampled_from(['x', ' ', '0']))}"


@given(chains())
def test_a_chain_that_nobody_touched_holds(chain: list[Entry]) -> None:
    assert faults(chain, head_of(chain)) == ()


@given(chains(), st.data())
def test_any_edit_of_any_field_is_found_at_its_entry(chain: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    field = data.draw(st.sampled_from(COLUMNS))
    value = other(getattr(chain[place], field), data.draw, field)
    edited = [*chain]
    edited[place] = dataclasses.replace(chain[place], **{field: value})
    assert edited[place].seq in {fault.entry for fault in faults(edited)}


@given(chains(), st.data())
def test_any_removed_entry_is_found(chain: list[Entry], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    left = chain[:place] + chain[place + 1 :]
    (fault,) = faults(left, head_of(chain))
    assert f"entry {place + 1} is missing" in fault.what
    assert fault.entry == (place + 2 if place + 1 < len(chain) else None)


@given(chains(least=2), st.data())
def test_any_two_swapped_entries_are_found_by_name(chain: list[Entry], data: st.DataObject) -> None:
    one, two = sorted(data.draw(st.sets(st.integers(0, len(chain) - 1), min_size=2, max_size=2)))
    swapped = [*chain]
    swapped[one] = dataclasses.replace(chain[two], seq=one + 1)
    swapped[two] = dataclasses.replace(chain[one], seq=two + 1)
    found = {fault.entry: fault.what for fault in faults(swapped)}
    assert found[one + 1] == f"it was written as entry {two + 1}: the entries were reordered"
    assert found[two + 1] == f"it was written as entry {one + 1}: the entries were reordered"


@given(chains(), st.data())
def test_a_chain_that_was_computed_anew_from_an_edit_on_is_found_by_the_head_alone(
    chain: list[Entry], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(chain) - 1))
    forged = chain[:place]
    for entry in chain[place:]:
        why = entry.why + ", or so they say" if entry is chain[place] else entry.why
        made = dataclasses.replace(entry, why=why, previous_hash=forged[-1].hash if forged else "")
        forged.append(dataclasses.replace(made, hash=hash_of(made)))
    assert faults(forged) == ()
    (fault,) = faults(forged, head_of(chain))
    assert (fault.entry, "written anew" in fault.what) == (len(chain), True)


def change(version: str, action: Action = Action.PROMOTE, previous: str | None = None, days: int = 0) -> Release:
    at = APRIL + timedelta(days=days)
    return Release(
        project="p", version=version, previous=previous, at=at, reason="r", decided_by="d", action=action.value
    )


def write(db: Database, *changes: Release, verdict: str = "promote") -> list[Entry]:
    aliases = Aliases()
    for each in changes:
        aliases = after(aliases, each)
        Ledger(db, clock=lambda at=each.at: at).append(
            each, aliases=aliases, verdict=verdict, model_digest="m" + each.version, data_digest="d"
        )
    return Ledger(db).entries("p")


def test_entries_come_back_as_they_were_appended(db: Database) -> None:
    ledger = Ledger(db)
    made = [
        ledger.append(change(str(number), previous=None), aliases=Aliases(champion=str(number))) for number in (1, 2, 3)
    ]
    assert ledger.entries("p") == made
    assert [each.seq for each in made] == [1, 2, 3]
    assert faults(ledger.entries("p")) == ()
    assert ledger.append(dataclasses.replace(change("1"), project="q"), aliases=Aliases()).seq == 1
    assert ledger.projects() == ["p", "q"]


def raw(settings: Settings, db: Database, *statements: str) -> None:
    """What somebody with the file and without scruples does."""
    db.close()
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db")) as connection:
        for statement in ("DROP TRIGGER ledger_no_update", "DROP TRIGGER ledger_no_delete", *statements):
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("column", COLUMNS)
def test_an_edit_of_any_column_in_the_file_is_found(settings: Settings, db: Database, column: str) -> None:
    write(db, change("1"), change("2", previous="1"), change("3", previous="2"))
    value = {
        "seq": "9",
        "at": "'2013-04-01 00:00:00.000001'",
        "recorded": "'2001-01-01 00:00:00.000000'",
        "aliases": """'{"champion": "7", "challenger": null, "previous": null}'""",
        "format": "1",
        "action": "'rollback'",
        "data_until": "'2013-04-01 00:00:00.000001'",
        "identity": """'{"user": "ceo"}'""",
    }.get(column, "'other'")
    raw(settings, db, f"UPDATE ledger SET {column} = {value} WHERE seq = 2")
    found = faults(Ledger(Database(settings)).entries("p"))
    assert found, f"an edited {column} went unseen"
    assert {2, 3, 9} & {fault.entry for fault in found}


@pytest.mark.parametrize("edit", ["action = 'x'", "aliases = 'x'", "aliases = '[1]'", "at = 'x'", "recorded = 5"])
def test_an_edit_that_cannot_even_be_read_names_the_entry(settings: Settings, db: Database, edit: str) -> None:
    write(db, change("1"), change("2", previous="1"))
    raw(settings, db, f"UPDATE ledger SET {edit} WHERE seq = 2")
    with pytest.raises(FullcircleError, match="entry 2 of the ledger of p was edited: it cannot be read"):
        Ledger(Database(settings)).entries("p")


@pytest.mark.parametrize("statement", ["UPDATE ledger SET why = 'x'", "DELETE FROM ledger"])
def test_the_database_itself_lets_no_entry_be_changed(settings: Settings, db: Database, statement: str) -> None:
    write(db, change("1"))
    db.close()
    refused = pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only")
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db")) as connection, refused:
        connection.execute(statement)


def test_a_ledger_of_a_newer_version_is_refused_and_left_as_it_is(settings: Settings, db: Database) -> None:
    write(db, change("1"))
    raw(settings, db, "UPDATE ledger SET format = 4")
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db")) as connection:
        before = list(connection.iterdump())
    for act in (
        lambda ledger: ledger.entries("p"),
        lambda ledger: ledger.append(change("2", previous="1"), aliases=Aliases()),
    ):
        with pytest.raises(
            FullcircleError, match=r"format 4, this fullcircle knows up to 3; it was written by a newer"
        ):
            act(Ledger(Database(settings)))
    with contextlib.closing(sqlite3.connect(settings.home / "fullcircle.db")) as connection:
        assert list(connection.iterdump()) == before


def test_an_entry_and_the_end_of_its_release_are_written_together_or_not_at_all(db: Database) -> None:
    releases, ledger = Releases(db), Ledger(db)
    number = releases.begin(change("1"))

    def cut_short() -> None:
        with db.session():
            assert releases.complete(number)
            ledger.append(change("1"), aliases=Aliases(champion="1"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        cut_short()
    assert (len(releases.pending("p")), ledger.entries("p")) == (1, [])
    assert (releases.complete(number), releases.complete(number)) == (True, False)


def test_two_processes_that_append_at_once_do_not_fork_the_chain(settings: Settings) -> None:
    program = (
        "import sys; from datetime import datetime, UTC; from fullcircle.core.records.ledger_entries import Aliases;"
        "from fullcircle.core.records.releases import Release; from fullcircle.core.settings import Settings;"
        "from fullcircle.store.database import Database; from fullcircle.store.champion_ledger import Ledger;"
        "ledger = Ledger(Database(Settings.from_env({'FULLCIRCLE_HOME': sys.argv[1]})));"
        "[ledger.append(Release(project='p', version=str(n), previous=None, at=datetime.now(UTC), reason='',"
        " decided_by=sys.argv[2]), aliases=Aliases()) for n in range(25)]"
    )
    command = [sys.executable, "-c", program, str(settings.home)]
    started = [subprocess.Popen([*command, who], stderr=subprocess.PIPE) for who in ("a", "b")]
    assert [each.communicate()[1].decode() for each in started] == ["", ""]
    entries = Ledger(Database(settings)).entries("p")
    assert faults(entries) == ()
    assert [each.seq for each in entries] == list(range(1, 51))
    for who in ("a", "b"):
        assert [each.version for each in entries if each.who == who] == [str(number) for number in range(25)]


def test_who_served_is_told_to_the_moment(db: Database) -> None:
    entries = write(db, change("1"), change("2", previous="1", days=30), change("1", Action.ROLLBACK, "2", days=40))
    moments = {
        -1: None,
        0: ("1", Action.PROMOTE, APRIL),
        29: ("1", Action.PROMOTE, APRIL),
        30: ("2", Action.PROMOTE, APRIL + timedelta(days=30)),
        99: ("1", Action.ROLLBACK, APRIL + timedelta(days=40)),
    }
    for days, expected in moments.items():
        found = serving_at(entries, APRIL + timedelta(days=days))
        assert (found and (found.version, found.action, found.at)) == expected
    just_before = serving_at(entries, APRIL + timedelta(days=30) - timedelta(microseconds=1))
    assert just_before is not None
    assert just_before.version == "1"


def test_a_nomination_does_not_change_who_served(db: Database) -> None:
    entries = write(
        db,
        change("1"),
        change("2", Action.NOMINATE, "1", days=10),
        change("2", Action.APPROVE, "1", days=20),
    )
    served = [serving_at(entries, APRIL + timedelta(days=days)) for days in (12, 25)]
    assert [(each.version, each.seq) for each in served if each] == [("1", 1), ("2", 3)]


def test_a_clock_that_was_set_back_does_not_put_a_release_before_the_one_that_it_followed(db: Database) -> None:
    entries = write(db, change("1"), change("2", previous="1", days=-2), change("3", previous="2", days=1))
    assert [each.at - APRIL for each in entries] == [timedelta(0), timedelta(0), timedelta(days=1)]
    assert [each.recorded - APRIL for each in entries] == [timedelta(days=days) for days in (0, -2, 1)]
    served = [serving_at(entries, APRIL + timedelta(days=days)) for days in (-1, 0.5, 2)]
    assert [each and each.version for each in served] == [None, "2", "3"]
    assert faults(entries) == ()


@given(st.lists(times, min_size=1, max_size=8))
def test_ledger_time_never_goes_back_and_never_lags_behind_the_clock(clocks: list[datetime]) -> None:
    chain: list[Entry] = []
    for number, clock in enumerate(clocks):
        said = dataclasses.asdict(change(str(number)))
        content = {"project": "p", "action": Action.PROMOTE, "version": said["version"], "previous": None, "who": ""}
        content |= {"why": "", "verdict": "", "model_digest": "", "data_digest": "", "aliases": Aliases(champion="1")}
        chain.append(follow(chain[-1] if chain else None, content, clock=clock))
    held = [each.at for each in chain]
    assert held == sorted(held)
    assert all(each.at >= each.recorded for each in chain)
    assert [each.recorded for each in chain] == clocks
    assert timeline(chain) == held
    now = max([*held, clocks[-1]])
    found = serving_at(chain, now)
    assert found is not None
    assert current(chain) == chain[-1].aliases, "what was written last serves now, whatever the clock says"


def of_format_1(chain: list[Entry], claimed: list[datetime]) -> list[Entry]:
    """The entries as the code before ledger time wrote them."""
    old: list[Entry] = []
    for entry, at in zip(chain, claimed, strict=True):
        before = old[-1].hash if old else ""
        made = dataclasses.replace(entry, at=at, format=1, data_until=None, identity=None, previous_hash=before)
        old.append(dataclasses.replace(made, hash=hash_of(made)))
    return old


@given(chains(), st.data())
def test_entries_of_format_1_keep_their_hashes_and_nothing_can_be_added_to_them(
    chain: list[Entry], data: st.DataObject
) -> None:
    old = of_format_1(chain, [data.draw(times) for _ in chain])
    assert faults(old) == ()
    text = json.dumps(
        {name: value for name, value in to_plain(old[0]).items() if name not in ("hash", "data_until", "identity")},
        sort_keys=True,
        separators=(",", ":"),
    )
    assert old[0].hash == hashlib.sha256(text.encode()).hexdigest(), "as it was computed before there was format 2"
    place = data.draw(st.integers(0, len(old) - 1))
    added = [*old]
    added[place] = dataclasses.replace(old[place], data_until=data.draw(times))
    assert old[place].seq in {fault.entry for fault in faults(added)}


def test_what_follows_an_entry_that_claimed_a_time_is_of_the_clock_again(db: Database) -> None:
    (made,) = write(db, change("1"))
    claims = [APRIL - timedelta(days=3000), APRIL + timedelta(days=3000)]
    for claimed, shown in zip(claims, (claims[0], made.recorded), strict=True):
        (old,) = of_format_1([made], [claimed])
        content = {name: getattr(made, name) for name in ("project", "action", "version", "previous", "who", "why")}
        content |= {name: getattr(made, name) for name in ("verdict", "model_digest", "data_digest", "aliases")}
        new = follow(old, content, clock=APRIL - timedelta(hours=2))
        assert new.at == made.recorded, "and not before the other one was written"
        assert timeline([old, new]) == [shown, made.recorded]
        assert faults([old, new]) == ()


def test_in_a_replay_an_entry_holds_in_the_time_of_the_data(db: Database) -> None:
    ledger = Ledger(db)
    for version, days in (("1", 0), ("2", 30)):
        dated = dataclasses.replace(change(version), data_until=APRIL + timedelta(days=days))
        ledger.append(dated, aliases=Aliases(champion=version))
    entries = ledger.entries("p")
    moments = [APRIL + timedelta(days=days) for days in (-1, 0, 29, 30)]
    found = [serving_at(entries, moment, replayed=True) for moment in moments]
    assert [each and each.version for each in found] == [None, "1", "1", "2"]
    assert serving_at(entries, APRIL + timedelta(days=99)) is None, "on the clock it serves since today"


def test_a_challenger_waits_until_it_is_approved_rejected_or_replaced(db: Database) -> None:
    entries = write(db, change("1"), change("2", Action.NOMINATE, "1"), change("3", Action.NOMINATE, "1"))
    assert waiting(entries[:1]) is None
    assert [(waits.version if waits else None) for waits in (waiting(entries[:2]), waiting(entries))] == ["2", "3"]
    for ending in (change("3", Action.APPROVE, "1"), change("3", Action.REJECT, "1")):
        aliases = after(entries[-1].aliases, ending)
        assert aliases.challenger is None
    kept = after(entries[-1].aliases, change("1", Action.ROLLBACK, "1"))
    assert kept.challenger == "3"


def test_a_challenger_that_did_not_pass_does_not_wait(db: Database) -> None:
    assert waiting(write(db, change("1"), change("2", Action.NOMINATE, "1"), verdict="reject")) is None
