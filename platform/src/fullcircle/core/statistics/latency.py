"""Judges a latency measurement: too slow, fast enough, or too noisy a machine. Pure: rounds in, an outcome out.

What a caller waits for is the model's work, the server's, and whatever else the machine does. Other work only ever
adds: one quiet round within the budget is proof, and a slow one proves nothing by itself. So a slow model is known by
its processor time, which waiting does not lengthen, or by being over the budget again and again where a reference,
asked in turn with it, was within. All else is noise, and noise is no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from fullcircle.core.statistics.outcome import Outcome

SURE = 7
"""Rounds that only the reference kept within the budget: by chance in 1 of 128 (sign test), were both as fast."""
AS_FAST = 1.25
"""Most processor time of a model, in that of the reference, to be called as fast."""
STRETCH = 4
"""On a busy machine a request's processor time is longer, too (caches, shared cores): by so much at the very most."""


@dataclass(frozen=True, kw_only=True)
class LatencyRound:
    """One turn of requests to the model and, from the moment that it was needed, one to the reference beside it.

    Attributes:
        p99_ms: 99th percentile of what a caller waited for one row.
        cpu_ms: median processor time of the server for a request; None where the system does not tell.
    """

    p99_ms: float
    cpu_ms: float | None = None
    reference_p99_ms: float | None = None
    reference_cpu_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What was measured of a model in the real server.

    Attributes:
        reference: whom the rounds held it against, in words; "" where it was not needed.
        reference_kept_ms: the 99th percentile that the reference was released with; None: not known.
    """

    rounds: tuple[LatencyRound, ...]
    reference: str = ""
    reference_kept_ms: float | None = None

    @property
    def p99_ms(self) -> float:
        """The least of the rounds: other work on the machine only ever adds. Not a number without a round."""
        return min((each.p99_ms for each in self.rounds), default=float("nan"))

    @property
    def cpu_ms(self) -> float | None:
        """The least of the rounds; None where the system does not tell."""
        return min((each.cpu_ms for each in self.rounds if each.cpu_ms is not None), default=None)

    @property
    def reference_p99_ms(self) -> float | None:
        """The least of the rounds; None where there was no reference."""
        return min((each.reference_p99_ms for each in self.rounds if each.reference_p99_ms is not None), default=None)

    @property
    def processor_ratio(self) -> float | None:
        """Its processor time in that of the reference: the median of the rounds that had both."""
        both = [(each.cpu_ms, each.reference_cpu_ms) for each in self.rounds if each.cpu_ms and each.reference_cpu_ms]
        return median(own / other for own, other in both) if both else None


def judge_latency(found: Latency, budget_ms: float) -> tuple[Outcome, str]:
    """The outcome and its sentence. INCONCLUSIVE: the machine was too busy; measured again, it may be decided."""
    said, budget = f"p99 latency in the server is {found.p99_ms:.3g} ms", f"the budget of {budget_ms:g} ms"
    if found.p99_ms <= budget_ms:
        return Outcome.PROMOTE, f"{said}, within {budget}"
    if found.p99_ms != found.p99_ms:
        return Outcome.REJECT, f"p99 latency in the server is not a number, over {budget}"
    if found.cpu_ms is not None and _works_too_long(found, found.cpu_ms, budget_ms):
        work = f"{found.cpu_ms:.3g} ms of it are processor time"
        than = "" if found.processor_ratio is None else f", {found.processor_ratio:.1f} times that of {found.reference}"
        return Outcome.REJECT, f"{said}, over {budget}: {work}{than}, however busy the machine was"
    only = sum(each.reference_p99_ms is not None and each.reference_p99_ms <= budget_ms for each in found.rounds)
    if only >= SURE:
        within = f"{found.reference} was within it in {only} of the rounds in which both were asked in turn"
        return Outcome.REJECT, f"{said}, over {budget}: {within}"
    if (why := _fast_by_its_work(found, budget_ms)) is not None:
        now = f"on a busy machine, where {found.reference} takes {found.reference_p99_ms:.3g} ms in the same rounds"
        return Outcome.PROMOTE, f"{said} {now}: {why}"
    return Outcome.INCONCLUSIVE, f"{said}, over {budget}, {_noise(found)}: too noisy to tell, so it is measured again"


def _works_too_long(found: Latency, cpu_ms: float, budget_ms: float) -> bool:
    """By its processor time; where the reference's is as long in the same rounds, the machine may have stretched it."""
    if found.processor_ratio is None:
        return cpu_ms > STRETCH * budget_ms
    return cpu_ms > budget_ms and found.processor_ratio > AS_FAST


def _fast_by_its_work(found: Latency, budget_ms: float) -> str | None:
    """Why a model is within the budget although the machine kept everybody waiting; None where that is not known."""
    now, kept, ratio, cpu = found.reference_p99_ms, found.reference_kept_ms, found.processor_ratio, found.cpu_ms
    if now is None or now <= budget_ms or cpu is None:
        return None
    if cpu <= budget_ms / 4:
        return f"its own work of {cpu:.2g} ms a request is far within the budget of {budget_ms:g} ms"
    if kept is None or kept > budget_ms or ratio is None or ratio > AS_FAST or cpu > budget_ms / 2:
        return None
    return f"it works {ratio:.2f} times as long as that one, which was released within the budget of {budget_ms:g} ms"


def _noise(found: Latency) -> str:
    if found.reference_p99_ms is None:
        return "and there was nothing to hold it against"
    work = "" if found.cpu_ms is None else f", and only {found.cpu_ms:.2g} ms of it are processor time"
    return f"but {found.reference} takes {found.reference_p99_ms:.3g} ms in the same rounds{work}"
