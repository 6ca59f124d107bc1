"""The kinds of raw column that a project may have: numbers, categories, images.

Of each kind a room has one entry in one table, found by `kind`: how the contract checks it, how it becomes a feature,
how a request says it. What is a plain fact (`values`, `tensor_shape`, `is_text`) is asked of the column itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fullcircle.core.errors import ProjectInvalid
from fullcircle.core.field_ranges import Float32, Name, Within, check_fields, shown

Pixels = Annotated[int, Within(1, 2**16)]
"""The length of one side of an image, or its channels."""


@dataclass(frozen=True)
class Number:
    """A numeric raw column, float32 in the graph; a missing value is NaN.

    Attributes:
        unit: the unit of measurement, for people and for the model card.
        low, high: inclusive range that the data contract enforces.
        nullable: whether a value may be missing.
        after: known only after the outcome: checked by the contract, never shown to a model.
    """

    name: Name
    unit: str = ""
    low: Float32 | None = None
    high: Float32 | None = None
    nullable: bool = False
    after: bool = False

    kind: ClassVar[str] = "number"
    is_text: ClassVar[bool] = False
    groupable: ClassVar[bool] = True
    values: ClassVar[int] = 1
    tensor_shape: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        check_fields(self, f"column {shown(self.name)}")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ProjectInvalid(
                f"the range of column {self.name!r} must have low at most high, got {self.low!r} and {self.high!r}"
            )


@dataclass(frozen=True)
class Category:
    """A string raw column; a missing value is the empty string.

    Attributes:
        known: the categories that the contract allows, or "learn": whatever training data shows; a category
            that was never seen then still gets an answer (it is encoded as "none of the known").
        nullable: whether a value may be missing.
        after: known only after the outcome: checked by the contract, never shown to a model.
    """

    name: Name
    known: tuple[Name, ...] | Literal["learn"] = "learn"
    nullable: bool = False
    after: bool = False

    kind: ClassVar[str] = "category"
    is_text: ClassVar[bool] = True
    groupable: ClassVar[bool] = True
    values: ClassVar[int] = 1
    tensor_shape: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        check_fields(self, f"column {shown(self.name)}")
        if not self.known or (len(set(self.known)) < len(self.known) and self.known != "learn"):
            what = f"the known categories of column {self.name!r} must be one or more different texts"
            raise ProjectInvalid(f"{what} or 'learn', got {shown(self.known)}")


@dataclass(frozen=True)
class Image:
    """An image raw column: float32 of shape (rows, height, width, channels) in the graph, channels last.

    In Parquet a list of numbers, row by row of the image, each pixel's channels side by side; in a frame a flat float32
    array (height * width * channels,); in a request a flat or nested list of numbers. An image is never missing.
    A project has either one image as its only input, or numbers and categories.

    Attributes:
        shape: height, width, channels.
        low, high: inclusive range of a pixel's value that the data contract enforces.
        unit: what a pixel's value measures, for people and for the model card.
        after: known only after the outcome: checked by the contract, never shown to a model.
    """

    name: Name
    shape: tuple[Pixels, Pixels, Pixels]
    low: Float32 = 0.0
    high: Float32 = 255.0
    unit: str = ""
    after: bool = False

    kind: ClassVar[str] = "image"
    is_text: ClassVar[bool] = False
    groupable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fields(self, f"image {shown(self.name)}")

    @property
    def nullable(self) -> bool:
        """Whether a value may be missing: an image never is."""
        return False

    @property
    def values(self) -> int:
        """How many numbers one image has: height * width * channels."""
        height, width, channels = self.shape
        return height * width * channels

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """Shape of one row in the graph."""
        return self.shape

    @property
    def size(self) -> str:
        """Its shape for people: `8 x 8 x 1`."""
        return " x ".join(str(length) for length in self.shape)


Column = Number | Category | Image
"""What all have beside their name:

- `kind`: by which rooms find their entry for it;
- `nullable`, `after`;
- `is_text`: whether its cells are text, else float32;
- `values`: numbers or texts in one cell;
- `tensor_shape`: of one row in the graph, (1,) or (height, width, channels);
- `groupable`: whether rows may be grouped by it.
"""
