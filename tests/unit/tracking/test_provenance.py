"""Where a run comes from, in a checkout and outside one."""

from __future__ import annotations

import os
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from fullcircle.core.errors import UsageError
from fullcircle.core.settings import Settings
from fullcircle.core.system.files import sha256_of
from fullcircle.store.database import Database
from fullcircle.tracking.provenance.git_worktree import apply, has_commit, top_of, worktree
from fullcircle.tracking.provenance.run_provenance import _named, installed, packages, provenance
from fullcircle.tracking.provenance.uncommitted import MAX_DIFF_BYTES
from fullcircle.tracking.secrets.telling_names import MARKER


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


def test_a_home_inside_of_the_checkout_is_no_uncommitted_change(checkout: Path) -> None:
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(checkout / "my home")})
    with Database(settings).session():
        pass
    (settings.folder("predictions") / "segment.py").write_text("rows of customers")
    seen = provenance(checkout)
    assert (seen.dirty, seen.not_kept) == (False, ())


def test_a_folder_that_was_there_before_it_became_a_home_is_not_hidden_from_git(checkout: Path) -> None:
    (checkout / "mine").mkdir()
    Settings.from_env({"FULLCIRCLE_HOME": str(checkout / "mine")}).folder("logs")
    (checkout / "mine" / "new.py").write_text("x = 1\n")
    assert "mine/new.py" in provenance(checkout).diff


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


def test_an_enormous_change_is_named_with_size_and_digest_and_crowds_nothing_out(checkout: Path) -> None:
    (checkout / "a.csv").write_text("1\n")
    (checkout / "b.csv").write_text("1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    (checkout / "a.csv").write_text("1,2,3\n" * (MAX_DIFF_BYTES // 5))  # larger than what git compares
    (checkout / "b.csv").write_text("1,2,3\n" * 50_000)
    (checkout / "model.py").write_text("hidden = 128\n")
    (checkout / "new.py").write_text("x = 1\n")
    found = provenance(checkout)
    assert [(each.name, each.size, each.sha256) for each in found.not_kept] == [
        (name, (checkout / name).stat().st_size, sha256_of(checkout / name)) for name in ("a.csv", "b.csv")
    ]
    assert "a.csv, b.csv (code/not_kept.json says why)" in found.notes[0]
    (checkout / "new.py").unlink()
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found.diff) == ""
    assert ((checkout / "model.py").read_text(), (checkout / "new.py").read_text()) == ("hidden = 128\n", "x = 1\n")


def test_the_environment_has_one_line_a_distribution_and_one_digest() -> None:
    requirements, digest = installed()
    names = [line.partition("==")[0] for line in requirements.splitlines()]
    assert names == sorted(set(names))
    assert "mlflow" in names
    assert len(digest) == 64


def test_an_untracked_file_comes_back_byte_for_byte(checkout: Path) -> None:
    contents = {
        "empty.py": b"",
        "no_end.py": b"x = 1",
        "windows.py": b"x = 1\r\ny = 2\r\n",
        "form_feed.py": b"x = 1\n\x0cy = '\xe2\x80\xa8'\n",
    }
    for name, content in contents.items():
        (checkout / name).write_bytes(content)
    found = provenance(checkout).diff
    for name in contents:
        (checkout / name).unlink()
    assert apply(checkout, found) == ""
    assert {name: (checkout / name).read_bytes() for name in contents} == contents


def test_a_users_configuration_of_diffs_does_not_change_what_is_kept(checkout: Path) -> None:
    (checkout / "model.py").write_text("one = 1\nhidden = 64\nthree = 3\n")
    git(checkout, "commit", "-q", "-am", "second")
    for name, value in (
        ("diff.noprefix", "true"),
        ("diff.mnemonicPrefix", "true"),
        ("diff.relative", "true"),
        ("diff.context", "0"),
        ("diff.submodule", "log"),
    ):
        git(checkout, "config", name, value)
    (checkout / "model.py").write_text("one = 1\nhidden = 128\nthree = 3\n")
    (checkout / "part").mkdir()
    found = provenance(checkout / "part").diff
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found) == ""
    assert (checkout / "model.py").read_text() == "one = 1\nhidden = 128\nthree = 3\n"


def test_what_is_not_kept_of_the_changes_is_named(checkout: Path) -> None:
    (checkout / "table.bin").write_bytes(b"\0one")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    (checkout / "table.bin").write_bytes(b"\0two")
    (checkout / "model.py").write_text("hidden = 128\n")
    (checkout / "notes.txt").write_text("untracked\n")
    found = provenance(checkout)
    assert [each.name for each in found.not_kept] == ["table.bin", "notes.txt"]
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found.diff) == ""
    assert ((checkout / "model.py").read_text(), (checkout / "table.bin").read_bytes()) == ("hidden = 128\n", b"\0one")


def test_a_change_that_is_no_utf8_is_named_and_costs_no_other_change(checkout: Path) -> None:
    latin = checkout / "old [1].py"
    latin.write_bytes("# ä\n".encode("latin-1"))
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    latin.write_bytes("# öü\n".encode("latin-1"))
    found = provenance(checkout)
    assert ([each.name for each in found.not_kept], found.dirty) == (["old [1].py"], True)
    (checkout / "model.py").write_text("hidden = 128\n")
    found = provenance(checkout)
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found.diff) == ""
    assert (checkout / "model.py").read_text() == "hidden = 128\n"
    assert latin.read_bytes() == "# ä\n".encode("latin-1")


def test_changes_that_git_cannot_tell_are_not_taken_for_none(checkout: Path) -> None:
    (checkout / ".gitattributes").write_text("*.bin filter=large\n")
    (checkout / "weights.bin").write_text("1\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    git(checkout, "config", "filter.large.clean", "not-installed-here")
    git(checkout, "config", "filter.large.required", "true")
    (checkout / "weights.bin").write_text("2\n")
    found = provenance(checkout)
    assert found.dirty
    assert "git could not tell the uncommitted changes (fatal: weights.bin: clean filter 'large' failed)" in found.diff


def test_the_project_is_found_in_its_checkout_and_the_platform_is_somewhere_else(checkout: Path) -> None:
    (checkout / "projects" / "p").mkdir(parents=True)
    found = provenance(checkout / "projects" / "p")
    assert (found.repository, found.folder, found.platform) == (str(checkout.resolve()), "projects/p", "")


def test_a_worktree_has_the_commit_and_goes_without_a_trace(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    (checkout / "model.py").write_text("hidden = 128\n")
    hook = checkout / ".git" / "hooks" / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {checkout / 'ran'}\n")
    hook.chmod(0o755)
    folder = tmp_path_factory.mktemp("worktrees") / "code"
    seen = []

    def stopped() -> None:
        with worktree(checkout, commit, folder):
            seen.append((folder / "model.py").read_text())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seen == ["hidden = 64\n"]
    assert not folder.exists()
    assert len(git(checkout, "worktree", "list").splitlines()) == 1
    assert (checkout / "model.py").read_text() == "hidden = 128\n"
    assert not (checkout / "ran").exists()


def test_an_unknown_commit_is_known_to_be_unknown(checkout: Path, tmp_path: Path) -> None:
    assert top_of(checkout) == checkout.resolve()
    assert has_commit(checkout, git(checkout, "rev-parse", "HEAD"))
    assert not has_commit(checkout, "0" * 40)
    unknown = worktree(checkout, "0" * 40, tmp_path / "code")
    with pytest.raises(UsageError, match="commit 000000000000 cannot be checked out of"), unknown:
        pass


def test_the_packages_are_those_that_pythons_own_slower_reader_finds() -> None:
    found: dict[str, str] = {}
    for each in distributions():
        found.setdefault(each.metadata["Name"].lower().replace("_", "-"), each.version)
    assert packages(installed()[0]) == found


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_package_that_talks_of_names_and_versions_in_its_description_has_its_own(tmp_path: Path, ending: str) -> None:
    lines = ["Metadata-Version: 2.4", "Name: Own", "Version:  1.2 ", "", "Name: other", "Version: 9"]
    folder = tmp_path / "own-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes(ending.join(lines).encode())
    (distribution,) = distributions(path=[str(tmp_path)])
    assert _named(distribution) == ("Own", "1.2")


@pytest.mark.parametrize(
    "how", ["GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"]
)
def test_a_git_hook_of_another_repository_does_not_change_whose_code_is_recorded(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    (other / "theirs.py").write_text("x = 1\n")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "theirs")
    (checkout / "model.py").write_text("hidden = 128\n")
    expected = provenance(checkout)
    values = {
        "GIT_DIR": str(other / ".git"),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_WORK_TREE": str(other),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_PARAMETERS": "'diff.noprefix=true'",
    }
    monkeypatch.setenv(how, values[how])
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.worktree")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(other))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(other / ".git" / "objects"))
    assert provenance(checkout) == expected
    assert "theirs" not in str(expected)
    assert top_of(checkout) == checkout.resolve()
    with worktree(checkout, expected.commit, other / "again") as folder:
        assert (folder / "model.py").read_text() == "hidden = 64\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files to another user")
def test_a_repository_of_another_owner_is_none_that_counts_as_no_repository(checkout: Path) -> None:
    os.chown(checkout, 65534, 65534)
    os.chown(checkout / ".git", 65534, 65534)
    found = provenance(checkout)
    (note,) = found.notes
    assert found.commit == ""
    assert f"the repository {checkout.resolve()} is owned by another user and git refuses to read it" in note


def test_a_repository_that_gives_no_commit_is_said_to_be_one(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, bare = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("bare")
    git(empty, "init", "-q")
    git(bare, "init", "-q", "--bare")
    assert "has no commit yet" in provenance(empty).notes[0]
    assert "without a work tree (bare)" in provenance(bare).notes[0]
    monkeypatch.setenv("PATH", str(empty))
    assert "cannot be read (git is not installed)" in provenance(checkout).notes[0]
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(bare.parent))
    assert provenance(bare).notes == ()


def test_a_project_that_git_ignores_is_said_to_be_kept_nowhere(checkout: Path) -> None:
    (checkout / "mine").mkdir()
    (checkout / "mine" / "project.py").write_text("x = 1\n")
    (checkout / ".gitignore").write_text("mine/\n")
    assert any("is ignored by git" in note for note in provenance(checkout / "mine").notes)


def test_a_submodule_costs_no_other_change_and_its_own_are_named(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other, mark = tmp_path_factory.mktemp("part"), checkout / "ran"
    git(other, "init", "-q")
    (other / "part.py").write_text("x = 1\n")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "first")
    git(checkout, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "part")
    git(checkout, "commit", "-q", "-m", "second")
    git(checkout / "part", "config", "core.fsmonitor", f"touch {mark}; true")
    (checkout / "part" / "part.py").write_text("x = 2\n")
    (checkout / "model.py").write_text("hidden = 128\n")
    found = provenance(checkout)
    assert [(each.name, each.why) for each in found.not_kept] == [("part", "a submodule with changes of its own")]
    git(checkout, "checkout", "-q", "model.py")
    assert apply(checkout, found.diff) == ""
    assert (checkout / "model.py").read_text() == "hidden = 128\n"
    assert not mark.exists()


@pytest.mark.parametrize("name", ['we"ird\n.py', "ta\tb.py", "é b/ c.py", "-rf.py", "latin\udce4.py", "a b/a b.py"])
def test_hostile_names_of_files_cost_no_change(checkout: Path, name: str) -> None:
    for each in (name, f"new-{name}".replace("a b/", "c d/")):
        (checkout / each).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("x = 1\n")
    (checkout / f"{name}.bin").write_bytes(b"\0one")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "second")
    (checkout / name).write_text("x = 2\n")
    (checkout / f"{name}.bin").write_bytes(b"\0two")
    new = checkout / f"new-{name}".replace("a b/", "c d/")
    new.write_text("y = 1\n")
    found = provenance(checkout)
    assert len(found.not_kept) == 1
    new.unlink()
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found.diff) == ""
    assert ((checkout / name).read_text(), new.read_text()) == ("x = 2\n", "y = 1\n")


def test_secrets_are_masked_and_the_patch_still_applies_with_those_that_the_commit_has(checkout: Path) -> None:
    committed = 'url = "postgresql://ada:in-the-commit@db/x"\nhidden = 64\nkey = {"password": "also-in-it"}\n'
    (checkout / "model.py").write_text(committed)
    git(checkout, "commit", "-q", "-am", "second")
    changed = committed.replace("64", "128").replace("@db/x", "@other/x") + 'slack = "slack://T0/B0/only-here-123"\n'
    (checkout / "model.py").write_text(changed)
    (checkout / "new.py").write_text('# the new one\npassword = "of-a-new-file"\n')
    found = provenance(checkout)
    for secret in ("in-the-commit", "also-in-it", "only-here", "of-a-new-file"):
        assert secret not in f"{found}"
    lost = [(each.file, each.line) for each in found.masked if each.lost]
    assert lost == [("model.py", 4), ("new.py", 2)]
    (checkout / "new.py").unlink()
    git(checkout, "checkout", "-q", ".")
    assert apply(checkout, found.diff) == ""
    number = next(each.number for each in found.masked if each.file == "model.py" and each.lost)
    assert (checkout / "model.py").read_text() == changed.replace("T0/B0/only-here-123", f"{MARKER}-{number}")
