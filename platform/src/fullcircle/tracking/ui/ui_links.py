"""Links into the MLflow UI, relative to its address, and lines of links for descriptions. Pure."""

from __future__ import annotations

from datetime import UTC
from urllib.parse import quote

from fullcircle.core.records.ledger_entries import Entry
from fullcircle.core.security.untrusted import markdown_code, markdown_link

RELEASED_AT, RELEASED_BY, RELEASED_WHY = (f"fullcircle.released_{name}" for name in ("at", "by", "why"))
"""Tags of a model version: its newest release, as the ledger has it."""
_WHY_CHARACTERS = 4900  # the registry's column holds 5,000


def run_page(experiment_id: str, run_id: str, artifact: str = "") -> str:
    """A run's page, or, of the artifact with that path within the run, the page that shows it."""
    page = f"#/experiments/{experiment_id}/runs/{run_id}"
    return f"{page}/artifacts/{quote(artifact)}" if artifact else page


def version_page(name: str, version: str) -> str:
    """A model version's page."""
    return f"#/models/{quote(name)}/versions/{quote(version)}"


def links(
    experiment_id: str,
    *,
    data: str,
    run: str = "",
    retrain: str = "",
    winner: str = "",
    version: tuple[str, str] | None = None,
) -> str:
    """A line of Markdown that leads on, to stand above a description; ends with an empty line.

    Args:
        experiment_id: of the runs; "" while the tracking server is away: they are then named without a link.
        data: digest of the data version; the UI shows no page for it, the run's dataset has the same digest.
        run, retrain, winner: run ids.
        version: (name, version) of the model version.
    """
    parts = [f"{what} {_run(experiment_id, id_)}" for what, id_ in _named(run=run, retrain=retrain, winner=winner)]
    if version is not None:
        parts.append(f"model version {markdown_link(' '.join(version), version_page(*version))}")
    parts.append(f"data {markdown_code(data)}")
    return " · ".join(parts) + "\n\n"


def release_tags(entry: Entry) -> dict[str, str]:
    """What the registry shows of a release."""
    return {
        RELEASED_AT: entry.at.astimezone(UTC).isoformat(timespec="seconds"),
        RELEASED_BY: entry.by,
        RELEASED_WHY: entry.why[:_WHY_CHARACTERS],
    }


def _named(**ids: str) -> list[tuple[str, str]]:
    return [(what, id_) for what, id_ in ids.items() if id_]


def _run(experiment_id: str, run_id: str) -> str:
    return f"[{run_id[:12]}]({run_page(experiment_id, run_id)})" if experiment_id else f"`{run_id[:12]}`"
