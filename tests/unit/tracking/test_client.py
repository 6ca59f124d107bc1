"""What is said of the tracking store: never a password, and that it is away when it is."""

from __future__ import annotations

import pytest
import requests

from fullcircle.core.errors import FullcircleError, TrackerAway, TrackingUnavailable, UsageError
from fullcircle.core.settings import Settings
from fullcircle.loop.promotion.approval_notice import review_url
from fullcircle.tracking.connection.client import address, translated


def of(uri: str) -> Settings:
    return Settings.from_env({"MLFLOW_TRACKING_URI": uri})


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:hidden@mlflow:5000/", "http://mlflow:5000/"),
        ("postgresql://me:hidden@host/mlflow", "postgresql+psycopg://host/mlflow"),
        ("postgresql://me:hid/den@ho@host/mlflow", "postgresql+psycopg://host/mlflow"),
        ("postgresql://host/mlflow?password=hidden&user=me", "postgresql+psycopg://host/mlflow?password=&user=me"),
        ("sqlite:///mlflow.db", "sqlite:///mlflow.db"),
    ],
)
def test_an_address_is_shown_without_its_credentials(uri: str, expected: str) -> None:
    assert address(of(uri)) == expected
    with pytest.raises(TrackingUnavailable) as refusal, translated(of(uri), "connecting"):
        raise ConnectionError(f"no answer from {uri}\nfor the third time")
    assert "hid" not in str(refusal.value)
    assert "no answer from" in str(refusal.value)


def test_the_link_to_a_challenger_that_a_page_carries_has_no_credentials() -> None:
    link = review_url(of("http://me:hidden@mlflow:5000/"), "tickets", "3")
    assert link.startswith("http://mlflow:5000/#/models/tickets/versions/3")
    assert review_url(of("postgresql://me:hidden@host/mlflow"), "t", "3").startswith("http://127.0.0.1:5000/#/")


@pytest.mark.parametrize(("status", "kind"), [(413, TrackingUnavailable), (403, UsageError), (503, TrackerAway)])
def test_a_server_that_refuses_a_file_is_not_taken_for_one_that_is_away(
    status: int, kind: type[FullcircleError]
) -> None:
    answer = requests.Response()
    answer.status_code = status
    with pytest.raises(FullcircleError) as refusal, translated(of("http://mlflow:5000"), "keeping model.bin"):
        raise requests.HTTPError(f"{status} for url", response=answer)
    assert type(refusal.value) is kind
