"""A full disk is an error that names the place, how much is free there, and how much was needed."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import numbers

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space, or no more of the share that the user may have."""
_FREE = "free there"


@contextmanager
def full_disk_named(place: Path, needed: int = 0) -> Iterator[None]:
    """Add to the error of a full disk that it is that of ``place``, and the bytes that are free.

    Args:
        place: what is being written: a file, or a folder.
        needed: bytes that are to be written there in all; 0 where nobody knows.

    Raises:
        OSError: in place of that of the block, with the same number.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL or _FREE in str(error.strerror):
            raise
        there = next(folder for folder in (place, *place.parents) if folder.is_dir())
        left = f"{numbers.disk(shutil.disk_usage(there).free)} {_FREE}"
        wanted = f", {numbers.disk(needed)} needed in all" if needed else ""
        raise OSError(error.errno, f"{error.strerror} ({left}{wanted})", str(place)) from error
