"""Data versions on a real DVC remote: named by content, complete in the remote, and back to the byte."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.errors import DataUnavailable, HomeUnwritable
from fullcircle.core.settings import Settings
from fullcircle.data.data_versions import Versions
from fullcircle.data.partitions import partitions


def blob(settings: Settings, md5: str) -> Path:
    return Path(settings.dvc_remote) / "files" / "md5" / md5[:2] / md5[2:]


def blobs(settings: Settings) -> set[str]:
    root = Path(settings.dvc_remote) / "files" / "md5"
    return {path.parent.name + path.name for path in root.rglob("*") if path.is_file()}


def forget_everything_local(settings: Settings) -> None:
    shutil.rmtree(settings.home / "dvc")


def child(work: Callable[[], object]) -> int:
    """Run it in a fork of this process; returns the child's id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


def test_a_version_says_what_it_holds(project, settings):
    parts = partitions(project)

    version = Versions(settings).commit(project, parts)

    assert version.files == tuple((part.path.name, hashlib.md5(part.path.read_bytes()).hexdigest()) for part in parts)
    assert (version.project, version.rows) == ("signals", 1500)
    assert version.size_bytes == sum(part.path.stat().st_size for part in parts)
    assert (version.start, version.end) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 21, 19, tzinfo=UTC))
    assert version.digest in version.pointer


def test_every_object_is_in_the_remote(project, settings):
    version = Versions(settings).commit(project, partitions(project))

    assert blobs(settings) == {version.digest, *(md5 for _, md5 in version.files)}


def test_the_same_bytes_have_the_same_name_anywhere(project, settings, tmp_path):
    elsewhere = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "elsewhere")})
    parts = partitions(project)

    first = Versions(settings).commit(project, parts)

    assert Versions(settings).commit(project, parts) == first
    assert Versions(elsewhere).commit(project, parts) == first


def test_another_byte_is_another_version(project, settings):
    parts = partitions(project)
    first = Versions(settings).commit(project, parts)
    shutil.copyfile(parts[0].path, project.partitions / "2024-04.parquet")

    second = Versions(settings).commit(project, partitions(project))

    assert second.digest != first.digest
    assert second.fingerprint == first.fingerprint


def test_a_file_that_is_known_is_not_sent_again(project, settings):
    parts = partitions(project)
    first = Versions(settings).commit(project, parts[:2])
    sent = {md5: blob(settings, md5).stat().st_ino for _, md5 in first.files}

    second = Versions(settings).commit(project, parts)

    assert blobs(settings) == {first.digest, second.digest, *(md5 for _, md5 in second.files)}
    assert {md5: blob(settings, md5).stat().st_ino for md5 in sent} == sent


def test_the_partitions_stay_as_they_are_and_may_be_edited(project, settings, tmp_path):
    parts = partitions(project)
    before = [(part.path.stat().st_mode, part.path.stat().st_ino, part.path.read_bytes()) for part in parts]

    version = Versions(settings).commit(project, parts)
    assert [(part.path.stat().st_mode, part.path.stat().st_ino, part.path.read_bytes()) for part in parts] == before

    with parts[0].path.open("r+b") as file:
        file.write(b"edited in place")
    restored = Versions(settings).restore(version, tmp_path / "out")
    assert restored[0].read_bytes() == before[0][2]


def test_restore_brings_exactly_these_bytes_back_from_the_remote_alone(project, settings, tmp_path):
    parts = partitions(project)
    expected = {part.path.name: part.path.read_bytes() for part in parts}
    version = Versions(settings).commit(project, parts)
    forget_everything_local(settings)
    shutil.rmtree(project.partitions)

    restored = Versions(settings).restore(version, tmp_path / "new" / "out")

    assert {path.name: path.read_bytes() for path in restored} == expected
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(expected)


def test_restore_refuses_a_folder_that_holds_something(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    (tmp_path / "mine.txt").write_text("keep me")

    with pytest.raises(DataUnavailable, match="it is not empty"):
        Versions(settings).restore(version, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_a_missing_blob_is_named_and_nothing_is_left_half_done(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    forget_everything_local(settings)
    name, md5 = version.files[1]
    blob(settings, md5).unlink()

    with pytest.raises(DataUnavailable, match=rf"file {name} \(md5 {md5}\) cannot come back: missing from"):
        Versions(settings).restore(version, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_blob_that_differs_is_named_with_both_hashes(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    forget_everything_local(settings)
    _, md5 = version.files[2]
    blob(settings, md5).chmod(0o644)
    blob(settings, md5).write_bytes(b"rotten")

    with pytest.raises(DataUnavailable, match=f"{md5}.* has {hashlib.md5(b'rotten').hexdigest()} in its place"):
        Versions(settings).restore(version, tmp_path / "out")


def test_a_blob_lost_in_the_remote_comes_from_the_cache_while_there_is_one(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    blob(settings, version.files[0][1]).unlink()

    assert len(Versions(settings).restore(version, tmp_path / "out")) == 3


@pytest.mark.parametrize("damage", ["lost", "cut short", "rotten"])
def test_a_damaged_remote_is_mended_by_the_next_commit(project, settings, tmp_path, damage):
    """DVC's own push says that all is well here: the folder object is there, and it looks no further."""
    version = Versions(settings).commit(project, partitions(project))
    path = blob(settings, version.files[0][1])
    whole = path.read_bytes()
    path.unlink()
    if damage != "lost":
        path.write_bytes(whole[:100] if damage == "cut short" else bytes(len(whole)))

    assert Versions(settings).commit(project, partitions(project)) == version

    assert path.read_bytes() == whole
    forget_everything_local(settings)
    assert len(Versions(settings).restore(version, tmp_path / "out")) == 3


def test_a_pointer_that_does_not_fit_its_digest_is_refused(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    other = dataclasses.replace(version, digest="0" * 32 + ".dir")
    with pytest.raises(DataUnavailable, match=f"its pointer names {version.digest}"):
        Versions(settings).restore(other, tmp_path / "out")


COMMIT = {
    "the partitions are linked": r"os.link .*/dvc/work/signals/2024-02.parquet",
    "the list of files is in the cache": r"os.rename .*/dvc/.dvc/cache/files/md5/../.*.dir",
    "a file is in the cache": r"os.rename .*/dvc/.dvc/cache/files/md5/../[^.]*",
    "the pointer is written": r"open .*/dvc/work/signals.dvc",
    "a file is in the remote": r"os.rename .*/dvc-remote/files/md5/../[^.]*",
    "the list of files is in the remote": r"os.rename .*/dvc-remote/files/md5/../.*.dir",
    "what it worked in is taken away": r"shutil.rmtree .*/dvc/work",
}
"""What a commit is about to do -> the system's event that is it, with the file."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def killed_before(point: str, work: Callable[[], object], after: str = "") -> bool:
    """Run it in a fork that is killed with -9 as it is about to do what `point` names (once `after` was done).
    Returns whether it came there."""

    def dies(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal after
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
        if writes or event in ("os.rename", "os.link", "shutil.rmtree"):
            what = f"{event} {arguments[1 if event in ('os.rename', 'os.link') else 0]}"
            if after and re.fullmatch(after, what):
                after = ""
            elif not after and re.fullmatch(point, what):
                os.kill(os.getpid(), signal.SIGKILL)

    def work_and_die() -> None:
        sys.addaudithook(dies)  # of the child alone: what it is about to do, whichever library does it
        work()

    status = os.waitpid(child(work_and_die), 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("point", COMMIT)
def test_a_commit_killed_before_any_of_its_steps_can_be_done_again(project, settings, tmp_path, point):
    parts = partitions(project)
    expected = Versions(Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path / "calm")})).commit(project, parts)
    # The first thing that a commit does is to take away what an earlier one worked in.
    after = COMMIT["the list of files is in the remote"] if point == "what it worked in is taken away" else ""

    assert killed_before(COMMIT[point], lambda: Versions(settings).commit(project, parts), after)

    assert Versions(settings).commit(project, parts) == expected
    assert blobs(settings) >= {expected.digest, *(md5 for _, md5 in expected.files)}
    assert not list((settings.home / "dvc" / "work").rglob("*.parquet"))
    forget_everything_local(settings)
    assert len(Versions(settings).restore(expected, tmp_path / "out")) == 3


def test_a_restore_killed_between_two_files_can_be_started_again(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    out = tmp_path / "out"

    assert killed_before(r"os.rename .*/out/2024-02.parquet", lambda: Versions(settings).restore(version, out))

    assert sorted(path.name for path in out.iterdir()) == [".restoring", "2024-01.parquet"]
    assert len(Versions(settings).restore(version, out)) == 3
    assert sorted(path.name for path in out.iterdir()) == [name for name, _ in version.files]


@pytest.mark.parametrize("other_home", [False, True], ids=["from one home", "from two"])
def test_of_two_restores_into_one_folder_the_second_is_told_why_and_the_first_is_whole(
    project, settings, tmp_path, other_home
):
    version = Versions(settings).commit(project, partitions(project))
    home = tmp_path / "other" if other_home else settings.home
    other = Settings.from_env({"FULLCIRCLE_HOME": str(home), "FULLCIRCLE_DVC_REMOTE": settings.dvc_remote})
    out, refused = tmp_path / "out", []

    def second_in_the_middle(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and not refused and str(arguments[1]) == str(out / "2024-02.parquet"):
            refused.append("asked")
            try:
                Versions(other).restore(version, out)
            except DataUnavailable as error:
                refused.append(str(error))

    def first() -> None:
        sys.addaudithook(second_in_the_middle)
        Versions(settings).restore(version, out)
        (tmp_path / "refused").write_text("\n".join(refused))

    assert os.waitstatus_to_exitcode(os.waitpid(child(first), 0)[1]) == 0
    assert (tmp_path / "refused").read_text() == (
        f"asked\ncannot restore into {out}: another restore is at work there; wait for it, or name another folder"
    )
    assert sorted(path.name for path in out.iterdir()) == [name for name, _ in version.files]


def test_a_restore_that_was_killed_can_be_started_again(project, settings, tmp_path):
    version = Versions(settings).commit(project, partitions(project))
    out = tmp_path / "out"
    (out / ".restoring").mkdir(parents=True)
    (out / ".restoring" / "2024-01.parquet").write_bytes(b"half")
    (out / "2024-02.parquet").write_bytes(b"moved before the kill")

    restored = Versions(settings).restore(version, out)

    assert tuple(hashlib.md5(path.read_bytes()).hexdigest() for path in restored) == tuple(m for _, m in version.files)
    assert sorted(path.name for path in out.iterdir()) == [name for name, _ in version.files]


def test_several_processes_may_commit_at_once(project, settings):
    parts = partitions(project)
    Versions(settings).commit(project, parts[:1])  # imports DVC before the fork

    pids = [child(lambda n=n: Versions(settings).commit(project, parts[: n + 1])) for n in range(3)]

    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert len([name for name in blobs(settings) if name.endswith(".dir")]) == 3


def test_nothing_but_the_index_is_readable_by_others(project, settings):
    Versions(settings).commit(project, partitions(project))
    assert (settings.home / "dvc" / ".dvc" / "site").stat().st_mode & 0o777 == 0o700


def test_no_partition_is_said_plainly(project, settings):
    with pytest.raises(DataUnavailable, match="no partition to version"):
        Versions(settings).commit(project, ())


def test_a_remote_that_cannot_be_written_is_named(project, settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    broken = dataclasses.replace(settings, dvc_remote=str(tmp_path / "file" / "remote"))
    with pytest.raises(DataUnavailable, match=r"the DVC remote .*file/remote failed .*FULLCIRCLE_DVC_REMOTE"):
        Versions(broken).commit(project, partitions(project))


def test_a_home_that_cannot_be_written_is_named(project, settings, tmp_path):
    (tmp_path / "file").write_text("in the way")
    broken = dataclasses.replace(settings, home=tmp_path / "file" / "home")
    with pytest.raises(HomeUnwritable, match="cannot write to FULLCIRCLE_HOME"):
        Versions(broken).commit(project, partitions(project))


def test_s3_without_its_extra_says_what_to_install(project, settings):
    if importlib.util.find_spec("dvc_s3"):
        pytest.skip("dvc-s3 is installed")
    remote = dataclasses.replace(settings, dvc_remote="s3://bucket/fullcircle")
    with pytest.raises(DataUnavailable, match=r"the DVC remote s3://bucket.*pip install 'fullcircle\[s3\]'"):
        Versions(remote).commit(project, partitions(project))


def test_a_relative_remote_is_meant_from_the_working_folder(project, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    version = Versions(dataclasses.replace(settings, dvc_remote="shared")).commit(project, partitions(project))
    assert (tmp_path / "shared" / "files" / "md5" / version.digest[:2] / version.digest[2:]).is_file()
