"""Credentials of requests to an MLflow server: tokens, basic auth, certificates, headers of plug-ins.

The settings are those of MLflow's own client, so that whoever is let in with that one is let in here:
https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/
"""

from __future__ import annotations

import base64
import configparser
import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fullcircle.core.errors import UsageError
from fullcircle.core.security.access import bearer

if TYPE_CHECKING:
    from requests.auth import AuthBase

Headers = Callable[[], Mapping[str, str]]

_YES = ("1", "true")
_FILE = Path("~/.mlflow/credentials")


def authorization() -> dict[str, str]:
    """The header with user and password, or with the token; none where there are neither."""
    filed = _filed()
    user = os.environ.get("MLFLOW_TRACKING_USERNAME") or filed.get("mlflow_tracking_username", "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or filed.get("mlflow_tracking_password", "")
    if user and password and not (os.environ.get("MLFLOW_TRACKING_AUTH") or "").startswith("kubernetes"):
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return bearer(os.environ.get("MLFLOW_TRACKING_TOKEN") or os.environ.get("FULLCIRCLE_TOKEN") or "")


def signing() -> AuthBase | None:
    """What signs each request, where that is asked for: AWS, or a plug-in of MLflow's. Raises UsageError when it is
    not installed."""
    if os.environ.get("MLFLOW_TRACKING_AWS_SIGV4", "").lower() in _YES:
        try:
            from requests_auth_aws_sigv4 import AWSSigV4  # type: ignore[import-not-found]
        except ImportError as error:
            hint = "pip install requests-auth-aws-sigv4"
            raise UsageError(
                f"MLFLOW_TRACKING_AWS_SIGV4 needs a package that is missing ({error})", hint=hint
            ) from error
        return cast("AuthBase", AWSSigV4("execute-api"))
    if name := os.environ.get("MLFLOW_TRACKING_AUTH"):
        from mlflow.tracking.request_auth.registry import fetch_auth

        return cast("AuthBase", fetch_auth(name))  # type: ignore[no-untyped-call]
    return None


def headers() -> Headers:
    """Makes the headers of a request: those of the workspace, and of plug-ins, which are asked each time."""
    if entry_points(group="mlflow.request_header_provider") or "DATABRICKS_RUNTIME_VERSION" in os.environ:
        from mlflow.tracking.request_header.registry import resolve_request_headers

        return lambda: {**_workspace(), **resolve_request_headers()}  # type: ignore[no-untyped-call]
    return _workspace


def verify() -> bool | str:
    """The certificates that a server's is checked against: True for the usual ones, False for no check."""
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in _YES:
        return False
    return os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True


def certificate() -> str | None:
    """The file with the certificate by which this client is known."""
    return os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None


def _workspace() -> dict[str, str]:
    workspace = os.environ.get("MLFLOW_WORKSPACE", "").strip()
    return {"X-MLFLOW-WORKSPACE": workspace} if workspace else {}


def _filed() -> Mapping[str, str]:
    """What the file of `mlflow login` says; nothing where there is none."""
    path = _FILE.expanduser()
    if not path.exists():
        return {}
    found = configparser.ConfigParser()
    found.read(path)
    return dict(found["mlflow"]) if "mlflow" in found else {}
