"""The folder of cached arrays: entries that are whole or absent, under a budget of bytes, shared by processes.

An entry lies in ``CACHE/features/KEY/`` as ``values.npy`` beside its checksum and ``meta.json``, and appears by one
rename when all are whole. Nothing is forced to the disk: what a power cut or a failing disk has made of an entry does
not have its checksum any more, and is computed again. What an entry means is the business of `bench.train.features`.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from bench import checksums
from bench.scratch import draft_folder, remove_left

FILLING, ENTRY = ".filling-", "entry"
"""An entry that is being written lies, under the second name, in a folder whose name begins with the first and its
bytes."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What a folder of another user says, and a disk that may only be read."""
HEADER_BYTES = 128
"""Of a .npy file, beside its values."""


class NoRoom(Exception):
    """An entry has no place: by the budget, on a full disk, or where nothing may be written; the message says which."""


def entries(folder: Path) -> list[tuple[Mapping[str, Any], int]]:
    """What each whole entry of the cache in ``folder`` is of, and the bytes of its values; some may leave meanwhile."""
    found = []
    for file in (folder / "features").glob("[!.]*/meta.json"):
        with contextlib.suppress(OSError, ValueError):
            meta = json.loads(file.read_text(encoding="utf-8"))
            found.append((meta, file.with_name("values.npy").stat().st_size))
    return found


class FeatureCache:
    """The folder of entries, held under a budget of bytes; the least recently used entries leave first.

    Args:
        folder: of the cache; entries go to its ``features/``.
        budget: bytes that entries may take; 0 keeps none.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder / "features"
        self.budget = budget
        self.damaged = 0
        """Entries that were found damaged, and removed."""

    def open(self, key: str) -> npt.NDArray[Any] | None:
        """The values of entry ``key``, memory-mapped read-only, or None if there is no such entry.

        One whose values are not those that were written is removed, as if it had never been there. That of another
        user who keeps it to himself counts as none.

        Raises:
            NoRoom: if it cannot be removed.
        """
        entry = self.folder / key
        try:
            _note_use(entry / "meta.json")
            if checksums.intact(entry / "values.npy"):
                values: npt.NDArray[Any] = np.load(entry / "values.npy", mmap_mode="r")
                return values
        except (FileNotFoundError, PermissionError):
            return None
        if self.has(key):  # else it has just left, as the least recently used
            _discard(entry)
            self.damaged += 1
            if self.has(key):
                raise NoRoom(f"{entry} is damaged and cannot be removed")
        return None

    def has(self, key: str) -> bool:
        """Whether entry ``key`` is there, whole, and may be read."""
        with contextlib.suppress(FileNotFoundError, PermissionError):
            (self.folder / key / "values.npy").open("rb").close()
            return (self.folder / key / "meta.json").is_file()
        return False

    def vacate(self, key: str) -> None:
        """Remove what lies in the place of entry ``key`` and is none, such as what a crash has left of one.

        Raises:
            NoRoom: if it cannot be removed, as what another user keeps to himself.
        """
        if not self.has(key) and not _discard(self.folder / key):
            raise NoRoom(f"{self.folder / key} can be neither read nor removed")

    @contextlib.contextmanager
    def scratch(self, size: int, keep: Set[str] = frozenset(), evict: bool = True) -> Iterator[Path]:
        """A folder for an entry that is being written, for which room is made first; removed if it was not published.

        Args:
            size: bytes that the values of the entry will take.
            keep: keys of entries that must not leave for it.
            evict: whether others may leave for it.

        Raises:
            NoRoom: if the budget has no room for it beside ``keep`` and what others are writing, or nothing can be
                written.
        """
        with no_room_to_write(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            with no_room_to_write(self.folder), self.lock("budget"):
                if not self._make_room(size + HEADER_BYTES, keep, evict):
                    budget = f"{self.budget / 1e9:.3g} GB (--cache-size)"
                    raise NoRoom(f"the cache's {budget} have no room for {size / 1e9:.3g} GB more")
                reserved = stack.enter_context(draft_folder(f"{FILLING}{size + HEADER_BYTES}-", self.folder))
                folder = reserved / ENTRY
                folder.mkdir()
            yield folder

    def publish(self, draft: Path, key: str, meta: Mapping[str, Any]) -> None:
        """Turn the folder ``draft``, which holds values.npy, into entry ``key``; or leave it to who was faster.

        Raises:
            NoRoom: if the disk is full, or folders cannot be renamed there, as on some that stand for remote ones, or
                something lies in its place that cannot be removed.
        """
        with no_room_to_write(self.folder):
            checksums.keep(draft / "values.npy")
            (draft / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        self.vacate(key)
        try:
            draft.rename(self.folder / key)
        except OSError as error:
            if not self.has(key):  # else another machine on a shared disk was faster: its entry is the same
                raise NoRoom(f"{self.folder / key} cannot be put in place ({error.strerror})") from error

    def lock(self, name: str) -> FileLock:
        """A lock between processes."""
        folder = self.folder / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock")

    def _make_room(self, size: int, keep: Set[str], evict: bool) -> bool:
        """Remove the least recently used entries, other than ``keep``, until ``size`` more bytes fit the budget.

        A process that still reads a removed entry keeps its pages until it lets go of them. Nothing is removed where
        even that would not do.
        """
        wanted, fixed = self.budget - size - self._being_written(), 0
        found = []
        for meta in self.folder.glob("[!.]*/meta.json"):
            with contextlib.suppress(OSError):
                entry_bytes = (meta.parent / "values.npy").stat().st_size
                fixed += entry_bytes if meta.parent.name in keep or not evict else 0
                found.append((meta.stat().st_mtime, entry_bytes, meta.parent))
        if fixed > wanted:
            return False
        total = sum(entry_bytes for _, entry_bytes, _ in found)
        for _, entry_bytes, entry in sorted(found):
            if total <= wanted:
                break
            if entry.name not in keep and _discard(entry):
                total -= entry_bytes
        return total <= wanted

    def _being_written(self) -> int:
        """Bytes reserved by entries that some process is writing; what a killed one has left is removed."""
        remove_left(self.folder)
        return sum(_reserved(draft) for draft in self.folder.glob(f"{FILLING}*"))


def _reserved(draft: Path) -> int:
    """Bytes of the entry that is being written in ``draft``; 0 once it was published."""
    try:
        (draft / ENTRY).stat()
    except FileNotFoundError:
        return 0
    except PermissionError:  # another user's
        pass
    size = draft.name.removeprefix(FILLING).partition("-")[0]
    return int(size) if size.isdecimal() else 0


def _note_use(meta: Path) -> None:
    """Note that an entry is used; if it is another user's, or may only be read, nothing can be noted."""
    try:
        os.utime(meta)
    except OSError as error:
        if error.errno not in CLOSED:
            raise


@contextlib.contextmanager
def no_room_to_write(folder: Path) -> Iterator[None]:
    """Turns the errors of a full disk, and of one where nothing may be written, into NoRoom."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoom(f"the disk of {folder} is full") from error
        if error.errno in CLOSED:
            raise NoRoom(f"{error.filename or folder} cannot be written ({error.strerror})") from error
        raise


def create(path: Path, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """A new memory-mapped .npy file, its bytes claimed from the disk at once.

    Without that a full disk would end the process at the first write to a page that finds no block.

    Raises:
        NoRoom: if the disk is full.
    """
    with no_room_to_write(path.parents[2]):
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _discard(entry: Path) -> bool:
    """Remove an entry: out of sight by one rename first, so that a crash leaves nothing half removed in its place.

    Returns whether nothing is in its place any more.
    """
    with contextlib.suppress(OSError):
        if entry.exists():
            with draft_folder(".discarded-", entry.parent) as away:
                entry.rename(away / entry.name)
    return not entry.exists()
