"""Uncommitted changes: a patch of the code, and name, digest and size of each file that is not in it.

Code comes first, so that a table that was changed by the way does not crowd it out: files that are no code, and large
ones, are kept only as far as the budget goes that code left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fullcircle.core.system.files import sha256_of
from fullcircle.tracking.provenance.git import MAX_OUTPUT_BYTES, git

MAX_DIFF_BYTES = 2_000_000
MAX_FILE_BYTES = 400_000
"""Of the patch of a file of code."""
MAX_OTHER_BYTES = 100_000
"""Of the patch of any other file."""
MAX_LINE = 20_000
"""Characters; a longer line is data, whatever the file is called."""
MAX_NOT_KEPT = 100
CUT = "# ... cut"
_MAX_UNTRACKED_BYTES = 200_000
_MAX_HASHED_BYTES = 256_000_000
"""So many bytes are read in all for the digests of what is not kept."""
_LARGE = "1m"
_CODE = frozenset({
    ".py", ".pyi", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs", ".sh", ".sql", ".toml",
    ".yaml", ".yml", ".cfg", ".ini", ".dvc", ".ipynb",
})  # fmt: skip
_CODE_NAMES = frozenset({"Makefile", "Dockerfile", ".gitattributes", ".gitmodules", ".gitignore", "dvc.lock"})
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_PLAIN = (
    "--no-ext-diff", "--no-textconv", "--no-color", "--no-relative", "--no-renames", "--src-prefix=a/",
    "--dst-prefix=b/", "--unified=3", "--inter-hunk-context=0", "--submodule=short", "--ignore-submodules=dirty",
)  # fmt: skip
"""As git itself would write it, whatever the user's own configuration says of diffs."""
_SUBMODULE = "160000"
_UNMERGED = re.compile(r"^\* Unmerged path .*\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class NotKept:
    """A file of the uncommitted changes that the patch does not hold.

    Attributes:
        name: its path in the checkout; "" for what stands for several.
        why: why it is not kept, as a phrase.
        size: in bytes; None where it is not there (it was removed), or is no file.
        sha256: of its content, "" where it was not read.
        code: whether the code differs from the commit by it; a new file that is no .py lies there by the way.
    """

    name: str
    why: str
    code: bool = True
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class Uncommitted:
    """The uncommitted changes of a checkout.

    Attributes:
        patch: "" when there are none.
        not_kept: what the patch does not hold, at most `MAX_NOT_KEPT` and one line for the rest.
    """

    patch: str
    not_kept: tuple[NotKept, ...]


@dataclass(frozen=True, kw_only=True)
class _Piece:
    name: str
    text: str
    tracked: bool


def uncommitted(root: Path, project: Path) -> Uncommitted:
    """Look at a checkout with at least one commit.

    Args:
        root: its top.
        project: the folder whose new files are kept before others'.
    """
    left = _Left(root)
    pieces = [*_changed(root, left), *_new(root, project, left)]
    patch = _budgeted(pieces, left)
    for name in _changed_inside(root):
        left.add(name, "a submodule with changes of its own")
    return Uncommitted(patch=patch + left.untold, not_kept=left.as_records())


class _Left:
    """Collects what is not kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, tuple[str, bool]] = {}
        self.untold = ""

    def add(self, name: str, why: str, *, code: bool = True) -> None:
        self._found.setdefault(name, (why, code))

    def cannot_tell(self, what: str, stderr: str) -> None:
        """Changes that nobody could look at are not taken for none."""
        why = stderr.strip().splitlines()
        self.untold += f"\n{CUT}: git could not tell {what} ({why[-1] if why else 'no reason given'})\n"

    def as_records(self) -> tuple[NotKept, ...]:
        hashed = 0
        rows = []
        named = sorted(self._found.items(), key=lambda each: not each[1][1])  # the code's first
        for name, (why, code) in named[:MAX_NOT_KEPT]:
            path = self._root / name
            size = path.stat().st_size if path.is_file() and not path.is_symlink() else None
            digest = ""
            if size is not None and hashed + size <= _MAX_HASHED_BYTES:
                hashed += size
                digest = _digest(path)
            rows.append(NotKept(name=shown(name), why=why, code=code, size=size, sha256=digest))
        if (more := len(named) - MAX_NOT_KEPT) > 0:
            code = any(code for _, (_, code) in named[MAX_NOT_KEPT:])
            rows.append(NotKept(name="", why=f"{more:,} more files, which are not listed", code=code))
        return tuple(rows)


def shown(name: str) -> str:
    """A file's name as text that can be stored; bytes that are no UTF-8 are escaped."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def pieces_of(patch: str) -> Iterator[tuple[str, str]]:
    """(file's name, its part of the patch) of each file of a patch without renames, in order."""
    for text in _FILE.split(patch):
        if text.startswith("diff --git "):
            yield _name_of(text), text


def _changed(root: Path, left: _Left) -> list[_Piece]:
    """Changed files that git knows."""
    # Files over this size are binary for git: it does not compare gigabytes of text.
    done = git(root, "-c", f"core.bigFileThreshold={_LARGE}", "-c", "core.quotePath=true", "diff", "HEAD", *_PLAIN)
    if done.returncode != 0:  # a filter of the repository is not installed here, or it took too long
        left.cannot_tell("the uncommitted changes", done.stderr)
        return []
    found = []
    if len(done.stdout) >= MAX_OUTPUT_BYTES // 2:
        left.cannot_tell("all of the uncommitted changes", "they are too large")
    for name, text in pieces_of(_UNMERGED.sub("", done.stdout)):
        if f" {_SUBMODULE}\n" in text.partition("\n@@")[0]:
            commit = re.findall(r"^\+Subproject commit (\w+)", text, re.MULTILINE)
            left.add(name, f"a submodule at commit {commit[0][:12]}" if commit else "a submodule that was removed")
            found.append(_Piece(name=name, text="", tracked=True))
        elif "\n@@" not in text and "\nBinary files " in text:
            left.add(name, "large or not text")
            found.append(_Piece(name=name, text="", tracked=True))
        elif not _is_text(text):
            left.add(name, "not in UTF-8")
            found.append(_Piece(name=name, text="", tracked=True))
        else:
            found.append(_Piece(name=name, text=text, tracked=True))
    return found


def _new(root: Path, project: Path, left: _Left) -> list[_Piece]:
    """Files that git does not know. Of these only .py: what else lies around may be data or a secret."""
    done = git(root, "ls-files", "--others", "--exclude-standard", "-z")
    if done.returncode != 0:
        left.cannot_tell("the new files", done.stderr)
        return []
    names = [name for name in done.stdout.split("\0") if name]
    inside = f"{project.resolve().relative_to(root.resolve())}/" if project.resolve() != root.resolve() else ""
    found, size = [], 0
    for name in sorted(names, key=lambda each: (not each.startswith(inside), each.count("/"), each)):
        if not name.endswith(".py"):
            left.add(name, "a repository of its own" if name.endswith("/") else "new, and no .py file", code=False)
        elif size > MAX_DIFF_BYTES:
            left.add(name, "new, and beyond the budget")
        elif text := _as_new(root, name):
            size += len(text)
            found.append(_Piece(name=name, text=text, tracked=False))
        else:
            left.add(name, "new, and large, a link, or not in UTF-8")
    return found


def _budgeted(pieces: Sequence[_Piece], left: _Left) -> str:
    """The patch: code first, then the smallest of the rest; in git's order."""
    kept, size = set(), 0
    order = sorted(enumerate(pieces), key=lambda at: (not _is_code(at[1].name), not at[1].tracked, len(at[1].text)))
    for number, piece in order:
        limit = MAX_FILE_BYTES if _is_code(piece.name) else MAX_OTHER_BYTES
        if not piece.text:  # it was said why
            continue
        if (
            len(piece.text) > limit
            or max(map(len, piece.text.split("\n"))) > MAX_LINE
            or size + len(piece.text) > MAX_DIFF_BYTES
        ):
            left.add(piece.name, f"its changes are {len(piece.text):,} characters")
            continue
        size += len(piece.text)
        kept.add(number)
    return "".join(piece.text if number in kept else _placeholder(piece) for number, piece in enumerate(pieces))


def _placeholder(piece: _Piece) -> str:
    """In a file's place, as git has it for binary files: it was changed, and how is not said."""
    if not piece.tracked:
        return ""
    a, b = _quoted(f"a/{piece.name}"), _quoted(f"b/{piece.name}")
    return f"diff --git {a} {b}\nBinary files {a} and {b} differ\n"


def _is_code(name: str) -> bool:
    path = Path(name)
    return path.suffix in _CODE or path.name in _CODE_NAMES


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a surrogate: with some bytes replaced it would apply nowhere
        return False
    return True


def _changed_inside(root: Path) -> list[str]:
    """Submodules whose own files were changed: git would run their configuration's programs to find out."""
    if not (root / ".gitmodules").is_file():
        return []
    done = git(root, "ls-files", "--stage", "-z")
    modules = [each.partition("\t")[2] for each in done.stdout.split("\0") if each.startswith(_SUBMODULE)]
    there = [name for name in modules if (root / name / ".git").exists()]
    asked = ("status", "--porcelain", "--ignore-submodules=dirty")
    return [name for name in there if git(root / name, *asked).stdout.strip()]


def _as_new(root: Path, name: str) -> str:
    """An untracked file as a patch that makes it, byte for byte; "" for one that is not kept."""
    path = root / name
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_UNTRACKED_BYTES:
            return ""
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    mode = "100755" if os.access(path, os.X_OK) else "100644"
    a, b = _quoted(f"a/{name}"), _quoted(f"b/{name}")
    head = f"diff --git {a} {b}\nnew file mode {mode}\n"
    if not text:
        return head + "index 0000000..e69de29\n"
    lines = text.split("\n")  # a form feed or a lone carriage return ends no line for git
    ending = "" if lines[-1] == "" else "\n\\ No newline at end of file\n"
    lines = lines[:-1] if lines[-1] == "" else lines
    body = "\n".join(f"+{line}" for line in lines) + (ending or "\n")
    return f"{head}--- /dev/null\n+++ {b}\n@@ -0,0 +1,{len(lines)} @@\n{body}"


def _name_of(piece: str) -> str:
    """The name in `diff --git a/NAME b/NAME`: without renames both halves are the same one."""
    both = piece.partition("\n")[0].removeprefix("diff --git ")
    return _unquoted(both[(len(both) + 1) // 2 :]).removeprefix("b/")


_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_ESCAPE = re.compile(r'\\([0-7]{3}|[abtnvfr"\\])')


def _unquoted(name: str) -> str:
    """A name as git writes it in a header. Source: git's quote.c, `unquote_c_style`."""
    if not name.startswith('"'):
        return name

    def byte(found: re.Match[str]) -> str:
        code = found.group(1)
        return chr(_ESCAPES[code] if code in _ESCAPES else int(code, 8))

    return os.fsdecode(_ESCAPE.sub(byte, name[1:-1]).encode("latin-1"))


def _quoted(name: str) -> str:
    """The other way round: what has control characters, quotes, backslashes or bytes beyond ASCII is quoted."""
    codes = {value: key for key, value in _ESCAPES.items()}
    parts = [
        f"\\{codes[each]}" if each in codes else chr(each) if 32 <= each < 127 else f"\\{each:03o}"
        for each in os.fsencode(name)
    ]
    text = "".join(parts)
    return f'"{text}"' if text != name else name


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
