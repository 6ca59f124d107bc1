"""What to do about a window's health. Pure: health, policy and state in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from fullcircle.core.project import Policy
from fullcircle.core.records.health import Decision, Health, Keep, Performance, PolicyState, Retrain, Rollback
from fullcircle.core.statistics.interval import in_few_digits

UNKNOWN = "cannot be held against anything: no figure is known from the release"


def decide(health: Health, policy: Policy, state: PolicyState) -> Decision:
    """Roll back when the previous champion is credibly better, retrain when worth its cost, else keep.

    Order of the questions: is there enough to judge; would the previous champion do better (undoing is cheaper
    than training); has realised performance fallen or the window drifted; is there budget, and has the cooldown
    passed.
    """
    if not health.enough_rows:
        return Keep(reason=f"only {health.window.rows} rows: too few to judge")
    if rollback := _rollback(health, policy, state):
        return rollback
    why = _why_retrain(health, policy)
    if why is None:
        return Keep(reason=_all_is_well(health))
    if forbidden := refusal(health.window.end, policy, state.retrains):
        return Keep(reason=f"{why}, but {forbidden}")
    return Retrain(reason=why)


def _rollback(health: Health, policy: Policy, state: PolicyState) -> Rollback | None:
    gain = health.performance.previous_gain if health.performance else None
    found = health.performance
    if gain is None or found is None or state.previous_version is None:
        return None
    if gain.low <= found.amount(policy.rollback_margin):
        return None
    higher = "higher" if found.greater_is_better else "lower"
    reason = (
        f"version {state.previous_version} has a {found.title} {gain} {higher} on the same {found.rows} labelled rows"
    )
    return Rollback(to=state.previous_version, reason=reason)


def _why_retrain(health: Health, policy: Policy) -> str | None:
    performance, drop = health.performance, health.drop()
    expected = performance.expected if performance else None
    if performance and expected is not None and drop is not None and drop > policy.tolerated_drop:
        return (
            f"realised {performance.title} {performance.score} is {_by(drop, performance)} {performance.wrong_side} "
            f"the {in_few_digits(expected)} measured at release (tolerated: {policy.tolerated_drop})"
        )
    if not health.is_drifted:
        return None
    drifted = f"{len(health.drifted)} of {len(health.columns)} columns drifted"
    if performance is None:
        return f"{drifted} and no labels are known yet"
    if policy.on_drift:
        known = "is within tolerance" if health.drop() is not None else UNKNOWN
        return f"{drifted}, although a realised {performance.title} of {in_few_digits(performance.score.value)} {known}"
    return None


def refusal(now: datetime, policy: Policy, retrains: Sequence[datetime]) -> str | None:
    """Why the policy forbids a retrain now, after those at these times; None: it does not."""
    # One that lies ahead counts, too: the clock was set back since, and that refills no budget.
    recent = [at for at in retrains if now - policy.budget_window < at]
    if len(recent) >= policy.max_retrains:
        return f"the budget of {policy.max_retrains} retrains in {policy.budget_window.days} days is spent"
    if recent and (ago := max(now - max(recent), timedelta(0))) < policy.cooldown:
        return f"the last retrain was {ago.days} days ago (cooldown: {policy.cooldown.days})"
    return None


def _all_is_well(health: Health) -> str:
    if health.performance is None:
        return f"{len(health.drifted)} of {len(health.columns)} columns drifted; no labels to say that it matters"
    known = "is within tolerance" if health.drop() is not None else UNKNOWN
    return f"realised {health.performance.title} {in_few_digits(health.performance.score.value)} {known}"


def _by(drop: float, performance: Performance) -> str:
    return f"{drop:.1%}" if performance.relative else in_few_digits(drop)
