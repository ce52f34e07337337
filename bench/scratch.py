"""Temporary folders that are private to the user, and do not stay: what a killed process left goes at the next start.

A folder is known to be ours by a lock in it, which the system lets go when the process that holds it ends, however it
ends. What cannot be proven to be left behind stays. Drafts of a cache, which lies where other machines may write too,
are such folders.
"""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIXES = ("bench-tune-", "ray-")
DRAFTS = (".decoding-", ".discarded-", ".drawing-", ".filling-")
"""Of folders in a cache, whose names end with that of the machine."""
QUIET = 24 * 3600
"""Seconds without a byte written after which the lock in a draft of another machine is believed: on some shared disks
each machine sees its own locks alone."""
OWNER = ".owner"
"""Locked as long as the process lives whose folder it is."""
NEW, UNLOCKED = ".new-", ".unlocked-"
"""How a folder is called until it is locked, its name ending with that of the machine; and how, if it cannot be."""
SECONDS_TO_EMPTY = 5.0
"""For which processes that are about to end may still write to a folder, other than a draft."""


@contextmanager
def own_folder(prefix: str, place: Path | None = None, suffix: str = "") -> Iterator[Path]:
    """A new folder that only the user may look into, gone at the end; first those go that dead processes have left.

    Args:
        prefix: of its name; begins with one of PREFIXES or DRAFTS.
        place: where it lies; None for the usual place of temporary folders.
        suffix: of its name.

    Raises:
        OSError: if there is no room for it, or no permission.
    """
    where = Path(tempfile.gettempdir()) if place is None else place
    remove_left(where)
    with ExitStack() as held:
        folder = _locked(where, prefix, suffix, held)
        try:
            yield folder
        finally:
            held.close()  # first: some shared disks remove no file that is open
            _empty(folder, patient=prefix.startswith(PREFIXES))


def draft_folder(prefix: str, place: Path) -> AbstractContextManager[Path]:
    """As `own_folder`, in a cache: the name says of which machine it is."""
    return own_folder(prefix, place, _of_here())


def remove_left_in_cache(cache: Path) -> None:
    """Remove the drafts in the folder of a cache whose processes have ended."""
    for place in (cache / "features", cache / "weights", *(cache / "store").glob("*")):
        remove_left(place)


def remove_left(where: Path) -> list[Path]:
    """Remove the folders of ours in ``where`` whose processes have ended; returns those that were removed."""
    found, removed = [], []
    with suppress(OSError):  # it is not there, or not to be listed
        found = [folder for folder in where.iterdir() if folder.name.startswith((*PREFIXES, *DRAFTS, NEW))]
    for folder in found:
        with suppress(OSError, NotImplementedError, Timeout):
            if not (_is_ours(folder) and _tells_by_its_lock(folder)):
                continue
            with FileLock(folder / OWNER).acquire(timeout=0):
                removed.append(folder)
            _empty(folder, patient=folder.name.startswith(PREFIXES))
    return removed


def _locked(where: Path, prefix: str, suffix: str, held: ExitStack) -> Path:
    """A new folder, locked; where the file system has no locks, under a name that nobody takes for left behind."""
    draft = Path(tempfile.mkdtemp(prefix=NEW, suffix=_of_here(), dir=where))
    random = draft.name.removeprefix(NEW).removesuffix(_of_here())
    folder = where / f"{prefix}{random}{suffix}"
    try:
        held.enter_context(FileLock(draft / OWNER))
        draft.chmod(0o700)  # the lock makes the folder anew, if another process has taken it for left behind
    except (OSError, NotImplementedError):
        folder = where / f"{UNLOCKED}{random}"
    with suppress(OSError):  # where no folder can be renamed, it keeps its first name
        draft.rename(folder)
        return folder
    # if it is gone, another process has taken it for left behind, in the moment before it was locked
    return draft if draft.is_dir() else _locked(where, prefix, suffix, held)


def _of_here() -> str:
    """How the names of folders of this machine end."""
    return f"@{platform.node()}"


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of this user, no link to another, with the mark of one that was locked, or was to be.

    Drafts of earlier versions have no mark, and no machine in their names.
    """
    of_user = not hasattr(os, "geteuid") or folder.lstat().st_uid == os.geteuid()
    unmarked = (folder.name.startswith(NEW) and "@" in folder.name) or _is_of_earlier_version(folder)
    marked = (folder / OWNER).is_file() or unmarked
    return of_user and folder.is_dir() and not folder.is_symlink() and marked


def _is_of_earlier_version(folder: Path) -> bool:
    return folder.name.startswith(DRAFTS) and "@" not in folder.name


def _tells_by_its_lock(folder: Path) -> bool:
    """Whether a lock that nobody holds proves that nobody writes to the folder any more."""
    if folder.name.startswith(PREFIXES) or folder.name.endswith(_of_here()):
        return True
    written = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time() - written > QUIET


def _empty(folder: Path, patient: bool) -> None:
    """Remove a folder, its mark last: what processes that are about to end still write is left to the next start."""
    until = time.monotonic() + (SECONDS_TO_EMPTY if patient else 0)
    while True:
        with suppress(OSError):
            for entry in [entry for entry in folder.iterdir() if entry.name != OWNER]:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            if (folder / OWNER).exists():  # there is none where there are no locks
                (folder / OWNER).unlink()
            folder.rmdir()
            return
        if not folder.exists():
            return
        with suppress(OSError):
            (folder / OWNER).touch()
        if time.monotonic() > until:
            return
        time.sleep(0.1)
