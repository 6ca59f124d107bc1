"""A spool folder whose files were damaged on the disk: what it holds is sent, or somebody is told."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.core.errors import FullcircleError, UsageError
from fullcircle.core.settings import Settings
from fullcircle.tracking.spool.artifacts import copy_file, write_text
from fullcircle.tracking.spool.sender import Uploader
from fullcircle.tracking.spool.spool_dir import NewRun, SpoolDir, SpoolMetadata, create_spool_dir, remove_unbegun
from fullcircle.tracking.spool.spool_file import Artifact, Inputs, Params, Point, SpoolWriter, Status, Tags

STEPS = range(1, 31)


class Shelf:
    """A door that keeps what it is given, as MLflow does: the same point twice is one."""

    def __init__(self) -> None:
        self.points_of: dict[str, set[Point]] = {}
        self.kept: list[bytes] = []
        self.ended: list[str] = []

    def create_run(self, begin: NewRun, key: str) -> str:
        return key

    def log_points(self, run_id: str, points: Sequence[Point]) -> None:
        self.points_of.setdefault(run_id, set()).update(points)

    def log(self, run_id: str, entry: Params | Tags | Inputs) -> None:
        pass

    def get_tags(self, run_id: str) -> dict[str, str]:
        return {}

    def upload(self, run_id: str, path: Path, artifact: Artifact) -> None:
        self.kept.append(path.read_bytes())

    def has_artifact(self, run_id: str, artifact: Artifact) -> bool:
        return False

    def set_status(self, run_id: str, status: Status) -> None:
        self.ended.append(status.status)


@pytest.fixture(scope="module")
def half_sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shelf]:
    """A folder whose process ended, and what of it was sent before."""
    settings, shelf = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))}), Shelf()
    about = SpoolMetadata(tracker="http://tracker", run_id="run", key="run", begin=None, made_ms=1)
    with create_spool_dir(settings, "one", about) as folder:
        writer = SpoolWriter(folder.path / "main.spool")
        for step in STEPS:
            writer.points({"loss": 1 / step}, step)
            if step == 10:
                writer.entry(Tags({"halfway": "no"}))
            if step == 20:
                writer.entry(write_text(folder.path, "fine", "reports/report.txt"))
        writer.entry(Status("FINISHED", 5))
        writer.close()
        assert Uploader(folder, shelf).step()
    assert len(shelf.points_of["run"]) == 10
    return folder.path, shelf


def test_a_spool_from_before_the_framed_format_is_sent_from_wherever_it_was(tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    about = SpoolMetadata(tracker="http://tracker", run_id="run", key="run", begin=None, made_ms=1)
    for number in range(5):  # an entry more was sent each time, by the version that wrote it
        shelf, left = Shelf(), 0
        with create_spool_dir(settings, f"{number}", about) as folder:
            shutil.copy(Path(__file__).parents[2] / "fixtures" / "logs-0.1.0" / "main.spool", folder.path)
            for _ in range(number):
                Uploader(folder, Shelf()).step()
            uploader = Uploader(folder, shelf, sealed=True)
            while uploader.step():
                left += 1
            assert (folder.drained, folder.damaged()) == (True, ())
        assert left == 4 - number
        steps = {step for _, _, _, step in shelf.points_of.get("run", set())}
        assert steps == (set(range(1, 7)), set(range(4, 7)), set(range(4, 7)), set(), set())[number]


@given(data=st.data())
def test_a_bit_that_flipped_in_any_file_of_a_spool_loses_nothing_that_is_not_named(
    half_sent: tuple[Path, Shelf], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    original, before = half_sent
    folder = SpoolDir(tmp_path_factory.mktemp("spool") / "one")
    shutil.copytree(original, folder.path)
    files = sorted(path for path in folder.path.rglob("*") if path.is_file() and path.stat().st_size)
    victim = data.draw(st.sampled_from(files))
    content = bytearray(victim.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    victim.write_bytes(content)
    shelf, told = Shelf(), ""
    try:
        uploader = Uploader(folder, shelf, sealed=True)
        while uploader.step():
            pass
    except FullcircleError as error:
        told = error.what
    named = told or "".join(folder.damaged())
    assert "one" in named or named == ""
    sent = shelf.points_of.get("run", set()) | before.points_of["run"]
    assert {(key, value, step) for key, value, _, step in sent} <= {("loss", 1 / step, step) for step in STEPS}
    if victim.name == "main.cursor":  # nothing that was told is damaged
        assert named == ""
    if not named and folder.metadata().run_id == "run":
        assert (len(sent), shelf.kept, shelf.ended) == (len(STEPS), [b"fine"], ["FINISHED"])


def test_a_folder_whose_process_was_killed_before_it_said_its_run_is_taken_away_and_no_other(tmp_path: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path)})
    about = SpoolMetadata(tracker="http://tracker", run_id="run", key="run", begin=None, made_ms=1)
    if not (child := os.fork()):

        def kill(event: str, arguments: tuple[object, ...]) -> None:
            if event == "os.rename" and str(arguments[1]).endswith("/run.json"):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        with create_spool_dir(settings, "killed", about):
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    lost = tmp_path / "spool" / "lost"  # its run.json is gone, and nobody knows whether all of it was sent
    lost.mkdir()
    (lost / "main.spool").write_bytes(b"something")
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"killed", "lost"}
    with create_spool_dir(settings, "alive", about):
        (tmp_path / "spool" / "alive" / "run.json").unlink()  # as it is before it was written
        remove_unbegun(settings)
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"alive", "lost"}


@pytest.mark.parametrize(
    "name", ["a#b", "q?x", "a%20b", "new\nline", "\udcff", "../x", "/a/x", "a/../b", "a//b", "..", ""]
)
def test_an_artifact_that_mlflow_would_keep_under_another_name_or_never_is_refused_at_once(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match="MLflow cannot keep an artifact as"):
        write_text(tmp_path, "text", name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_an_unusual_name_is_kept_as_it_is(tmp_path: Path) -> None:
    for name in ("100% of ünï.txt", "..x", "a&b=c", "'q'"):
        (tmp_path / name).write_bytes(b"")
        entry = copy_file(tmp_path / "spool", tmp_path / name, "some folder")
        assert (Path(entry.file).name, entry.folder, entry.size) == (name, "some folder", 0)
