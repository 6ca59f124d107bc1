"""Two-phase records of alias changes, so that a kill in the middle leaves a row that says what to mend."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from fullcircle.core.errors import FullcircleError
from fullcircle.core.records.releases import Release
from fullcircle.store.database import Database
from fullcircle.store.schema import releases

PENDING, COMPLETE, ABANDONED = "pending", "complete", "abandoned"


@dataclass(frozen=True, kw_only=True)
class ReleaseRow:
    """A release as it was recorded.

    Attributes:
        state: `pending` (begun, aliases perhaps half moved), `complete` or `abandoned`.
        why: why it was abandoned, else "".
        begun, ended: on the clock, not in the time of the data.
    """

    id: int
    release: Release
    state: str
    why: str
    begun: datetime
    ended: datetime | None


class Releases:
    """Releases and other changes of aliases. At most one a project is pending; the database itself holds that."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def begin(self, release: Release) -> int:
        """Record that a release is about to happen, before any alias moves. Returns its id.

        Beginning the pending release again returns its id. Raises FullcircleError while another one is pending.
        """
        with self._db.session() as session:
            pending = self._pending(release.project)
            if pending is None:
                fields = {name: getattr(release, name) for name in Release.__dataclass_fields__}
                values = fields | {"state": PENDING, "why": "", "begun": datetime.now(UTC), "ended": None}
                try:
                    with session.begin_nested():
                        return int(session.execute(insert(releases).returning(releases.c.id), values).scalar_one())
                except IntegrityError:  # another process began one since we looked
                    pending = self._pending(release.project)
                    if pending is None:
                        raise
            if (pending["version"], pending["action"]) == (release.version, release.action):
                return int(pending["id"])
        raise FullcircleError(
            f"version {release.version} of {release.project} cannot be released: the release of version "
            f"{pending['version']} was begun at {pending['begun']:%Y-%m-%d %H:%M} UTC and never ended",
            hint="complete or abandon that one first",
        )

    def complete(self, release_id: int) -> bool:
        """Record that the aliases have moved. Safe to call twice; ValueError when it was abandoned or never begun.

        Returns whether it was this call that completed it: what goes with it is then to be done, once.
        """
        return self._end(release_id, COMPLETE, "")

    def abandon(self, release_id: int, why: str) -> bool:
        """Record that it did not happen. Safe to call twice; ValueError when it was completed or never begun."""
        return self._end(release_id, ABANDONED, why)

    def pending(self, project: str) -> list[ReleaseRow]:
        """Releases that were begun and not ended: at the start of a program, what a kill left behind."""
        return [row for row in self.history(project) if row.state == PENDING]

    def history(self, project: str) -> list[ReleaseRow]:
        """All releases of a project, oldest first."""
        with self._db.session() as session:
            asked = select(releases).where(releases.c.project == project).order_by(releases.c.id)
            return [_row(each) for each in session.execute(asked).mappings()]

    def _pending(self, project: str) -> RowMapping | None:
        with self._db.session() as session:
            where = (releases.c.project == project, releases.c.state == PENDING)
            return session.execute(select(releases).where(*where)).mappings().first()

    def _end(self, release_id: int, state: str, why: str) -> bool:
        with self._db.session() as session:
            asked = select(releases.c.state).where(releases.c.id == release_id).with_for_update()
            found = session.execute(asked).scalar()
            if found == state:
                return False
            if found != PENDING:
                raise ValueError(f"release {release_id} cannot become {state}: it is {found or 'not known'}")
            values = {"state": state, "why": why, "ended": datetime.now(UTC)}
            session.execute(update(releases).where(releases.c.id == release_id).values(values))
            return True


def _row(row: RowMapping) -> ReleaseRow:
    release = Release(**{name: row[name] for name in Release.__dataclass_fields__})
    return ReleaseRow(release=release, **{name: row[name] for name in ("id", "state", "why", "begun", "ended")})
