"""Preprocesses tables: a scikit-learn ColumnTransformer, fitted on training rows alone, exported by skl2onnx.

Numbers: the median stands in for a missing value, then zero mean and unit variance; where training rows had
missing values, a flag says so. Categories: one-hot; a category that is unknown or rare in training is all zeros,
so "none of the known" is something that the model has seen. Fitted numbers are rounded to float32, which
the graph computes in, so the graph and scikit-learn agree to the last bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fullcircle.core.errors import DataUnavailable, ExportFailed, ProjectInvalid
from fullcircle.core.project import Column, Image, Project
from fullcircle.core.row_tensors import raw_frame
from fullcircle.training.preprocessing.images import ImagePreprocessor, fit_images

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

MIN_CATEGORY_ROWS = 20
"""A category on fewer training rows has no feature of its own: its weight would be noise."""

MAX_CATEGORIES = 256
"""At most this many features a column, the most frequent ones: a column of ids must not swell the model."""

FEATURES = "features"
"""The graph's own name between its two parts: every name in an ONNX graph is used once."""


class TabularPreprocessor:
    """A fitted preprocessor (`core.records.training.Preprocessor`). Made by `fit`."""

    def __init__(self, columns: tuple[Column, ...], transformer: Any, features: tuple[str, ...]) -> None:
        self.columns = columns
        self._transformer = transformer
        self._features = features

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features: `distance`, `wind_gust missing`, `carrier=UA`."""
        return self._features

    @property
    def digest(self) -> str:
        """SHA-256 of all that was fitted: the features (with the categories in their names) and the numbers."""
        sha = hashlib.sha256("\0".join(self._features).encode())
        if "numbers" in self._transformer.named_transformers_:
            imputer, scaler = (step for _, step in self._transformer.named_transformers_["numbers"].steps)
            for fitted in (imputer.statistics_, scaler.mean_, scaler.scale_):
                sha.update(np.ascontiguousarray(fitted, dtype=np.float64).tobytes())
        return sha.hexdigest()

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Raw rows to float32 (rows, features). Raises DataUnavailable when a number is infinite."""
        if len(frame) == 0:
            return np.empty((0, len(self._features)), dtype=np.float32)
        raw = raw_frame(frame, self.columns)
        try:
            features = self._transformer.transform(raw.set_axis(plain_names(self.columns), axis=1))
        except ValueError as error:
            raise _unfit(raw, self.columns, error) from error
        return np.ascontiguousarray(features, dtype=np.float32)

    def save_onnx(self, path: Path) -> None:
        """Write it as a graph: one input a raw column, (rows, 1) float32 or string; one output `features`.

        Raises:
            ExportFailed: skl2onnx could not write it.
        """
        from fullcircle.training.preprocessing.sklearn_to_onnx import save

        try:
            save(self._transformer, self.columns, plain_names(self.columns), path)
        except Exception as error:  # skl2onnx raises RuntimeError, NotImplementedError and its own
            raise ExportFailed(f"the preprocessor cannot be written as ONNX ({error})") from error


def fit(project: Project, frame: pd.DataFrame) -> TabularPreprocessor | ImagePreprocessor:
    """Fit on training rows: numbers and categories as above, an image as `preprocess_images` says.

    Args:
        frame: training rows alone, with the project's input columns; columns known only after the outcome are not read.

    Raises:
        DataUnavailable: no rows, or an infinite number or pixel.
        ProjectInvalid: a column has one of the graph's own names.
    """
    if len(frame) == 0:
        raise DataUnavailable(f"project {project.name!r}: no training rows to fit the preprocessing on")
    columns = project.inputs
    if isinstance(columns[0], Image):  # and then it is the only one: the project was checked
        return fit_images(columns[0], frame)
    if taken := sorted({column.name for column in columns} & {FEATURES, *project.target.answers.names}):
        raise ProjectInvalid(
            f"project {project.name!r}: columns must not be named {' or '.join(map(repr, taken))}",
            hint="these are the graph's own names: rename the column",
        )
    raw = raw_frame(frame, columns)
    plain = dict(zip((column.name for column in columns), plain_names(columns), strict=True))
    numbers = [column.name for column in columns if not column.is_text]
    holed = [name for name in numbers if 0 < int(raw[name].isna().sum()) < len(raw)]
    categories = {column.name: _categories(raw[column.name]) for column in columns if column.is_text}
    transformer = _transformer(
        [plain[name] for name in numbers],
        [plain[name] for name in holed],
        {plain[name]: values for name, values in categories.items()},
    )
    try:
        transformer.fit(raw.rename(columns=plain))
    except ValueError as error:
        raise _unfit(raw, columns, error) from error
    if numbers:
        _round_to_float32(transformer.named_transformers_["numbers"])
    features = (
        *numbers,
        *(f"{name} missing" for name in holed),
        *(f"{name}={value}" for name, values in categories.items() for value in values),
    )
    return TabularPreprocessor(columns, transformer, features)


def plain_names(columns: Sequence[Column]) -> list[str]:
    """Names that scikit-learn and skl2onnx see instead of the columns' own, which skl2onnx would mend its way."""
    return [f"column_{index}" for index in range(len(columns))]


def _transformer(numbers: Sequence[str], holed: Sequence[str], categories: dict[str, list[str]]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from fullcircle.training.preprocessing.sklearn_to_onnx import MissingFlags

    branches: list[tuple[str, Any, list[str]]] = []
    if numbers:
        # A column that is empty in training stays, as zeros: the model's inputs do not depend on the month.
        scale = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        branches.append(("numbers", scale, list(numbers)))
    if holed:
        branches.append(("missing", MissingFlags(), list(holed)))
    if categories:
        one_hot = OneHotEncoder(
            categories=[np.asarray(values, dtype=object) for values in categories.values()],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        )
        branches.append(("categories", one_hot, list(categories)))
    return ColumnTransformer(branches, sparse_threshold=0.0)


def _categories(values: pd.Series[str]) -> list[str]:
    counts = values.value_counts()
    frequent = counts[counts >= MIN_CATEGORY_ROWS].index
    # The most frequent one always stays: a column without any feature cannot be one-hot encoded.
    kept = list(frequent[:MAX_CATEGORIES]) or [counts.index[0]]
    return sorted(str(value) for value in kept)


def _round_to_float32(pipeline: Any) -> None:
    imputer, scaler = (step for _, step in pipeline.steps)
    imputer.statistics_ = np.nan_to_num(imputer.statistics_).astype(np.float32).astype(np.float64)
    scaler.mean_ = scaler.mean_.astype(np.float32).astype(np.float64)
    # The graph multiplies by the inverse: that is what has to be exact in float32.
    scaler.scale_ = 1.0 / (1.0 / scaler.scale_).astype(np.float32).astype(np.float64)


def _unfit(raw: pd.DataFrame, columns: Sequence[Column], error: ValueError) -> DataUnavailable:
    infinite = [c.name for c in columns if not c.is_text and bool(np.isinf(raw[c.name].to_numpy()).any())]
    if infinite:
        return DataUnavailable(
            f"infinite values in {', '.join(infinite)}", hint="give the column a 'low' and a 'high' in project.py"
        )
    return DataUnavailable(f"the rows do not fit the project's columns ({error})")
