"""A new project is complete, loads, keeps its own contract's shape, and never overwrites anything."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fullcircle.core.errors import FullcircleError, LeakageFound, UsageError
from fullcircle.core.project import Category, Number, Project
from fullcircle.core.project.loading import load_project, project_names
from fullcircle.core.statistics.binary_metrics import roc_auc
from fullcircle.data.contract import check
from fullcircle.data.splits import split
from fullcircle.scaffold.kinds import KINDS
from fullcircle.scaffold.new_project import create, put_under_git
from fullcircle.scaffold.tickets_data import CHANNELS, LAUNCH, LAUNCHED_TOPIC, MONTHS, PLANS, tickets
from fullcircle.tracking.provenance.git import git
from fullcircle.tracking.provenance.run_provenance import provenance


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return create("my-project", tmp_path)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def of_kind(kind: str, tmp_path: Path) -> Project:
    return load_project("my-project", create("my-project", tmp_path, kind=kind).parent)


def test_a_new_project_has_a_target_of_the_kind_that_was_asked_for(of_kind: Project, kind: str) -> None:
    assert of_kind.target.kind == kind
    assert of_kind.partitions.parent.name == "my-project"


def test_the_data_of_every_kind_keeps_the_contract_and_nothing_in_it_gives_the_answer_away(of_kind: Project) -> None:
    rows = pd.concat(map(pd.read_parquet, sorted(of_kind.partitions.glob("*.parquet"))))
    assert check(of_kind, rows).violations == ()
    found, parts = split(of_kind, rows, now=datetime(2024, 7, 1, tzinfo=UTC))
    assert found.leakage.leaks == ()
    of_kind.target.require_learnable({"training": of_kind.target.targets(parts.train)})


def test_the_column_that_gives_the_answer_away_stops_the_split_where_it_is_not_marked(of_kind: Project) -> None:
    [marked] = [column for column in of_kind.columns if column.after]
    columns = tuple(dataclasses.replace(column, after=False) for column in of_kind.columns)
    rows = pd.concat(map(pd.read_parquet, sorted(of_kind.partitions.glob("*.parquet"))))
    with pytest.raises(LeakageFound, match=marked.name):
        split(dataclasses.replace(of_kind, columns=columns), rows, now=datetime(2024, 7, 1, tzinfo=UTC))


def test_the_model_of_every_kind_ends_in_as_many_outputs_as_its_task_has(of_kind: Project) -> None:
    torch = pytest.importorskip("torch")
    assert of_kind.torch is not None
    assert of_kind.torch(19, of_kind.training.extra)(torch.zeros(3, 19)).shape == (3, of_kind.target.outputs)


def test_the_world_changes_in_the_fourth_month_whatever_is_asked(kind: str) -> None:
    before, after = tickets("2024-03", kind=kind), tickets(LAUNCH, kind=kind)
    # The same questions for every kind; only what becomes of them is another.
    shared = list(tickets(LAUNCH).columns[:-2])
    pd.testing.assert_frame_equal(after[shared], tickets(LAUNCH)[shared])
    target = after.columns[-1]
    first, then = (rows[target].astype(str).value_counts(normalize=True) for rows in (before, after))
    assert 0.5 * first.sub(then, fill_value=0.0).abs().sum() > 0.1


def test_a_new_project_loads_by_its_name(made: Path) -> None:
    project = load_project("my-project", made.parent)
    assert (project.name, project.folder) == ("my-project", made)
    assert project.frameworks == ("torch", "keras")
    assert (made.parent / project.runbook).is_file()


def test_a_new_project_has_one_partition_a_month_with_the_columns_that_it_declares(made: Path) -> None:
    project = load_project("my-project", made.parent)
    assert [path.stem for path in sorted(project.partitions.glob("*.parquet"))] == list(MONTHS)
    for path in project.partitions.glob("*.parquet"):
        rows = pd.read_parquet(path)
        declared = {column.name for column in project.columns} | {project.target.name, project.time, project.row_id}
        assert set(rows.columns) == declared
        assert str(rows[project.time].dtype) == "datetime64[us, UTC]"
        assert rows[project.time].dt.strftime("%Y-%m").unique().tolist() == [path.stem]
        assert rows[project.time].is_monotonic_increasing
        assert rows[project.row_id].is_unique
        assert rows[project.target.name].isin([0, 1]).all()


def test_the_example_data_keeps_the_contract_of_the_example_project(made: Path) -> None:
    project = load_project("my-project", made.parent)
    rows = pd.concat(map(tickets, MONTHS))
    for column in project.columns:
        values = rows[column.name]
        assert column.nullable or values.notna().all()
        match column:
            case Category(known=tuple() as known):
                assert set(values) <= set(known)
            case Number(low=low, high=high):
                assert values.min() >= (-np.inf if low is None else low)
                assert values.max() <= (np.inf if high is None else high)
    assert (set(CHANNELS), set(PLANS)) == (set(rows["channel"]), set(rows["plan"]))


def test_the_example_data_is_the_same_bytes_each_time(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        files = sorted((create(name, tmp_path) / "data").iterdir())
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert digests[0] == digests[1]


def test_the_world_of_the_example_changes_in_the_fourth_month() -> None:
    before, after = tickets("2024-03"), tickets(LAUNCH)
    assert LAUNCHED_TOPIC not in set(before["topic"])
    assert (after["topic"] == LAUNCHED_TOPIC).mean() > 0.3
    assert after["missed"].mean() - before["missed"].mean() > 0.1


def test_the_column_that_is_the_answer_is_marked_as_known_only_afterwards(made: Path) -> None:
    project = load_project("my-project", made.parent)
    rows = tickets(MONTHS[0])
    assert roc_auc(rows["missed"].to_numpy(), rows["minutes_to_answer"].to_numpy()) == 1.0
    assert "minutes_to_answer" not in {column.name for column in project.inputs}


def test_what_stands_there_already_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        create("mine", tmp_path)
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "My-Project", "../elsewhere", "7days", "a b", "a/b", "x" * 64, "name\n"])
def test_a_name_that_no_project_may_have_is_refused_and_nothing_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="lower-case letters"):
        create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_gives_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullcircleError, match=r"cannot make .*my-project"):
        create("my-project", tmp_path / "file")


def test_what_a_kill_left_half_made_is_no_project_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".my-project.unfinished" / "data").mkdir(parents=True)
    assert project_names(tmp_path) == []
    create("my-project", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["my-project"]


def test_the_project_file_is_as_tidy_as_our_own_code(of_kind: Project, repository: Path) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for words in (["check"], ["format", "--check"]):
        config = str(repository / "pyproject.toml")
        done = subprocess.run(
            [ruff, *words, "--no-cache", "--config", config, of_kind.folder / "project.py"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """git knows a name, and nothing else of this machine's configuration or checkouts."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.com")
    return monkeypatch


def test_a_new_project_is_committed_without_its_rows_and_its_runs_name_the_commit(
    made: Path, named: pytest.MonkeyPatch
) -> None:
    assert put_under_git(made)
    seen = provenance(made)
    assert (len(seen.commit), seen.dirty, seen.not_kept) == (40, False, ())
    listed = git(made, "ls-files").stdout.split()
    assert listed == [".gitignore", "README.md", "project.py", "runbook.md"]


def test_a_project_in_a_checkout_is_left_to_whoever_has_that(made: Path, named: pytest.MonkeyPatch) -> None:
    assert git(made.parent, "init").returncode == 0
    assert not put_under_git(made)
    assert not (made / ".git").exists()
    assert git(made.parent, "ls-files").stdout == ""


def test_where_git_knows_no_name_nothing_of_a_repository_is_left(
    made: Path, named: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        named.delenv(f"GIT_{role}_NAME")
        named.setenv(f"GIT_{role}_EMAIL", "")
    (tmp_path / "gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    named.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert not put_under_git(made)
    assert not (made / ".git").exists()
