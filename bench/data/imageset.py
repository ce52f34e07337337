"""`ImageSet`: labelled images as a source hands them over, not yet decoded, and the readers that give their content.

Light to import, for decoding runs in processes of its own.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bench import numbers
from bench.data.images.limits import MOST_PIXELS, check_bytes
from bench.data.images.window import Window
from bench.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image", "label", "split_group", "patient_id", "split", "fold")
Content = bytes | npt.NDArray[np.generic]
"""An encoded image file, or pixels of shape (height, width), (height, width, 1) or (height, width, 3)."""
Read = Callable[[int], Content]  # row number -> the image; can be pickled


class Reader(Protocol):
    """How the content of a set's images is read."""

    @property
    def max_pixels(self) -> int:
        """Of an image; larger ones are told from their headers, and not decoded."""

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """The images as long as the context lasts; ``scratch`` is an existing folder for what must be unpacked."""


@runtime_checkable
class Windowed(Protocol):
    """Images read from arrays of more than 8 bits, which one window serves."""

    window: Window | None


@dataclass(frozen=True)
class FileReader:
    """Images that are files of their own."""

    root: Path
    names: tuple[str, ...]
    max_pixels: int = MOST_PIXELS

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """Each file's bytes."""
        return nullcontext(self)

    def __call__(self, row: int) -> bytes:
        """The bytes of file ``row``.

        Raises:
            OSError: if it cannot be read, or is no regular file.
            TooLarge: if it is larger than an image of ``max_pixels`` can be.
        """
        return read_file(self.root / self.names[row], self.max_pixels)


def read_file(path: Path, max_pixels: int) -> bytes:
    """The bytes of an image file; errors as in `FileReader`. It never waits, as a pipe would have it."""
    with _leading_somewhere(path), open(path, "rb", opener=at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is a pipe, a device or a socket, no regular file")
        check_bytes(status.st_size, max_pixels)
        return file.read()


@contextmanager
def _leading_somewhere(path: Path) -> Iterator[None]:
    """Opening ``path``: where it is a link that leads nowhere, the `OSError` says so."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and path.is_symlink():
            raise OSError("the link leads nowhere") from None
        raise


def at_once(path: str, flags: int) -> int:
    """Opens without waiting for who writes to a pipe; the ``opener`` of `open`."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


@dataclass(frozen=True)
class MemoryReader:
    """Images that are rows of an array: shape (n_images, height, width) or (n_images, height, width, 1 or 3)."""

    images: npt.NDArray[np.generic]
    max_pixels: int = MOST_PIXELS

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """Each row's pixels."""
        return nullcontext(self)

    def __call__(self, row: int) -> npt.NDArray[np.generic]:
        """The pixels of ``row``."""
        return np.asarray(self.images[row])


@dataclass(frozen=True)
class Excluded:
    """What a source found and did not take, of one kind.

    Attributes:
        kind: a noun in the singular, such as ``mask``.
        names: of the files or folders, relative to where the source was found; what is not UTF-8 is escaped.
        plural: of ``kind`` where it is not formed by an s.
        folders: whether these are folders, or links to folders.
    """

    kind: str
    names: tuple[str, ...]
    plural: str = ""
    folders: bool = False

    @property
    def counted(self) -> str:
        """How many there are of the kind, such as ``3 masks``."""
        return numbers.counted(len(self.names), self.kind, self.plural)


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, not yet decoded.

    Attributes:
        source: the kind of source: ``folder``, ``manifest``, ``npz``, ``medmnist`` or ``demo``.
        path: where it was found, as the user gave it.
        classes: class names in the order of their indices.
        table: one row per image: ``image`` (its unique name in the source), ``label`` (class name), ``split_group``
            (patients joined rather too often; splits keep these together), ``patient_id`` (joined only where it is
            sure; leaks are found by this one), ``split`` (``train``, ``val``, ``test``, or empty where none is given),
            ``fold`` (as the source calls it, or empty), and maybe ``group:COLUMN`` (a text by which the evaluation
            forms subgroups, or empty). The index counts from 0.
        stamps: one text per image that changes when its file changes (size and modification time).
        reader: gives the images' content.
        patient_rule: how patients were told apart, in words.
        patients_assumed: whether each image is taken for its own patient for want of anything better.
        patient_doubt: why no patient being in two splits would say too much, although patients are told apart; empty
            where nothing speaks against it.
        others: what was found but does not look like an image, relative to ``path``: files of other kinds. What is not
            UTF-8 in a name is escaped.
        synthetic: whether the images are drawn, not taken.
        notes: what the user should know about this source, in sentences.
        layout: how it was read, in a few words, such as ``split/class``; empty where there is one way only.
        excluded: what else was found and not taken.
    """

    source: str
    path: str
    classes: tuple[str, ...]
    table: "pd.DataFrame"
    stamps: tuple[str, ...]
    reader: Reader
    patient_rule: str
    patients_assumed: bool = False
    patient_doubt: str = ""
    others: tuple[str, ...] = ()
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    layout: str = ""
    excluded: tuple[Excluded, ...] = ()

    def ordered(self, classes: Sequence[str]) -> "ImageSet":
        """The same images, their ``classes`` in this order.

        Raises:
            ConfigError: if these are not all classes, each once.
        """
        if sorted(classes) != sorted(self.classes):
            raise ConfigError(
                f"--ordinal takes every class once, from the least to the most, but got {','.join(classes)}, "
                f"and the classes are {', '.join(self.classes)}."
            )
        return replace(self, classes=tuple(classes))


def stamp(stat: os.stat_result) -> str:
    """A text that changes when the file does."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"
