"""How the bytes or pixels of a set's images are had. Light to import, for decoding runs in processes of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bench.data.images.window import Window

Content = bytes | npt.NDArray[np.generic]
"""An encoded image file, or pixels of shape (height, width), (height, width, 1) or (height, width, 3)."""
Read = Callable[[int], Content]
"""Row number -> the image; can be pickled."""


class Reader(Protocol):
    """How the images of a set are had."""

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

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """Each file's bytes."""
        return nullcontext(self)

    def __call__(self, row: int) -> bytes:
        """The bytes of file ``row``."""
        return (self.root / self.names[row]).read_bytes()


@dataclass(frozen=True)
class MemoryReader:
    """Images that are rows of an array: shape (n_images, height, width) or (n_images, height, width, 1 or 3)."""

    images: npt.NDArray[np.generic]

    def opened(self, scratch: Path) -> AbstractContextManager[Read]:
        """Each row's pixels."""
        return nullcontext(self)

    def __call__(self, row: int) -> npt.NDArray[np.generic]:
        """The pixels of ``row``."""
        return np.asarray(self.images[row])
