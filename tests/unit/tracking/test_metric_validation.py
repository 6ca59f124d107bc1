"""What a training tells of a step is found good, or refused in one line, before it is kept."""

from __future__ import annotations

import enum
import itertools
import math
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import UsageError
from fullcircle.core.framed_log.frames import read
from fullcircle.core.framed_log.layout import End
from fullcircle.tracking.runs import metrics as metrics_module
from fullcircle.tracking.runs.metrics import FastMetricPath, MetricDedup, MetricValidator
from fullcircle.tracking.spool.spool_file import BATCH, FLUSH_AT, KIND, Points, SpoolWriter, decode, unpacked

NUMBERS = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(width=32).map(np.float32),
    st.floats().map(np.float64),
    st.integers(-(2**31), 2**31).map(np.int64),
    st.fractions(),
    st.floats(allow_nan=False).map(repr),
)


@given(values=st.dictionaries(st.sampled_from("abcdefgh"), NUMBERS))
def test_whatever_float_takes_is_told_as_float_has_it(values: dict[str, float]) -> None:
    names, packed, step = MetricValidator(MetricDedup()).new(values, np.int64(3))  # type: ignore[arg-type]
    assert (names, step, type(step)) == (tuple(values), 3, int)
    for found, value in zip(unpacked(packed), values.values(), strict=True):
        assert found == float(value) or (math.isnan(found) and math.isnan(value))


@given(first=st.sets(st.sampled_from("abcdef")), then=st.lists(st.sampled_from("abcdef"), unique=True))
def test_of_a_step_that_is_told_again_only_what_is_new_is_told_with_its_own_values(
    first: set[str], then: list[str]
) -> None:
    validator = MetricValidator(MetricDedup())
    validator.new(dict.fromkeys(first, 0.0), 1)
    names, packed, _ = validator.new({name: float(ord(name)) for name in then}, 1)
    new = [name for name in then if name not in first]
    assert dict(zip(names, unpacked(packed), strict=True)) == {name: float(ord(name)) for name in new}


@pytest.mark.parametrize("value", [None, "high", [1.0, 2.0], np.array([1.0, 2.0]), 10**400, 1j], ids=range(6))
def test_a_value_that_is_no_number_is_refused_by_name_and_nothing_of_the_call_is_remembered(value: object) -> None:
    validator = MetricValidator(MetricDedup())
    with pytest.raises(UsageError, match="metric 'loss' cannot be told as a float"):
        validator.new({"good": 1.0, "loss": value}, 1)  # type: ignore[dict-item]
    assert not validator.has("good", 1)
    names, _, _ = validator.new({"good": 1.0, "loss": Fraction(1, 2)}, 1)  # type: ignore[dict-item]
    assert names == ("good", "loss")


def told(path: Path) -> Counter[tuple[str, float, int]]:
    """How often each (metric, value, step) stands in a spool file."""
    found: Counter[tuple[str, float, int]] = Counter()
    offset = 0
    while (part := read(path, KIND, offset)).payloads:
        for payload, _ in part.payloads:
            entry = decode(payload)
            assert isinstance(entry, Points)
            assert len(entry) <= BATCH
            assert all(abs(at_ms / 1000 - time.time()) < 600 for _, _, at_ms, _ in entry.points())
            found.update((key, value, step) for key, value, _, step in entry.points())
        offset = part.offset
    assert part.end is End.WHOLE
    return found


CALLS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abc"), st.one_of(st.integers(-9, 9), st.floats(-9, 9)), max_size=3),
        st.one_of(st.integers(-3, 60), st.integers(-3, 60).map(np.int64)),
    ),
    max_size=80,
)


@settings(max_examples=50)
@given(calls=CALLS, last=st.dictionaries(st.sampled_from("abc"), st.integers(0, 30)), exact=st.integers(2, 50))
def test_the_hot_path_tells_what_the_long_way_tells(
    tmp_path_factory: pytest.TempPathFactory,
    calls: list[tuple[dict[str, float], int]],
    last: dict[str, int],
    exact: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        few_are_remembered(patch, exact)
        one, other = (SpoolWriter(tmp_path_factory.mktemp("spool") / "main.spool") for _ in range(2))
        hot, long = FastMetricPath(MetricValidator(MetricDedup(last)), one), MetricValidator(MetricDedup(last))
        for values, step in calls:
            hot.points(values, step)
            new, packed, number = long.new(values, step)
            other.packed(new, packed, number)
        one.close()
        other.close()
    assert told(one.path) == told(other.path)


def test_a_call_of_more_metrics_than_a_request_may_have_is_taken_apart(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    values = {f"m{number}": float(number) for number in range(2 * BATCH + 1)}
    for step in (1, 2):  # the second time the names are known
        hot.points(values, step)
    writer.close()
    assert told(writer.path) == Counter((key, value, step) for key, value in values.items() for step in (1, 2))


def test_a_process_that_was_forked_is_refused_on_the_hot_path_too(tmp_path: Path) -> None:
    program = f"""
        import os
        from pathlib import Path
        from fullcircle.core.errors import UsageError
        from fullcircle.tracking.runs.metrics import FastMetricPath, MetricValidator
        from fullcircle.tracking.runs.metrics import MetricDedup
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        writer = SpoolWriter(Path({str(tmp_path)!r}) / "main.spool")
        hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
        hot.points({{"loss": 1.0}}, 1)
        if (child := os.fork()) == 0:
            refused = 0
            for step in (2, 3):
                try:
                    hot.points({{"loss": 9.0}}, step)
                except UsageError as error:
                    refused += "was forked from the one that opened the run" in str(error)
            os._exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        hot.points({{"loss": 0.5}}, 2)
        writer.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert told(tmp_path / "main.spool") == Counter([("loss", 1.0, 1), ("loss", 0.5, 2)])


class Waits:
    """A value that is converted by Python code, as TensorFlow's tensors are; meanwhile somebody presses Ctrl-C."""

    def __float__(self) -> float:
        raise KeyboardInterrupt


@pytest.mark.parametrize("times", [1, 2], ids=["names that are new", "names that are known"])
def test_ctrl_c_while_a_value_is_converted_is_heard(tmp_path: Path, times: int) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    for step in range(1, times):
        hot.points({"loss": 1.0}, step)
    with pytest.raises(KeyboardInterrupt):
        hot.points({"loss": Waits()}, times)  # type: ignore[dict-item]
    hot.points({"loss": 0.5}, times)
    writer.close()
    assert told(writer.path)[("loss", 0.5, times)] == 1


class Metric(enum.StrEnum):
    LOSS = "loss"


@pytest.mark.parametrize("name", [np.str_("loss"), Metric.LOSS], ids=["numpy", "enum"])
def test_a_name_that_is_more_than_a_plain_string_is_told_as_one(tmp_path: Path, name: str) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    for step in (1, 2):
        hot.points({name: 1.0}, step)
    hot.points({"loss": 9.0}, 2)
    writer.close()
    assert told(writer.path) == Counter([("loss", 1.0, 1), ("loss", 1.0, 2)])


@pytest.mark.parametrize(("values", "step"), [({7: 1.0}, 1), ({"loss": 1.0}, 2**63), ({"loss": 1.0}, 2.0)], ids=repr)
def test_what_mlflow_would_refuse_is_refused_at_once_also_where_the_names_are_known(
    tmp_path: Path, values: dict[str, float], step: int
) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    hot.points({"loss": 1.0}, 1)
    for _ in range(2):
        with pytest.raises(UsageError):
            hot.points(values, step)
    writer.close()
    assert told(writer.path) == Counter([("loss", 1.0, 1)])


def test_a_fork_while_another_thread_holds_the_lock_is_refused_and_does_not_wait(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from fullcircle.core.errors import UsageError
        from fullcircle.tracking.runs.metrics import FastMetricPath, MetricValidator
        from fullcircle.tracking.runs.metrics import MetricDedup
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        dedup = MetricDedup()
        hot = FastMetricPath(MetricValidator(dedup), SpoolWriter(Path({str(tmp_path)!r}) / "main.spool"))
        with dedup._lock:
            if (child := os.fork()) == 0:
                signal.alarm(20)
                try:
                    hot.points({{"loss": 1.0}}, 1)
                except UsageError:
                    os._exit(7)
                os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


def few_are_remembered(patch: pytest.MonkeyPatch, exact: int) -> None:
    patch.setattr(metrics_module, "EXACT", exact)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads take turns as often as they can, and a few calls are forgotten already."""
    few_are_remembered(monkeypatch, 16)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


class Caller:
    """Another thread, which can be held at each step of the protocol by which a step is claimed without the lock."""

    def __init__(self, dedup: MetricDedup, name: str, step: int) -> None:
        self.told: tuple[str, ...] | None = None
        self._going = self._go(dedup, (name,), step)

    def go_on(self) -> None:
        next(self._going, None)

    def _go(self, dedup: MetricDedup, names: tuple[str, ...], step: int) -> Iterator[None]:
        told = dedup.logged
        yield
        beyond = dedup.highest < step
        yield
        claim = [names]
        if not beyond or told.setdefault(step, claim) is not claim:
            yield
            self.told = dedup.new(names, step)
            return
        yield
        settle = len(told) > metrics_module.EXACT
        yield
        self.told = dedup.settled(told, claim, names, step) if settle else names


@settings(max_examples=500)
@given(data=st.data(), exact=st.integers(2, 6))
def test_whoever_is_held_wherever_a_point_is_told_once_and_none_is_lost_but_one_behind_a_later_one(
    data: st.DataObject, exact: int
) -> None:
    calls = st.tuples(st.sampled_from("ab"), st.integers(0, 12))
    with pytest.MonkeyPatch.context() as patch:
        few_are_remembered(patch, exact)
        dedup, made, done = MetricDedup(), set[tuple[str, int]](), Counter[tuple[str, int]]()
        held: list[tuple[Caller, tuple[str, int]]] = []
        for moves in data.draw(st.lists(st.one_of(calls, st.integers(0, 3)), max_size=60)) + [0] * 400:
            if isinstance(moves, tuple):
                made.add(moves)
                held.append((Caller(dedup, *moves), moves))
            elif held:
                caller, call = held[min(moves, len(held) - 1)]
                caller.go_on()
                if caller.told is not None:
                    held.remove((caller, call))
                    done.update([call] * len(caller.told))
    assert not held
    assert not done or max(done.values()) == 1
    for name, step in made - set(done):
        assert any(other == name and later > step for other, later in done)


@pytest.mark.parametrize(
    ("between", "own"),
    [
        ([("other", 11), ("other", 12)], ("loss",)),
        ([("other", 11), ("other", 12), ("extra", 10), ("other", 13)], ("loss",)),
        ([("other", step) for step in range(11, 30)], ("loss",)),
    ],
    ids=["it was kept", "another metric of the step was told", "it was forgotten as told"],
)
def test_a_claim_that_others_made_forget_in_the_midst_is_still_ones_own(
    monkeypatch: pytest.MonkeyPatch, between: list[tuple[str, int]], own: tuple[str, ...]
) -> None:
    few_are_remembered(monkeypatch, 2)
    dedup = MetricDedup()
    caller = Caller(dedup, "loss", 10)
    for _ in range(3):
        caller.go_on()
    for name, step in between:
        assert dedup.new((name,), step) == (name,)
    while caller.told is None:
        caller.go_on()
    assert caller.told == own
    assert dedup.new(("loss",), 10) == ()


def test_what_others_tell_and_forget_while_a_value_is_converted_is_not_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_are_remembered(monkeypatch, 2)
    dedup, writer = MetricDedup(), SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(dedup), writer)
    hot.points({"loss": 0.0, "extra": 0.0}, 1)

    class Slow:
        """A value whose conversion takes so long that others tell the same step, and later ones."""

        def __float__(self) -> float:
            hot.points({"others": 1.0}, 2)
            hot.points({"others": 1.0}, 3)
            assert dedup.new(("loss",), 10) == ("loss",)
            for step in range(11, 20):
                hot.points({"others": 1.0}, step)
            return 7.0

    hot.points({"loss": Slow(), "extra": 8.0}, 10)  # type: ignore[dict-item]
    writer.close()
    assert [each for each in told(writer.path) if each[2] == 10] == [("extra", 8.0, 10)]


def test_so_many_calls_that_the_writing_thread_is_behind_are_written_by_whoever_tells(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    writer._ended.set()
    writer._thread.join()
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    for step in range(FLUSH_AT + 1):
        hot.points({"loss": 1.0}, step)
    assert (len(writer.waiting), len(told(writer.path))) == (1, FLUSH_AT)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("seed", range(5))
def test_threads_that_tell_in_any_order_while_others_are_forgotten_tell_nothing_twice(
    tmp_path: Path, seed: int
) -> None:
    dedup, writer = MetricDedup(), SpoolWriter(tmp_path / "main.spool")
    hot = FastMetricPath(MetricValidator(dedup), writer)

    def tell(number: int) -> None:
        rng = np.random.default_rng([seed, number])
        for step in range(3000):
            keys = ("loss", "auc") if rng.random() < 0.5 else ("auc",)
            hot.points(dict.fromkeys(keys, 1.0), step + int(rng.integers(-20, 21)))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert max(told(writer.path).values()) == 1
    assert len(dedup.logged) <= 17


@pytest.mark.usefixtures("hasty")
def test_a_metric_whose_steps_ascend_is_told_in_full_whatever_other_threads_tell(tmp_path: Path) -> None:
    writer, ended = SpoolWriter(tmp_path / "main.spool"), threading.Event()
    hot = FastMetricPath(MetricValidator(MetricDedup()), writer)
    samples = itertools.count(1)

    def load() -> None:
        while not ended.is_set():
            hot.points({"load": 1.0}, next(samples))

    other = threading.Thread(target=load)
    other.start()
    try:
        for step in range(20_000):
            hot.points({"loss": 1.0}, step)
    finally:
        ended.set()
        other.join()
    writer.close()
    wanted = {"loss": range(20_000), "load": range(1, next(samples))}
    assert told(writer.path) == Counter((key, 1.0, step) for key, steps in wanted.items() for step in steps)
