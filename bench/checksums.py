"""Checksums of files that a later process trusts: written beside them, compared when it first opens them.

XXH3 of 128 bits (https://xxhash.com) reads a cached file faster than any disk gives it. It finds damage; against
somebody who forges a file on purpose it is no protection.
"""

import errno
from functools import lru_cache
from pathlib import Path

import xxhash

SUFFIX = ".xxh128"
BLOCK = 1 << 22
"""Bytes read at a time."""


def checksum(path: Path) -> str:
    """XXH3-128 of the content of a file, in hexadecimal digits.

    Raises:
        OSError: if it cannot be read.
    """
    digest, block = xxhash.xxh3_128(), memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def beside(path: Path) -> Path:
    """The file that holds the checksum of ``path``."""
    return path.with_name(path.name + SUFFIX)


def keep(path: Path, of: Path | None = None) -> None:
    """Write the checksum of ``path`` beside it; or that of its draft ``of``, before this takes its place."""
    beside(path).write_text(checksum(of or path), encoding="ascii")


def intact(path: Path) -> bool:
    """Whether a file is there and has the checksum that lies beside it; compared once as long as the file stays.

    One that the disk cannot read any more is not intact.

    Raises:
        OSError: if it may not be read.
    """
    try:
        kept = beside(path).read_bytes()
        return _compared(path, kept, _identity(path))
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4096)
def _compared(path: Path, kept: bytes, identity: tuple[int, ...]) -> bool:
    return checksum(path).encode("ascii") == kept
