"""The writing end of a spool file."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest

from fullcircle.core.framed_log.frames import read
from fullcircle.core.framed_log.layout import End
from fullcircle.tracking.spool.spool_file import BATCH, KIND, Points, SpoolWriter, Tags, decode


def entries(path: Path) -> list[object]:
    return [decode(payload) for payload, _ in read(path, KIND).payloads]


def told(path: Path) -> list[tuple[str, float, int]]:
    points = [point for entry in entries(path) if isinstance(entry, Points) for point in entry.points()]
    return [(key, value, step) for key, value, _, step in points]


def test_points_and_entries_stand_in_the_file_in_the_order_of_the_calls(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    writer.points({"loss": 0.5, "norm": 2.0}, 1)
    writer.entry(Tags({"a": "b"}))
    writer.points({"loss": 0.25}, 2)
    writer.close()
    kinds = [type(entry).__name__ for entry in entries(writer.path)]
    assert kinds == ["Points", "Tags", "Points"]
    assert told(writer.path) == [("loss", 0.5, 1), ("norm", 2.0, 1), ("loss", 0.25, 2)]


def test_no_frame_holds_more_points_than_one_request_may(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")
    for step in range(3 * BATCH):
        writer.points({"loss": float(step)}, step)
    writer.points({f"m{number}": 1.0 for number in range(2 * BATCH + 1)}, 1)
    writer.points({f"m{number}": 1.0 for number in range(7)}, 2)
    writer.close()
    sizes = [len(entry) for entry in entries(writer.path) if isinstance(entry, Points)]
    assert (max(sizes) <= BATCH, sum(sizes)) == (True, 5 * BATCH + 8)


def test_threads_that_tell_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "main.spool")

    def tell(name: str) -> None:
        for step in range(5000):
            writer.points({name: 1.0}, step)

    threads = [threading.Thread(target=tell, args=(f"m{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    seen = Counter((key, step) for key, _, step in told(writer.path))
    assert seen == Counter({(f"m{number}", step): 1 for number in range(4) for step in range(5000)})


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    SpoolWriter(tmp_path / "main.spool").close()
    with pytest.raises(FileExistsError):
        SpoolWriter(tmp_path / "main.spool")


def test_a_forked_process_cannot_write_over_what_the_one_that_made_the_file_writes(tmp_path: Path) -> None:
    program = f"""
        import os
        from pathlib import Path
        from fullcircle.core.errors import UsageError
        from fullcircle.tracking.spool.spool_file import KIND, Tags
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        writer = SpoolWriter(Path({str(tmp_path)!r}) / "main.spool")
        writer.points({{"loss": 1.0}}, 1)
        if (child := os.fork()) == 0:
            told = lambda: writer.points({{"loss": 9.0}}, 9)
            tagged = lambda: writer.entry(Tags({{}}))
            refused = 0
            for call in (told, tagged, writer.flush, writer.close):
                try:
                    call()
                except UsageError as error:
                    refused += "was forked from the one that opened the run" in str(error)
            os._exit(refused)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        writer.points({{"loss": 0.5}}, 2)
        writer.close()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    assert told(tmp_path / "main.spool") == [("loss", 1.0, 1), ("loss", 0.5, 2)]


def test_what_was_flushed_survives_kill_minus_nine(tmp_path: Path) -> None:
    program = f"""
        import os, signal
        from pathlib import Path
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        writer = SpoolWriter(Path({str(tmp_path)!r}) / "main.spool")
        for step in range(1000):
            writer.points({{"loss": 1.0 / (step + 1)}}, step)
        writer.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [step for _, _, step in told(tmp_path / "main.spool")] == list(range(1000))


def test_points_of_a_killed_process_that_never_flushed_are_there_but_for_a_moment(tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys, time
        from pathlib import Path
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        path = Path({str(tmp_path)!r}) / "main.spool"
        writer = SpoolWriter(path)
        writer.points({{"loss": 1.0}}, 1)
        while path.stat().st_size < 40:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert told(tmp_path / "main.spool") == [("loss", 1.0, 1)]


def test_a_full_disk_leaves_whole_frames_and_loses_no_point_when_there_is_room_again(tmp_path: Path) -> None:
    program = f"""
        import resource, sys
        from pathlib import Path
        from fullcircle.core.errors import HomeUnwritable
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        writer = SpoolWriter(Path({str(tmp_path)!r}) / "main.spool")
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        refused = 0
        for step in range(100):
            writer.points({{"loss": float(step)}}, step)
            try:
                writer.flush()
            except HomeUnwritable:
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.close()
        print(refused)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    assert read(tmp_path / "main.spool", KIND).end is End.WHOLE
    assert [step for _, _, step in told(tmp_path / "main.spool")] == list(range(100))


def test_ctrl_c_in_the_midst_of_writing_loses_no_point_and_tears_no_frame(tmp_path: Path) -> None:
    program = f"""
        import random, signal
        from pathlib import Path
        from fullcircle.tracking.spool.spool_file import SpoolWriter
        writer = SpoolWriter(Path({str(tmp_path)!r}) / "main.spool")
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        later, step = random.Random(1), 0
        for _ in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, later.uniform(0.00005, 0.001))
                while True:
                    writer.points({{"loss": 1.0}}, step)
                    step += 1
                    if step % 50 == 0:
                        writer.flush()
            except KeyboardInterrupt:
                pass
        writer.close()
        print(step)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    offset, steps = 0, set()
    while (found := read(tmp_path / "main.spool", KIND, offset)).payloads:
        entries = [decode(payload) for payload, _ in found.payloads]
        steps |= {step for entry in entries if isinstance(entry, Points) for _, _, _, step in entry.points()}
        offset = found.offset
    assert found.end is End.WHOLE
    returned = set(range(int(done.stdout)))
    assert steps >= returned, "a call that returned has told its point"
    assert steps - returned <= {len(returned)}, "the last call may have been interrupted after it did so"
