"""Where a run comes from, in a checkout and outside one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fullcircle.tracking.provenance import MAX_DIFF_BYTES, installed, process_mark, provenance


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "model.py").write_text("hidden = 64\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    found = provenance(checkout)
    assert (found.commit, found.branch, found.dirty) == (git(checkout, "rev-parse", "HEAD"), "main", False)


def test_uncommitted_changes_apply_to_the_commit_and_give_the_same_code(checkout: Path, tmp_path: Path) -> None:
    (checkout / "model.py").write_text("hidden = 128\n")
    (checkout / "new").mkdir()
    (checkout / "new" / "layer.py").write_text("size = 3\nname = 'é'\n", encoding="utf-8")
    (checkout / "data.bin").write_bytes(b"\0secret")
    found = provenance(checkout / "new")
    assert found.dirty
    assert "secret" not in found.diff
    git(checkout, "stash", "-q", "--include-untracked")
    (checkout / ".git" / "p.diff").write_text(found.diff, encoding="utf-8")
    git(checkout, "apply", ".git/p.diff")
    assert (checkout / "model.py").read_text() == "hidden = 128\n"
    assert (checkout / "new" / "layer.py").read_text(encoding="utf-8") == "size = 3\nname = 'é'\n"


def test_outside_git_there_is_no_commit_and_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = provenance(tmp_path)
    assert (found.commit, found.branch, found.diff) == ("", "", "")


def test_a_checkouts_own_configuration_runs_no_program(checkout: Path) -> None:
    mark = checkout / "ran"
    for name in ("core.fsmonitor", "diff.external"):
        git(checkout, "config", name, f"touch {mark}; true")
    (checkout / "model.py").write_text("hidden = 1\n")
    assert provenance(checkout).dirty
    assert not mark.exists()


def test_an_enormous_change_is_cut(checkout: Path) -> None:
    (checkout / "model.py").write_text("x = 1\n" * (MAX_DIFF_BYTES // 5))
    found = provenance(checkout).diff
    assert len(found) < MAX_DIFF_BYTES + 200
    assert "cut" in found[-100:]


def test_the_environment_has_one_line_a_distribution_and_one_digest() -> None:
    requirements, digest = installed()
    names = [line.partition("==")[0] for line in requirements.splitlines()]
    assert names == sorted(set(names))
    assert "mlflow" in names
    assert len(digest) == 64


def test_a_process_is_told_from_a_dead_one() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert process_mark(child.pid) == ""
    assert process_mark(os.getpid()) == process_mark(os.getpid()) != ""
