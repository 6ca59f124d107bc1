"""How people read the numbers of an answer: a probability in per cent, anything else in the unit of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AnswerFormat:
    """How the numbers of an answer, and differences between them, are written.

    Attributes:
        quantity: what a number is: "probability".
        subject: what explanations are of: "the probability".
        factor: what a number is multiplied by to be in `unit`.
        unit: of a number, "%"; empty where it has none.
        step: unit of a difference between two numbers, "percentage points".
        short_step: the same where there is little room, "points".
        part: what each of several numbers stands for, "class"; empty where an answer is one number.
        parts: the same of several: "classes".
        lead: what stands before the part that is shown: "answer", or "top" where the likeliest need not be answered.
    """

    quantity: str
    subject: str
    factor: float = 1.0
    unit: str = ""
    step: str = ""
    short_step: str = ""
    part: str = ""
    parts: str = ""
    lead: str = "answer"

    @property
    def is_share(self) -> bool:
        """Whether numbers are shares, shown in per cent. Of a target whose unit is % they are not."""
        return self.factor == 100.0

    def value(self, number: float) -> str:
        """A number with its unit: `12.5%`, `7.31 minutes`."""
        return f"{number:.1%}" if self.is_share else f"{rounded(number)} {self.unit}".rstrip()

    def amount(self, size: float, largest: float) -> str:
        """The size of a difference, without its unit: `4.2`.

        Args:
            largest: of the sizes beside it, which have as many decimals.
        """
        return f"{self.factor * size:.1f}" if self.is_share else rounded(size, largest)

    def effect(self, difference: float, largest: float) -> str:
        """A difference with its sign, without its unit: `+4.2`. `largest`: as of `amount`."""
        if self.is_share:
            return f"{self.factor * difference:+.1f}"
        return _signed(rounded(difference, largest))

    def brief(self, number: float) -> str:
        """A number where there is little room: `12%`, `7.31`."""
        return f"{number:.0%}" if self.is_share else rounded(number)

    def brief_effect(self, difference: float) -> str:
        """A difference with its sign where there is little room: `+4`, `-2.50`."""
        return f"{self.factor * difference:+.0f}" if self.is_share else _signed(rounded(difference))


def with_unit(title: str, unit: str) -> str:
    """The title of an axis with its unit: `Prediction, minutes`."""
    return f"{title}, {unit}" if unit else title


def per_cent(subject: str, part: str = "", parts: str = "", lead: str = "answer") -> AnswerFormat:
    """The format of probabilities."""
    return AnswerFormat(
        quantity="probability",
        subject=subject,
        factor=100.0,
        unit="%",
        step="percentage points",
        short_step="points",
        part=part,
        parts=parts,
        lead=lead,
    )


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"


def rounded(number: float, like: float | None = None) -> str:
    """A number to three significant digits as people write it: `1,230`, `0.0456`, `1.2e+09`.

    Args:
        like: as many decimals as this number has so.
    """
    size = abs(number if like is None else like)
    if not (math.isfinite(number) and math.isfinite(size)):
        return str(number)
    digits = math.floor(math.log10(size)) if size else 0
    if not size or not -4 <= digits < 9:
        return f"{number:.3g}"
    # No -0.00: what is rounded to nothing has no sign.
    short = round(number, 2 - digits) + 0.0
    return f"{short:,.{max(0, 2 - digits)}f}"
