"""OpenSearch refuses to run as root: an unprivileged account, and places that it can reach."""

import hashlib
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.local.locks import held
from deploy.local.processes import Account

# Only root can create it, so nobody can plant something there first; it is used when root starts services from a
# folder that other users cannot enter (/root, pytest's temporary folders).
SHELTER: Final = Path("/var/lib/freshet")


def unprivileged() -> Account | None:
    """`nobody` when we are root (every Debian has it: no user is created), else None: run as ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def reachable(path: Path) -> bool:
    """Whether any user may walk down to this path."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.exists())


def own_folder(path: Path, account: Account | None) -> Path:
    """A private folder for the account: `path` itself, or one in the shelter when the account cannot get there."""
    if account is None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path
    if not reachable(path):
        with _shelter():
            _note_origin(path)
        path = sheltered(path)
    path.mkdir(parents=True, exist_ok=True)
    for folder, _, files in os.walk(path):
        for entry in (Path(folder), *(Path(folder, file) for file in files)):
            os.chown(entry, account.uid, account.gid, follow_symlinks=False)
    path.chmod(0o700)
    return path


def readable_copy(path: Path, account: Account | None) -> Path:
    """`path`, or a copy of this folder in the shelter (made once) when the account cannot get there."""
    if account is None or reachable(path / "x"):
        return path
    copy = sheltered(path)
    with _shelter():
        if not copy.is_dir():
            _note_origin(path)
            fresh = copy.with_name(f".{copy.name}")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(path, fresh)
            let_all_read(fresh)
            fresh.rename(copy)
    return copy


def let_all_read(folder: Path) -> None:
    """Give everyone what a usual umask would have given: read, and enter or execute where the owner may."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o7777
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


def sheltered(path: Path) -> Path:
    """Where in the shelter the stand-in for this path is."""
    return SHELTER / f"{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


@contextmanager
def _shelter() -> Iterator[None]:
    """The shelter, swept: what stands in for a folder whose parent is gone has no use any more."""
    SHELTER.mkdir(parents=True, exist_ok=True)
    SHELTER.chmod(0o755)
    with held(SHELTER / "lock"):
        for note in SHELTER.glob("*.origin"):
            if not Path(note.read_text()).parent.is_dir():
                shutil.rmtree(note.with_suffix(""), ignore_errors=True)
                note.unlink()
        yield


def _note_origin(path: Path) -> None:
    stand_in = sheltered(path)
    stand_in.with_name(f"{stand_in.name}.origin").write_text(str(path))
