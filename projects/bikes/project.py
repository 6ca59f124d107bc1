"""Bikes: how many bikes will be rented in this hour, and how many at most and at least, four times in five?

Real hours of 2011 and 2012 (prepare.py makes them), with real drift: a strong season, and a third more rentals in the
second year. Why an interval, logarithms and these columns: docs/adr/0104-bikes.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import (
    AtLeast,
    Budgets,
    Category,
    Choice,
    ErrorBudget,
    LogUniform,
    NotWorse,
    Number,
    Policy,
    Project,
    Regression,
    ReplayPlan,
    SliceGate,
    SplitRule,
    Training,
    Uniform,
    Watch,
)

if TYPE_CHECKING:
    import keras
    import torch

NUMBERS = 3
"""What an answer has: the median and both ends of the interval, so many outputs has the last layer."""


def build_torch(inputs: int, params: Mapping[str, Any]) -> torch.nn.Module:
    """A multilayer perceptron in torch: float32 (batch, inputs) in, three quantiles (batch, 3) out."""
    from torch import nn

    layers: list[nn.Module] = []
    for width in params["hidden"]:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(params["dropout"])]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, NUMBERS))


def build_keras(inputs: int, params: Mapping[str, Any]) -> keras.Model:
    """The same perceptron in Keras."""
    import keras

    layers: list[keras.Layer] = [keras.Input((inputs,))]
    for width in params["hidden"]:
        layers += [keras.layers.Dense(width, activation="relu"), keras.layers.Dropout(params["dropout"])]
    return keras.Sequential([*layers, keras.layers.Dense(NUMBERS)])


project = Project(
    name="bikes",
    owner="ops-ml@example.com",
    runbook="docs/runbooks/bikes.md",
    purpose="Say how many bikes each hour of the next days will take, so that vans are there before the riders.",
    limits=(
        "One operator in one city, 2011 and 2012. The weather is that observed in the hour, for want of a forecast. "
        "Not for single stations, and not for hours in which the service was closed."
    ),
    data="../../.fullcircle/data/bikes",
    columns=(
        Category("clock", known=tuple(f"{hour:02d}" for hour in range(24))),
        Category("weekday", known=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
        Category("season", known=("spring", "summer", "fall", "winter")),
        Category("holiday", known=("no", "yes")),
        Category("workingday", known=("no", "yes")),
        Category("weather", known=("clear", "mist", "light", "heavy"), nullable=True),
        Number("temp", unit="°C", low=-30, high=50),
        Number("feels", unit="°C", low=-40, high=60),
        Number("humid", unit="%", low=0, high=100, nullable=True),
        Number("wind", unit="km/h", low=0, high=150),
        Number("log_week_ago", unit="log of rentals", low=0, high=10, nullable=True),
        Number("log_two_weeks_ago", unit="log of rentals", low=0, high=10, nullable=True),
        Number("casual", unit="rentals", low=0, high=5000, after=True),
        Number("registered", unit="rentals", low=0, high=5000, after=True),
    ),
    target=Regression("count", unit="rentals", loss="quantile", coverage=0.8, transform="log1p", low=0),
    time="hour",
    row_id="hour_id",
    labels_after=timedelta(days=1),
    torch=build_torch,
    keras=build_keras,
    training=Training(
        epochs=60,
        batch_size=128,
        learning_rate=2e-3,
        patience=8,
        seed=13,
        extra={"hidden": (96, 48), "dropout": 0.1},
    ),
    search={
        "training.learning_rate": LogUniform(3e-4, 2e-2),
        "training.batch_size": Choice(64, 128, 256),
        "training.hidden": Choice((48,), (96, 48), (192, 96)),
        "training.dropout": Uniform(0.0, 0.4),
    },
    # Four weeks judge: the hours of a day err alike, so it is days that prove something, and fourteen prove little.
    split=SplitRule(validation=timedelta(days=14), test=timedelta(days=28)),
    gates=(
        AtLeast("r2", 0.3),
        AtLeast("coverage", 0.6),
        NotWorse("pinball", margin=2.0),
        SliceGate("workingday", "mae", drop=20.0),
    ),
    # Eight by the policy, and half as many by hand.
    evidence=ErrorBudget(n_analyses=12, cluster=timedelta(days=1)),
    slices=("workingday", "season"),
    budgets=Budgets(p99_ms=10, size_mb=5, parity=1e-4),
    watch=Watch(every=timedelta(days=1), window=timedelta(days=28), drifted_share=0.5),
    policy=Policy(tolerated_drop=0.15, cooldown=timedelta(days=25), max_retrains=8),
    # A net does not know a season that it has not seen: the first model learns from a whole year.
    replay=ReplayPlan(start="2012-01"),
)
