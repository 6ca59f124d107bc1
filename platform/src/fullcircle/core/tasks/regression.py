"""A number: a target that is predicted in its own unit, with an interval around it where one is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from fullcircle.core.errors import ProjectInvalid, TargetInvalid
from fullcircle.core.field_ranges import Float32, Within, check_fields, shown
from fullcircle.core.tasks.answer_format import AnswerFormat
from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task
from fullcircle.core.tasks.estimation import column
from fullcircle.core.tasks.labels.number_labels import RegressionCodec
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.objective import Link, Objective, Weighting
from fullcircle.core.tasks.regression_metrics import (
    COVERAGE,
    MAPE,
    POISSON_DEVIANCE,
    R2,
    interval_width,
    mae,
    pinball,
    rmse,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fullcircle.core.tasks.base import Answers, Targets

    Numbers = NDArray[np.float64]

BASELINES = MappingProxyType(
    {
        "squared": "ridge",
        "absolute": "quantile_regression",
        "huber": "huber_regression",
        "poisson": "poisson_regression",
        "quantile": "quantile_regression",
    }
)
"""Loss by name -> the baseline's estimator; the absolute loss is that of the median."""

DEFAULT_COVERAGE = 0.8
LARGEST = 1e36
"""Targets beyond it, of either sign, leave float32 answers no room for a few standard deviations more."""

STEPS = 8.0
"""The spread of a target that is learned, at least, in steps between neighbouring float32 numbers."""


@dataclass(frozen=True)
class Regression(Task):
    """A target that is a number.

    Attributes:
        unit: the unit of measurement, for people.
        loss: `squared` (predicts the mean), `absolute` (the median), `huber` (the mean, less moved by outliers;
            Huber 1964), `poisson` (the mean of counts, never negative) or `quantile` (the median, with an interval).
        coverage: share of rows whose target the interval of `quantile` should hold.
        transform: `log1p`: learned as log(1 + target) and answered as the target; None: as it is. The mean of the
            logarithm is not the logarithm of the mean: with `squared` the answer is then about the median.
        low, high: inclusive range of the target that the data contract enforces.
    """

    unit: str = ""
    loss: Literal["squared", "absolute", "huber", "poisson", "quantile"] = "squared"
    coverage: Annotated[float, Within(0.001, 0.9999)] = DEFAULT_COVERAGE
    transform: Literal["log1p"] | None = None
    low: Float32 | None = None
    high: Float32 | None = None

    kind = "regression"
    level_title = "mean"
    level_is_share = False
    association = "rank_correlation"
    quality_report = "numbers"
    plots = ("predicted_against_actual", "residuals")
    primary = "mae"

    def __post_init__(self) -> None:
        check_fields(self, f"target {shown(self.name)}")

        def refuse(field: str, must: str, got: object) -> None:
            raise ProjectInvalid(f"{field} of target {self.name!r} must {must}, got {got!r}")

        if self.transform and self.loss == "poisson":
            refuse("transform", "be None with the loss 'poisson', which learns a logarithm itself", self.transform)
        least = self._least
        if self.low is not None and least is not None and self.low < least:
            refuse("low", f"be at least {least:g}, since nothing below it can be learned so", self.low)
        low = max((each for each in (self.low, least) if each is not None), default=None)
        if low is not None and self.high is not None and not low < self.high:
            refuse("high", f"be above {low:g}, the least target", self.high)

    @property
    def _least(self) -> float | None:
        """The least target that loss and transform can take, itself included."""
        return 0.0 if self.loss == "poisson" or self.transform else None

    @property
    def has_interval(self) -> bool:
        """Whether an answer has an interval."""
        return self.loss == "quantile"

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantile of each output, in the order of `answers.numbers`; of other losses none."""
        tail = (1.0 - self.coverage) / 2.0
        return (0.5, tail, 1.0 - tail) if self.has_interval else ()

    @property
    def headline(self) -> tuple[str, ...]:
        """Errors in the unit of the target, and the share of its variance that is told."""
        return ("mae", "rmse", "r2", *(("pinball", "coverage") if self.has_interval else ()))

    @property
    def label_codec(self) -> RegressionCodec:
        """Numbers within the range, as far as loss and transform can take them."""
        lows = [each for each in (self.low, self._least) if each is not None]
        return RegressionCodec(self.name, max(lows, default=None), self.high)

    @property
    def answers(self) -> AnswerSpec:
        """The prediction, and the ends of its interval where the loss is `quantile`."""
        low = 0.0 if self.loss == "poisson" else None
        ends = ("low", "high") if self.has_interval else ()
        return AnswerSpec(tuple(AnswerColumn(name=name, title=name, low=low) for name in ("prediction", *ends)))

    @property
    def outputs(self) -> int:
        """One, or three with an interval."""
        return 3 if self.has_interval else 1

    @property
    def objective(self) -> Objective:
        """The loss that the project chose, of one number, or of the median and the ends of the interval."""
        one = f"one number a row, {self.name!r}"
        three = f"3 numbers a row: the median of {self.name!r} and the low and the high end of its interval"
        answers = three if self.has_interval else one
        return Objective(loss=self.loss, outputs=self.outputs, quantiles=self.quantiles, answers=answers)

    @property
    def baseline(self) -> str:
        """A linear model that minimises the same loss."""
        return BASELINES[self.loss]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """MAE, RMSE, R2, MAPE; Poisson deviance, or pinball loss and coverage, with the loss that has them."""
        found = [mae(self.unit), rmse(self.unit), R2, MAPE]
        if self.loss == "poisson":
            found.append(POISSON_DEVIANCE)
        if self.has_interval:
            found += [pinball(self.quantiles, self.unit), COVERAGE, interval_width(self.unit)]
        return {each.name: each for each in found}

    @property
    def floors(self) -> Mapping[str, float]:
        """Better than the mean by something; an interval that holds nearly what it promises."""
        return {"r2": 0.0} | ({"coverage": round(self.coverage - 0.05, 6)} if self.has_interval else {})

    @property
    def margins(self) -> Mapping[str, float]:
        """Hardly worse."""
        return {"r2": 0.01}

    @property
    def meaning(self) -> str:
        """The target, in its unit."""
        unit = f" in {self.unit}" if self.unit else ""
        interval = f", with an interval that should hold {self.coverage:.0%} of the rows" if self.has_interval else ""
        return f"{self.name}{unit}{interval}"

    @property
    def outcome(self) -> str:
        """The target, with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def require_learnable(self, parts: Mapping[str, Targets]) -> None:
        """More than one value in every part, apart from each other and of a size that float32 answers can tell.

        Raises:
            TargetInvalid: a part has no rows, the same target in all, or targets that float32 has no room for.
        """
        for part, targets in parts.items():
            if len(targets) < 2 or float(targets.min()) == float(targets.max()):
                each = f" is {float(targets[0]):g} in each" if len(targets) else " has none"
                raise TargetInvalid(
                    f"the {len(targets):,} {part} rows cannot be learned from: target {self.name!r}{each}",
                    hint="take longer spans: see 'split' in project.py, or another target",
                )
        self._require_float32(np.asarray(parts["training"], dtype=np.float64))

    def _require_float32(self, targets: Numbers) -> None:
        largest = float(np.abs(targets).max())
        if largest > LARGEST:
            raise TargetInvalid(
                f"target {self.name!r} is as large as {largest:.3g}, and float32 answers end at 3.4e+38",
                hint="divide it by a fixed number where the data is prepared",
            )
        values = self._learned(targets)
        mean, spread = float(values.mean()), float(values.std())
        step = float(np.spacing(np.float32(max(abs(mean), 1.0 if self.transform else 0.0))))
        if spread < STEPS * step:
            raise TargetInvalid(
                f"target {self.name!r} varies by {spread:.3g} around {mean:.8g}, where float32 answers are {step:.3g} "
                "apart",
                hint="take a fixed number away from it, or multiply it by one, where the data is prepared",
            )

    def _learned(self, targets: Targets) -> Numbers:
        """The targets, or their log1p, float64: the mean of huge float32 numbers would overflow."""
        values = np.asarray(targets, dtype=np.float64)
        return np.log1p(values) if self.transform else values

    def weighting(self, targets: Targets, *, balanced: bool) -> Weighting:
        """Every row weighs the same."""
        return Weighting()

    def link(self, targets: Targets, weighting: Weighting) -> Link:
        """Back from standardised outputs to the target's unit: learning starts at its mean and spread."""
        if self.loss == "poisson":
            # exp(raw + log(mean)): raw outputs near 0 are counts near their mean. All zeros is refused before.
            return Link(name="exp", offset=(float(np.log(np.mean(targets, dtype=np.float64))),))
        values = self._learned(targets)
        # As float32, which is what the graph computes with.
        mean, spread = float(np.float32(values.mean())), float(np.float32(values.std()))
        name = "sorted_quantiles" if self.has_interval else "identity"
        inverse = "expm1" if self.transform else ""
        return Link(name=name, offset=(mean,) * self.outputs, scale=spread or 1.0, inverse=inverse)

    def training_targets(self, targets: Targets, link: Link) -> NDArray[np.float32]:
        """Standardised (of `poisson`: in means), float32 (rows,)."""
        if link.name == "exp":
            return np.asarray(np.asarray(targets, dtype=np.float64) / np.exp(link.offset[0]), dtype=np.float32)
        return np.asarray((self._learned(targets) - link.offset[0]) / link.scale, dtype=np.float32)

    def summary(self, targets: Targets) -> Mapping[str, float]:
        """Mean, standard deviation, least and largest."""
        y = np.asarray(targets, dtype=np.float64)
        if not len(y):
            return dict.fromkeys(("mean", "spread", "least", "most"), float("nan"))
        return {"mean": float(y.mean()), "spread": float(y.std()), "least": float(y.min()), "most": float(y.max())}

    def level(self, targets: Targets) -> float:
        """The mean."""
        return float(np.mean(targets))

    def scarcity(self, targets: Targets) -> Scarcity:
        """All rows count."""
        return Scarcity(len(targets), "rows")

    def judgeable(self, targets: Targets) -> bool:
        """An error is defined on any rows."""
        return len(targets) > 0

    def scalar(self, answers: Answers) -> NDArray[np.float64]:
        """The prediction."""
        return column(answers, 0)

    def distance(self, a: Answers, b: Answers) -> NDArray[np.float64]:
        """Difference of the predictions, in standard deviations of `b`'s."""
        one, other = self.scalar(a), self.scalar(b)
        spread = float(np.nanstd(other)) or 1.0
        return np.asarray(np.abs(one - other) / spread, dtype=np.float64)

    @property
    def distance_unit(self) -> str:
        """Of the champion's answers."""
        return "standard deviations"

    @property
    def answer_format(self) -> AnswerFormat:
        """In the unit of the target."""
        unit = self.unit
        return AnswerFormat(quantity="prediction", subject="the prediction", unit=unit, step=unit, short_step=unit)

    @property
    def explained(self) -> tuple[str, ...]:
        """The prediction, not the ends of its interval."""
        return self.answers.numbers[:1]

    def given(self, answers: Answers) -> NDArray[np.intp]:
        """The prediction."""
        return np.zeros(len(answers), dtype=np.intp)

    def shown(self, target: Any) -> str:
        """The number, with its unit."""
        return self.answer_format.value(float(target))
