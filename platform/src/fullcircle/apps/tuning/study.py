"""A hyperparameter study: its trials, their values, and which parameters to try next.

All of it is in the platform's database, so that a study goes on wherever it was stopped. What is tried next depends on
the study's name, the number of the trial and the trials before it, and on nothing that a process remembers: a study
that was stopped and gone on with, one trial at a time, is the same study to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from fullcircle.apps.tuning.optuna_storage import OptunaJournal
from fullcircle.core.project.search_arguments import setting
from fullcircle.core.project.search_space import Choice, Integer, LogUniform, Range, Search
from fullcircle.store.database import Database
from fullcircle.store.study_journal import Studies

RANDOM = 10
"""So many trials are drawn at random before the sampler learns from them: Optuna's own choice."""
UNPRUNED, FIRST_JUDGED = 5, 2
"""So many trials come to their end before any is pruned, and none is judged before its second epoch."""

_TERMS = "terms"
_WHY = "why"


class TrialStatus(StrEnum):
    """How a trial stands."""

    RUNNING = "running"
    DONE = "done"
    PRUNED = "pruned"
    FAILED = "failed"


_STATES = {
    TrialState.RUNNING: TrialStatus.RUNNING,
    TrialState.WAITING: TrialStatus.RUNNING,
    TrialState.COMPLETE: TrialStatus.DONE,
    TrialState.PRUNED: TrialStatus.PRUNED,
    TrialState.FAIL: TrialStatus.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial.

    Attributes:
        number: counts from 1.
        parameters: `training.<name>` -> value.
        curve: what it was worth after each of its epochs.
        value: what it is worth; of a pruned one, what it was worth then; None while it runs and when it failed.
        why: of a failed one.
        greater_is_better: whether a larger value is worth more.
    """

    number: int
    state: TrialStatus
    parameters: Mapping[str, Any]
    curve: tuple[float, ...]
    value: float | None
    why: str = ""
    greater_is_better: bool = True

    @property
    def gain(self) -> float:
        """What it is worth, turned so that greater is better; minus infinity without a value."""
        if self.value is None:
            return -math.inf
        return self.value if self.greater_is_better else -self.value

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.state is TrialStatus.RUNNING

    @property
    def pruned(self) -> bool:
        """Whether it was ended because others were worth more at that epoch."""
        return self.state is TrialStatus.PRUNED

    @property
    def settings(self) -> tuple[str, ...]:
        """The words that set its parameters, as `--set` takes them."""
        return tuple(setting(name, value) for name, value in self.parameters.items())


def best(trials: Sequence[Trial], most: int = 1) -> list[Trial]:
    """Those that came to their end and are worth most, the best first, the earliest of equals first."""
    done = [
        (-trial.gain, trial.number, trial)
        for trial in trials
        if trial.state is TrialStatus.DONE and trial.value is not None
    ]
    return [trial for _, _, trial in sorted(done, key=lambda each: each[:2])[:most]]


class Study:
    """A study of that name, made if it is missing. One process at a time may have it: a trial that it finds running
    is one that another process left.

    Args:
        search: what may be tried, the same each time.
        present: parameters to begin with, if `search` holds them: what the project has now.
        greater_is_better: of what trials are worth, the same each time.

    Every method raises FullcircleError when the database does not answer.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        search: Search,
        present: Mapping[str, Any],
        *,
        greater_is_better: bool = True,
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        self.name = name
        self._search, self._greater_is_better = search, greater_is_better
        self._database = database
        self._study = optuna.create_study(
            storage=JournalStorage(OptunaJournal(Studies(self._database), name)),
            study_name=name,
            direction="maximize" if greater_is_better else "minimize",
            load_if_exists=True,
            # The median of few trials is a fair rival; Hyperband's brackets want hundreds of trials.
            pruner=MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=FIRST_JUDGED),
        )
        self._distributions = {key: _distribution(each) for key, each in search.items()}
        if not self._trials() and all(key in present and each.holds(present[key]) for key, each in search.items()):
            self._study.enqueue_trial({key: _inner(each, present[key]) for key, each in search.items()})

    def close(self) -> None:
        """Close the connections to the database."""
        self._database.close()

    @property
    def terms(self) -> dict[str, Any] | None:
        """What was agreed on when the study began; None before."""
        found: dict[str, Any] | None = self._study.user_attrs.get(_TERMS)
        return found

    def agree(self, terms: Mapping[str, Any]) -> None:
        """Write down (plain values, as JSON has them) what holds for all of its trials."""
        self._study.set_user_attr(_TERMS, dict(terms))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All that were begun, in their order."""
        return tuple(self._trial(each) for each in self._trials() if each.state != TrialState.WAITING)

    def ask(self) -> Trial:
        """Begin the next trial. It is in the database when this returns."""
        known = self._trials()
        number = next((each.number for each in known if each.state == TrialState.WAITING), len(known))
        self._study.sampler = self._sampler(number)
        return self._trial(self._frozen(self._study.ask(self._distributions).number))

    def restart(self, number: int) -> Trial:
        """A trial that is running, with all of its parameters: a kill may have come before they were all drawn."""
        self._study.sampler = self._sampler(number - 1)
        trial = self._live(number)
        for key, distribution in self._distributions.items():
            _suggest(trial, key, distribution)
        return self._trial(self._frozen(number - 1))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Hear what a running trial is worth after an epoch (from 1). Returns whether to go on with it: False when it
        is worth less than the median of the finished trials was at that epoch. An epoch may be reported again."""
        trial = self._live(number)
        if epoch not in self._frozen(number - 1).intermediate_values:
            trial.report(value, epoch)
        return not trial.should_prune()

    def done(self, number: int, value: float) -> Trial:
        """End a trial that came to its end, worth that much."""
        return self._told(number, value, TrialState.COMPLETE)

    def pruned(self, number: int) -> Trial:
        """End a trial that was not worth going on with."""
        return self._told(number, None, TrialState.PRUNED)

    def failed(self, number: int, why: str) -> Trial:
        """End a trial that came to nothing."""
        self._live(number).set_user_attr(_WHY, why)
        return self._told(number, None, TrialState.FAIL)

    def importance(self) -> dict[str, float]:
        """Share of each parameter in what makes trials good (they add up to 1), the largest first; empty when too few
        trials are done. Source: PED-ANOVA, Watanabe et al. 2023."""
        done = [each for each in self._trials() if each.state == TrialState.COMPLETE]
        if len(done) < 2 or len({each.value for each in done}) < 2:
            return {}
        found = optuna.importance.get_param_importances(self._study)
        total = sum(found.values())
        return {key: share / total for key, share in found.items()} if total > 0 else {}

    def _sampler(self, number: int) -> TPESampler:
        seed = int.from_bytes(hashlib.sha256(f"{self.name}/{number}".encode()).digest()[:4], "big")
        return TPESampler(seed=seed, n_startup_trials=RANDOM)

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._trials()[number]

    def _live(self, number: int) -> optuna.Trial:
        return optuna.Trial(self._study, self._frozen(number - 1)._trial_id)

    def _told(self, number: int, value: float | None, state: TrialState) -> Trial:
        return self._trial(self._study.tell(number - 1, value, state))

    def _trial(self, found: FrozenTrial) -> Trial:
        return Trial(
            number=found.number + 1,
            state=_STATES[found.state],
            parameters={
                key: _outer(self._search[key], found.params[key]) for key in self._search if key in found.params
            },
            curve=tuple(value for _, value in sorted(found.intermediate_values.items())),
            value=found.value,
            why=str(found.user_attrs.get(_WHY, "")),
            greater_is_better=self._greater_is_better,
        )


def _distribution(each: Range) -> BaseDistribution:
    match each:
        case Choice():
            return CategoricalDistribution(each.texts)
        case Integer():
            return IntDistribution(each.low, each.high, log=each.log)
        case _:
            return FloatDistribution(each.low, each.high, log=isinstance(each, LogUniform))


def _suggest(trial: optuna.Trial, key: str, distribution: BaseDistribution) -> None:
    match distribution:
        case CategoricalDistribution():
            trial.suggest_categorical(key, distribution.choices)
        case IntDistribution():
            trial.suggest_int(key, distribution.low, distribution.high, log=distribution.log)
        case FloatDistribution():
            trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)


def _inner(each: Range, value: Any) -> Any:
    """A value as Optuna keeps it: of a choice, its JSON, since lists are no categories for Optuna."""
    return json.dumps(value) if isinstance(each, Choice) else value


def _outer(each: Range, kept: Any) -> Any:
    """The value that Optuna keeps so. A number has six digits: what is tried is what a person can type."""
    if isinstance(each, Choice):
        return json.loads(kept)
    if isinstance(each, Integer):
        return int(kept)
    return min(max(float(f"{kept:.6g}"), each.low), each.high)
