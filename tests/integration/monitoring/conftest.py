"""Evidently with its telemetry off, before it is imported."""

from __future__ import annotations

from fullcircle.core.settings import quiet_dependencies

quiet_dependencies()
