"""The DVC edge: names a training set by its content, keeps its bytes in the remote, and brings them back.

A private DVC repository without git lies under `FULLCIRCLE_HOME/dvc`; what it needs to know of a data version travels
with the run as pointer text, so nothing in that folder is precious: delete it, and every version still comes back
from the remote. Every commit runs under one file lock that the kernel frees when we die.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fullcircle.core.errors import DataUnavailable, FullcircleError
from fullcircle.core.project import Project
from fullcircle.core.records.dataset import DataVersion
from fullcircle.core.security.permissions import users_umask
from fullcircle.core.settings import Settings, home_unwritable, quiet_dependencies
from fullcircle.core.system.temporary_folders import alone_in
from fullcircle.data.dvc_pointers import POINTER_HINT, RESTORE_HINT, contents, folder_digest, folder_files, md5_of
from fullcircle.data.partitions import Partition

_REMOTE = "fullcircle"
_RESTORING = ".restoring"


class Versions:
    """Data versions in the DVC remote of these settings. Makes nothing before its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def commit(self, project: Project, parts: Sequence[Partition]) -> DataVersion:
        """Version these partitions and push them; afterwards every object is in the remote, checked one by one.

        Safe to call twice, from two processes, and again after kill -9. The same bytes under the same names give
        the same digest; a file that another version has already is neither stored nor sent again.

        Raises:
            DataUnavailable: no partition, one that does not read, or an object that the remote does not take.
            HomeUnwritable: FULLCIRCLE_HOME is read-only or full.
        """
        if not parts:
            raise DataUnavailable(f"project {project.name!r}: no partition to version")
        with self._repository() as repo:
            folder = _linked(self._settings.folder("dvc") / "work" / project.name, parts)
            try:
                stage = repo.add(str(folder), relink=False)[0]
                repo.push(targets=[stage.addressing], remote=_REMOTE)
                pointer = Path(stage.path).read_text()
                digest = folder_digest(pointer)
                text = Path(repo.cache.local.oid_to_path(digest)).read_bytes()
                files = folder_files(text, digest)
                _ensure_pushed(repo, digest, files, folder)
                self._open_to_its_readers(md5 for _, md5 in (("", digest), *files))
                held = contents(project, parts, [folder / part.path.name for part in parts])
            finally:
                shutil.rmtree(folder.parent, ignore_errors=True)
        return DataVersion(
            project=project.name, digest=digest, pointer=pointer, files=files, rows=held.rows,
            size_bytes=held.size_bytes, start=held.start, end=held.end, fingerprint=held.fingerprint,
        )  # fmt: skip

    def restore(self, version: DataVersion, into: Path) -> tuple[Path, ...]:
        """Bring exactly these bytes back into an empty folder (made if missing); every file's md5 is verified.

        Needs the pointer and the remote alone. All or nothing: the files appear under their names once all are
        verified, and a restore that was killed may be started again.

        Raises:
            DataUnavailable: `into` is not empty, another restore is at work there, or a file is missing from the remote
                or differs, naming its hash.
        """
        into = into.absolute()
        try:
            into.mkdir(parents=True, exist_ok=True)
            with alone_in(into) as alone:
                if not alone:
                    hint = "wait for it, or name another folder"
                    raise DataUnavailable(f"cannot restore into {into}: another restore is at work there", hint=hint)
                return self._restored(version, into)
        except OSError as error:
            raise DataUnavailable(f"cannot restore {version.digest} into {into} ({error.strerror or error})") from error

    def _restored(self, version: DataVersion, into: Path) -> tuple[Path, ...]:
        partial = into / _RESTORING
        try:
            if any(into.iterdir()) and not partial.exists():
                hint = "name an empty or a new folder"
                raise DataUnavailable(f"cannot restore into {into}: it is not empty", hint=hint)
            partial.mkdir(exist_ok=True)
        except OSError as error:
            raise DataUnavailable(f"cannot restore into {into} ({error.strerror or error})") from error
        try:
            with self._repository() as repo:
                files = _fetched(repo, version, partial)
            for name, _ in files:
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(partial / name, into / name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return tuple(into / name for name, _ in files)

    def absent(self, version: DataVersion) -> tuple[tuple[str, str], ...]:
        """(path, hash) of what the remote does not have of a version, its list of files as path "". Fetches nothing."""
        wanted = (("", version.digest), *version.files)
        remote = self._settings.dvc_remote
        if "://" not in remote:  # DVC would take a second to look at a folder
            root = Path(remote).expanduser() / "files" / "md5"
            return tuple((path, oid) for path, oid in wanted if not (root / oid[:2] / oid[2:]).is_file())
        with self._repository() as repo:
            odb = repo.cloud.get_remote_odb(_REMOTE)
            return tuple((path, oid) for path, oid in wanted if not odb.exists(oid))

    @contextlib.contextmanager
    def _repository(self) -> Iterator[Any]:
        """The private repository, ours alone until we leave. DVC's and the system's errors leave as ours."""
        quiet_dependencies()
        from dvc.repo import Repo

        root = self._settings.folder("dvc")
        # Before dvc's own, which gives up after 3 s and knows no threads. The kernel frees it at kill -9.
        with _locked(root / "lock", self._settings.home):
            _clean(root)
            for name in ("dvc", "dvc_data", "dvc_objects"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
            try:
                config = _config(root, self._settings.dvc_remote)
                with (
                    _objects_of(0o444 if self._shared else 0o400),
                    Repo(str(root), config=config, _wait_for_lock=True) as repo,
                ):
                    repo.cache.local.CACHE_MODE = 0o400
                    yield repo
            except (FullcircleError, AssertionError, AttributeError, KeyError, TypeError):
                raise
            except Exception as error:  # each kind of storage (botocore, ...) has an error tree of its own
                ours = isinstance(error, OSError) and str(error.filename).startswith(str(self._settings.home))
                if isinstance(error, OSError) and ours and self._settings.dvc_remote not in str(error.filename):
                    raise home_unwritable(self._settings.home, error) from error
                raise self._unavailable(error) from error

    @property
    def _shared(self) -> bool:
        """Whether the remote is a folder outside of the home: a team's, with the modes that it would have had."""
        remote = self._settings.dvc_remote
        return "://" not in remote and not _folder(remote).is_relative_to(self._settings.home)

    def _open_to_its_readers(self, oids: Iterable[str]) -> None:
        """Give the folders that DVC made in a shared remote, as private as a home's, the modes of the user's umask."""
        if not self._shared:
            return
        root, wanted = _folder(self._settings.dvc_remote), 0o777 & ~users_umask()
        below = root / "files" / "md5"
        for folder in (root, below.parent, below, *{below / oid[:2] for oid in oids}):
            with contextlib.suppress(OSError):  # another user's
                if stat.S_IMODE(folder.stat().st_mode) == 0o700:
                    folder.chmod(wanted)

    def _unavailable(self, error: Exception) -> DataUnavailable:
        remote = self._settings.dvc_remote
        why = str(error.__cause__ or error).strip().splitlines() or [""]
        hint = "is it there, and may you write to it? FULLCIRCLE_DVC_REMOTE names it"
        if remote.startswith("s3://"):
            hint = f"{hint}; s3:// needs pip install 'fullcircle[s3]' and credentials"
        return DataUnavailable(f"the DVC remote {remote} failed ({type(error).__name__}: {why[0]})", hint=hint)


def _config(root: Path, remote: str) -> dict[str, Any]:
    """Given at run time, so that a half-written config file after kill -9 cannot exist."""
    return {
        "core": {
            "no_scm": True,
            "analytics": False,
            "check_update": False,
            "autostage": False,
            "remote": _REMOTE,
            "site_cache_dir": str(root / ".dvc" / "site"),
        },
        # Copies, where the file system cannot clone: a hard link would let an edited partition corrupt the cache.
        "cache": {"type": ["reflink", "copy"]},
        "remote": {_REMOTE: {"url": remote if "://" in remote else str(_folder(remote))}},
    }


def _folder(remote: str) -> Path:
    return Path(remote).expanduser().absolute()


@contextlib.contextmanager
def _objects_of(mode: int) -> Iterator[None]:
    """DVC makes objects read-only for everybody, and takes one with that mode for sound. It has no setting for it."""
    from dvc_data.hashfile.db.local import LocalHashFileDB

    before, LocalHashFileDB.CACHE_MODE = LocalHashFileDB.CACHE_MODE, mode
    try:
        yield
    finally:
        LocalHashFileDB.CACHE_MODE = before


@contextlib.contextmanager
def _locked(path: Path, home: Path) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise home_unwritable(home, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clean(root: Path) -> None:
    """Ready for use whatever a killed predecessor left. We hold the lock, so nothing here is in use."""
    shutil.rmtree(root / "work", ignore_errors=True)
    (root / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)
    # DVC's index caches are pickles: for us alone to write.
    for folder in (root / ".dvc", root / ".dvc" / "site", root / ".dvc" / "site" / "repo"):  # DVC makes that one 0777
        folder.mkdir(mode=0o700, exist_ok=True)


def _linked(folder: Path, parts: Sequence[Partition]) -> Path:
    """A folder of hard links to the partitions (of copies, across file systems), for DVC to look at."""
    folder.mkdir(parents=True)
    for part in parts:
        target = folder / part.path.name
        try:
            os.link(part.path.resolve(), target)
        except FileNotFoundError as error:
            raise DataUnavailable(f"partition {part.path} is gone", hint="make the partitions again") from error
        except OSError:
            shutil.copyfile(part.path, target)
    return folder


def _ensure_pushed(repo: Any, digest: str, files: Sequence[tuple[str, str]], folder: Path) -> None:
    """Check every object in the remote, and send what is missing or cut short.

    DVC takes a folder object in the remote for proof that its files are there too, so a push can say "up to date"
    while a blob is missing.
    """
    remote = repo.cloud.get_remote_odb(_REMOTE)
    sources = {md5: folder / name for name, md5 in files} | {digest: Path(repo.cache.local.oid_to_path(digest))}
    for oid, source in sources.items():  # the folder object last: it vouches for the rest
        if _sound(remote, oid, source.stat().st_size):
            continue
        if not oid.endswith(".dir") and md5_of(source) != oid:
            raise DataUnavailable(f"partition {source.name} changed while it was versioned", hint="try again")
        with contextlib.suppress(FileNotFoundError):
            remote.delete(oid)
        remote.add(str(source), repo.fs, oid, check_exists=False)
        if not _sound(remote, oid, source.stat().st_size):
            raise DataUnavailable(f"the DVC remote {remote.path} did not keep {oid} ({source.name})", hint="try again")


def _sound(odb: Any, oid: str, size: int) -> bool:
    """Whether an object is there whole: by its size, and by its hash where reading it is cheap (a local folder)."""
    path = odb.oid_to_path(oid)
    try:
        if odb.fs.info(path)["size"] != size:
            return False
    except FileNotFoundError:
        return False
    return odb.fs.protocol != "local" or md5_of(Path(path)) == oid.removesuffix(".dir")


def _fetched(repo: Any, version: DataVersion, folder: Path) -> tuple[tuple[str, str], ...]:
    """Download and verify each file of a version into `folder`."""
    digest = folder_digest(version.pointer)
    if digest != version.digest:
        raise DataUnavailable(f"data version {version.digest}: its pointer names {digest}", hint=POINTER_HINT)
    stores = (repo.cloud.get_remote_odb(_REMOTE), repo.cache.local)
    listing = folder / ".files"
    _fetch(stores, digest, listing, f"data version {digest}: its list of files")
    files = folder_files(listing.read_bytes(), digest)
    for name, md5 in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _fetch(stores, md5, folder / name, f"data version {digest}: file {name}")
    return files


def _fetch(stores: Sequence[Any], oid: str, target: Path, what: str) -> None:
    """From the first store that has it sound: the remote, else the cache here."""
    reasons = []
    for store in stores:
        try:
            store.fs.get_file(store.oid_to_path(oid), str(target))
        except FileNotFoundError:
            reasons.append(f"missing from {store.path}")
            continue
        found = md5_of(target)
        if found == oid.removesuffix(".dir"):
            target.chmod(0o600)  # DVC's are read-only
            return
        reasons.append(f"{store.path} has {found} in its place")
    raise DataUnavailable(f"{what} (md5 {oid}) cannot come back: {'; '.join(reasons)}", hint=RESTORE_HINT)
