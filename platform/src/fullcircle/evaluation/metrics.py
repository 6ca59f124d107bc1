"""The metrics that gates may name, and which way is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fullcircle.core.statistics.binary_metrics import (
    bootstrap,
    brier,
    calibration_error,
    delong,
    log_loss,
    paired_bootstrap,
    roc_auc,
)

if TYPE_CHECKING:
    from fullcircle.core.statistics.binary_metrics import Metric

METRIC: dict[str, tuple[Metric, bool]] = {
    "roc_auc": (roc_auc, True),
    "log_loss": (log_loss, False),
    "brier": (brier, False),
    "calibration_error": (calibration_error, False),
}
"""Metric name (see `core.project.METRICS`) -> (function of labels and probability, whether greater is better)."""

TITLE = {"roc_auc": "ROC AUC", "log_loss": "log loss", "brier": "Brier score", "calibration_error": "calibration error"}
"""What people call each metric."""

__all__ = [
    "METRIC",
    "TITLE",
    "bootstrap",
    "brier",
    "calibration_error",
    "delong",
    "log_loss",
    "paired_bootstrap",
    "roc_auc",
]
