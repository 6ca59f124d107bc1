"""Stages as Prefect tasks: names, states, retries and durations in its UI, while arguments and results stay here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from fullcircle.core.errors import DataUnavailable, FullcircleError, ServiceUnavailable, TrackingUnavailable
from fullcircle.loop.steps import Step
from fullcircle.orchestration.api_probe import require_api

if TYPE_CHECKING:
    from prefect import State, Task
    from prefect.client.schemas.objects import TaskRun

P = ParamSpec("P")
T = TypeVar("T")

RETRYABLE = (DataUnavailable, ServiceUnavailable, TrackingUnavailable)
"""Errors that another moment may mend. Every other error of ours is a judgement: trying again changes nothing."""


def as_tasks(retries: Mapping[str, int], *, delay_s: float = 2.0, tags: Iterable[str] = ()) -> Step:
    """A `Step` that runs each stage as a Prefect task of that name.

    Args:
        retries: stage name, or its first word ("train" for "train torch"), -> how often to try again. A stage that
            is not named is tried once. Nothing is tried again after an error that another try cannot mend: a
            broken contract, a leak, a wrong name (see `RETRYABLE`).
        delay_s: seconds before the first retry; doubled for each further one.
        tags: tags of every task run.
    """
    found = tuple(tags)

    def step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        answer: list[T] = []

        # No parameters, no result: Prefect walks, hashes and keeps both, and ours are frames of 300,000 rows.
        def stage() -> None:
            answer[:] = [function(*args, **kwargs)]

        require_api()
        count = retries.get(name, retries.get(name.split()[0], 0))
        _task(stage, name, count, delay_s, found)()
        return answer[0]

    return step


def _task(stage: Callable[[], None], name: str, retries: int, delay_s: float, tags: tuple[str, ...]) -> Task[[], None]:
    from prefect import Task
    from prefect.cache_policies import NO_CACHE

    return Task(
        stage,
        name=name,
        task_run_name=name.replace("{", "{{").replace("}", "}}"),  # Prefect formats it with the parameters
        tags=tags,
        retries=retries,
        retry_delay_seconds=[delay_s * 2**attempt for attempt in range(retries)] or None,
        retry_condition_fn=_is_retryable,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _is_retryable(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    # What is no error of ours was translated by nobody: the network's, most often.
    return isinstance(error, RETRYABLE) or not isinstance(error, FullcircleError)
