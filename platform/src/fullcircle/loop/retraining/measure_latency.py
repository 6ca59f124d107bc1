"""Measures a candidate graph's latency, also in the real server beside a reference graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.core.project import Project
from fullcircle.core.records.verdicts import Candidate
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.export.candidate import measure
from fullcircle.loop.retraining.train_candidates import Champion, Prepared, Trained
from fullcircle.loop.workspace import Workspace

if TYPE_CHECKING:
    from fullcircle.serving.latency_benchmark import Reference

SERVED_P99_MS = "fullcircle.served_p99_ms"
"""Tag of a version: 99th percentile of a row in the server when it was judged, in milliseconds."""


def graph_path(settings: Settings, one: Trained) -> Path:
    """Where a candidate's exported graph lies while it is judged."""
    return settings.folder("exports", one.run_id) / "model.onnx"


def measure_candidate(
    project: Project,
    workspace: Workspace,
    one: Trained,
    baseline: Trained,
    champion: Champion | None,
    prepared: Prepared,
) -> Candidate:
    """The candidate with its parity, size and latency; the champion, or else the baseline, is the reference.

    Raises:
        ServiceUnavailable: the graph cannot be served.
    """
    from fullcircle.serving.latency_benchmark import served_latency

    test, path = prepared.frames.test, graph_path(workspace.settings, one)
    candidate = measure(project, path, prepared.preprocessor, one.fitted, test, reference=one.answers)
    reference = _reference(workspace, champion, graph_path(workspace.settings, baseline))
    latency = served_latency(project, workspace.settings, path, candidate.digest, test, reference=reference)
    return dataclasses.replace(candidate, served_p99_ms=latency.p99_ms, latency=latency)


def _reference(workspace: Workspace, champion: Champion | None, baseline: Path) -> Reference:
    from fullcircle.serving.latency_benchmark import Reference

    if champion is None:
        return Reference(name="the baseline", graph=baseline, digest=sha256_of(baseline))
    version = champion.version
    kept = version.tags.get(SERVED_P99_MS)
    return Reference(
        name=f"version {version.version}",
        graph=workspace.registry.graph(version),
        digest=version.digest,
        kept_ms=float(kept) if kept else None,
    )
