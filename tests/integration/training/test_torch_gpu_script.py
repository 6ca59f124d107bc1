"""The script for machines with GPUs, as far as a machine without one can try it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch


def gpu_script(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["env", f"PYTHON={sys.executable}", repository / "benchmarks" / "gpu.sh", *arguments],
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_exits_2(repository: Path) -> None:
    done = gpu_script(repository)
    assert done.returncode == 2
    assert done.stderr.startswith(f"no GPU: torch {torch.__version__} finds none here")


@pytest.mark.slow
def test_on_processor_cores_it_compares_a_case_with_the_reference(repository: Path) -> None:
    done = gpu_script(repository, "--device", "cpu", "--only", "accumulate", "--steps", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["reference: inline, cpu", "inline, accumulate 4"]
    assert float(lines[3].split()[-1].replace(",", "")) == 0  # no GPU, no memory of it
    assert "FAILED" not in done.stdout and "DIFFERS" not in done.stdout
