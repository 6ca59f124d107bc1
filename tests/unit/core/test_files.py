"""A file is replaced whole or not at all, whatever stops the writing."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
from pathlib import Path

import pytest

from fullcircle.core.system.files import replacing, sha256_of, write_whole


def test_a_digest_is_that_of_the_bytes_however_many(tmp_path: Path) -> None:
    for size in (0, 1, 2**20 + 1):
        (tmp_path / "file").write_bytes(b"x" * size)
        assert sha256_of(tmp_path / "file") == hashlib.sha256(b"x" * size).hexdigest()


@pytest.mark.parametrize("durable", [False, True])
def test_a_new_file_takes_the_place_of_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "état.json"
    write_whole(path, b"\x00\xff", durable=durable)
    assert path.read_bytes() == b"\x00\xff"
    write_whole(path, "zwölf", durable=durable)
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert [each.name for each in tmp_path.iterdir()] == ["état.json"]


def interrupted(path: Path) -> None:
    with replacing(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt


def test_what_goes_wrong_while_it_is_written_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_a_disk_without_room_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path, most = tmp_path / "state", resource.getrlimit(resource.RLIMIT_FSIZE)
    path.write_text("old")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the kernel ends us, in place of EFBIG
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(path, b"n" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["state"]


def test_a_kill_while_it_is_written_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    child = os.fork()
    if child == 0:
        with replacing(path) as part:
            part.write_text("ne")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_text() == "old"
    write_whole(path, "new")
    assert path.read_text() == "new"
