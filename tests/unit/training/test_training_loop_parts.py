"""The parts of a training loop: whose rows a step has, how long a chunk is, what an event log tells."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.framed_log.layout import HEAD_BYTES
from fullcircle.core.project import Compute
from fullcircle.core.records.training import EpochMetrics
from fullcircle.training.jobs import Seconds
from fullcircle.training.telemetry import rank_metrics
from fullcircle.training.training_loop.chunk_schedule import MOST_STEPS, ChunkSchedule
from fullcircle.training.training_loop.event_log import DedupListener, EventLog, NullListener, follow, read_events
from fullcircle.training.training_loop.sampler import row_order, share, steps_of


@given(rows=st.integers(2, 200), batch=st.integers(2, 50), size=st.integers(1, 5), epoch=st.integers(1, 9))
def test_the_ranks_shares_are_the_epochs_rows_once_each_whatever_their_number(
    rows: int, batch: int, size: int, epoch: int
) -> None:
    order = row_order(13, epoch, rows, batch)
    for step in range(steps_of(len(order), batch)):
        whole = order[step * batch : (step + 1) * batch]
        shares = [share(order, batch, step, 1, rank=rank, size=size) for rank in range(size)]
        assert len({each.rows.shape for each in shares}) == 1
        assert len({each.checksums for each in shares}) == 1
        assert {int(each.counts[0]) for each in shares} == {len(whole)}
        assert np.concatenate([each.rows[each.present] for each in shares]).tolist() == whole.tolist()
        assert set(np.concatenate([each.rows.reshape(-1) for each in shares]).tolist()) <= set(whole.tolist())


@given(rows=st.integers(2, 400), batch=st.integers(2, 50), data=st.data())
def test_a_chunk_is_its_steps_one_after_the_other(rows: int, batch: int, data: st.DataObject) -> None:
    order = row_order(13, 1, rows, batch)
    full = len(order) // batch
    if full == 0:
        return
    start = data.draw(st.integers(0, full - 1))
    steps = data.draw(st.integers(1, full - start))
    together = share(order, batch, start, steps, rank=0, size=2)
    for index in range(steps):
        alone = share(order, batch, start + index, 1, rank=0, size=2)
        assert together.rows[index].tolist() == alone.rows[0].tolist()
        assert together.checksums[index] == alone.checksums[0]


@given(
    rows=st.integers(2, 3000),
    batch=st.integers(2, 64),
    every=st.one_of(st.none(), st.integers(1, 30)),
    seconds=st.lists(st.floats(0, 2), max_size=40),
)
def test_chunks_cover_an_epoch_and_never_run_past_a_checkpoint(
    rows: int, batch: int, every: int | None, seconds: list[float]
) -> None:
    schedule = ChunkSchedule(Compute(checkpoint_every_steps=every), batch)
    times = iter(seconds)
    position = 0
    while steps := schedule.steps(rows, position, position):
        assert steps <= MOST_STEPS
        assert every is None or position // every == (position + steps - 1) // every
        position += steps
        schedule.adapt(next(times, 0.0))
    assert position == steps_of(rows, batch)


def test_short_chunks_grow_and_long_ones_shrink() -> None:
    schedule = ChunkSchedule(Compute(), 10)
    for _ in range(10):
        schedule.adapt(0.01)
    assert schedule.steps(10_000, 0, 0) == MOST_STEPS
    for _ in range(10):
        schedule.adapt(3.0)
    assert schedule.steps(10_000, 0, 0) == 1


class Heard(NullListener):
    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.losses: list[tuple[int, float]] = []
        self.notes: list[str] = []

    def epoch(self, metrics: EpochMetrics) -> None:
        self.epochs.append(metrics.epoch)

    def steps(self, first: int, losses: Sequence[float], norms: Sequence[float], rate: float) -> None:
        self.losses += [(first + index, loss) for index, loss in enumerate(losses)]

    def note(self, text: str) -> None:
        self.notes.append(text)


def epoch(number: int) -> EpochMetrics:
    return EpochMetrics(epoch=number, train_loss=0.5, validation_loss=0.4, validation={"roc_auc": 0.7}, seconds=1.0)


def write_steps(event_log: EventLog, first: int, losses: list[float]) -> None:
    event_log.steps(first, 1, losses, [1.0] * len(losses), [7] * len(losses), 100.0, Seconds())


def test_of_a_restarted_rank_each_step_and_epoch_is_told_once_to_whom_it_matters(tmp_path: Path) -> None:
    heard = Heard()
    path = tmp_path / "rank-0.events"
    with follow(path, DedupListener(heard)):
        first = EventLog(path)
        write_steps(first, 1, [0.5, 0.4, 0.3])
        first.epoch(epoch(1))
        first.close()
        again = EventLog(path)
        again.epoch(epoch(1))
        write_steps(again, 3, [0.3, 0.2])
        again.epoch(epoch(2))
        again.note("going on")
        again.close()
    assert heard.losses == [(1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)]
    assert (heard.epochs, heard.notes) == ([1, 2], ["going on"])


def test_a_torn_last_entry_is_left_out_and_the_log_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.events"
    EventLog(path).note("one")
    whole = path.read_bytes()
    EventLog(path).note("torn")
    path.write_bytes(path.read_bytes()[:-5])
    event_log = EventLog(path)
    event_log.note("two")
    event_log.close()
    assert [entry["text"] for entry in read_events(path)] == ["one", "two"]
    assert path.read_bytes().startswith(whole)


@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_its_entry_alone_and_nothing_false_is_read(
    at: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "rank-0.events"
    event_log = EventLog(path)
    for first in (1, 2, 3, 4):
        write_steps(event_log, first, [1 / first])
    event_log.close()
    written = list(read_events(path))
    damaged = bytearray(path.read_bytes())
    at %= len(damaged)
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)
    left = list(read_events(path))
    assert all(entry in written for entry in left)
    assert len(left) == len(written) - (at >= HEAD_BYTES)


def test_who_follows_hears_which_bytes_were_left_out(tmp_path: Path) -> None:
    path, heard = tmp_path / "rank-0.events", Heard()
    event_log = EventLog(path)
    start = path.stat().st_size
    event_log.note("two")
    end = path.stat().st_size
    event_log.note("three")
    event_log.close()
    data = bytearray(path.read_bytes())
    path.unlink()
    data[end - 3] ^= 1
    with follow(path, heard):
        path.write_bytes(data)
    assert heard.notes == [f"{end - start} bytes at {start} of {path} are torn or damaged and were left out", "three"]


def test_a_file_that_is_no_log_is_kept_and_no_reason_not_to_train(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.events"
    path.write_text("somebody else's notes, which are longer than a head")
    event_log = EventLog(path)
    event_log.note("one")
    event_log.close()
    assert [entry["text"] for entry in read_events(path)] == ["one"]
    (kept,) = tmp_path.glob("rank-0.events.damaged-*")
    assert kept.read_text().startswith("somebody else's")


def test_what_a_version_of_before_wrote_is_the_beginning_of_the_log(tmp_path: Path) -> None:
    before = (Path(__file__).parents[2] / "fixtures" / "logs-0.1.0" / "rank-0.jsonl").read_text()
    (tmp_path / "rank-0.jsonl").write_text(before.replace('"losses": [0.3]', '"losses": [0.4]') + '{"kind": "not')
    path, heard = tmp_path / "rank-0.events", Heard()
    with follow(path, heard):
        write_steps(EventLog(path), 3, [0.2])
    said = [(entry["kind"], entry.get("losses")) for entry in read_events(path)]
    steps = [losses for kind, losses in said if kind == "steps"]
    assert steps == [[0.5, 0.4], [0.2]], "of the line that was changed nothing is believed"
    assert [kind for kind, _ in said] == ["resumed", "steps", "load", "epoch", "note", "steps", "load"]
    assert heard.losses == [(3, 0.2)], "whoever follows hears what is new"
    loads: list[int] = []
    with rank_metrics.follow(tmp_path, lambda rank, values, at_s: loads.append(rank)):
        pass
    assert loads == [0, 0]


@given(losses=st.lists(st.floats(allow_nan=False, width=64), min_size=1, max_size=5))
def test_a_loss_comes_back_to_the_last_bit(losses: list[float], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("journal") / "rank-0.events"
    write_steps(EventLog(path), 1, losses)
    (entry,) = (entry for entry in read_events(path) if entry["kind"] == "steps")
    assert json.dumps(entry["losses"]) == json.dumps(losses)


def test_an_error_of_the_listener_reaches_whoever_follows(tmp_path: Path) -> None:
    class Broken(NullListener):
        def note(self, text: str) -> None:
            raise OSError("the tracker is away")

    path = tmp_path / "rank-0.events"
    with pytest.raises(OSError, match="the tracker is away"), follow(path, Broken()):
        EventLog(path).note("hello")


def test_what_each_rank_takes_is_told_with_its_rank_and_its_time(tmp_path: Path) -> None:
    for rank in (0, 1):
        write_steps(EventLog(tmp_path / f"rank-{rank}.events"), 1, [0.5])
    heard: list[tuple[int, list[str]]] = []
    with rank_metrics.follow(tmp_path, lambda rank, values, at_s: heard.append((rank, sorted(values)))):
        pass
    assert heard == [(rank, ["cpu_percent", "peak_memory_mb"]) for rank in (0, 1)]


def test_an_entry_that_a_kill_tore_does_not_end_the_telling_of_what_the_ranks_take(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.events"
    write_steps(EventLog(path), 1, [0.5])
    path.write_bytes(path.read_bytes()[:-9])
    write_steps(EventLog(path), 2, [0.5])
    heard: list[int] = []
    with rank_metrics.follow(tmp_path, lambda rank, values, at_s: heard.append(rank)):
        pass
    assert heard == [0]
