"""Arrays inside an .npz file: what they are without loading them, and their rows one at a time.

Light to import, for decoding runs in processes of its own.
"""

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.window import Window, of_set
from bench.errors import ConfigError

CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
"""What reading an archive that is none, or is damaged, ends in."""
EIGHT_BITS = (np.dtype(np.uint8), np.dtype(bool))
"""Kinds of arrays that need no window."""
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """The file at ``path`` as the zip archive that it is.

    Raises:
        ConfigError: if it is none, cannot be read, or turns out to be damaged while it is open.
    """
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror or error}); all of --data must be readable."
        ) from None
    except DAMAGED as error:
        raise ConfigError(f"{path} is no .npz file that can be read ({error}).") from None
    try:
        with archive:
            yield archive
    except DAMAGED as error:
        raise ConfigError(f"{path} is no .npz file that can be read ({error}).") from None


def header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of array ``name``, read from its first bytes."""
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in _HEADERS:
            raise ValueError(f"{name} has version {version} of the .npy format")
        shape, _, dtype = _HEADERS[version](member)
    return shape, dtype


def load(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """Array ``name``, whole."""
    with archive.open(f"{name}.npy") as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


@dataclass(frozen=True)
class NpzReader:
    """Images that are rows of arrays in an .npz file.

    Attributes:
        path: the file.
        arrays: the arrays' names, in order.
        counts: the number of images in each.
    """

    path: Path
    arrays: tuple[str, ...]
    counts: tuple[int, ...]

    @contextmanager
    def opened(self, scratch: Path) -> Iterator["Rows"]:
        """The rows of the arrays one after another; they are unpacked into ``scratch`` for the time being.

        Arrays of more than 8 bits are looked through once for the window of them all.

        Raises:
            ConfigError: if the file is damaged.
        """
        with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
            deep = []
            for name in self.arrays:
                with (
                    open_npz(self.path) as archive,
                    archive.open(f"{name}.npy") as member,
                    (Path(folder) / f"{name}.npy").open("wb") as file,
                ):
                    shutil.copyfileobj(member, file, CHUNK)
                    deep += [name] if header(archive, name)[1] not in EIGHT_BITS else []
            window = of_set([np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in deep])
            yield Rows(Path(folder), self.arrays, self.counts, window)


@dataclass(frozen=True)
class Rows:
    """Rows of unpacked arrays; cheap to send to another process, which maps the files into memory itself.

    Attributes:
        folder: where the arrays lie as .npy files.
        arrays, counts: as in `NpzReader`.
        window: of all values; None if they are shown as they are.
    """

    folder: Path
    arrays: tuple[str, ...]
    counts: tuple[int, ...]
    window: Window | None = None
    _open: dict[int, npt.NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)

    def __reduce__(self) -> tuple[type["Rows"], tuple[Path, tuple[str, ...], tuple[int, ...], Window | None]]:
        return Rows, (self.folder, self.arrays, self.counts, self.window)

    def __call__(self, row: int) -> npt.NDArray[Any]:
        """The pixels of ``row``: shape (height, width) or (height, width, 1 or 3)."""
        ends = list(accumulate(self.counts))
        part = next(part for part, end in enumerate(ends) if row < end)
        if part not in self._open:
            self._open[part] = np.load(self.folder / f"{self.arrays[part]}.npy", mmap_mode="r")
        return np.array(self._open[part][row - ends[part] + self.counts[part]])
