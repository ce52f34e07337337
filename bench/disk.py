"""A full disk is an error that names the place, how much is free there, and how much was needed."""

import errno
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import numbers

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space, or no more of the share that the user may have."""
_FREE = "free there"
_TOLD = re.compile(r"no space left on device|disk quota exceeded|database or disk is full", re.IGNORECASE)
"""What SQLite, TensorFlow and Ray say of a full disk, under errors of their own."""


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
        left = f"{numbers.disk(_free(place))} {_FREE}"
        wanted = f", {numbers.disk(needed)} needed in all" if needed else ""
        raise OSError(error.errno, f"{error.strerror} ({left}{wanted})", str(place)) from error


def is_of_a_full_disk(error: BaseException) -> bool:
    """Whether an error, or what led to it, is that of a full disk."""
    chain: BaseException | None = error
    while chain is not None:
        if _TOLD.search(str(chain)) or (isinstance(chain, OSError) and chain.errno in FULL):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def pass_on_full_disk(error: BaseException) -> None:
    """Raise ``error`` again if it is that of a full disk: that ends a run, whatever else would end nothing."""
    if is_of_a_full_disk(error):
        raise error


def told_of_the_fullest(places: Iterable[Path]) -> str:
    """A sentence on the one of ``places`` whose disk has the least room."""
    fullest = min(places, key=_free)
    return f"{fullest}: No space left on device ({numbers.disk(_free(fullest))} {_FREE})."


def _free(place: Path) -> int:
    """Bytes that are free where ``place`` is, or is to be."""
    there = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(there).free
