"""The Project contract: all that the platform is told about one problem.

A project is a Python file, `<name>/project.py`, with one value `project = Project(...)`. The platform
knows no project; a project knows nothing of the platform but this package, whose public names are these.
"""

from __future__ import annotations

from fullcircle.core.project.columns import Category, Column, Image, Number
from fullcircle.core.project.definition import RESERVED, Project
from fullcircle.core.project.gates import (
    AgreementGate,
    Agrees,
    AtLeast,
    Better,
    Budgets,
    ErrorBudget,
    Evidence,
    Gate,
    NotWorse,
    Slice,
    SliceGate,
)
from fullcircle.core.project.model_specs import Keras, ModelSpec, Torch
from fullcircle.core.project.operation import APPROVALS, OnCall, Policy, ReplayPlan, SplitRule, Watch
from fullcircle.core.project.parameters import Compute, ModelFunction, Shape, Training
from fullcircle.core.project.search_space import Choice, Integer, LogUniform, Range, Uniform
from fullcircle.core.tasks import Binary, Costs, Multiclass, Multilabel, Regression, Task

__all__ = (
    "APPROVALS",
    "RESERVED",
    "AgreementGate",
    "Agrees",
    "AtLeast",
    "Better",
    "Binary",
    "Budgets",
    "Category",
    "Choice",
    "Column",
    "Compute",
    "Costs",
    "ErrorBudget",
    "Evidence",
    "Gate",
    "Image",
    "Integer",
    "Keras",
    "LogUniform",
    "ModelFunction",
    "ModelSpec",
    "Multiclass",
    "Multilabel",
    "NotWorse",
    "Number",
    "OnCall",
    "Policy",
    "Project",
    "Range",
    "Regression",
    "ReplayPlan",
    "Shape",
    "Slice",
    "SliceGate",
    "SplitRule",
    "Task",
    "Torch",
    "Training",
    "Uniform",
    "Watch",
)
