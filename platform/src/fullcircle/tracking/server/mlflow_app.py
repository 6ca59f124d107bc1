"""MLflow's server behind the platform's token authentication, as an MLflow app: `--app-name fullcircle`.

    FULLCIRCLE_TOKEN=... mlflow server --app-name fullcircle --host 0.0.0.0 ...

MLflow knows no bearer's token of a server's own. Its basic auth keeps users and rights, and needs a database and a
secret of its own; that is for who wants those, and takes the place of this one. The guard reads `FULLCIRCLE_TOKEN`,
`FULLCIRCLE_HOST`, `FULLCIRCLE_ALLOWED_HOSTS` and `FULLCIRCLE_INSECURE`. See
https://mlflow.org/docs/latest/ml/plugins/ for applications as plug-ins.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from fullcircle.core.errors import UsageError
from fullcircle.core.security.guard import Application, Guard
from fullcircle.core.settings import Settings
from fullcircle.tracking.server.browser_preferences import BrowserPreferences, preferences

APP_NAME = "fullcircle"
OPEN_PATHS = ("/health",)
"""What MLflow answers without a token."""


def create() -> Application:
    """MLflow's application, guarded by what the environment says, and opening as `mlflow/browser.json` says."""
    from mlflow.server.fastapi_app import app

    return Guard(BrowserPreferences(app, preferences()), Settings.from_env().access(), OPEN_PATHS)


def require_installed() -> None:
    """Raises UsageError when MLflow would not find the guard: the installation is older than this code."""
    if not any(each.name == APP_NAME for each in entry_points(group="mlflow.app")):
        raise UsageError(
            "MLflow does not know the guard of this version of fullcircle: its installation is older than its code",
            hint="install it again, such as 'pip install --no-deps -e .' or 'make install'",
        )
