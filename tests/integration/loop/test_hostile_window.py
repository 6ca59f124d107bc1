"""A stranger's row, watched: the page that is kept with the run runs nothing, and on-call is led to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.alerting.webhook_receiver import WebhookReceiver
from fullcircle.core.project import Category, Project
from fullcircle.core.records.releases import CHAMPION, ModelVersion
from fullcircle.core.settings import Settings
from fullcircle.loop.retraining.select_challenger import REFERENCE
from fullcircle.loop.watch import watch
from fullcircle.loop.workspace import Workspace
from fullcircle.predictions.batch import Batch
from fullcircle.predictions.prediction_log import PredictionLog
from fullcircle.tracking.registry.model_registry import Registry
from fullcircle.tracking.runs.run_store import RunStore

AT = datetime(2013, 5, 1, tzinfo=UTC)
ROWS = 300


@pytest.mark.nightly
def test_a_category_from_a_request_is_text_in_the_kept_page_and_in_what_on_call_gets(
    chromium: Any,
    settings: Settings,
    project: Project,
    make: Callable[..., ModelVersion],
    tmp_path: Path,
    hostile: str,
) -> None:
    version = make()
    Registry(settings).set_alias(project.name, CHAMPION, version.version)
    # The example of the registered graph has one column; the page is about those of the rows.
    x = np.linspace(0, 1, ROWS, dtype="float32")
    before = pd.DataFrame({"x": x, hostile: "plain", "id": [f"r{n}" for n in range(ROWS)], "probability": x})
    before.to_parquet(tmp_path / "reference.parquet", index=False)
    RunStore(settings).append(version.run_id).file(tmp_path / "reference.parquet", str(Path(REFERENCE).parent))
    with WebhookReceiver() as receiver:
        watched = replace(project, columns=(*project.columns, Category(hostile)), routes=(receiver.url,))
        with PredictionLog(
            settings.folder("predictions", project.name), watched.inputs, watched.target.answers, background=False
        ) as log:
            inputs = {"x": x + 5, hostile: np.array([hostile, "plain", "other"] * (ROWS // 3), dtype=object)}
            ids = [f"{hostile} {number}" for number in range(ROWS)]
            log.append(
                Batch(
                    model_version=version.version, digest="d", event_times=[AT] * ROWS, row_ids=ids, inputs=inputs,
                    answers=x,
                )
            )  # fmt: skip
        seen = watch(watched, Workspace(settings), AT, datetime(2013, 6, 1, tzinfo=UTC))
        pages = receiver.pages
    kept = RunStore(settings).download(version.run_id, f"monitoring/{seen.report.name}")
    assert chromium.said(kept.as_uri(), until=lambda page: page.frames[1].wait_for_selector("text=Drift Score")) == []
    assert seen.report_url.endswith(f"/runs/{version.run_id}/artifacts/monitoring/2013-05.html")
    assert pages
    for page in pages:
        assert f"- report: {seen.report_url}" in page["message"]
        assert not set(page["message"]) & set("\x1b\u202e\x00")
        assert "<!channel>" not in page["message"] and "@everyone" not in page["message"]
