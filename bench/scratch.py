"""Temporary folders that are private to the user, and do not stay: what a killed process left goes at the next start.

A folder is known to be ours by a lock in it, which the system lets go when the process that holds it ends, however it
ends. What cannot be proven to be left behind stays.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIXES = ("bench-tune-", "ray-")
OWNER = ".owner"
"""Locked as long as the process lives whose folder it is."""
NEW = ".new-"
"""How a folder is called until it is locked; nobody takes it for left behind."""
SECONDS_TO_EMPTY = 5.0


@contextmanager
def own_folder(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """A new folder that only the user may look into, gone at the end; first those go that dead processes have left.

    Args:
        prefix: of its name, one of PREFIXES.
        place: where it lies; None for the usual place of temporary folders.

    Raises:
        OSError: if there is no room for it, or no permission.
    """
    where = Path(tempfile.gettempdir()) if place is None else place
    remove_left(where)
    draft = Path(tempfile.mkdtemp(prefix=NEW, dir=where))
    folder = where / f"{prefix}{draft.name.removeprefix(NEW)}"
    with FileLock(draft / OWNER):
        draft.rename(folder)
        try:
            yield folder
        finally:
            _empty(folder)


def remove_left(where: Path) -> list[Path]:
    """Remove the folders of ours in ``where`` whose processes have ended; returns those that were removed."""
    removed = []
    for folder in (found for prefix in PREFIXES for found in where.glob(f"{prefix}*")):
        with suppress(OSError, Timeout):
            if not _is_ours(folder):
                continue
            with FileLock(folder / OWNER).acquire(timeout=0):
                _empty(folder)
                removed.append(folder)
    return removed


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder of this user, and no link to another, with the mark of one that was locked."""
    of_user = not hasattr(os, "geteuid") or folder.lstat().st_uid == os.geteuid()
    return of_user and folder.is_dir() and not folder.is_symlink() and (folder / OWNER).is_file()


def _empty(folder: Path) -> None:
    """Remove a folder, its mark last: what processes that are about to end still write is left to the next start."""
    until = time.monotonic() + SECONDS_TO_EMPTY
    while True:
        with suppress(OSError):
            for entry in [entry for entry in folder.iterdir() if entry.name != OWNER]:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            (folder / OWNER).unlink()
            folder.rmdir()
            return
        if not folder.exists():
            return
        (folder / OWNER).touch()
        if time.monotonic() > until:
            return
        time.sleep(0.1)
