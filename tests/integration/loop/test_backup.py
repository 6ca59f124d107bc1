"""A home in one file, written while others write, and put back: nothing acknowledged is lost, nothing damaged used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fullcircle.core.errors import DataUnavailable, FullcircleError, UsageError
from fullcircle.core.records.lineage_trace import NodeKind
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.loop.backup.home_backup import backup, restore
from fullcircle.loop.lineage.trace import trace
from fullcircle.loop.workspace import Workspace

FIRST_PREDICTION = "01a21eb3-22fc-74be-9888-5209708c2f06"


@pytest.fixture(scope="module")
def earlier(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with runs, a ledger, answers and incidents."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(repository / "tests" / "fixtures" / "home-0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "home"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few files and a database, and where they are in one file."""
    folder = tmp_path_factory.mktemp("small")
    home = Settings.from_env({"FULLCIRCLE_HOME": str(folder / "home")}).folder("mlartifacts").parent
    (home / "mlartifacts" / "a.txt").write_text("one two three " * 200)
    (home / "mlartifacts" / "b.bin").write_bytes(os.urandom(3000))
    with closing(sqlite3.connect(home / "fullcircle.db")) as connection:
        connection.execute("CREATE TABLE entries (text)")
        connection.execute("INSERT INTO entries VALUES ('kept')")
        connection.commit()
    return home


@pytest.fixture(scope="module")
def saved(small: Path) -> Path:
    return backup(_settings(small), small.parent / "saved.zip").file


def test_a_prediction_is_traced_in_a_restored_home_of_which_the_original_is_gone(earlier: Path, tmp_path: Path) -> None:
    original = shutil.copytree(earlier, tmp_path / "original")
    made = backup(_settings(original), tmp_path / "saved.zip")
    shutil.rmtree(original)
    back = restore(made.file, tmp_path / "elsewhere" / "home")
    assert back.files == made.files
    found = trace(Workspace(_settings(back.home)), FIRST_PREDICTION, checkout=tmp_path)
    known = {link.kind for link in found.links if not link.missing}
    assert known >= {
        NodeKind.PREDICTION,
        NodeKind.VERSION,
        NodeKind.RUN,
        NodeKind.DATA,
        NodeKind.VERDICT,
        NodeKind.RELEASE,
    }


def test_what_is_put_back_is_what_was_there_and_its_owners_alone(small: Path, saved: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        home = restore(saved, tmp_path / "home").home
    finally:
        os.umask(before)
    for name in ("mlartifacts/a.txt", "mlartifacts/b.bin", ".gitignore"):
        assert (home / name).read_bytes() == (small / name).read_bytes()
        assert (home / name).stat().st_mtime_ns == (small / name).stat().st_mtime_ns
    with closing(sqlite3.connect(home / "fullcircle.db")) as connection:
        assert connection.execute("SELECT text FROM entries").fetchall() == [("kept",)]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (home, saved, *home.rglob("*"))}
    assert modes == {0o700, 0o600}


WRITER = """
    import sys
    from datetime import UTC, datetime
    from pathlib import Path
    import numpy as np
    from fullcircle.core.project import Binary, Number
    from fullcircle.predictions.labels import LabelLog
    from fullcircle.predictions.batch import Batch
    from fullcircle.predictions.prediction_log import PredictionLog

    folder = Path(sys.argv[1]) / "predictions" / "p"
    task = Binary("y", "yes")
    log = PredictionLog(folder, (Number("x"),), task.answers, background=False)
    labels = LabelLog(folder / "labels", task)
    for count in range(1_000_000):
        batch = Batch(model_version="1", digest="d", event_times=[datetime(2024, 1, 1, tzinfo=UTC)],
                      row_ids=[f"row-{count}"], inputs={"x": np.ones(1, "float32")}, answers=np.ones(1, "float32"))
        log.append(batch)
        labels.append([f"row-{count}"], [count % 2])
        if count % 3 == 0:
            log.seal()  # and every so often many segments become one
        print(count, flush=True)
"""


def test_what_was_acknowledged_before_a_backup_is_in_it_though_a_writer_goes_on(small: Path, tmp_path: Path) -> None:
    from fullcircle.predictions.prediction_counts import prediction_counts

    home = shutil.copytree(small, tmp_path / "home")
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(150)][-1]
            made = backup(_settings(home), tmp_path / "saved.zip")
            assert writer.poll() is None
            later = int(writer.stdout.readline())
        finally:
            writer.kill()
    assert later > acknowledged
    back = restore(made.file, tmp_path / "back").home
    log = back / "predictions" / "p"
    rows = _logged(log)
    assert {f"row-{count}" for count in range(acknowledged + 1)} <= set(rows)
    assert _labelled(log) >= set(range(acknowledged + 1))
    assert sum(each.predictions for each in prediction_counts(log)) == len(rows)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from fullcircle.core.settings import Settings
    from fullcircle.loop import progress
    from fullcircle.loop.backup.home_backup import backup, restore

    class Kills(progress.LogProgress):
        def stage(self, name, detail=""):
            if name == sys.argv[3]:
                os.kill(os.getpid(), signal.SIGKILL)

        def advance(self, name, done, total):
            self.stage(f"{name} {done < total}")

    home, file = Path(sys.argv[1]), Path(sys.argv[2])
    with progress.shown_by(Kills()):
        if file.exists():
            restore(file, home)
        else:
            backup(Settings.from_env({"FULLCIRCLE_HOME": str(home)}), file)
"""


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("copy the databases", marks=pytest.mark.nightly),
        pytest.param("copy the rest", marks=pytest.mark.nightly),
        "copy the rest False",
    ],
)
def test_a_backup_that_is_killed_leaves_no_half_file_and_the_next_one_none_of_its_parts(
    small: Path, tmp_path: Path, point: str
) -> None:
    home = shutil.copytree(small, tmp_path / "home")
    _killed(home, tmp_path / "saved.zip", point)
    assert not (tmp_path / "saved.zip").exists()
    backup(_settings(home), tmp_path / "saved.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "saved.zip"]
    assert list(home.rglob("*.part*")) == []


def test_a_restore_that_is_killed_leaves_no_half_home_and_the_next_one_none_of_its_parts(
    saved: Path, tmp_path: Path
) -> None:
    _killed(tmp_path / "home", saved, "restore True")
    assert not (tmp_path / "home").exists()
    restore(saved, tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@examples(max_examples=60)
@given(st.data())
def test_a_backup_in_which_any_bit_flipped_is_refused(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = saved.read_bytes()
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("flipped")
    (folder / "saved.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    with pytest.raises(DataUnavailable, match=r"saved\.zip"):
        restore(folder / "saved.zip", folder / "home")
    assert [path.name for path in folder.iterdir()] == ["saved.zip"]


def test_the_file_on_which_a_flipped_bit_fell_is_named(saved: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        entry = archive.getinfo("mlartifacts/b.bin")
    whole = bytearray(saved.read_bytes())
    whole[entry.header_offset + 200] ^= 1
    (tmp_path / "saved.zip").write_bytes(whole)
    with pytest.raises(DataUnavailable, match=r"is damaged: mlartifacts/b\.bin is not what was written"):
        restore(tmp_path / "saved.zip", tmp_path / "home")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_part_of_a_backup_is_refused_by_its_name(saved: Path, tmp_path: Path, share: float) -> None:
    whole = saved.read_bytes()
    (tmp_path / "part.zip").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataUnavailable, match=r"part\.zip is (no backup, or a part of one|damaged)"):
        restore(tmp_path / "part.zip", tmp_path / "home")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../outside", "a file '../outside'"),
        ("/tmp/outside", "a file '/tmp/outside'"),
        ("a/../../outside", "outside'"),
        ("a//b", "a file 'a//b'"),
        ("a\\..\\b", "a file"),
        ("link", "no plain file"),
        ("swollen", "no plain file"),
        ("unlisted", "does not list just the files"),
        ("file/beneath", "a file 'file'"),
        ("strange", "no plain file"),
        ("/".join(["deep"] * 3000), "folders deep"),
        ("long ago", "was changed at"),
        ("beyond time", "was changed at"),
    ],
)
def test_what_our_writer_never_makes_is_refused_whole(tmp_path: Path, name: str, said: str) -> None:
    hostile = tmp_path / "hostile.zip"
    _write_hostile(hostile, name)
    with pytest.raises(DataUnavailable, match="is refused") as refused:
        restore(hostile, tmp_path / "home")
    assert said in refused.value.what
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.zip"]


@pytest.mark.parametrize("name", ["back\\slash", "no \udcff text", "manifest.json"])
def test_a_name_that_a_restore_would_refuse_stops_the_backup_in_one_line(
    small: Path, tmp_path: Path, name: str
) -> None:
    home = shutil.copytree(small, tmp_path / "home")
    (home / name).write_text("")
    with pytest.raises(FullcircleError, match=r"home has a file .*, whose name .*; rename it"):
        backup(_settings(home), tmp_path / "saved.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("name", ["what?", "50%25", "two\nlines"])
def test_nothing_is_put_back_where_no_command_could_use_it(saved: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot restore into .* is in its path"):
        restore(saved, tmp_path / name / "home")
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(UsageError, match=r"cannot restore into .* is in its path"):
        restore(saved, tmp_path / "link" / "home")
    assert list((tmp_path / name).iterdir()) == []


def test_a_backup_that_does_not_fit_on_the_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    large = tmp_path / "large.zip"
    entry = _plain("a")
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(entry, b"")
        entry.file_size = 1 << 50  # as its own header would say
        _finish(archive, [{"name": "a", "size": 1 << 50, "sha256": "", "changed_ns": 0}])
    _sign(large)
    with pytest.raises(DataUnavailable, match="free in"):
        restore(large, tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] == ["large.zip"]


def test_a_restore_writes_over_nothing_and_a_backup_neither(small: Path, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for taken in ("full", "full/mine", "link"):
        with pytest.raises(UsageError, match="is not an empty folder"):
            restore(saved, tmp_path / taken)
    assert restore(saved, tmp_path / "empty").home == tmp_path / "empty"
    with pytest.raises(UsageError, match="exists"):
        backup(_settings(small), saved)
    with pytest.raises(UsageError, match="lies in the home itself"):
        backup(_settings(small), small / "saved.zip")
    with pytest.raises(UsageError, match="there is no home"):
        backup(_settings(tmp_path / "none"), tmp_path / "saved.zip")


def test_a_damaged_database_is_named_and_no_backup_pretends_to_have_it(small: Path, tmp_path: Path) -> None:
    home = shutil.copytree(small, tmp_path / "home")
    content = bytearray((home / "fullcircle.db").read_bytes())
    content[4096:4160] = b"\xff" * 64
    (home / "fullcircle.db").write_bytes(content)
    with pytest.raises(DataUnavailable, match=r"fullcircle\.db is damaged"):
        backup(_settings(home), tmp_path / "saved.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_what_lies_outside_of_the_home_is_said_without_its_passwords(small: Path, tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "FULLCIRCLE_HOME": str(small),
            "MLFLOW_TRACKING_URI": "postgresql://me:secret@db.example/mlflow",
            "FULLCIRCLE_DATABASE_URL": "postgresql://me:secret@db.example/circle",
            "FULLCIRCLE_DVC_REMOTE": "s3://bucket/data",
        }
    )
    made = backup(settings, tmp_path / "saved.zip")
    assert restore(made.file, tmp_path / "home").outside == made.outside
    said = "\n".join(made.outside)
    assert len(made.outside) == 3
    assert said.count("pg_dump") == 2
    assert "s3://bucket/data" in said
    assert "secret" not in said
    assert backup(_settings(small), tmp_path / "all.zip").outside == ()


def _settings(home: Path) -> Settings:
    return Settings.from_env({"FULLCIRCLE_HOME": str(home)})


def _killed(home: Path, file: Path, point: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(home), str(file), point]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


def _logged(log: Path) -> list[str]:
    from datetime import UTC, datetime

    from fullcircle.core.project import Binary, Number, Project
    from fullcircle.predictions.log_reader import window

    project = Project(
        name="p",
        owner="o",
        columns=(Number("x"),),
        target=Binary("y", positive="y"),
        time="t",
        row_id="i",
        torch=lambda inputs, params: None,
    )
    _, rows = window(project, log, datetime(2023, 12, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC))
    return [str(each) for each in rows["row_id"]]


def _labelled(log: Path) -> set[int]:
    import pyarrow.parquet as pq

    rows = [row for path in (log / "labels").glob("*.parquet") for row in pq.read_table(path)["row_id"].to_pylist()]
    return {int(row.removeprefix("row-")) for row in rows}


def _write_hostile(path: Path, name: str) -> None:
    """A backup whose digests are right, with one thing in it that should not be."""
    content = b"content"
    entry = _plain(name)
    listed = {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "changed_ns": 0}
    files = [listed]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        match name:
            case "link":
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            case "swollen":
                listed["size"] = 1
            case "unlisted":
                files = []
            case "file/beneath":
                archive.writestr(_plain("file"), content)
                files = [listed, {**listed, "name": "file"}]
            case "long ago" | "beyond time":
                listed["changed_ns"] = 10**30 * (1 if name == "beyond time" else -1)
            case "strange":
                entry.compress_type = zipfile.ZIP_BZIP2
        archive.writestr(entry, content, compress_type=entry.compress_type)
        _finish(archive, files)
    _sign(path)


def _plain(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | 0o600) << 16
    return entry


def _finish(archive: zipfile.ZipFile, files: list[dict[str, object]]) -> None:
    about = {"format": 1, "version": "1", "home": "/h", "began": "2026-01-01", "files": files, "outside": []}
    archive.writestr("manifest.json", json.dumps(about))
    archive.comment = b"sha256:" + b"0" * 64


def _sign(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-64] + hashlib.sha256(content[:-64]).hexdigest().encode())
    assert sha256_of(path)
