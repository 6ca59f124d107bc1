"""Find and load a project by name: `<name>/project.py` or `projects/<name>/project.py`, from the working folder."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import sys
from pathlib import Path

from fullcircle.core.errors import FullcircleError, ProjectInvalid, ProjectNotFound
from fullcircle.core.project.definition import Project


def load_project(name: str, root: Path | None = None) -> Project:
    """The project of that name (or in that folder), with `folder` set.

    Raises:
        ProjectNotFound: with the nearest names, or with the line in project.py that failed.
        ProjectInvalid: when one of its fields does not fit.
    """
    root = (root or Path()).resolve()
    for folder in (root / name, root / "projects" / name):
        if (folder / "project.py").is_file():
            return dataclasses.replace(_execute(folder / "project.py"), folder=folder)
    near = difflib.get_close_matches(name, project_names(root), n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}?" if near else f"'fullcircle new {name}' makes one"
    raise ProjectNotFound(
        f"no project {name!r}: neither {name}/project.py nor projects/{name}/project.py in {root}", hint=hint
    )


def project_names(root: Path) -> list[str]:
    """The names of the projects that `load_project` would find below `root`."""
    return sorted(
        {path.parent.name for pattern in ("*/project.py", "projects/*/project.py") for path in root.glob(pattern)}
    )


def _execute(path: Path) -> Project:
    module_name = f"fullcircle_project_{path.parent.name.replace('-', '_')}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except ProjectInvalid as error:
        if error.what.startswith("project "):
            raise
        # A part of it, which does not know whose it is.
        raise ProjectInvalid(f"{path}{_line(error, path)}: {error.what}", hint=error.hint) from error
    except FullcircleError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}{_line(error, path)}"
        raise ProjectNotFound(f"{path} does not load ({why})", hint="mend that file") from error
    project = getattr(module, "project", None)
    if not isinstance(project, Project):
        raise ProjectNotFound(
            f"{path} has no value 'project = Project(...)'", hint="see 'fullcircle new' for an example"
        )
    return project


def _line(error: Exception, path: Path) -> str:
    """The line of the file in which it failed; "" where the error says it itself."""
    import traceback

    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
