"""Flights: will a flight that leaves New York arrive more than 15 minutes late?

Real data of 2013 (prepare.py makes it), with real drift: lateness swings from 13% of the flights in September to 33% in
December. Why these columns, this split and this policy: docs/adr/0070-flights-model-and-policy.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fullcircle.core.project import (
    AtLeast,
    Binary,
    Budgets,
    Category,
    Choice,
    ErrorBudget,
    LogUniform,
    NotWorse,
    Number,
    Policy,
    Project,
    SliceGate,
    SplitRule,
    Training,
    Uniform,
    Watch,
)

if TYPE_CHECKING:
    import keras
    import torch

CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")


def build_torch(inputs: int, params: Mapping[str, Any]) -> torch.nn.Module:
    """A multilayer perceptron in torch: float32 (batch, inputs) in, one logit (batch, 1) out."""
    from torch import nn

    layers: list[nn.Module] = []
    for width in params["hidden"]:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(params["dropout"])]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, 1))


def build_keras(inputs: int, params: Mapping[str, Any]) -> keras.Model:
    """The same perceptron in Keras."""
    import keras

    layers: list[keras.Layer] = [keras.Input((inputs,))]
    for width in params["hidden"]:
        layers += [keras.layers.Dense(width, activation="relu"), keras.layers.Dropout(params["dropout"])]
    return keras.Sequential([*layers, keras.layers.Dense(1)])


project = Project(
    name="flights",
    owner="ops-ml@example.com",
    runbook="docs/runbooks/flights.md",
    purpose="Rank tomorrow's departures by their risk of arriving late, so that gates and crews get a margin.",
    limits=(
        "New York's three airports in 2013 only. The weather is that observed at the hour of departure, for want of a "
        "forecast. Cancelled and diverted flights are left out. Not for decisions about single passengers."
    ),
    data="../../.fullcircle/data/flights",
    columns=(
        Category("carrier", known=CARRIERS),
        Category("origin", known=("EWR", "JFK", "LGA")),
        Category("dest"),
        Number("day_of_week", unit="day, Monday is 0", low=0, high=6),
        Number("sched_dep_time_min", unit="min after local midnight", low=0, high=1439),
        Number("sched_arr_hour", unit="h, local", low=0, high=23),
        Number("sched_duration", unit="min", low=0, high=1000),
        Number("distance", unit="mile", low=0, high=6000),
        Number("departures_hour", unit="flights", low=1, high=200),
        Number("departures_before", unit="flights", low=0, high=2000),
        Number("holiday_distance", unit="day", low=0, high=100),
        Number("temp", unit="°F", low=-40, high=130, nullable=True),
        Number("dewp", unit="°F", low=-60, high=100, nullable=True),
        Number("humid", unit="%", low=0, high=100, nullable=True),
        Number("wind_dir", unit="°", low=0, high=360, nullable=True),
        Number("wind_speed", unit="mph", low=0, high=200, nullable=True),
        Number("precip", unit="inch/h", low=0, high=10, nullable=True),
        Number("pressure", unit="hPa", low=850, high=1100, nullable=True),
        Number("visib", unit="mile", low=0, high=20, nullable=True),
        Number("plane_age", unit="year", low=0, high=100, nullable=True),
        Number("plane_seats", unit="seats", low=1, high=1000, nullable=True),
        Category("plane_manufacturer", nullable=True),
        Number("dep_time", unit="HHMM", low=0, high=2400, after=True),
        Number("dep_delay", unit="min", low=-200, high=3000, after=True),
        Number("arr_time", unit="HHMM", low=0, high=2400, after=True),
        Number("arr_delay", unit="min", low=-200, high=3000, after=True),
        Number("air_time", unit="min", low=0, high=1500, after=True),
    ),
    target=Binary("late", positive="arrived more than 15 minutes late"),
    time="time_hour",
    row_id="flight_id",
    labels_after=timedelta(days=1),
    torch=build_torch,
    keras=build_keras,
    training=Training(
        epochs=12,
        batch_size=1024,
        learning_rate=1e-3,
        patience=3,
        class_weights=False,  # the probabilities are read as they are, so they must stay calibrated
        seed=13,
        extra={"hidden": (128, 64), "dropout": 0.2},
    ),
    search={
        "training.learning_rate": LogUniform(1e-4, 1e-1),
        "training.batch_size": Choice(256, 512, 1024, 2048),
        "training.hidden": Choice((64,), (128, 64), (256, 128), (256, 128, 64)),
        "training.dropout": Uniform(0.0, 0.5),
    },
    split=SplitRule(validation=timedelta(days=14), test=timedelta(days=14)),
    gates=(AtLeast("roc_auc", 0.60), NotWorse("log_loss", margin=0.01), SliceGate("origin", "roc_auc", drop=0.05)),
    evidence=ErrorBudget(n_analyses=12),  # six by the policy, and as many by hand
    slices=("origin", "carrier"),
    budgets=Budgets(p99_ms=10, size_mb=5, parity=1e-4),
    watch=Watch(every=timedelta(days=1), window=timedelta(days=28), drifted_share=0.4),
    policy=Policy(tolerated_drop=0.02, cooldown=timedelta(days=25), max_retrains=6),
)
