"""Two-phase update of the registry's aliases with crash recovery; each change gets exactly one ledger entry.

Changes of one project take turns, on all machines: each holds a lease in the store. First the intent is written there,
in a transaction that is refused when the champion changed since the verdict, or when who decided was given up. Then the
aliases are moved, `previous` first: a kill in between leaves both naming the old champion, which still serves. Then, in
one transaction, the intent is marked done, the ledger gets its entry, and the page about a challenger that waits is
queued. Last, the ledger's head is kept in the registry. Whoever comes next settles what a kill left: finishes an intent
whose graph loads, and undoes one whose graph does not.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TypedDict

from fullcircle.alerting.dispatch import Dispatcher
from fullcircle.core.errors import ChampionChanged, FullcircleError, LeaseLost, ModelUnavailable
from fullcircle.core.project import Project
from fullcircle.core.records.ledger_entries import (
    RELEASING,
    Action,
    Aliases,
    Entry,
    Head,
    Judged,
    after,
    current,
    waiting,
)
from fullcircle.core.records.releases import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion, Release
from fullcircle.core.system.outages import patient
from fullcircle.graph.onnx_session import Graph
from fullcircle.loop import progress
from fullcircle.loop.outage_retry import patience
from fullcircle.loop.promotion.approval_notice import review
from fullcircle.loop.workspace import Workspace
from fullcircle.store.champion_ledger import Ledger
from fullcircle.store.database import Database
from fullcircle.store.leases import TTL_S, Lease, Leases, held
from fullcircle.store.releases import COMPLETE, Releases
from fullcircle.tracking.registry.ledger_head import LedgerHeadStore
from fullcircle.tracking.runs.run_schema import DATA_DIGEST
from fullcircle.tracking.ui.ui_links import release_tags


class ChangeReason(TypedDict, total=False):
    """What an entry says of its version beside its number."""

    verdict: str
    model_digest: str
    data_digest: str


@contextlib.contextmanager
def alias_transition(
    project: Project, workspace: Workspace, *, lease: Lease | None = None, ttl_s: float = TTL_S
) -> Iterator[AliasTransition]:
    """Hold the project's aliases while the block changes them; pages that wait go out after it.

    Args:
        lease: in whose name it changes them: of a retrain, which may have been given up meanwhile.

    Raises:
        LeaseLost: one of the two leases is another one's by now. What this process moved since is put back.
    """
    db = workspace.database
    transition: AliasTransition | None = None
    with patient(patience(workspace.settings)):
        try:
            with _turn(db, project, ttl_s) as turn:
                transition = AliasTransition(project, workspace, db, turn, lease)
                yield transition
        except LeaseLost:
            if transition is not None and transition.moved_by_us:
                with _turn(db, project, ttl_s) as turn:
                    AliasTransition(project, workspace, db, turn, None).put_back(transition.moved_by_us)
            raise
        Dispatcher(db, project, workspace.settings).flush()


def _turn(db: Database, project: Project, ttl_s: float) -> contextlib.AbstractContextManager[Lease]:
    doing = f"another change of the aliases of {project.name}"
    return held(db, f"aliases:{project.name}", doing, waits=progress.current().note, ttl_s=ttl_s)


class AliasTransition:
    """The changes of one project's aliases, to be made while `alias_transition` holds them.

    Attributes:
        moved_by_us: alias -> version (None: dropped), of those that were moved and are in no entry yet.
    """

    def __init__(
        self, project: Project, workspace: Workspace, db: Database, turn: Lease, deciding: Lease | None
    ) -> None:
        self.project = project
        self.db = db
        self.moved_by_us: dict[str, str | None] = {}
        self._turn = turn
        self._deciding = (turn, deciding) if deciding else (turn,)
        self._leases = Leases(db)
        self.ledger = Ledger(self.db)
        self.registry = workspace.registry
        self.ledger_head = LedgerHeadStore(workspace.settings)
        self._workspace = workspace
        self._releases = Releases(self.db)

    def settle(self) -> tuple[str, ...]:
        """Finish or undo what a kill left behind. Returns a sentence for each; safe to call twice."""
        self._begin_ledger()
        said = []
        for row in self._releases.pending(self.project.name):
            intent = row.release
            try:
                if intent.action in RELEASING:
                    loads(self._workspace, self.registry.version(self.project.name, intent.version))
                self.require_registered(after(self._before(), intent))
            except LeaseLost:
                raise
            except FullcircleError as error:
                self._undo(intent)
                with self.db.session():
                    self._leases.check(self._turn)
                    self._releases.abandon(row.id, str(error))
                said.append(f"undid the unfinished {_called(intent)} of version {intent.version}: {error.what}")
            else:
                self._finish(row.id, intent)
                said.append(f"finished the {_called(intent)} of version {intent.version} that was cut short")
        self._keep_head()
        self._show_release()
        return tuple(said)

    def refuse_moved(self) -> None:
        """Raise FullcircleError when an alias does not name what the ledger says."""
        if moved := self.moved():
            name = self.project.name
            raise FullcircleError(
                f"{moved[0]}: it was moved behind the platform's back, so nothing is changed",
                hint=f"'fullcircle ledger heal {name} --why TEXT' puts it back, 'fullcircle ledger accept {name} "
                "--why TEXT' takes it as it is",
            )

    def require_registered(self, target: Aliases) -> None:
        """Raise ModelUnavailable when an alias is to name a version that somebody deleted in MLflow."""
        for alias, version in self._gone(target).items():
            name = self.project.name
            raise ModelUnavailable(
                f"version {version} of {name} is to be the {alias}, and it was deleted in MLflow",
                hint=f"'fullcircle ledger accept {name} --why TEXT' takes the aliases as they are now",
            )

    def _gone(self, target: Aliases) -> dict[str, str]:
        """Alias -> version, of those that are to move to a version that is not registered any more."""
        found = self.ledger_head.aliases(self.project.name).named()
        moves = {alias: version for alias, version in target.named().items() if found.get(alias) != version}
        known = {each.version for each in self.registry.versions(self.project.name)} if moves else set()
        return {alias: version for alias, version in moves.items() if version not in known}

    def moved(self) -> tuple[str, ...]:
        """A sentence for each alias that does not name what the ledger says."""
        name = self.project.name
        return differences(name, self.ledger.entries(name), self.ledger_head.aliases(name))

    def release(
        self,
        version: ModelVersion,
        *,
        action: Action,
        reason: str,
        decided_by: str,
        data_until: datetime | None = None,
        against: Judged | None = None,
    ) -> Release:
        """Make `version` the champion and the champion the previous one, after loading its graph.

        Args:
            data_until: the time of the data.
            against: what the verdict that it is released by was taken against.

        Raises:
            ModelUnavailable: when the graph does not load or its digest differs; nothing was changed then.
            ChampionChanged: another champion serves than the verdict was taken against; nothing was changed then.
        """
        self.refuse_moved()
        loads(self._workspace, version)
        champion = self.registry.alias(self.project.name, CHAMPION)
        self._refuse_changed(champion.version if champion else None, against)
        if champion is not None and champion.version == version.version:
            raise ModelUnavailable(f"version {version.version} of {self.project.name} is the champion already")
        intent = Release(
            project=self.project.name,
            version=version.version,
            previous=champion.version if champion else None,
            at=datetime.now(UTC),
            reason=reason,
            decided_by=decided_by,
            action=action.value,
            data_until=data_until,
        )
        self.change(intent, against=against)
        return intent

    def change(self, intent: Release, *, against: Judged | None = None) -> None:
        """Make any change: write down the intent, move the aliases, write it into the ledger.

        Raises:
            ChampionChanged: by the ledger, another champion serves than `against` and the intent say.
            LeaseLost: we were given up. Of both, nothing was changed then.
        """
        with self.db.session():
            self._leases.check(*self._deciding)
            if intent.action != Action.HEAL:
                champion = current(self.ledger.entries(self.project.name)).champion
                self._refuse_changed(champion, against)
                self._refuse_changed(champion, Judged(champion=intent.previous))
            number = self._releases.begin(intent)
        self._finish(number, intent)

    def put_back(self, moved: dict[str, str | None]) -> None:
        """Give aliases that one who had been given up moved all the same back to what the ledger says.

        The registry knows no tokens. Only what still names what it was moved to, in no entry of the ledger, is touched.
        """
        self.settle()
        wanted, found = (
            current(self.ledger.entries(self.project.name)).named(),
            self.ledger_head.aliases(self.project.name).named(),
        )
        for alias, version in moved.items():
            if found.get(alias) == version != wanted.get(alias):
                self._move(alias, wanted.get(alias))

    def accept(self, change: Release, found: Aliases) -> None:
        """Take the aliases as they were found: an entry, and no alias moves. The ledger's head is kept anew."""
        about = self._about(change.version)
        with self.db.session():
            self._leases.check(*self._deciding)
            entry = self.ledger.append(change, aliases=found, **about)
            self._tell(entry)
        self.ledger_head.save(self.project.name, Head(seq=entry.seq, hash=entry.hash))

    def _begin_ledger(self) -> None:
        """Write down the releases from before there was a ledger: the platform's own record has them."""
        name = self.project.name
        rows = [row for row in self._releases.history(name) if row.state == COMPLETE]
        made, ends = [row.release for row in rows], [row.ended or row.begun for row in rows]
        if self.ledger.entries(name) or not made:
            return
        about = [self._about(each.version) for each in made]
        aliases, challenger = Aliases(), self.ledger_head.aliases(name).challenger
        with self.db.session():
            self._leases.check(self._turn)
            for number, (each, known) in enumerate(zip(made, about, strict=True), start=1):
                aliases = after(aliases, each)
                if number == len(made):  # when it became the challenger nobody wrote down; by now it is
                    aliases = dataclasses.replace(aliases, challenger=challenger)
                dated = dataclasses.replace(each, data_until=each.data_until or each.at)
                self.ledger.append(dated, aliases=aliases, held=ends[number - 1], **known)

    def _finish(self, intent_id: int, intent: Release) -> None:
        target = after(self._before(), intent)
        about = self._about(intent.version)
        self._apply(target)
        with self.db.session():
            self._leases.check(self._turn)
            if self._releases.complete(intent_id):
                self._tell(self.ledger.append(intent, aliases=target, **about))
        self.moved_by_us.clear()
        self._keep_head()
        self._show_release()

    def _undo(self, intent: Release) -> None:
        entries, found = self.ledger.entries(self.project.name), self.ledger_head.aliases(self.project.name)
        if entries:
            gone = self._gone(current(entries))
            # What nobody can name any more stays as it was found: `verify` says so, and an undoing must not fail.
            self._apply(Aliases.of(current(entries).named() | {alias: found.named().get(alias) for alias in gone}))
        elif found.champion == intent.version:
            self._apply(dataclasses.replace(found, champion=intent.previous))

    def _before(self) -> Aliases:
        entries = self.ledger.entries(self.project.name)
        return current(entries) if entries else self.ledger_head.aliases(self.project.name)

    def _apply(self, target: Aliases) -> None:
        found, wanted = self.ledger_head.aliases(self.project.name).named(), target.named()
        for alias in (PREVIOUS, CHAMPION, CHALLENGER):
            if found.get(alias) != wanted.get(alias):
                self._move(alias, wanted.get(alias))

    def _move(self, alias: str, version: str | None) -> None:
        self._leases.check(self._turn)  # of a turn that was given up, as little as possible reaches the registry
        self.moved_by_us[alias] = version
        if version is None:
            self.registry.drop_alias(self.project.name, alias)
        else:
            self.registry.set_alias(self.project.name, alias, version)

    def _refuse_changed(self, champion: str | None, against: Judged | None) -> None:
        if against is not None and champion != against.champion:
            judged = f"version {against.champion}" if against.champion else "no champion"
            raise ChampionChanged(
                f"what was decided about {self.project.name} was decided against {judged}, and now {_shown(champion)} "
                "serves",
                champion=champion,
                hint=f"'fullcircle status {self.project.name}' says who serves since when",
            )

    def _about(self, version: str) -> ChangeReason:
        if not version:  # accepted without a champion
            return {}
        try:
            found = self.registry.version(self.project.name, version)
        except ModelUnavailable:  # rejected, or accepted as gone, after somebody deleted it
            return {}
        return {
            "model_digest": found.digest,
            "verdict": found.tags.get("fullcircle.verdict", ""),
            "data_digest": found.tags.get(DATA_DIGEST, ""),
        }

    def _tell(self, entry: Entry) -> None:
        """Queue what on-call is to hear of the change, in the transaction that writes it down."""
        waits = waiting(self.ledger.entries(self.project.name))
        if waits is None or waits == entry:
            found = [review(self.project, self._workspace.settings, entry)] if waits else []
            Dispatcher(self.db, self.project, self._workspace.settings).note(found, at=entry.at)

    def _keep_head(self) -> None:
        """Move the head that is kept in the registry up to the newest entry, unless it tells of a damage."""
        entries, kept = self.ledger.entries(self.project.name), self.ledger_head.head(self.project.name)
        newest = Head(seq=entries[-1].seq, hash=entries[-1].hash) if entries else None
        holds = kept is None or any((each.seq, each.hash) == (kept.seq, kept.hash) for each in entries)
        if newest is not None and newest != kept and holds:
            self.ledger_head.save(self.project.name, newest)

    def _show_release(self) -> None:
        """Let the registry show the newest release, by the ledger, with the version that it released."""
        made = [entry for entry in self.ledger.entries(self.project.name) if entry.action in RELEASING]
        if not made:
            return
        try:
            shown = self.registry.version(self.project.name, made[-1].version).tags
        except ModelUnavailable:  # somebody deleted it
            return
        tags = {key: value for key, value in release_tags(made[-1]).items() if shown.get(key) != value}
        self.registry.tag(self.project.name, made[-1].version, tags)


def differences(name: str, entries: Sequence[Entry], found: Aliases) -> tuple[str, ...]:
    """A sentence for each alias that names another version than the ledger says. Only a champion needs an entry."""
    expected = current(entries) if entries else dataclasses.replace(found, champion=None)
    pairs = [(alias, getattr(expected, alias), getattr(found, alias)) for alias in (CHAMPION, CHALLENGER, PREVIOUS)]
    return tuple(
        f"alias {alias} of {name} names {_shown(is_)}, the ledger says {_shown(should)}"
        for alias, should, is_ in pairs
        if should != is_
    )


def loads(workspace: Workspace, version: ModelVersion) -> None:
    """Load the version's graph. Raises ModelUnavailable when it does not load or its digest differs."""
    Graph.load(workspace.registry.graph(version), digest=version.digest)


def _shown(version: str | None) -> str:
    return f"version {version}" if version else "no version"


def _called(intent: Release) -> str:
    names = {Action.NOMINATE: "nomination", Action.REJECT: "rejection", Action.HEAL: "healing"}
    return names.get(Action(intent.action), "release")
