"""Names of a run's tags: what a reviewer reads, and what only programs read, which MLflow's page of a run hides. Pure.

MLflow's page shows every tag but those whose name begins with `mlflow.` (or `_mlflow_`, which its comparison of runs
shows all the same). A tag, and not an artifact, is what a search must find or what must be there as soon as the run is:
MLflow makes a run and its tags in one step. All else is in the artifact `provenance.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

PROJECT, KIND, REASON = "fullcircle.project", "fullcircle.kind", "fullcircle.reason"
"""Shown: of which project, what for (`retrain`, `candidate`, `train`, ...), and why it was asked for."""

HIDDEN = "mlflow.fullcircle."
PROCESS = f"{HIDDEN}process"
"""The process that writes the run, as JSON: `host`, `pid` and `mark` (see `core.system.processes.process_mark`)."""
SPOOL = f"{HIDDEN}spool"
"""The spool folder with which the run began. By it a run is found whose making was not answered."""
BEGAN_AS = f"{HIDDEN}began_as"
"""What a run was called that began while the server was away. Its files are kept under that name."""
PLAN = f"{HIDDEN}plan"
"""By what a retrain is known again, as JSON: `until`, before which its rows are; `digest` of code and parameters."""
LOOK = f"{HIDDEN}look"
"""The interim analysis of a retrain, as JSON: see `loop.retraining.interim_analyses`."""
NOISY = f"{HIDDEN}noisy"
"""The moment of a retrain's verdict, in the time of the data, when the machine was too busy for one."""
DATA, ROWS = f"{HIDDEN}data", f"{HIDDEN}rows"
"""Digest of the data version that the run learned from, and its number of rows."""
VERSION = f"{HIDDEN}version"
"""The model version that a retrain came to."""
REASONS = f"{HIDDEN}reasons"
"""The gate's sentences, which the run's description says to people."""

_RENAMED = {
    SPOOL: "fullcircle.spool",
    BEGAN_AS: "fullcircle.began_as",
    NOISY: "fullcircle.noisy",
    DATA: "fullcircle.data.digest",
    ROWS: "rows",
    VERSION: "version",
    REASONS: "fullcircle.reasons",
}
_GATHERED = {
    PROCESS: {"host": "fullcircle.host", "pid": "fullcircle.pid", "mark": "fullcircle.process"},
    PLAN: {"until": "fullcircle.until", "digest": "fullcircle.plan"},
    LOOK: {name: f"fullcircle.look.{name}" for name in ("at", "level", "state", "against", "share")},
}


def known(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a run, those that an earlier version of the platform wrote under the names of today as well."""
    found = dict(tags)
    for name, former in _RENAMED.items():
        if former in tags:
            found.setdefault(name, tags[former])
    for name, parts in _GATHERED.items():
        if name not in tags and (old := {part: tags[former] for part, former in parts.items() if former in tags}):
            found[name] = packed(old)
    return found


def names(name: str) -> tuple[str, ...]:
    """The name of a tag, then the one that earlier versions gave it: a search has to ask for both."""
    return (name, _RENAMED[name]) if name in _RENAMED else (name,)


def filters(name: str, test: str) -> Iterator[str]:
    """MLflow's filters for runs whose tag passes a test (`= 'x'`), one a name: its language knows no OR."""
    return (f"tags.`{each}` {test}" for each in names(name))


def packed(parts: Mapping[str, str]) -> str:
    """The value of a tag that says several things. Far below the 8,000 characters that a tag may have."""
    return json.dumps(dict(parts), ensure_ascii=False, sort_keys=True)


def parts(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """What a tag that says several things says; {} without it, and where somebody made something else of it."""
    try:
        found = json.loads(tags.get(name, "{}"))
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def process_of(tags: Mapping[str, str]) -> dict[str, str]:
    """`host`, `pid` and `mark` of the process that writes a run with these tags, of any version; {} unless they say."""
    return parts(known(tags), PROCESS)
