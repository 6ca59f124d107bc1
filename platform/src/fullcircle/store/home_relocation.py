"""Relocation of a moved home: recognised when one of its databases is opened, and mended there.

MLflow and Prefect keep absolute paths in their tables. Each database that may hold some is looked at by whoever opens
it, once after the home was moved or copied: what led into the former place leads into the present one afterwards, so
that a copy never writes into the home that it was copied from (docs/adr/0090).

    <home>/home.json    for each database: where the home lay when its paths were last right, and before
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from fullcircle.core.errors import FullcircleError
from fullcircle.core.settings import Settings, home_unwritable
from fullcircle.core.system.files import write_whole
from fullcircle.store.file_locks import exclusive

RECORD = "home.json"
FORMAT = 1
BUSY_TIMEOUT_S = 30.0
_FORMER = 20
"""So many former places are remembered: a process that was started before a move may still write the last ones."""

_WRITTEN: tuple[tuple[str, Callable[[str], str]], ...] = (
    (r"(?:(?<=file://)|(?<=file:))", quote),
    (r'(?<=")', lambda path: json.dumps(path)[1:-1]),
    (r"\A", str),
)
"""How a path is written where: in a URI, in JSON, and as a text of its own."""

Mend = Callable[[Sequence[Path]], None]
"""Makes right what a store says of the former places. Called again after a kill: safe to repeat."""


def settle(settings: Settings, store: str, mend: Mend) -> None:
    """Call `mend` if the home does not lie where it lay when this store's paths were last right, or nobody knows.

    Cheap when it does: one small file is read. Safe in two processes at once, and after kill -9 in the middle.

    Args:
        store: what is mended, `mlflow` or the like.
        mend: takes the former places, the latest first; none for a home that was made before places were recorded.

    Raises:
        HomeUnwritable: the home cannot be written.
        FullcircleError: a newer version recorded its places.
    """
    home = settings.home
    if places(home, store)[:1] == (home,) or not home.is_dir():
        return
    with exclusive(settings.folder("locks") / "moving.lock"):
        before = places(home, store)
        if before[:1] == (home,):  # another process was faster
            return
        mend([each for each in before if each != home])
        known = _recorded(home)
        kept = [str(home), *(str(each) for each in before if each != home)][:_FORMER]
        record = {"format": FORMAT, "places": {**known, store: kept}}
        try:
            write_whole(home / RECORD, json.dumps(record, indent=2) + "\n", durable=True)
        except OSError as error:
            raise home_unwritable(home, error) from error


def places(home: Path, store: str) -> tuple[Path, ...]:
    """Where the home lay when this store's paths were last right, and before that; empty when nobody knows."""
    return tuple(Path(str(each)) for each in _recorded(home).get(store, ()))


def relocated(text: str, former: Path, home: Path) -> str:
    """The text with each path, or `file:` URI, at or beneath `former` leading into `home`. Pure; changes nothing twice.

    A path is taken for one where the text begins with it, or a quote or a scheme stands before it: `/a` is not in
    `/mnt/a`, and not the beginning of `/ab`.
    """
    if former in (home, Path(former.anchor)):  # everything is beneath the root
        return text
    for here, written in _WRITTEN:
        names = {written(str(former)): written(str(home)), written(str(home)): written(str(home))}
        # The longer one first, and what leads into the present home stays: one may lie beneath the other.
        either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        pattern = rf'{here}({either})(?=["/]|\Z)'
        text = re.sub(pattern, partial(_instead, names), text)
    return text


def relocate(file: Path, columns: Mapping[str, Sequence[str]], former: Sequence[Path], home: Path) -> int:
    """`relocated` for columns of a SQLite file, table -> columns, in one transaction; how many values were changed.

    What the file does not have of it is passed over: it may be of another version of its tool.

    Raises:
        sqlite3.Error: it cannot be read or written; nothing was changed.
    """
    with contextlib.closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as connection:
        connection.create_function("relocated", 1, lambda text: _through(text, former, home), deterministic=True)
        connection.execute("BEGIN IMMEDIATE")
        changed = 0
        for table, column in _existing(connection, columns):
            changed += connection.execute(
                f'UPDATE "{table}" SET "{column}" = relocated("{column}") '  # noqa: S608 - names of our own tables
                f'WHERE typeof("{column}") = \'text\' AND relocated("{column}") <> "{column}"'
            ).rowcount
        connection.execute("COMMIT")
        return changed


def _through(text: str, former: Sequence[Path], home: Path) -> str:
    for each in former:
        text = relocated(text, each, home)
    return text


def _instead(names: Mapping[str, str], found: re.Match[str]) -> str:
    return names[found[1]]


def _existing(connection: sqlite3.Connection, columns: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    found = []
    for table, names in columns.items():
        there = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
        found += [(table, name) for name in names if name in there]
    return found


def _recorded(home: Path) -> Mapping[str, list[str]]:
    try:
        value = json.loads((home / RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):  # nobody knows, as in a home of before: it is looked at again
        return {}
    if not isinstance(value, dict):
        return {}
    if isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise FullcircleError(
            f"{home / RECORD} has format {value['format']}, this fullcircle reads up to {FORMAT}",
            hint="the home was used by a newer fullcircle: upgrade this one; nothing was changed",
        )
    known = value.get("places")
    return {name: each for name, each in known.items() if isinstance(each, list)} if isinstance(known, dict) else {}
