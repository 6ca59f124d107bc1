"""Stages as Prefect tasks, on a real server."""

from __future__ import annotations

import time

import numpy as np
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.runtime import flow_run

from fullcircle.core.errors import ContractViolated, TrackingUnavailable
from fullcircle.core.records.dataset import ContractReport, Violation
from fullcircle.core.settings import Settings
from fullcircle.loop import progress
from fullcircle.orchestration.artifacts import tagged
from fullcircle.orchestration.stage_tasks import as_tasks

pytestmark = pytest.mark.usefixtures("settings")


def violated() -> ContractViolated:
    broken = Violation(column="age", rule="at least 0", count=2, examples=("a", "b"))
    return ContractViolated(
        "2 rows break it", report=ContractReport(project="p", rows=9, violations=(broken,)), quarantine="q"
    )


class Stage:
    """A stage that fails so many times before it answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.calls, self._failures, self._error = 0, failures, error

    def __call__(self, value: object) -> object:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return value


def in_a_flow(body):  # type: ignore[no-untyped-def]
    """Run `body(step-maker)` in a flow; returns (its result, the flow run's id)."""
    seen = []

    @flow(name="test", persist_result=False)
    def test_flow() -> object:
        seen.append(flow_run.id)
        return body()

    try:
        return test_flow(), seen[0]
    except BaseException as error:
        error.add_note(f"flow run {seen[0]}")
        raise


def test_a_stage_gets_its_arguments_and_gives_back_the_very_object_that_it_returned() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    step = as_tasks({})
    result, _ = in_a_flow(lambda: step("keep", lambda first, *, second: (first, second), rows, second="x"))
    assert result[0] is rows
    assert result[1] == "x"


def test_a_stage_that_the_world_failed_is_tried_again_until_it_works() -> None:
    stage = Stage(2, TrackingUnavailable("no answer"))
    result, _ = in_a_flow(lambda: as_tasks({"register": 2}, delay_s=0.01)("register", stage, 5))
    assert (result, stage.calls) == (5, 3)


def test_retries_named_by_a_first_word_hold_for_all_stages_that_begin_with_it() -> None:
    stage = Stage(1, ConnectionError("reset"))
    result, _ = in_a_flow(lambda: as_tasks({"train": 1}, delay_s=0.01)("train torch", stage, 5))
    assert (result, stage.calls) == (5, 2)


def test_a_broken_contract_is_never_tried_again_and_reaches_the_caller_whole() -> None:
    stage = Stage(9, violated())
    with pytest.raises(ContractViolated, match="2 rows break it") as caught:
        in_a_flow(lambda: as_tasks({"check": 5}, delay_s=0.01)("check", stage, 5))
    assert stage.calls == 1
    assert caught.value.report.violations[0].count == 2


def test_a_stage_that_is_not_named_is_tried_once() -> None:
    stage = Stage(1, TrackingUnavailable("no answer"))
    with pytest.raises(TrackingUnavailable, match="no answer"):
        in_a_flow(lambda: as_tasks({"other": 3}, delay_s=0.01)("register", stage, 5))
    assert stage.calls == 1


def test_the_server_knows_each_stage_by_name_with_its_tags_and_its_end() -> None:
    def body() -> None:
        step = as_tasks({}, tags=("stage",))
        with tagged("project:p"):
            step("check the data contract", lambda: None)
            step("train {torch}", lambda: None)

    _, run_id = in_a_flow(body)
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        deadline = time.monotonic() + 20  # states are sent in the background
        while time.monotonic() < deadline:
            runs = client.read_task_runs(flow_run_filter=chosen)
            if len(runs) == 2 and all(run.state and run.state.is_completed() for run in runs):
                break
            time.sleep(0.1)
        assert {run.name for run in runs} == {"check the data contract", "train {torch}"}
        assert all({"stage", "project:p"} <= set(run.tags) for run in runs)
        assert client.read_flow_run(run_id).tags == ["project:p"]


def test_a_stage_sees_the_progress_that_the_caller_installed() -> None:
    class Heard(progress.LogProgress):
        def __init__(self) -> None:
            self.said: list[str] = []

        def note(self, text: str) -> None:
            self.said.append(text)

    heard = Heard()
    with progress.shown_by(heard):
        in_a_flow(lambda: as_tasks({})("say", lambda: progress.current().note("here")))
    assert heard.said == ["here"]


def test_nothing_of_a_stage_is_kept_on_disk(settings: Settings) -> None:
    storage = settings.home / "prefect" / "storage"
    before = sorted(storage.rglob("*"))
    in_a_flow(lambda: as_tasks({})("big", lambda: np.zeros(100)))
    assert sorted(storage.rglob("*")) == before
