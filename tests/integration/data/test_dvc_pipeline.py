"""`dvc repro`, run for the user: cached, outside git too, and clear about what failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.system.processes import SAFE_PATH
from fullcircle.data.dvc_pipeline import reproduce


def stage(root: Path, command: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "source.txt").write_text("one\n")
    (root / "dvc.yaml").write_text(
        f"stages:\n  copy:\n    cmd: {command}\n    deps: [source.txt]\n    outs: [out.txt]\n"
    )
    return root


def run(root: Path) -> list[str]:
    lines: list[str] = []
    reproduce(root, lines.append)
    return lines


def test_stages_run_outside_git_and_only_again_when_something_changed(tmp_path):
    root = stage(tmp_path / "plain", "cp source.txt out.txt")

    assert any("Running stage 'copy'" in line for line in run(root))
    assert (root / "out.txt").read_text() == "one\n"
    assert not any("Running stage" in line for line in run(root))

    (root / "source.txt").write_text("two\n")
    assert any("Running stage 'copy'" in line for line in run(root))
    assert (root / "out.txt").read_text() == "two\n"


def test_a_lost_output_comes_back_without_running_the_stage(tmp_path):
    root = stage(tmp_path / "plain", "cp source.txt out.txt")
    run(root)
    (root / "out.txt").unlink()

    lines = run(root)

    assert (root / "out.txt").read_text() == "one\n"
    assert not any(line.startswith("> ") for line in lines)


def test_a_stage_runs_on_the_python_that_runs_us(tmp_path):
    root = stage(tmp_path / "plain", "python -c 'import sys; print(sys.prefix)' > out.txt")
    run(root)
    assert (root / "out.txt").read_text().strip() == sys.prefix


def test_a_stage_imports_the_files_beside_it_where_a_server_of_ours_runs_it_too(tmp_path, monkeypatch):
    """Our servers' Python looks for no module in the working folder; a stage has its helpers there."""
    for name, value in SAFE_PATH.items():
        monkeypatch.setenv(name, value)
    root = stage(tmp_path / "plain", "python prepare.py > out.txt")
    (root / "helper.py").write_text("SAID = 'from beside'\n")
    (root / "prepare.py").write_text("import helper\n\nprint(helper.SAID)\n")
    (root / "http.py").write_text("raise SystemExit('DVC took a file of the checkout for a module of its own')\n")
    run(root)
    assert (root / "out.txt").read_text() == "from beside\n"


def test_a_stage_that_fails_is_named_with_its_reason(tmp_path):
    root = stage(tmp_path / "plain", "sh -c 'echo no such source; exit 3'")
    with pytest.raises(DataUnavailable, match=r"data stages of .* failed: ERROR: failed to reproduce 'copy'"):
        run(root)


def test_a_folder_without_stages_is_named(tmp_path):
    with pytest.raises(DataUnavailable, match=r"no dvc\.yaml in"):
        run(tmp_path)


def test_an_interrupted_run_leaves_no_child_behind(tmp_path):
    root = stage(tmp_path / "plain", "sh -c 'echo $$ > pid; exec sleep 600'")
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from fullcircle.data.dvc_pipeline import reproduce
        reproduce(Path(sys.argv[1]), lambda line: None)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script, str(root)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (root / "pid").exists() or not (root / "pid").read_text().strip():
            assert time.monotonic() < deadline, "the stage did not start"
            time.sleep(0.05)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(30) != 0
    finally:
        parent.kill()
    sleeping = int((root / "pid").read_text())
    deadline = time.monotonic() + 10
    while _alive(sleeping):
        assert time.monotonic() < deadline, "the stage's process outlived us"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
