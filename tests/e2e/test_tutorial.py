"""The tutorial is true: its commands, in its order, in an empty folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fullcircle.core.system.processes import free_port

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LIMIT_S = 800


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tutorials_commands_run_from_top_to_bottom(repository: Path, tmp_path: Path) -> None:
    blocks = BLOCK.findall((repository / "docs" / "tutorial.md").read_text())
    assert len(blocks) >= 8
    env = {name: value for name, value in os.environ.items() if name != "FULLCIRCLE_HOME"} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FULLCIRCLE_SERVE_PORT": str(free_port()),
    }
    output = run_script("set -euo pipefail\numask 000\n" + "\n".join(blocks), tmp_path, env)
    afternoon = tmp_path / "afternoon"
    assert sorted(path.name for path in (afternoon / "restored").iterdir()) == sorted(
        path.name for path in (afternoon / "my-project" / "data").iterdir()
    )
    assert list((afternoon / ".fullcircle" / "quarantine").rglob("violations.json")), output
    assert [str(each) for each in (afternoon / ".fullcircle").rglob("*") if each.lstat().st_mode & 0o077] == []
    assert all(path.stat().st_mode & 0o777 == 0o666 for path in (afternoon / "restored").iterdir())
    assert '"prediction_ids"' in output
    assert "LeakageFound" in output


def run_script(script: str, folder: Path, env: dict[str, str]) -> str:
    """Run a bash script in a process group of its own, which never outlives this call; its output."""
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        pytest.fail(f"not done after {LIMIT_S} s:\n{output[-6000:]}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-6000:]
    return output
