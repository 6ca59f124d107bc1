"""A study in the platform's database: what is tried next depends on what was tried, and on no process's memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fullcircle.apps.tuning.study import Study, Trial, TrialStatus, best
from fullcircle.apps.tuning.study_plots import _curves, pictures
from fullcircle.core.project.search_space import Choice, Integer, LogUniform, Search, Uniform
from fullcircle.core.settings import Settings
from fullcircle.store.database import Database
from fullcircle.store.study_journal import Studies

SEARCH: Search = {
    "training.dropout": Uniform(0.0, 0.5),
    "training.hidden": Choice([64], [128, 64]),
    "training.layers": Integer(1, 4),
    "training.learning_rate": LogUniform(1e-4, 1e-1),
}
PRESENT = {"training.dropout": 0.2, "training.hidden": [64], "training.layers": 2, "training.learning_rate": 1e-3}
Open = Callable[[], "contextlib.closing[Study]"]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    return lambda: contextlib.closing(Study(Database(settings), "p/torch", SEARCH, PRESENT))


def worth(trial: Trial, epoch: int) -> float:
    """A made-up training: best near a learning rate of 0.01 and without dropout."""
    rate, dropout = trial.parameters["training.learning_rate"], trial.parameters["training.dropout"]
    return 0.8 - 0.05 * abs(math.log10(rate) + 2) - 0.1 * dropout - 0.1 / epoch


def carry(study: Study, trial: Trial, first: int = 1) -> Trial:
    """Bring a trial to its end, from an epoch on."""
    for epoch in range(first, 5):
        if not study.report(trial.number, epoch, worth(trial, epoch)):
            return study.pruned(trial.number)
    return study.done(trial.number, worth(trial, 4))


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("whole"))})
    with contextlib.closing(Study(Database(settings), "p/torch", SEARCH, PRESENT)) as study:
        for _ in range(14):
            carry(study, study.ask())
        yield study


def test_a_study_begins_with_what_the_project_has_and_stays_within_its_ranges(whole: Study) -> None:
    assert dict(whole.trials[0].parameters) == PRESENT
    for trial in whole.trials:
        assert trial.parameters.keys() == SEARCH.keys()
        assert all(SEARCH[name].holds(value) for name, value in trial.parameters.items())


def test_a_study_does_not_begin_with_what_its_ranges_do_not_hold(tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    with contextlib.closing(
        Study(Database(settings), "p/torch", SEARCH, {**PRESENT, "training.dropout": 0.9})
    ) as study:
        assert study.ask().parameters["training.dropout"] <= 0.5


@pytest.mark.parametrize("epochs", [0, 1, 2, 3])
def test_a_study_that_each_process_leaves_in_the_midst_of_a_trial_is_the_same_study(
    whole: Study, opened: Open, epochs: int
) -> None:
    for number in range(1, 15):
        with opened() as study:
            trial = study.ask()
            for epoch in range(1, epochs + 1):
                if not study.report(number, epoch, worth(trial, epoch)):
                    break
        with opened() as study:
            assert [each.number for each in study.trials if each.running] == [number]
            carry(study, study.restart(number))  # a checkpoint may have been lost: epochs are told again
    with opened() as study:
        assert study.trials == whole.trials


def test_a_trial_that_was_killed_while_its_parameters_were_drawn_gets_the_same_ones(
    whole: Study, opened: Open, tmp_path: Path
) -> None:
    for _ in range(11):  # from here on the sampler learns from the trials
        with opened() as study:
            carry(study, study.ask())
    with opened() as study:
        before = len(studies(tmp_path).entries("p/torch"))
        study.ask()
    written = studies(tmp_path).entries("p/torch")
    kept = before + 3  # the trial itself and some of its four parameters
    assert before < kept < len(written)
    other = tmp_path / "killed"
    studies(other).append("p/torch", written[:kept])
    with contextlib.closing(
        Study(Database(Settings.from_env({"FULLCIRCLE_HOME": str(other)})), "p/torch", SEARCH, PRESENT)
    ) as study:
        assert len(study.trials[11].parameters) < 4
        assert study.restart(12).parameters == whole.trials[11].parameters


def studies(folder: Path) -> Studies:
    return Studies(Database(Settings.from_env({"FULLCIRCLE_HOME": str(folder)})))


def test_a_trial_that_is_behind_the_median_is_to_be_ended_but_none_of_the_first_five(opened: Open) -> None:
    with opened() as study:
        for _ in range(5):
            trial = study.ask()
            assert [study.report(trial.number, epoch, 0.7) for epoch in (1, 2)] == [True, True]
            study.done(trial.number, 0.7)
        trial = study.ask()
        assert study.report(trial.number, 1, 0.6)  # the first epoch is not judged
        assert not study.report(trial.number, 2, 0.6)
        ended = study.pruned(trial.number)
        assert (ended.state, ended.value, ended.curve) == (TrialStatus.PRUNED, 0.6, (0.6, 0.6))


def test_a_trial_that_failed_says_why_and_is_none_of_the_best(opened: Open) -> None:
    with opened() as study:
        first, second, third = (study.ask() for _ in range(3))
        study.failed(first.number, "non-finite loss")
        study.done(second.number, 0.7)
        study.done(third.number, 0.7)
    with opened() as study:
        trials = study.trials
        assert (trials[0].state, trials[0].why, trials[0].value) == (TrialStatus.FAILED, "non-finite loss", None)
        assert [trial.number for trial in best(trials, 5)] == [2, 3]  # the earliest of equals first


def test_what_was_agreed_on_is_there_for_the_next_process(opened: Open) -> None:
    with opened() as study:
        assert study.terms is None
        study.agree({"until": "2030-01-01", "search": {"training.dropout": "0.0..0.5"}})
    with opened() as study:
        assert study.terms == {"until": "2030-01-01", "search": {"training.dropout": "0.0..0.5"}}


def test_importance_adds_up_to_one_and_names_what_matters(whole: Study, opened: Open) -> None:
    found = whole.importance()
    assert found.keys() == SEARCH.keys()
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["training.learning_rate"] > found["training.layers"]
    with opened() as study:
        assert study.importance() == {}


def test_the_pictures_show_what_there_is(whole: Study, opened: Open, tmp_path: Path) -> None:
    names = {"history.png", "epochs.png", "slices.png", "parallel.png", "importance.png"}
    drawn = pictures(whole.trials, SEARCH, whole.importance(), tmp_path / "whole", "ROC AUC")
    assert {path.name for path in drawn} == names
    assert all(path.read_bytes()[1:4] == b"PNG" for path in drawn)
    with opened() as study:
        assert pictures(study.trials, SEARCH, {}, tmp_path / "none", "ROC AUC") == []
        trial = study.ask()
        study.done(trial.number, 0.7)  # without an epoch
        few = pictures(study.trials, SEARCH, study.importance(), tmp_path / "few", "ROC AUC")
    assert {path.name for path in few} == names - {"importance.png", "epochs.png"}


def test_a_journal_numbers_its_entries_without_a_gap_and_each_study_has_its_own(tmp_path: Path) -> None:
    journal = studies(tmp_path)
    journal.append("a", ["0", "1"])
    journal.append("b", ["x"])
    journal.append("a", ["2"])
    assert journal.entries("a") == ["0", "1", "2"]
    assert journal.entries("a", 2) == ["2"]
    assert journal.entries("a", 3) == journal.entries("c") == []


def test_the_curves_show_the_best_trial_from_its_first_epoch_on() -> None:
    trials = [
        Trial(number=1, state=TrialStatus.DONE, parameters={}, curve=(0.60, 0.70, 0.78), value=0.78),
        Trial(number=2, state=TrialStatus.DONE, parameters={}, curve=(0.61, 0.70, 0.77), value=0.77),
        Trial(number=3, state=TrialStatus.PRUNED, parameters={}, curve=(0.1,), value=0.1),
    ]
    bottom, top = _curves(trials, "ROC AUC").axes[0].get_ylim()
    assert 0.5 < bottom < 0.60 < 0.78 < top


def test_where_less_is_better_a_study_seeks_prunes_and_shows_the_least(tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    with contextlib.closing(Study(Database(settings), "p/mae", SEARCH, {}, greater_is_better=False)) as study:
        for _ in range(30):
            trial = study.ask()
            for epoch in range(1, 5):
                if not study.report(trial.number, epoch, 10 - 10 * worth(trial, epoch)):
                    study.pruned(trial.number)
                    break
            else:
                study.done(trial.number, 10 - 10 * worth(trial, 4))
        trials = study.trials
    done = [each for each in trials if each.state is TrialStatus.DONE]
    assert best(trials)[0].value == min(each.value for each in done if each.value is not None)
    assert {each.state for each in trials} == {TrialStatus.DONE, TrialStatus.PRUNED}
    late = [each.value for each in done[len(done) // 2 :] if each.value is not None]
    early = [each.value for each in done[: len(done) // 2] if each.value is not None]
    assert sum(late) / len(late) < sum(early) / len(early)
    assert len(pictures(trials, SEARCH, {}, tmp_path / "pictures", "validation MAE")) == 4
