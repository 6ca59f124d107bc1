"""The whole circle as a user has it: the command line, the real server, the real tools, on a sample of the flights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fullcircle.core.settings import Settings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A home in which two months of flights were replayed, a fifth of the rows each."""
    from fullcircle.data.dvc_pipeline import reproduce

    reproduce(repository, lambda line: None)
    return tmp_path_factory.mktemp("circle")


def fullcircle(home: Path, repository: Path, *words: str, expect: int = 0) -> str:
    """Run the command line in the checkout with that home; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", *words],
        cwd=repository,
        env={**os.environ, "FULLCIRCLE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def replayed(home: Path, repository: Path) -> dict[str, Any]:
    """What `fullcircle replay flights` says of those two months, as JSON."""
    text = fullcircle(home, repository, "replay", "flights", "--months", "2", "--sample", "0.2", "--json")
    result: dict[str, Any] = json.loads(text)
    return result


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(900)
class TestAReplayOfTheFlights:
    """Two months, one server, real everything."""

    def test_tells_each_month_with_both_models(self, replayed: dict[str, Any]) -> None:
        rows = replayed["rows"]
        assert [row["month"] for row in rows] == ["2013-04", "2013-05"]
        for row in rows:
            assert row["rows"] > 4000
            assert 0.05 < row["late_share"] < 0.5
            assert 0.55 < row["auc_frozen"] < 0.9
            assert 0.55 < row["auc_champion"] < 0.9
            assert row["decision"] in {"retrain", "keep", "rollback"}
            assert row["done"]

    def test_serves_the_first_model_in_the_first_month(self, replayed: dict[str, Any]) -> None:
        first = replayed["rows"][0]
        assert first["serving"] == replayed["frozen_version"]
        # The server's float32 answers over HTTP are the graph's own.
        assert first["auc_champion"] == pytest.approx(first["auc_frozen"], abs=1e-9)

    def test_writes_a_report_that_needs_no_other_file(self, replayed: dict[str, Any]) -> None:
        html = Path(replayed["report"]).read_text()
        assert "2013-04" in html
        assert "<svg" in html
        assert 'src="http' not in html

    def test_is_finished_when_it_is_asked_for_again(
        self, replayed: dict[str, Any], home: Path, repository: Path
    ) -> None:
        words = ("replay", "flights", "--months", "2", "--sample", "0.2", "--json")
        again = json.loads(fullcircle(home, repository, *words))
        assert again["rows"] == replayed["rows"]

    def test_a_reviewer_finds_data_code_figures_and_the_verdict_with_the_run(
        self, replayed: dict[str, Any], home: Path
    ) -> None:
        from fullcircle.core.records.releases import CHAMPION
        from fullcircle.tracking.registry.model_registry import Registry
        from fullcircle.tracking.runs.run_store import RunStore

        settings = Settings.from_env({"FULLCIRCLE_HOME": str(home)})
        champion = Registry(settings).version("flights", CHAMPION)
        tracker = RunStore(settings)
        assert tracker.data_version(champion.run_id).rows > 70_000
        card = tracker.download(champion.run_id, "model_card.md").read_text()
        for heading in ("Purpose", "Data", "Limits", "Owner"):
            assert heading.lower() in card.lower()
        for artifact in ("gate/verdict.json", "explanation/shap_summary.png", "plots/reliability.png"):
            assert tracker.download(champion.run_id, artifact).stat().st_size > 100

    def test_the_data_of_the_champion_comes_back_byte_for_byte(
        self, replayed: dict[str, Any], home: Path, repository: Path, tmp_path: Path
    ) -> None:
        status = json.loads(fullcircle(home, repository, "status", "flights", "--json"))
        run = status["aliases"]["champion"]["run_id"]
        into = tmp_path / "restored"
        fullcircle(home, repository, "data", "restore", run[:12], "--into", str(into))
        restored = sorted(into.rglob("*.parquet"))
        assert len(restored) >= 3
        original = repository / ".fullcircle" / "data" / "flights" / restored[0].name
        assert restored[0].read_bytes() == original.read_bytes()

    def test_every_logged_prediction_resolves_to_all_that_it_came_from(
        self, replayed: dict[str, Any], home: Path, repository: Path
    ) -> None:
        import pyarrow.parquet as pq

        from fullcircle.predictions.prediction_counts import prediction_counts

        log = home / "predictions" / "flights"
        models = prediction_counts(log)
        assert sum(each.predictions for each in models) == sum(row["rows"] for row in replayed["rows"])
        # The walk begins with the model that a row names: two ids of each model stand for all that name it.
        for each in models:
            ids: list[str] = []
            for path in sorted(log.glob("segments/*/*.parquet")):
                rows = pq.ParquetFile(path).read(["prediction_id", "model_version", "model_digest"]).to_pylist()
                names = (each.model_version, each.model_digest)
                ids += [r["prediction_id"] for r in rows if (r["model_version"], r["model_digest"]) == names]
            assert len(ids) == each.predictions
            for id_ in (ids[0], ids[-1]):
                traced = json.loads(fullcircle(home, repository, "trace", id_, "--json"))
                assert traced["whole"], [link["missing"] for link in traced["links"]]
                assert traced["links"][1]["facts"]["digest"] == each.model_digest

    def test_leaves_nothing_running(self, replayed: dict[str, Any], home: Path) -> None:
        mine = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                environment = (process / "environ").read_bytes()
            except OSError:
                continue
            if f"FULLCIRCLE_HOME={home}".encode() in environment:
                mine.append((process / "cmdline").read_bytes())
        assert mine == []


@pytest.mark.e2e
def test_an_unknown_project_is_one_line_with_the_nearest_name_and_exit_code_2(home: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", "run", "flight"],
        cwd=repository,
        env={**os.environ, "FULLCIRCLE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no project 'flight'" in done.stderr
    assert "did you mean flights" in done.stderr  # and perhaps another project that sounds alike
    assert "Traceback" not in done.stderr


@pytest.mark.e2e
def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path, repository: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    done = subprocess.run(
        [sys.executable, "-m", "fullcircle.cli", "run", "flights"],
        cwd=repository,
        env={**os.environ, "FULLCIRCLE_HOME": str(blocked / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"cannot write to FULLCIRCLE_HOME={blocked / 'home'}" in done.stderr
    assert "Traceback" not in done.stderr
