"""Cluster-robust intervals: of rows that come in clusters (the hours of a day), a cluster is one piece of evidence.

Taken for independent, rows that err alike make a standard error too small by the root of 1 + (rows a cluster - 1) times
their correlation (Moulton 1986, "Random group effects and the precision of regression estimates", Journal of
Econometrics 32:385-397), and luck looks like proof.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.statistics.interval import Interval
from fullcircle.core.statistics.small_samples import student_975

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Clusters = NDArray[np.intp]


def time_clusters(times: NDArray[np.datetime64], span: timedelta | None) -> Clusters | None:
    """The number of each row's cluster, from 0, (rows,): rows within one such span of UTC, counted from 1970, are of
    one. None where there is no span: each row is evidence of its own.
    """
    if span is None:
        return None
    moments = np.asarray(times).astype("datetime64[us]").astype(np.int64)
    return np.unique(moments // (span // timedelta(microseconds=1)), return_inverse=True)[1].astype(np.intp)


def clusters_within(clusters: Clusters | None, mask: NDArray[np.bool_]) -> Clusters | None:
    """The clusters of some of the rows, counted from 0 again; None where there are none."""
    return None if clusters is None else np.unique(clusters[mask], return_inverse=True)[1].astype(np.intp)


def degrees_of_freedom(clusters: Clusters) -> float:
    """Of Student's t for a mean of rows in these clusters: clusters less one where all are alike in size, and fewer
    where some are larger. 0 for a single cluster.

    Source: Bell & McCaffrey 2002, "Bias reduction in standard errors for linear regression with multi-stage samples",
    Survey Methodology 28:169-181; Imbens & Kolesar 2016, "Robust standard errors in small samples", Review of
    Economics and Statistics 98:701-712.
    """
    share = np.bincount(clusters) / len(clusters)
    if len(share) < 2:
        return 0.0
    # The covariance of the clusters' adjusted sums, were rows independent: a diagonal less an outer product.
    leverage = 1.0 - share
    diagonal, outer = share / leverage, share / np.sqrt(leverage)
    trace = float((diagonal - outer**2).sum())
    square = float((diagonal**2).sum() - 2.0 * (diagonal * outer**2).sum() + (outer**2).sum() ** 2)
    return trace**2 / square


def clustered_error(rows: NDArray[Any], clusters: Clusters) -> float:
    """Standard error of the mean of `rows` (rows,), however the rows of one cluster hang together; infinite for one.

    Source: Liang & Zeger 1986, "Longitudinal data analysis using generalized linear models", Biometrika 73:13-22, with
    the correction CR2 of Bell & McCaffrey 2002: unbiased with few clusters, were rows independent.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < 2:
        return float("inf")
    residuals = np.asarray(rows, dtype=np.float64) - float(np.mean(rows))
    sums = np.bincount(clusters, weights=residuals)
    return float(np.sqrt((sums**2 / (1.0 - sizes / len(clusters))).sum()) / len(clusters))


def clustered_interval(found: Interval, rows: NDArray[Any], clusters: Clusters) -> Interval:
    """An interval for independent rows, at least as wide as their clusters ask for.

    Never narrower: that the rows of a cluster happen to err in opposite ways is no evidence of more rows.

    Args:
        found: of the mean of `rows`, or of what has them for pseudo-values.
        rows: (rows,); all alike where two models answer alike, who do not differ.
    """
    error = clustered_error(rows, clusters) if bool(np.ptp(rows)) else 0.0
    half = student_975(degrees_of_freedom(clusters)) * error if error else 0.0
    return Interval(value=found.value, low=min(found.low, found.value - half), high=max(found.high, found.value + half))
