"""Runs the cached data stages of a checkout: `dvc repro` on its dvc.yaml, which redoes only what changed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.security.permissions import users_umask
from fullcircle.core.settings import quiet_dependencies
from fullcircle.core.system.processes import SAFE_PATH
from fullcircle.tracking.provenance.git import environment


def reproduce(root: Path, on_line: Callable[[str], None]) -> None:
    """Bring the outputs of every stage in `root/dvc.yaml` up to date; each line of output goes to `on_line`.

    Works outside git too. Waits for another run that is under way; leaves no child behind when interrupted.

    Raises:
        DataUnavailable: there is no dvc.yaml, or a stage failed, with the last line that it said.
    """
    root = root.resolve()
    if not (root / "dvc.yaml").is_file():
        raise DataUnavailable(f"no data stages to run: no dvc.yaml in {root}", hint="run this in a checkout")
    try:
        _initialise(root)
    except OSError as error:
        what = f"cannot prepare {root / '.dvc'} ({error.strerror or error})"
        raise DataUnavailable(what, hint="the checkout must be writable, with space left") from error
    why = "no output"
    # -P: DVC looks for no module in the checkout. The stages' own Python does: a stage imports the files beside it.
    with _running([sys.executable, "-P", "-m", "dvc", "--wait-for-lock", "repro"], root) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.rstrip():
                why = text if text.startswith("ERROR") or not why.startswith("ERROR") else why
                on_line(text)
    if process.returncode:
        raise DataUnavailable(f"the data stages of {root} failed: {why}", hint="'dvc repro' there shows all of it")


def _initialise(root: Path) -> None:
    """What `dvc init` would make, where it is missing; without git, DVC is told so in its untracked config."""
    dvc = root / ".dvc"
    dvc.mkdir(exist_ok=True)
    config = dvc / "config"
    if not config.exists():
        config.write_text("[core]\n    analytics = false\n    autostage = false\n")
    local = dvc / "config.local"
    if not any((folder / ".git").exists() for folder in (root, *root.parents)) and not local.exists():
        local.write_text("[core]\n    no_scm = true\n")
    # DVC's index caches are pickles: for us alone to write.
    (dvc / "tmp").mkdir(exist_ok=True)
    (dvc / "tmp" / "site").mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def _running(command: list[str], root: Path) -> Iterator[subprocess.Popen[str]]:
    env = environment()  # in a git hook DVC would take another repository for this one
    quiet_dependencies(env)
    for name in SAFE_PATH:  # set where a server of ours runs the flow
        env.pop(name, None)
    # The stages' own 'python' is the one that runs us, unless the checkout has an environment of its own.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env.setdefault("DVC_SITE_CACHE_DIR", str(root / ".dvc" / "tmp" / "site"))
    process = subprocess.Popen(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True, umask=users_umask(),  # the checkout is no home
    )  # fmt: skip
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:  # interrupted: the stage's own process is in this group too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
