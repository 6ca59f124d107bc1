"""SHAP values on RAW columns: one value for `carrier`, not one for each of its dummies.

The scorer is the graph as it is served, so what is explained is what answers. Strings travel through SHAP as codes and
are strings again before they are scored. Method: permutation SHAP with antithetic pairs (Strumbelj and Kononenko 2014;
Lundberg and Lee 2017), which keeps additivity exactly: base + sum of a row's values = its answer, for each of the
numbers that an answer has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.project import Column, Project
from fullcircle.core.records.training import Scorer
from fullcircle.core.row_tensors import coded, identities, raw_frame
from fullcircle.explain.explained_answers import ExplainedAnswers, of_given

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

BACKGROUND_ROWS = 64
"""Rows that stand for "this column unknown"; the error falls with the root of their number, the cost grows with it."""

MASKS_A_CALL = 128
"""Masks scored at once, of `BACKGROUND_ROWS` rows each: 8,192 rows, one chunk of the graph."""

PERMUTATIONS = 2
"""Antithetic pairs of column orders a row."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why the rows got their answers. Probabilities are from 0 to 1: 0.07 is seven percentage points. Other answers,
    and what moved them, are in the unit of the target.

    Attributes:
        columns: the raw columns, in the project's order.
        values: SHAP values, float64 (rows, columns) where one number of an answer is explained, else
            (rows, columns, answers); base + values.sum(axis=1) = answers.
        base: mean answer to the background rows, float64 () or (answers,).
        answers: what the scorer answers for each row, float64 (rows,) or (rows, answers).
        row_ids: ids of the explained rows.
        rows: the raw rows, in the raw convention.
        explained: which numbers of an answer these are.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    base: NDArray[np.float64]
    answers: NDArray[np.float64]
    row_ids: tuple[str, ...]
    rows: pd.DataFrame
    explained: ExplainedAnswers

    @property
    def given(self) -> NDArray[np.intp]:
        """Which answer each row was given, such as its likeliest class, (rows,)."""
        return self.explained.given(self.answers)

    @property
    def given_values(self) -> NDArray[np.float64]:
        """What moved the answer that each row was given, (rows, columns)."""
        return self.values if self.values.ndim == 2 else of_given(self.values, self.given)

    @property
    def given_answers(self) -> NDArray[np.float64]:
        """The answer that each row was given, (rows,)."""
        return self.answers if self.answers.ndim == 1 else of_given(self.answers, self.given)

    @property
    def given_base(self) -> NDArray[np.float64]:
        """The base of the answer that each row was given, (rows,)."""
        return np.atleast_1d(self.base)[self.given]

    def importance(self) -> tuple[tuple[str, float], ...]:
        """(column, mean absolute value), largest first: over the rows, summed over the answers."""
        mean = np.abs(self.values).mean(axis=0)
        summed = mean if mean.ndim == 1 else mean.sum(axis=1)
        return tuple(sorted(zip(self.columns, map(float, summed), strict=True), key=lambda pair: -pair[1]))


def explain(
    score: Scorer,
    project: Project,
    background: pd.DataFrame,
    rows: pd.DataFrame,
    *,
    seed: int = 0,
    limit: int = 100,
) -> Explanation:
    """Explain rows against a background, both sampled with `seed`.

    Args:
        score: answers raw rows; the loaded graph.
        background: rows of the model's own training data; `BACKGROUND_ROWS` of them are used.
        rows: raw rows to explain, with the row id; `limit` of them are.

    Raises:
        DataUnavailable: no rows, or no background.
    """
    if len(background) == 0 or len(rows) == 0:
        raise DataUnavailable(f"project {project.name!r}: no rows to explain, or none to compare them with")
    import pandas as pd

    chosen, reference = sampled(rows, limit, seed), sampled(background, BACKGROUND_ROWS, seed)
    raw = raw_frame(chosen, project.inputs)
    both = pd.concat([raw_frame(reference, project.inputs), raw], ignore_index=True)
    codes = _Codes(both, project.inputs)
    matrix = codes.encode(both)
    hidden, told = matrix[: len(reference)], matrix[len(reference) :]
    answers = score(codes.decode(told))
    explained = ExplainedAnswers.among(project.target, answers)
    values, base = permutation_shap(lambda x: explained.of(score(codes.decode(x))), told, _Masker(hidden), hidden, seed)
    return Explanation(
        columns=tuple(column.name for column in project.inputs),
        values=values,
        base=base,
        answers=explained.of(answers),
        row_ids=tuple(identities(chosen[project.row_id])),
        rows=raw.reset_index(drop=True),
        explained=explained,
    )


class Masker(Protocol):
    """What shap asks of a masker: hide features of a row, and say how many rows and features come of it."""

    def __call__(self, mask: NDArray[np.bool_], row: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        """The row with the features that `mask` leaves out hidden, once for each background row."""
        ...

    def shape(self, row: NDArray[np.float64]) -> tuple[int, int]:
        """Rows and features."""
        ...


class _Codes:
    """Raw rows as a float64 matrix and back: numbers as they are, strings as their place in a list."""

    def __init__(self, frame: pd.DataFrame, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._words = {c.name: coded(frame[c.name].to_numpy(dtype=object))[1] for c in columns if c.is_text}

    def encode(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        columns = []
        for column in self._columns:
            values = frame[column.name].to_numpy()
            words = self._words.get(column.name)
            columns.append(values if words is None else np.searchsorted(words, values.astype(object)))
        return np.column_stack(columns).astype(np.float64)

    def decode(self, matrix: NDArray[np.float64]) -> pd.DataFrame:
        import pandas as pd

        data: dict[str, Any] = {}
        for index, column in enumerate(self._columns):
            words = self._words.get(column.name)
            values = matrix[:, index]
            data[column.name] = values.astype(np.float32) if words is None else words[values.astype(np.intp)]
        return pd.DataFrame(data)


class _Masker:
    """Hidden columns take each background row's values. Does what shap's `Independent` masker does, with the same
    numbers, without its ten seconds of just-in-time compilation.
    """

    def __init__(self, background: NDArray[np.float64]) -> None:
        self._background = background

    def __call__(self, mask: NDArray[np.bool_], row: NDArray[np.float64]) -> tuple[NDArray[np.float64]]:
        return (np.where(mask, row, self._background),)

    def shape(self, row: NDArray[np.float64]) -> tuple[int, int]:
        return len(self._background), len(row)


def _shap() -> Any:
    """The library, its loops as plain Python: numba would compile them anew in each process that explains a model, for
    several seconds, to save less than one. Where something else has imported shap before, it stays as it is.
    """
    import numba

    compiling: Any = numba.config  # its settings are made from the environment, unseen by type checkers
    logging.getLogger("shap").setLevel(logging.ERROR)
    before, compiling.DISABLE_JIT = compiling.DISABLE_JIT, 1
    try:
        import shap
    finally:
        compiling.DISABLE_JIT = before
    return shap


def permutation_shap(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rows: NDArray[np.float64],
    masker: Masker,
    background: NDArray[np.float64],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SHAP values and the base: the function's mean over the background.

    Args:
        function: matrix of rows to their answers, (rows,) or (rows, answers).

    Returns:
        float64 (rows, features of the masker) and (), or (rows, features, answers) and (answers,).
    """
    shap = _shap()

    class Values(shap.explainers.Permutation):  # type: ignore[misc, name-defined]  # shap has no types
        """Without main effects, which shap 0.51 computes for each row but the first when asked not to."""

        def explain_row(self, *row: Any, main_effects: object, **how: Any) -> Any:
            return super().explain_row(*row, main_effects=False, **how)

    explainer = Values(function, masker, seed=seed)
    width = masker.shape(rows[0])[1]
    evaluations = PERMUTATIONS * (2 * width + 1)
    # One call of the scorer for several masks: a call costs more than its rows.
    found = explainer(rows, max_evals=evaluations, batch_size=MASKS_A_CALL, silent=True)
    return np.asarray(found.values, dtype=np.float64), np.asarray(function(background).mean(axis=0), dtype=np.float64)


def sampled(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most `rows` rows, in their order; the same ones for the same seed."""
    if len(frame) <= rows:
        return frame
    return frame.iloc[np.sort(np.random.default_rng(seed).choice(len(frame), rows, replace=False))]
