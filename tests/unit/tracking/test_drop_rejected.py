"""What a tracker refuses for good is left out of a run's spool, kept and named, and the rest is sent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable
from fullcircle.core.settings import Settings
from fullcircle.tracking.runs.run_tags import SPOOL
from fullcircle.tracking.spool.artifacts import write_text
from fullcircle.tracking.spool.rejected import LONGEST_TAG, REJECTED_TAG, with_what
from fullcircle.tracking.spool.rejection import drop_first_rejected
from fullcircle.tracking.spool.sender import Uploader
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolDir, SpoolMetadata, create_spool_dir
from fullcircle.tracking.spool.spool_file import Artifact, Inputs, Params, Point, SpoolWriter, Status, Tags

TrainingLogger = Callable[[SpoolWriter, Path], None]


class Strict:
    """A door that writes what it is given into a file, so that a process that is killed has told it, and refuses some.

    Args:
        most: points of one request.
    """

    def __init__(self, book: Path, *, most: int = 1000, away: bool = False, closed: bool = False) -> None:
        self.book, self.most, self.away, self.closed = book, most, away, closed

    def create_run(self, begin: NewRun, key: str) -> str:
        raise AssertionError("the run is begun")

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        self._require(len(points) <= self.most, "413 Request Entity Too Large")
        self._require(all(name != "bad" for name, *_ in points), "no metric is called bad")
        self._write("points", points)

    def log(self, run_id: str, entry: Params | Tags | Inputs) -> None:
        self._require(not self.closed, "the run is deleted")
        if not isinstance(entry, Inputs):
            self._require("bad" not in entry.values, "nothing is called bad")
            self._write(type(entry).__name__, dict(entry.values))

    def get_tags(self, run_id: str) -> Mapping[str, str]:
        return {SPOOL: "one"} | {key: value for each in self.read("Tags") for key, value in each.items()}

    def upload(self, run_id: str, path: Path, artifact: Artifact) -> None:
        self._require(path.name != "huge.txt", "413 Request Entity Too Large")
        self._write("artifact", path.read_text())

    def has_artifact(self, run_id: str, artifact: Artifact) -> bool:
        return Path(artifact.file).stem in self.read("artifact")

    def set_status(self, run_id: str, status: Status) -> None:
        self._write("status", status.status)

    def read(self, kind: str) -> list[Any]:
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        return [value for name, value in map(json.loads, lines) if name == kind]

    def steps(self) -> list[tuple[str, int]]:
        """(metric, step) of each point; one that was sent again as it was is the same row, as in MLflow."""
        rows = {(name, value, at_ms, step) for some in self.read("points") for name, value, at_ms, step in some}
        return sorted((name, step) for name, _, _, step in rows)

    def _require(self, taken: bool, otherwise: str) -> None:
        if self.away:
            raise TrackerAway("the tracker is away")
        if not taken:
            raise TrackingUnavailable(otherwise)

    def _write(self, kind: str, value: object) -> None:
        self._require(True, "")
        with self.book.open("a") as file:
            file.write(json.dumps([kind, value]) + "\n")


def spool(home: Path, told: TrainingLogger) -> SpoolDir:
    """The folder of a process that told this, and its end, and then ended itself."""
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(home)})
    about = SpoolMetadata(tracker="http://tracker", run_id="run", key="run", begin=None, made_ms=1)
    with create_spool_dir(settings, "one", about) as folder:
        writer = SpoolWriter(folder.path / "main.spool")
        told(writer, folder.path)
        writer.entry(Status("FINISHED", 5))
        writer.close()
    return folder


def send(folder: SpoolDir, backend: Strict) -> None:
    uploader = Uploader(folder, backend, sealed=True)
    while uploader.step():
        pass


def a_huge_artifact(writer: SpoolWriter, folder: Path) -> None:
    writer.points({"loss": 0.5}, 1)
    writer.entry(write_text(folder, "small", "reports/small.txt"))
    writer.entry(write_text(folder, "huge", "weights/huge.txt"))
    writer.points({"loss": 0.25}, 2)
    writer.entry(Params({"epochs": "3"}))


def killed_before_write(
    number: int, work: Callable[[SpoolDir, Strict], object], folder: SpoolDir, backend: Strict
) -> bool:
    """Do the work in a process of its own, which kills itself with -9 before this write; False when it had fewer."""
    child = os.fork()
    if not child:
        left = [number]

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if writes or event in ("os.rename", "os.remove", "os.truncate", "os.rmdir", "os.mkdir"):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work(folder, backend)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize("then", ["sync", "sync --leave-out"])
def test_a_kill_between_any_two_writes_loses_nothing_doubles_nothing_and_leaves_nothing_else_out(
    tmp_path: Path, then: str
) -> None:
    def left_out_and_sent(folder: SpoolDir, backend: Strict) -> None:
        drop_first_rejected(folder, backend)
        send(folder, backend)

    kills = 0
    for number in range(1, 100):
        home = tmp_path / str(number)
        folder, backend = spool(home, a_huge_artifact), Strict(home / "book")
        killed = killed_before_write(number, left_out_and_sent, folder, backend)
        kills += killed
        if then == "sync":
            decided = bool(folder.rejected())
            with contextlib.nullcontext() if decided or not killed else pytest.raises(TrackingUnavailable, match="413"):
                send(folder, backend)
            assert (REJECTED_TAG in backend.get_tags("run"), bool(backend.read("status"))) == (decided, decided)
        left_out_and_sent(folder, backend)
        assert backend.steps() == [("loss", 1), ("loss", 2)]
        assert (set(backend.read("artifact")), set(backend.read("status"))) == ({"small"}, {"FINISHED"})
        assert backend.read("Params")[-1] == {"epochs": "3"}
        assert backend.get_tags("run")[REJECTED_TAG] == "artifact weights/huge.txt (4 bytes)"
        (missing,) = folder.rejected()
        assert (missing.why, Path(missing.kept[1]).read_text()) == ("413 Request Entity Too Large", "huge")
        assert (folder.backlog().owed, folder.drained) == (False, True)
        if not killed:
            break
    assert 10 <= kills < 99


def test_of_points_and_parameters_only_those_are_left_out_that_are_refused_by_themselves(tmp_path: Path) -> None:
    def told(writer: SpoolWriter, folder: Path) -> None:
        for step in range(1, 8):
            writer.points({"loss": 1 / step, "bad" if step in (3, 5) else "good": float("nan")}, step)
        writer.flush()
        writer.entry(Params({"epochs": "3", "bad": "x", "rate": "0.1"}))

    folder, backend = spool(tmp_path, told), Strict(tmp_path / "book")
    assert drop_first_rejected(folder, backend)
    assert drop_first_rejected(folder, backend)
    assert not drop_first_rejected(folder, backend)
    assert [step for name, step in backend.steps() if name == "loss"] == list(range(1, 8))
    assert [step for name, step in backend.steps() if name == "good"] == [1, 2, 4, 6, 7]
    assert {key for each in backend.read("Params") for key in each} == {"epochs", "rate"}
    assert backend.get_tags("run")[REJECTED_TAG] == "2 points of bad (steps 3 to 5); parameters bad"
    assert backend.read("status") == ["FINISHED"]
    first, second = (json.loads(Path(each.kept[0]).read_text())["entry"] for each in folder.rejected())
    assert [(each["metric"], each["value"], each["step"]) for each in first["points"]] == [
        ("bad", "nan", 3),
        ("bad", "nan", 5),
    ]
    assert second == {"params": {"values": {"bad": "x"}}}
    assert str(folder.backlog()).startswith("run run: nothing but its beginning not sent; left out: 2 points of bad")


def test_what_is_too_much_for_one_request_is_sent_in_smaller_ones_and_not_left_out(tmp_path: Path) -> None:
    def told(writer: SpoolWriter, folder: Path) -> None:
        for step in range(1, 51):
            writer.points({"loss": 1 / step}, step)

    folder, backend = spool(tmp_path, told), Strict(tmp_path / "book", most=7)
    with pytest.raises(TrackingUnavailable, match="413 Request Entity Too Large"):
        send(folder, backend)
    assert not drop_first_rejected(folder, backend)
    assert backend.steps() == [("loss", step) for step in range(1, 51)]
    assert (folder.rejected(), backend.get_tags("run"), backend.read("status")) == ((), {SPOOL: "one"}, ["FINISHED"])


def test_an_artifact_whose_bytes_a_disk_changed_can_be_left_out_too(tmp_path: Path) -> None:
    folder = spool(tmp_path, lambda writer, path: writer.entry(write_text(path, "whole", "report.txt")))
    backend = Strict(tmp_path / "book")
    (copy,) = folder.path.glob("artifacts/*/report.txt")
    copy.write_text("whale")
    assert drop_first_rejected(folder, backend)
    send(folder, backend)
    (missing,) = folder.rejected()
    assert (missing.what, missing.kept[1]) == ("artifact report.txt (5 bytes)", str(copy))
    assert "does not match its SHA-256" in missing.why
    assert (backend.read("artifact"), backend.read("status"), copy.read_text()) == ([], ["FINISHED"], "whale")


def contents(folder: SpoolDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ({"away": True}, TrackerAway, "the tracker is away"),
        ({"closed": True}, TrackingUnavailable, "takes nothing of run run at all: the run is deleted"),
    ],
)
def test_neither_silence_nor_a_run_of_which_nothing_is_taken_leaves_anything_out(
    tmp_path: Path, state: dict[str, bool], error: type[FullcircleError], said: str
) -> None:
    folder = spool(tmp_path, lambda writer, path: writer.entry(write_text(path, "huge", "huge.txt")))
    before = contents(folder)
    with pytest.raises(error, match=said):
        drop_first_rejected(folder, Strict(tmp_path / "book", **state))
    assert contents(folder) == before


def test_what_was_left_out_is_not_tried_again_when_the_cursor_is_lost(tmp_path: Path) -> None:
    def told(writer: SpoolWriter, folder: Path) -> None:
        for step in range(1, 8):
            writer.points({"bad" if step == 4 else "loss": 1 / step}, step)
            writer.flush()  # a frame each, which go together in one request
        a_huge_artifact(writer, folder)

    folder, backend = spool(tmp_path, told), Strict(tmp_path / "book")
    assert drop_first_rejected(folder, backend)
    assert drop_first_rejected(folder, backend)
    send(folder, backend)
    steps, tag = backend.steps(), backend.get_tags("run")[REJECTED_TAG]
    (folder.path / "main.cursor").unlink()
    send(folder, backend)
    assert (backend.steps(), backend.get_tags("run")[REJECTED_TAG]) == (steps, tag)
    assert tag == "1 point of bad (step 4); artifact weights/huge.txt (4 bytes)"
    assert [Path(path).read_text() for path in folder.rejected()[1].kept[1:]] == ["huge"]


def test_a_decision_that_a_disk_damaged_decides_nothing_and_is_named(tmp_path: Path) -> None:
    folder, backend = spool(tmp_path, a_huge_artifact), Strict(tmp_path / "book")
    assert drop_first_rejected(folder, backend)
    (kept,) = folder.path.glob("*.left-out-*")
    kept.write_text(kept.read_text().replace('"until": ', '"until": 1'))
    with pytest.raises(TrackingUnavailable, match="413"):
        send(folder, backend)
    (missing,) = folder.rejected()
    assert (missing.what, missing.kept) == ("an entry, of which the file that says it is damaged", (str(kept),))
    assert drop_first_rejected(folder, backend)
    send(folder, backend)
    assert [each.what for each in folder.rejected()] == ["artifact weights/huge.txt (4 bytes)"]


def test_the_tag_names_each_thing_once_and_is_never_too_long() -> None:
    text = with_what(with_what("", "tags a"), "tags a, b")
    assert (text, with_what(text, "tags a")) == ("tags a; tags a, b", text)
    for number in range(1000):
        text = with_what(text, f"artifact {number}")
    assert len(text) <= LONGEST_TAG
    assert text.endswith("; and more")
    assert with_what(text, "artifact 1000") == text
