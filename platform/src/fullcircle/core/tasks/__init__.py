"""Kinds of problem: what a target may be, what an answer is, and how either is judged. NumPy alone, no framework."""

from fullcircle.core.tasks.answers import AnswerColumn, AnswerSpec
from fullcircle.core.tasks.base import Scarcity, Task
from fullcircle.core.tasks.binary import Binary
from fullcircle.core.tasks.decisions import Costs
from fullcircle.core.tasks.metric import Metric
from fullcircle.core.tasks.multiclass import Multiclass
from fullcircle.core.tasks.multilabel import Multilabel
from fullcircle.core.tasks.objective import Link, Objective, Weighting
from fullcircle.core.tasks.regression import Regression

__all__ = [
    "AnswerColumn",
    "AnswerSpec",
    "Binary",
    "Costs",
    "Link",
    "Metric",
    "Multiclass",
    "Multilabel",
    "Objective",
    "Regression",
    "Scarcity",
    "Task",
    "Weighting",
]
