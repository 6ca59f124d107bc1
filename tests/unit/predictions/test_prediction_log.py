"""The prediction log: nothing that was answered is lost, nothing is there twice."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.core.errors import HomeUnwritable, UsageError
from fullcircle.core.framed_log.layout import HEAD_BYTES
from fullcircle.core.project import Binary, Category, Number
from fullcircle.predictions import log_reader, parquet_segments, wal
from fullcircle.predictions.ids import PredictionIds, canonical_id, time_of_id
from fullcircle.predictions.labels import LabelLog
from fullcircle.predictions.prediction_log import PredictionLog

START = datetime(2013, 4, 1, tzinfo=UTC)
END = START + timedelta(days=30)
PROBABILITY = Binary("late", positive="late").answers


@pytest.fixture
def log(project, tmp_path):
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as open_log:
        yield open_log


def wals(folder: Path) -> list[Path]:
    return sorted((folder / "wal").glob("*.wal"))


def test_an_appended_row_is_readable_before_anything_is_sealed(log, project, batch, tmp_path):
    ids = log.append(batch(["a", "b"]))
    window, frame = log_reader.window(project, tmp_path, START, END)
    assert list(ids) == frame["prediction_id"].tolist()
    assert (window.rows, window.labelled, window.versions) == (2, 0, ("1",))
    assert list(tmp_path.glob("segments/*")) == []


def test_sealing_changes_the_place_of_the_rows_and_nothing_else(log, project, batch, tmp_path):
    log.append(batch(["a", "b", "c"], hours=22, wind=np.nan))
    _, before = log_reader.window(project, tmp_path, START, END)
    assert log.seal() == 2  # two days
    _, after = log_reader.window(project, tmp_path, START, END)
    assert before.equals(after)
    assert sorted(path.name for path in tmp_path.glob("segments/*")) == ["date=2013-04-01", "date=2013-04-02"]
    assert log.seal() == 0


def test_a_segment_names_model_ids_inputs_and_output(log, batch, tmp_path):
    log.append(batch(["a"]))
    log.seal()
    (path,) = tmp_path.glob("segments/*/*.parquet")
    schema = pq.read_schema(path)
    assert [*parquet_segments.IDENTITY, "distance", "wind", "carrier", "probability"] == schema.names
    assert str(schema.field("event_time").type) == "timestamp[us, tz=UTC]"


def test_a_row_without_an_id_is_found_by_its_prediction_id(log, project, batch, tmp_path):
    ids = log.append(batch(["", "b"]))
    assert {ids[0], "b"} == log_reader.logged_row_ids(tmp_path, START, END)


def test_threads_and_the_background_sealer_lose_nothing(project, batch, tmp_path):
    import threading

    answered: list[str] = []
    with PredictionLog(tmp_path, project.inputs, project.target.answers, seal_rows=40, sync_s=0.01) as log:

        def write(name: str) -> None:
            for index in range(60):
                answered.extend(log.append(batch([f"{name}-{index}"], hours=index)))

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    _, frame = log_reader.window(project, tmp_path, START, END)
    assert sorted(answered) == sorted(frame["prediction_id"])
    assert list((tmp_path / "wal").iterdir()) == []


def test_two_logs_share_a_folder_and_do_not_recover_each_other(log, project, batch, tmp_path):
    log.append(batch(["a"]))
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as other:
        other.append(batch(["b"]))
        other.seal()
        assert {"a", "b"} == log_reader.logged_row_ids(tmp_path, START, END)
    assert len(wals(tmp_path)) == 1
    log.append(batch(["c"]))
    assert {"a", "b", "c"} == log_reader.logged_row_ids(tmp_path, START, END)


WRITER = """
    import sys, random
    from pathlib import Path
    from datetime import UTC, datetime, timedelta
    import numpy as np
    from fullcircle.core.project import Binary, Category, Number
    from fullcircle.predictions.batch import Batch
    from fullcircle.predictions.prediction_log import PredictionLog

    START = datetime(2013, 4, 1, tzinfo=UTC)
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    random.seed(seed)
    columns, answers = [Number("distance"), Number("wind"), Category("carrier")], Binary("late", "late").answers
    log = PredictionLog(folder, columns, answers, seal_rows=60, sync_s=0.005)
    print("ready", flush=True)
    while True:
        rows = random.choice([1, 3, 40])
        ids = log.append(Batch(
            model_version="1", digest="d", row_ids=[""] * rows, answers=np.full(rows, 0.25, "float32"),
            event_times=[START + timedelta(hours=random.randrange(600)) for _ in range(rows)],
            inputs={"distance": np.ones((rows, 1), "float32"), "wind": np.ones((rows, 1), "float32"),
                    "carrier": np.full((rows, 1), "UA", object)},
        ))
        sys.stdout.write("".join(id_ + "\\n" for id_ in ids)); sys.stdout.flush()
"""


@pytest.mark.parametrize("seed", range(4))
def test_every_answered_row_survives_kill_9_and_is_there_once(project, tmp_path, seed):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(seed)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    answered = [writer.stdout.readline().strip() for _ in range(300 + 170 * seed)]
    os.kill(writer.pid, signal.SIGKILL)
    # The last line may be cut short by the kill: such an answer never left.
    answered += [line for line in writer.stdout.read().split("\n")[:-1] if line]
    writer.wait()

    assert set(answered) <= log_reader.logged_row_ids(tmp_path, START, END)
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False):
        assert len(wals(tmp_path)) == 1, "the dead writer's file was recovered"
        _, frame = log_reader.window(project, tmp_path, START, END)
        assert set(answered) <= set(frame["prediction_id"])
        assert frame["prediction_id"].is_unique


def dead_writer(folder, project, batches) -> Path:
    """A write-ahead file whose writer is gone, as kill -9 leaves it."""
    log = PredictionLog(folder, project.inputs, project.target.answers, background=False)
    for rows in batches:
        log.append(rows)
    log._wal.close()
    return wals(folder)[0]


def test_a_torn_tail_keeps_the_good_prefix_and_names_what_is_set_aside(project, batch, tmp_path, caplog):
    path = dead_writer(tmp_path, project, [batch(["a"]), batch(["b"])])
    torn = path.read_bytes()[:-7]
    path.write_bytes(torn)
    with (
        caplog.at_level(logging.WARNING),
        PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log,
    ):
        (damage,) = log.damaged
        assert {"a"} == log_reader.logged_row_ids(tmp_path, START, END)
    assert (path.name, 1) == (damage.source, damage.rows_kept)
    assert torn.endswith(damage.kept_in.read_bytes())
    assert path.name in caplog.text


def records(index: int, count: int) -> list[wal.Record]:
    return [
        wal.Record("1", "d", 0, [f"p{index}-{n}"], [f"r{index}-{n}"], b"\0" * 8, b"\0" * 4, [], b"\0" * 4)
        for n in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_happens_to_the_bytes_a_group_is_there_whole_or_named_as_lost_and_none_is_invented(
    tmp_path_factory, data
):
    folder = tmp_path_factory.mktemp("damaged")
    file = wal.WriteAheadLog(folder, [Number("distance")], PROBABILITY)
    bounds = [file.size]
    groups = [records(index, count) for index, count in enumerate((1, 3, 2, 1))]
    for group in groups:
        file.append(group)
        bounds.append(file.size)
    file.close()
    whole = file.path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):  # cut, and whatever came behind it
        changed = whole[:at] + data.draw(st.one_of(st.binary(max_size=40), st.just(b"\0" * 40)))
        same = (index for index, (a, b) in enumerate(zip(whole, changed, strict=False)) if a != b)
        intact = next(same, min(len(whole), len(changed)))
        left = [group for group, end in zip(groups, bounds[1:], strict=True) if end <= intact]
    else:
        changed = whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
        hit = sum(bound <= at for bound in bounds) - 1
        left = [group for index, group in enumerate(groups) if index != hit]
        if HEAD_BYTES <= at < bounds[0]:  # which columns they hold
            left = []
    file.path.write_bytes(changed)
    found = wal.read(file.path)
    assert found.records == [record for group in left for record in group]
    if changed != whole and len(changed) >= bounds[0]:
        assert found.gaps or found.offset < len(changed) or len(changed) in bounds


def test_a_group_of_batches_is_one_frame_and_comes_back_in_order(project, batch, tmp_path):
    file = wal.WriteAheadLog(tmp_path, [Number("distance")], PROBABILITY)
    file.append(records(0, 40))
    file.sync()
    assert wal.read(file.path).records == records(0, 40)
    torn = tmp_path / "torn.wal"
    torn.write_bytes(file.path.read_bytes()[:-1])
    assert wal.read(torn).records == [], "all of a group, or none of it"
    file.close()


def test_damage_in_the_middle_costs_its_own_batch_and_is_set_aside(project, batch, tmp_path, caplog):
    path = dead_writer(tmp_path, project, [batch(["a"]), batch(["b"]), batch(["c"])])
    data = bytearray(path.read_bytes())
    data[data.index(b"\xa1b") + 1] ^= 1
    path.write_bytes(data)
    with (
        caplog.at_level(logging.WARNING),
        PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log,
    ):
        (damage,) = log.damaged
        assert {"a", "c"} == log_reader.logged_row_ids(tmp_path, START, END)
    assert (damage.rows_kept, damage.bytes_lost) == (2, len(damage.kept_in.read_bytes()))
    assert damage.kept_in.read_bytes() in bytes(data)


def test_a_log_that_a_newer_version_wrote_is_left_as_it_is_and_named(project, batch, tmp_path, caplog):
    path = dead_writer(tmp_path, project, [batch(["a"])])
    data = bytearray(path.read_bytes())
    data[4] = 3
    data[8:12] = zlib.crc32(data[:8]).to_bytes(4, "little")
    path.write_bytes(data)
    with (
        caplog.at_level(logging.WARNING),
        PredictionLog(tmp_path, project.inputs, project.target.answers, background=False) as log,
    ):
        log.append(batch(["b"]))
        log.seal()
    assert path.read_bytes() == data
    assert caplog.text.count("has format 3 and this version reads up to 2") == 1


def test_a_log_from_before_the_framed_format_is_sealed_row_for_row(tmp_path):
    (old,) = (Path(__file__).parents[2] / "fixtures" / "logs-0.1.0").glob("*.wal")
    (tmp_path / "wal").mkdir()
    (tmp_path / "wal" / old.name).write_bytes(old.read_bytes())
    expected = {f"r{number}{letter}" for number in range(3) for letter in "ab"}
    assert log_reader.logged_row_ids(tmp_path, START, END) == expected
    with PredictionLog(tmp_path, [Number("distance"), Category("carrier")], PROBABILITY, background=False) as log:
        assert (log.damaged, wals(tmp_path)[0].name == old.name) == ((), False)
    assert log_reader.logged_row_ids(tmp_path, START, END) == expected
    (tmp_path / "wal" / old.name).write_bytes(old.read_bytes()[:-3])
    with PredictionLog(tmp_path, [Number("distance"), Category("carrier")], PROBABILITY, background=False) as log:
        assert [damage.rows_kept for damage in log.damaged] == [4]


def test_sealing_the_same_file_again_after_a_crash_between_parquet_and_delete_doubles_nothing(project, batch, tmp_path):
    path = dead_writer(tmp_path, project, [batch(["a", "b"])])
    left_behind = path.read_bytes()
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False):
        path.write_bytes(left_behind)
        _, frame = log_reader.window(project, tmp_path, START, END)
        assert frame["row_id"].tolist() == ["a", "b"]
    with PredictionLog(tmp_path, project.inputs, project.target.answers, background=False):
        assert len(list(tmp_path.glob("segments/*/*.parquet"))) == 1


FULL = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from datetime import UTC, datetime
    from fullcircle.core.errors import HomeUnwritable
    from fullcircle.core.project import Binary, Number
    from fullcircle.predictions.batch import Batch
    from fullcircle.predictions.prediction_log import PredictionLog

    log = PredictionLog(Path(sys.argv[1]), [Number("distance")], Binary("late", "late").answers, background=False)
    def append(rows):
        return log.append(Batch(model_version="1", digest="d", row_ids=[""] * rows,
            answers=np.ones(rows, "float32"),
            event_times=[datetime(2013, 4, 1, tzinfo=UTC)] * rows, inputs={"distance": np.ones((rows, 1), "float32")}))
    print(*append(2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        append(1000)
    except HomeUnwritable as error:
        print(error)
    print(*append(3))
"""


def test_a_full_disk_refuses_the_batch_whole_and_the_next_one_that_fits_is_logged(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, refusal, second = done.stdout.splitlines()
    assert f"cannot write the prediction log in {tmp_path / 'wal'} (File too large)" in refusal
    assert {*first.split(), *second.split()} == log_reader.logged_row_ids(tmp_path, START, END)


def test_a_folder_that_cannot_be_written_is_said_at_once(project, tmp_path):
    (tmp_path / "wal").write_text("in the way")
    with pytest.raises(HomeUnwritable, match="cannot write the prediction log"):
        PredictionLog(tmp_path, project.inputs, project.target.answers)


def test_a_column_named_like_the_logs_own_is_refused(tmp_path):
    with pytest.raises(UsageError, match="columns probability are names of the prediction log"):
        PredictionLog(tmp_path, [Number("probability")], PROBABILITY)


def test_a_batch_with_a_missing_column_or_unequal_rows_is_refused(log, batch):
    good = batch(["a", "b"])
    with pytest.raises(UsageError, match="column 'carrier' is missing"):
        log.append(type(good)(**{**vars(good), "inputs": {k: v for k, v in good.inputs.items() if k != "carrier"}}))
    with pytest.raises(UsageError, match="3 row ids, but inputs of shape"):
        log.append(type(good)(**{**vars(good), "row_ids": ["a", "b", "c"]}))


def test_many_small_segments_of_a_day_become_one_without_losing_a_row(log, project, batch, tmp_path):
    for index in range(parquet_segments.MERGE_FROM_FILES):
        log.append(batch([f"r{index}"]))
        log.seal()
    assert len(list(tmp_path.glob("segments/*/*.parquet"))) == 1
    _, frame = log_reader.window(project, tmp_path, START, END)
    assert len(frame) == parquet_segments.MERGE_FROM_FILES


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_ids_never_repeat_always_rise_and_tell_when_they_were_made(counts):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    maker = PredictionIds()
    ids = [id_ for count in counts for id_ in maker.take(count)]
    assert sorted(set(ids)) == ids
    assert all(id_[14] == "7" and id_[19] in "89ab" for id_ in ids)
    assert before <= time_of_id(ids[0]) <= datetime.now(UTC) + timedelta(milliseconds=1)


@given(
    length=st.integers(1, 36),
    dashes=st.sets(st.integers(0, 32)),
    capitals=st.booleans(),
    around=st.sampled_from(["", " ", "\t", "\n"]),
)
def test_an_id_and_any_beginning_of_it_is_known_however_its_digits_are_written(length, dashes, capitals, around):
    (made,) = PredictionIds().take(1)
    beginning = made[:length]
    digits = beginning.replace("-", "")
    written = "".join(("-" if at in dashes else "") + digit for at, digit in enumerate(digits))
    found = canonical_id(around + (written.upper() if capitals else written) + around)
    assert found == beginning.rstrip("-")
    assert made.startswith(found)


def test_what_cannot_be_an_id_is_left_as_it_was_but_for_capitals_and_spaces_around_it():
    too_long = "0" * 33
    known = {" No-Id ": "no-id", too_long: too_long, "01a1 fee8": "01a1 fee8", "": "", "-": "-"}
    assert {text: canonical_id(text) for text in known} == known


def test_a_log_that_is_moved_while_it_is_open_takes_what_is_answered_along(project, batch, tmp_path):
    log = PredictionLog(tmp_path / "home" / "log", project.inputs, project.target.answers, background=False)
    labels = LabelLog(tmp_path / "home" / "log" / "labels", project.target)
    log.append(batch(["a", "b"]))
    (tmp_path / "home").rename(tmp_path / "moved")
    log.append(batch(["c"]))
    with pytest.raises(HomeUnwritable, match="was moved or removed"):
        log.seal()
    with pytest.raises(HomeUnwritable, match="was moved or removed"):
        labels.append(["a"], [1])  # nobody would find it there
    log.append(batch(["d"]))
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    with PredictionLog(tmp_path / "moved" / "log", project.inputs, project.target.answers, background=False):
        pass
    assert log_reader.logged_row_ids(tmp_path / "moved" / "log", START, END) == {"a", "b", "c", "d"}


def test_an_id_that_is_an_integer_costs_no_other_row_and_is_found_as_text(log, project, batch, tmp_path):
    log.append(batch([7, np.int64(8)]))
    log.append(batch(["a", "b"], hours=5))
    for odd in (7.0, True, b"7"):
        with pytest.raises(UsageError, match="a row id must be text or a whole number"):
            log.append(batch(["c", odd]))
    number = batch(["d"])
    with pytest.raises(UsageError, match="column 'carrier' is a category, which is text, got 7"):
        log.append(dataclasses.replace(number, inputs={**number.inputs, "carrier": np.array([[7]], object)}))

    log.seal()

    _, rows = log_reader.window(project, tmp_path, START, END)
    assert rows["row_id"].tolist() == ["7", "8", "a", "b"]
