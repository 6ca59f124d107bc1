"""The artifact `provenance.json` of a run: where it comes from, in one place for people and for `reproduce`. Pure.

It is written right after the run was made. A run that was killed in between gets it from whoever goes on with it; runs
of earlier versions of the platform say the same in tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fullcircle.tracking.provenance.run_provenance import Provenance
from fullcircle.tracking.runs.run_tags import PROCESS, SPOOL, parts
from fullcircle.tracking.secrets.detection import without_secrets

_FORMER = {
    "environment": "fullcircle.environment",
    "repository": "fullcircle.code.repository",
    "folder": "fullcircle.code.folder",
    "platform": "fullcircle.code.platform",
}
"""Field of `Origin` -> the tag in which earlier versions said it."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a run says of its code's place and of its packages; "" for what it does not say. See `Provenance`."""

    environment: str = ""
    repository: str = ""
    folder: str = ""
    platform: str = ""


def document(origin: Provenance, tags: Mapping[str, str], *, began: str) -> dict[str, object]:
    """What the artifact says, without secrets.

    Args:
        tags: with which the run was made.
        began: when, ISO 8601.
    """
    code = {
        "commit": origin.commit,
        "branch": origin.branch,
        "dirty": str(origin.dirty).lower() if origin.commit else "",
        "repository": origin.repository,
        "folder": origin.folder,
        "platform": origin.platform,
        "note": "; ".join(origin.notes),
    }
    by = {"user": tags.get("mlflow.user", ""), "program": tags.get("mlflow.source.name", ""), **parts(tags, PROCESS)}
    return {
        "began": began,
        "code": without_secrets(code),
        "environment": {"digest": origin.environment, "packages": len(origin.requirements.splitlines())},
        "process": without_secrets(by),
        "spool": tags.get(SPOOL, ""),
    }


def said_in_tags(tags: Mapping[str, str]) -> bool:
    """Whether a run of an earlier version has these tags, which has no such artifact."""
    return any(name in tags for name in _FORMER.values())


def origin_of(text: str | None, tags: Mapping[str, str]) -> Origin:
    """What a run says, in its artifact or, where there is none or a damaged one, in the tags of earlier versions."""
    said = {field: tags[name] for field, name in _FORMER.items() if name in tags}
    try:
        found = json.loads(text or "{}")
        code, environment = found["code"], found["environment"]
        said = {name: str(code[name]) for name in ("repository", "folder", "platform")}
        said["environment"] = str(environment["digest"])
    except (ValueError, TypeError, KeyError):
        pass
    return Origin(**said)
