"""Settings: read from the environment in this one place, frozen, and passed on as a value.

Everything that a command writes lives under `home`. Servers listen on loopback unless told otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fullcircle.core.cost import Prices, Watts, table
from fullcircle.core.errors import HomeUnwritable, UsageError
from fullcircle.core.security.access import Access, found_at, names_of, token_of
from fullcircle.core.security.permissions import open_privately

# Telemetry of every dependency is off before any of them is imported.
QUIET: Mapping[str, str] = {
    "DVC_NO_ANALYTICS": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_BACKEND": "tensorflow",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would stand before the JSON of a command
    "MPLBACKEND": "Agg",
}

DEFAULT_HOME = ".fullcircle"
_SPAN = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?")
_NAMES = (
    *("HOME", "DATABASE_URL", "DVC_REMOTE", "HOST", "TOKEN", "ALLOWED_HOSTS", "INSECURE"),
    *("SERVE_PORT", "MLFLOW_PORT", "PREFECT_PORT", "PRICES", "WATTS"),
)
# The address of a SQLite file ends at a `?`, and SQLAlchemy unquotes a `%`, where MLflow makes a folder of what stands
# there: the databases would lie outside of the home. A control character ends a line of a log; a surrogate is no text.
_NO_HOME = re.compile(r"[?%\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
VARIABLES = frozenset(f"FULLCIRCLE_{name}" for name in (*_NAMES, "WAIT", "PLACE"))
"""All that begins with FULLCIRCLE_ and means something; PLACE is set by the platform for the processes of a job."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things live and who may reach them.

    Attributes:
        home: folder for all that is written (`FULLCIRCLE_HOME`, default `.fullcircle`); absolute, links resolved.
        tracking_uri: MLflow (`MLFLOW_TRACKING_URI`, default a SQLite file under home).
        database_url: the platform's own tables (`FULLCIRCLE_DATABASE_URL`, default a SQLite file under home).
            Of both: `postgresql://...` becomes `postgresql+psycopg://...`.
        dvc_remote: where data versions are pushed (`FULLCIRCLE_DVC_REMOTE`, default a folder under home; `s3://...`).
        prefect_url: an existing Prefect API (`PREFECT_API_URL`), or None: commands start their own on loopback.
        host: the address that servers listen on (`FULLCIRCLE_HOST`, default 127.0.0.1).
        token: what our servers ask for and our clients send (`FULLCIRCLE_TOKEN`, default none). Needed where `host` is
            reached from other machines, unless `insecure`.
        allowed_hosts: further names that our servers answer to (`FULLCIRCLE_ALLOWED_HOSTS`, parted by commas).
        insecure: an outer address without a token is meant (`FULLCIRCLE_INSECURE=1`, or `--insecure`).
        serve_port, mlflow_port, prefect_port: `FULLCIRCLE_SERVE_PORT` 8080, `FULLCIRCLE_MLFLOW_PORT` 5000,
            `FULLCIRCLE_PREFECT_PORT` 4200.
        prices: what computing costs (`FULLCIRCLE_PRICES`, a JSON object; default: not told).
        watts: power for the estimate of energy (`FULLCIRCLE_WATTS`, a JSON object).
        wait_s: how long a command that has done work waits for a tracker or database that is away, in seconds
            (`FULLCIRCLE_WAIT`, such as `90s`, `30m`, `12h`; default 24h; 0: not at all).
    """

    home: Path
    tracking_uri: str = field(repr=False)  # both may hold a password
    database_url: str = field(repr=False)
    dvc_remote: str
    prefect_url: str | None
    host: str
    serve_port: int
    mlflow_port: int
    prefect_port: int
    token: str = field(default="", repr=False)
    allowed_hosts: tuple[str, ...] = ()
    insecure: bool = False
    prices: Prices = field(default_factory=Prices)
    watts: Watts = field(default_factory=Watts)
    wait_s: float = 24 * 3600.0
    _met: list[int] = field(default_factory=list, init=False, repr=False, compare=False)  # the home's inode, once seen

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the settings. Raises UsageError naming the variable when a value does not fit."""
        env = os.environ if env is None else env
        home = _home(env.get("FULLCIRCLE_HOME") or DEFAULT_HOME)
        tracking_uri = _with_driver(env.get("MLFLOW_TRACKING_URI") or sqlite_address(home / "mlflow.db"))
        database_url = _with_driver(env.get("FULLCIRCLE_DATABASE_URL") or sqlite_address(home / "fullcircle.db"))
        if tracking_uri == database_url:  # both keep their schema's revision in a table of the same name
            raise UsageError(
                "MLFLOW_TRACKING_URI and FULLCIRCLE_DATABASE_URL name the same database",
                hint="give each a database of its own; they may be of one server",
            )
        return cls(
            home=home,
            tracking_uri=tracking_uri,
            database_url=database_url,
            dvc_remote=env.get("FULLCIRCLE_DVC_REMOTE") or str(home / "dvc-remote"),
            prefect_url=env.get("PREFECT_API_URL") or None,
            host=env.get("FULLCIRCLE_HOST") or "127.0.0.1",
            serve_port=_port(env, "FULLCIRCLE_SERVE_PORT", 8080),
            mlflow_port=_port(env, "FULLCIRCLE_MLFLOW_PORT", 5000),
            prefect_port=_port(env, "FULLCIRCLE_PREFECT_PORT", 4200),
            token=token_of(env.get("FULLCIRCLE_TOKEN") or ""),
            allowed_hosts=names_of(env.get("FULLCIRCLE_ALLOWED_HOSTS") or ""),
            insecure=_flag(env, "FULLCIRCLE_INSECURE"),
            prices=table(Prices, env, "FULLCIRCLE_PRICES"),
            watts=table(Watts, env, "FULLCIRCLE_WATTS"),
            wait_s=_wait_s(env),
        )

    def access(self, host: str | None = None) -> Access:
        """Who may ask a server of these settings; `host`: the address that it listens on, where it is another one."""
        return Access(host=host or self.host, names=self.allowed_hosts, token=self.token, insecure=self.insecure)

    @property
    def mlflow_url(self) -> str:
        """Where people find the MLflow that `fullcircle ui` starts, for links."""
        return f"http://{found_at(self.host, self.mlflow_port)}"

    def guard_environment(self) -> dict[str, str]:
        """What a child process that guards a server reads; in its environment, since `ps` shows arguments."""
        return {
            "FULLCIRCLE_HOST": self.host,
            "FULLCIRCLE_TOKEN": self.token,
            "FULLCIRCLE_ALLOWED_HOSTS": ",".join(self.allowed_hosts),
            "FULLCIRCLE_INSECURE": "1" if self.insecure else "0",
        }

    def folder(self, *parts: str) -> Path:
        """A folder under home, made if missing and private. Raises HomeUnwritable in one line when it cannot be, also
        when the home was moved since this process first met it: one that was made at its old place would take what is
        written from then on."""
        path = self.home.joinpath(*parts)
        try:
            self.require_there()
            fresh = not self.home.exists()
            open_privately(self.home)
            path.mkdir(parents=True, exist_ok=True)
            if not self._met:
                self._met.append(self.home.stat().st_ino)
            if fresh:  # what a run keeps of a checkout's uncommitted files is code, and no prediction log
                (self.home / ".gitignore").write_text("# Made by fullcircle: nothing of this is to be committed.\n*\n")
        except OSError as error:
            raise home_unwritable(self.home, error) from error
        return path

    def require_there(self) -> None:
        """Raise HomeUnwritable when the home was moved since this process first met it, before a tool makes it anew."""
        if self._met and (not self.home.exists() or self.home.stat().st_ino != self._met[0]):
            raise home_gone(self.home)

    def check_writable(self) -> None:
        """Write and remove one small file. Raises HomeUnwritable when the folder is read-only or full."""
        probe = self.folder() / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as error:
            probe.unlink(missing_ok=True)
            raise home_unwritable(self.home, error) from error


def home_unwritable(home: Path, error: OSError) -> HomeUnwritable:
    """The one line for a home that cannot be written, whatever the operating system said."""
    return HomeUnwritable(
        f"cannot write to FULLCIRCLE_HOME={home} ({error.strerror or error})",
        hint="free some space there, or set FULLCIRCLE_HOME to a folder that you may write",
    )


def home_gone(home: Path) -> HomeUnwritable:
    """The one line for a home that was there when this process began, and is not there now."""
    return HomeUnwritable(
        f"FULLCIRCLE_HOME={home} was moved or removed while this process worked in it; nothing was written",
        hint="start it again, with FULLCIRCLE_HOME set to where the home lies now",
    )


def sqlite_address(file: Path) -> str:
    """A SQLite file's address, for SQLAlchemy and for MLflow, which reads it by itself as well. See `_home`."""
    return f"sqlite:///{file}"


def without_effect(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """A sentence for each variable that is nearly a setting and is none: a typo must not pass unseen."""
    env = os.environ if env is None else env
    # Kubernetes sets FULLCIRCLE_SERVICE_... itself, where a service is called so.
    ours = ("FULLCIRCLE_", "FULLCIRCLE_SERVICE_")
    unknown = [name for name in env if name.startswith(ours[0]) and not name.startswith(ours[1])]
    meant = {name: _nearest(name) for name in sorted(unknown) if name not in VARIABLES}
    return tuple(
        f"{name} is no setting and has no effect; did you mean {near}?" for name, near in meant.items() if near
    )


def quiet_dependencies(env: dict[str, str] | os._Environ[str] | None = None) -> None:
    """Switch the dependencies' telemetry and start-up noise off, unless the user chose otherwise."""
    target = os.environ if env is None else env
    for key, value in QUIET.items():
        target.setdefault(key, value)


def seconds_in(text: str) -> float | None:
    """A span of time such as 90s, 30m, 12h or 1h30m, in seconds; None when it is none."""
    match = _SPAN.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    return float(sum(int(match[unit] or 0) * each for unit, each in (("h", 3600), ("m", 60), ("s", 1))))


def _wait_s(env: Mapping[str, str]) -> float:
    text = env.get("FULLCIRCLE_WAIT") or "24h"
    if (seconds := seconds_in(text)) is None:
        raise UsageError(f"FULLCIRCLE_WAIT must be a span of time such as 90s, 30m, 12h or 0, got {text!r}")
    return seconds


def _home(text: str) -> Path:
    """The home's own path, whichever link leads to it. Raises UsageError when a tool beneath could not use it."""
    try:
        found = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links that lead in a circle, or no such user
        raise UsageError(f"FULLCIRCLE_HOME={text!r} leads nowhere ({error})", hint="name another folder") from error
    require_usable_home(found, f"FULLCIRCLE_HOME={str(found)!r}")
    return found


def require_usable_home(path: Path, said: str) -> None:
    """Raises UsageError when a home at this path could not be used; `said`: how the user named it."""
    if refused := _NO_HOME.search(str(path)):
        raise UsageError(
            f"{said} cannot be used: {refused[0]!r} is in its path",
            hint="name a folder whose path has no '?', no '%' and no control characters",
        )


def _with_driver(url: str) -> str:
    """A PostgreSQL address that names no driver, with the one that the extra `postgres` brings.

    Which driver SQLAlchemy takes otherwise depends on its version: psycopg2 before 2.1, which nothing here installs.
    `postgres://` is how some providers write it, and SQLAlchemy does not know it.
    """
    scheme, found, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if found and scheme in ("postgresql", "postgres") else url


def _nearest(name: str) -> str:
    import difflib

    words = {variable.removeprefix("FULLCIRCLE_"): variable for variable in VARIABLES}
    # Where it belongs to a tool, the tool's own variable says it.
    words |= {"TRACKING_URI": "MLFLOW_TRACKING_URI", "PREFECT_URL": "PREFECT_API_URL"}
    near = difflib.get_close_matches(name.removeprefix("FULLCIRCLE_"), words, n=1)
    return words[near[0]] if near else ""


def _flag(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name) or "0"
    if text not in ("0", "1"):
        raise UsageError(f"{name} must be 1 or 0, got {text!r}")
    return text == "1"


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdigit() or not 0 <= int(text) <= 65535:
        raise UsageError(f"{name} must be a port between 0 and 65535, got {text!r}")
    return int(text)
