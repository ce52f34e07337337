"""Checksums of files that a later process trusts: written beside them, compared when it first opens them.

XXH3 of 128 bits (https://xxhash.com) reads a cached file faster than any disk gives it. It finds damage; against
somebody who forges a file on purpose it is no protection.
"""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

SUFFIX = ".xxh128"
FIELD = "checksum"
"""The field of a JSON file that holds `of_document` of the rest of it."""
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


def of_text(text: str) -> str:
    """XXH3-64 of a text, in hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(text.encode())


def of_document(content: Mapping[str, Any]) -> str:
    """XXH3-64 of a JSON object but for its field `FIELD`, in hexadecimal digits; its layout and order mean nothing."""
    return of_text(json.dumps({name: one for name, one in content.items() if name != FIELD}, sort_keys=True))


def beside(path: Path) -> Path:
    """The file that holds the checksum of ``path``."""
    return path.with_name(path.name + SUFFIX)


def keep(path: Path, of: Path | None = None) -> None:
    """Write the checksum of ``path`` beside it; or that of its draft ``of``, before this takes its place."""
    written = of or path
    found = _read[_identity(written)] = checksum(written)
    beside(path).write_text(found, encoding="ascii")


def intact(path: Path) -> bool:
    """Whether a file is there and has the checksum that lies beside it; read once as long as the file stays.

    Not even once by the process that wrote it. What the disk cannot read any more is not intact.

    Raises:
        OSError: if it may not be read.
    """
    try:
        kept, identity = beside(path).read_bytes(), _identity(path)
        if identity not in _read:
            _read[identity] = checksum(path)
        return kept == _read[identity].encode("ascii")
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False


_read: dict[tuple[int, ...], str] = {}
"""The checksums of files that this process has read, by device, inode, size and time of change: a renamed file keeps
these."""


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
