"""What a reviewer's browser shows of MLflow, started as `fullcircle ui` starts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from fullcircle.core.project import Binary, Number, Project
from fullcircle.core.settings import Settings
from fullcircle.core.system.processes import free_port
from fullcircle.orchestration.local_uis import mlflow_ui
from fullcircle.tracking.runs.run_store import RunStore
from fullcircle.tracking.server.browser_preferences import SCRIPT_PATH
from fullcircle.tracking.ui.review import review_columns

COLUMNS = review_columns(Binary("late", "arrived late"))

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.conftest import Chromium

PROJECT = Project(
    name="reviewed",
    owner="ops@example.com",
    columns=(Number("x"),),
    target=Binary("y", positive="yes"),
    time="at",
    row_id="id",
    torch=lambda inputs, params: None,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of MLflow's UI, and the page for the review of a project that has a retrain with a verdict."""
    settings = Settings.from_env({"FULLCIRCLE_HOME": str(tmp_path_factory.mktemp("home"))})
    with RunStore(settings).start(PROJECT, name="retrain 2013-04-01", kind="retrain") as run:
        run.tags({name: f"answer-{number}" for number, name in enumerate(COLUMNS)})
    page = RunStore(settings).review_link(run.id)
    port = free_port()
    with mlflow_ui(settings, port):
        yield f"http://127.0.0.1:{port}", page


def menu(page: Page) -> dict[str, bool]:
    """What is to be seen once the first page is there, and which of the two menus."""
    page.get_by_role("link", name="reviewed").first.wait_for()
    return {
        "panel": page.get_by_placeholder("Ask a question").count() > 0,
        "banner": page.get_by_text("Information about UI telemetry").count() > 0,
        "model training": page.get_by_role("link", name="Model registry").count() > 0,
        "language models": page.get_by_role("link", name="Prompts", exact=True).count() > 0,
    }


def test_the_first_page_is_that_of_model_training_without_panel_and_banner(
    server: tuple[str, str], chromium: Chromium
) -> None:
    calm = {"panel": False, "banner": False, "model training": True, "language models": False}
    assert chromium.see(f"{server[0]}/", menu) == calm


def test_without_the_preferences_it_would_not_be(server: tuple[str, str], chromium: Chromium) -> None:
    def as_mlflow_makes_it(page: Page) -> dict[str, bool]:
        page.evaluate("localStorage.clear()")
        page.route(f"**{SCRIPT_PATH}", lambda route: route.abort())
        page.reload(wait_until="load")
        page.get_by_placeholder("Ask a question").wait_for()
        return menu(page)

    loud = {"panel": True, "banner": True, "model training": False, "language models": True}
    assert chromium.see(f"{server[0]}/", as_mlflow_makes_it) == loud


def test_the_review_of_a_project_opens_with_columns_that_answer(server: tuple[str, str], chromium: Chromium) -> None:
    def columns(page: Page) -> list[str]:
        page.get_by_text("retrain 2013-04-01").first.wait_for()
        page.get_by_role("gridcell", name="answer-0").first.wait_for()
        return [name for name in COLUMNS if page.get_by_role("columnheader", name=name, exact=True).count()]

    assert chromium.see(f"{server[0]}/{server[1]}", columns, width=1700) == list(COLUMNS)
