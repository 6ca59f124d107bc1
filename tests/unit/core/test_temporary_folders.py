"""Working folders go with whoever made them, and what a killed process left goes with the next: never one in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.system.temporary_folders import alone_in, in_use, sweep, temporary

AT_WORK = """
import sys
from pathlib import Path
from fullcircle.core.system.temporary_folders import temporary

with temporary(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("done")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def at_work(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that is at work in a folder of its own below `tmp_path`."""
    command = [sys.executable, "-c", AT_WORK, str(tmp_path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_folder_goes_at_the_end_of_its_block_however_that_ends(tmp_path: Path) -> None:
    def work() -> None:
        with temporary(tmp_path) as folder:
            (folder / "file").touch()
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_one_and_what_is_in_use_stays(
    tmp_path: Path, at_work: subprocess.Popen[str]
) -> None:
    (tmp_path / "kept by hand").mkdir()
    assert at_work.stdout is not None
    folder = Path(at_work.stdout.readline().strip())
    with temporary(tmp_path) as ours:
        assert folder.is_dir(), "somebody is at work there"
        assert (sweep(tmp_path, marked=True), ours.is_dir()) == ((), True)
    os.kill(at_work.pid, signal.SIGKILL)
    at_work.communicate()
    assert (folder / "half").read_text() == "done"
    with temporary(tmp_path) as ours:
        assert sorted(tmp_path.iterdir()) == sorted([ours, tmp_path / "kept by hand"])


def test_a_sweep_takes_all_that_nobody_uses_and_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "precious").mkdir(parents=True)
    root = tmp_path / "exports"
    for name in ("left", "used"):
        (root / name).mkdir(parents=True)
    (root / "link").symlink_to(elsewhere)
    (root / "file").touch()
    with in_use(root / "used"), in_use(root / "used"), in_use(root / "made"):
        assert sweep(root) == (root / "left",)
    assert sweep(root) == (root / "made", root / "used")
    assert sorted(path.name for path in root.iterdir()) == ["file", "link"]
    assert (elsewhere / "precious").is_dir()


def test_two_cannot_be_alone_in_one_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path) as first, alone_in(tmp_path) as second:
        assert (first, second) == (True, False)
    with alone_in(tmp_path) as again:
        assert again
    assert list(tmp_path.iterdir()) == []
