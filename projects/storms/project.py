"""Storms: what kind of storm is it now, by where it is, how it moves and what was measured six and twelve hours ago?

Every Atlantic storm of 1975 to 2022 (prepare.py makes the rows), five kinds of which one turns into the other. Why
these kinds, and why the spans are what they are: README.md.
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
    Multiclass,
    NotWorse,
    Number,
    Policy,
    Project,
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

CLASSES = ("tropical_depression", "tropical_storm", "hurricane", "extratropical", "low")
YEAR = timedelta(days=365)
# Of the year that ends with a season's last storm: hardly a storm lives on the day on which it begins.
SEASON = timedelta(days=240)


def build_torch(inputs: int, params: Mapping[str, Any]) -> torch.nn.Module:
    """A multilayer perceptron in torch: float32 (batch, inputs) in, a logit for each class (batch, 5) out."""
    from torch import nn

    layers: list[nn.Module] = []
    for width in params["hidden"]:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(params["dropout"])]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, len(CLASSES)))


def build_keras(inputs: int, params: Mapping[str, Any]) -> keras.Model:
    """The same perceptron in Keras."""
    import keras

    layers: list[keras.Layer] = [keras.Input((inputs,))]
    for width in params["hidden"]:
        layers += [keras.layers.Dense(width, activation="relu"), keras.layers.Dropout(params["dropout"])]
    return keras.Sequential([*layers, keras.layers.Dense(len(CLASSES))])


project = Project(
    name="storms",
    owner="ops-ml@example.com",
    runbook="docs/runbooks/storms.md",
    purpose="Say what kind of storm it is before the analysis of the hour is written, so that the right desk is awake.",
    limits=(
        "The Atlantic, 1975 to 2022. Where the storm is comes from the best track, which is drawn afterwards. Never "
        "for warning anybody: that is the weather service's."
    ),
    data="../../.fullcircle/data/storms",
    columns=(
        Category("part", known=("early", "peak", "late")),
        Category("belt", known=("tropics", "subtropics", "midlatitudes")),
        Number("lat", unit="° north", low=0, high=90),
        Number("long", unit="° east", low=-180, high=180),
        Number("age", unit="h", low=0, high=1500),
        Number("north_6h", unit="°", low=-15, high=15, nullable=True),
        Number("east_6h", unit="°", low=-25, high=25, nullable=True),
        Number("wind_6h", unit="kn", low=0, high=220, nullable=True),
        Number("wind_12h", unit="kn", low=0, high=220, nullable=True),
        Number("pressure_6h", unit="hPa", low=850, high=1050, nullable=True),
        Number("pressure_12h", unit="hPa", low=850, high=1050, nullable=True),
        # The analysis says them together with the status, and they nearly define it.
        Number("wind", unit="kn", low=0, high=220, after=True),
        Number("pressure", unit="hPa", low=850, high=1050, after=True),
        Number("category", low=1, high=5, nullable=True, after=True),
        Number("tropicalstorm_force_diameter", unit="nmi", low=0, high=3000, nullable=True, after=True),
        Number("hurricane_force_diameter", unit="nmi", low=0, high=1000, nullable=True, after=True),
    ),
    target=Multiclass("status", classes=CLASSES),
    time="observed_at",
    row_id="record_id",
    labels_after=timedelta(days=1),
    torch=build_torch,
    keras=build_keras,
    training=Training(
        epochs=40,
        batch_size=256,
        learning_rate=2e-3,
        patience=6,
        seed=13,
        extra={"hidden": (96, 48), "dropout": 0.1},
    ),
    search={
        "training.learning_rate": LogUniform(3e-4, 2e-2),
        "training.batch_size": Choice(128, 256, 512),
        "training.hidden": Choice((48,), (96, 48), (192, 96)),
        "training.dropout": Uniform(0.0, 0.4),
    },
    # The last two seasons judge, the one before them stops training: no season is cut, and so no storm.
    split=SplitRule(validation=YEAR, test=SEASON + YEAR, history=25 * YEAR),
    gates=(
        AtLeast("roc_auc", 0.85),
        AtLeast("macro_f1", 0.5),
        NotWorse("log_loss", margin=0.05),
        SliceGate("belt", "accuracy", drop=0.1),
    ),
    # One after each season, and three by hand. The records of a storm, and of those that live beside it, come of one
    # weather and one desk: what proves something is fortnights, not records.
    evidence=ErrorBudget(n_analyses=4, cluster=timedelta(days=14)),
    slices=("belt", "part"),
    budgets=Budgets(p99_ms=10, size_mb=5, parity=1e-4),
    watch=Watch(every=timedelta(days=7), window=SEASON, drifted_share=0.5),
    policy=Policy(tolerated_drop=0.03, cooldown=timedelta(days=330), max_retrains=2),
    # Season by season, from March on, when no storm lives. Before 2002 the test part, two seasons, does not have the 20
    # lows that a verdict takes.
    replay=ReplayPlan(start="2002-03", period="year"),
)
