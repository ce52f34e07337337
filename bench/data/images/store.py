"""Every image decoded once into memory-mapped uint8 arrays, one per size, beside what was found out on the way.

A stored set lies in ``CACHE/store/KEY/``: ``facts.csv``, one row per image, ``thumbnails.npy``, in which copies are
sought, of shape (n_images, THUMBNAIL, THUMBNAIL), and ``SIZE-RESIZE.npy`` of shape (n_images, size, size, channels).
Each appears by one rename when it is whole, after its checksum: what exists and has its checksum can be trusted, and
anything else, such as a file of which a power cut has left half, is decoded again. What other facts make void is
replaced, never removed: another run may be about to open it. While arrays of earlier facts are being replaced there are
no facts, and arrays without facts are all decoded again.
"""

import csv
import hashlib
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from bench import checksums
from bench.data.images.decode import (
    DECODE_ERRORS,
    FACTS,
    THUMBNAIL,
    Facts,
    Pixels,
    Resize,
    content_hash,
    decode,
    facts_of,
    fit,
    problem_of,
    thumbnail,
)
from bench.data.images.limits import MOST_PIXELS, TooLarge
from bench.data.images.window import Window
from bench.data.imageset import Content, ImageSet, Read, Windowed
from bench.data.sealing import SealedPixels, seal_of
from bench.device import cpu_cores
from bench.disk import full_disk_named
from bench.scratch import draft_folder

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 10  # raised by whatever makes other pixels or facts of the same files
DECODING = ".decoding-"  # how the folder of drafts begins, beside what is stored
CHUNK = 64  # images that a process decodes at a time
FEW = 256  # so few images are decoded in this process: starting others takes longer
PROBLEM = FACTS.index("problem")
FACTS_FILE, THUMBNAILS = "facts.csv", "thumbnails.npy"
"""Made of each image when it is first decoded; one without the other is void."""
CHANNELS = (1, 3)  # grey images and coloured ones are decoded into drafts of their own
UNUSED = r"\d+ tasks (have been successfully executed|which were still being processed)"
"""What joblib warns of when decoding is stopped."""
Advance = Callable[[int], None]
Form = tuple[int, Resize]  # size in pixels, and how images become square


@dataclass(frozen=True)
class StoredImages:
    """One size of a stored set; cheap to send to another process, which opens the array itself.

    Attributes:
        file: where the array lies.
        size: height and width in pixels.
        channels: 1 if every image is grey, else 3.
        fingerprint: hash of names, labels, content and decoded pixels of all images, in order, and of how they
            become square.
        seal: which images may not be read, as `bench.data.sealing.seal_of` writes it; empty for none.
    """

    file: Path
    size: int
    channels: int
    fingerprint: str
    seal: str = ""

    def open(self) -> Pixels:
        """The images, uint8 array of shape (n_images, size, size, channels), memory-mapped read-only.

        The pixels of an image that could not be decoded are zero. Where images are sealed, what comes back gives
        rows by an integer array only, and refuses theirs with a `bench.data.sealing.Sealed`.
        """
        array: Pixels = np.load(self.file, mmap_mode="r")
        return cast(Pixels, SealedPixels(array, self.seal)) if self.seal else array

    def sealed(self, rows: npt.NDArray[np.int64]) -> "StoredImages":
        """The same set, with some of its images out of reach."""
        return replace(self, seal=seal_of(rows))


@dataclass(frozen=True)
class Stored:
    """A stored set.

    Attributes:
        folder: where it lies; what is derived from facts and thumbnails alone may lie there too, and goes with them.
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        sizes: size in pixels -> the images at that size.
        fingerprint: as in `StoredImages`.
        changed: how many files were found to have changed although size and time had not (``verify``).
        damaged: the stored files that were found not to be what had been written, and were made again.
    """

    folder: Path
    facts: "pd.DataFrame"
    sizes: Mapping[int, StoredImages]
    fingerprint: str
    changed: int = 0
    damaged: tuple[str, ...] = ()

    def thumbnails(self) -> Pixels:
        """As `bench.data.images.decode.thumbnail` makes them, shape (n_images, side, side), memory-mapped read-only.

        Those of images that could not be decoded are zero.
        """
        found: Pixels = np.load(self.folder / THUMBNAILS, mmap_mode="r")
        return found


def store_key(images: ImageSet, window: Window | None = None) -> str:
    """Hash of what decides the stored set: names in order, each file's size and time of change, window and limit."""
    names = images.table["image"].tolist()
    listing = "\n".join(f"{name}\t{stamp}" for name, stamp in zip(names, images.stamps, strict=True))
    named = images.synthetic or images.source == "medmnist"
    root = images.path if named else str(Path(images.path).resolve())
    shown = f"\n{window.low} {window.high}" if window else ""
    shown += f"\n{images.reader.max_pixels}" if images.reader.max_pixels != MOST_PIXELS else ""
    return hashlib.blake2b(f"{FORMAT}{shown}\n{root}\n{listing}".encode(), digest_size=12).hexdigest()


def is_stored(
    images: ImageSet, sizes: Iterable[int], resize: Resize, cache: Path, window: Window | None = None
) -> bool:
    """Whether nothing would have to be decoded."""
    folder = cache / "store" / store_key(images, window)
    return (
        all(checksums.intact(_array(folder, (size, resize))) for size in sizes)
        and _known_facts(images, folder) is not None
    )


def missing_bytes(
    images: ImageSet, sizes: Iterable[int], resize: Resize, cache: Path, window: Window | None = None
) -> int:
    """Bytes that decoding what is not stored yet would take at most; whether what is stored is whole is not seen to."""
    folder = cache / "store" / store_key(images, window)
    known = all((folder / name).is_file() for name in (FACTS_FILE, THUMBNAILS))
    lacking = [size for size in set(sizes) if not (known and _array(folder, (size, resize)).is_file())]
    return _bytes(images, lacking, with_facts=not known)


def _bytes(images: ImageSet, sizes: Iterable[int], with_facts: bool) -> int:
    """At most: beside each other lie the drafts of grey images and of coloured ones, 4 bytes a pixel."""
    return len(images.table) * (sum(4 * size * size for size in sizes) + with_facts * THUMBNAIL**2)


def store_images(
    images: ImageSet,
    sizes: Iterable[int],
    cache: Path,
    advance: Advance = lambda count: None,
    *,
    resize: Resize = "squash",
    window: Window | None = None,
    verify: bool = False,
    jobs: int | None = None,
) -> Stored:
    """The set at each of ``sizes``, and its facts; what is not stored yet is decoded in one pass over the files.

    All that is stored is decoded again if a file that could not be read before can be read now.

    Args:
        images: the set.
        sizes: heights (= widths) in pixels; none if only the facts are wanted.
        cache: folder for stored sets.
        advance: called with the number of images just decoded, or compared.
        resize: how images become square.
        window: that of ``--window``, in place of each image's own, its header's or the set's.
        verify: whether to read every file and see if it is still what was decoded; if not, all are decoded again.
        jobs: decoding processes; by default one per core, and this process alone for a few images.
    """
    folder = cache / "store" / store_key(images, window)
    folder.parent.mkdir(parents=True, exist_ok=True)
    decoding = _Decoding(images, folder, advance, jobs or (1 if len(images.table) <= FEW else cpu_cores()), window)
    files = {size: _array(folder, (size, resize)) for size in sorted(set(sizes))}
    there = [file for file in (folder / FACTS_FILE, folder / THUMBNAILS, *files.values()) if file.is_file()]
    damaged = tuple(file.name for file in there if not checksums.intact(file))
    facts, changed = _known_facts(images, folder), 0
    if verify and facts is not None:
        changed = decoding.count_changed(facts)
        facts = None if changed else facts
    missing: list[Form] = [
        (size, resize) for size, file in files.items() if facts is None or not checksums.intact(file)
    ]
    if facts is None or missing:
        facts = decoding.run(facts, missing)
    fingerprint = _fingerprint(images, facts, resize)
    stored = {
        size: StoredImages(file, size, np.load(file, mmap_mode="r").shape[-1], fingerprint)
        for size, file in files.items()
    }
    return Stored(folder, facts, stored, fingerprint, changed, damaged)


def common_window(facts: "pd.DataFrame") -> Window | None:
    """The window of ``--window``, or that the whole set went through; None where there is none."""
    through = facts[facts["window"].isin(["set", "asked"])]
    if not len(through):
        return None
    low, high, rule = through.iloc[0][["low", "high", "window"]]
    return Window(float(low), float(high), rule)


def _array(folder: Path, form: Form) -> Path:
    return folder / f"{form[0]}-{form[1]}.npy"


def _draft(scratch: Path, form: Form, channels: int) -> Path:
    return scratch / f"{form[0]}-{form[1]}-{channels}.npy"


def _forms_in(folder: Path) -> set[Form]:
    """The forms that are stored."""
    return {form for file in folder.glob("*-*.npy") if (form := _form_of(file.name)) is not None}


def _form_of(name: str) -> Form | None:
    """The form whose array has this name; None if it is that of no array."""
    size, _, how = name.removesuffix(".npy").partition("-")
    whole = name.endswith(".npy") and size.isdecimal() and how in get_args(Resize)
    return (int(size), cast(Resize, how)) if whole else None


def _derived(folder: Path) -> list[Path]:
    """What others keep there, whatever they call it: all but what is stored here, what is written, and checksums."""
    files = [file for file in folder.glob("[!.]*") if file.is_file()]
    beside = [(file, file.name.removesuffix(checksums.SUFFIX)) for file in files]
    return [file for file, name in beside if name not in (FACTS_FILE, THUMBNAILS) and _form_of(name) is None]


def _known_facts(images: ImageSet, folder: Path) -> "pd.DataFrame | None":
    """The stored facts, unless there are none, or a file that could not be read then can be read now."""
    try:
        whole = all(checksums.intact(folder / name) for name in (FACTS_FILE, THUMBNAILS))
        facts = _read_facts(folder) if whole else None
    except FileNotFoundError:  # another run is replacing it
        facts = None
    if facts is None:
        return None
    lost = np.flatnonzero(facts["problem"] == "no access").tolist()
    return None if lost and _any_readable(images, lost, folder) else facts


def _any_readable(images: ImageSet, rows: Iterable[int], folder: Path) -> bool:
    """Whether at least one of these images can be read; the first that can ends the search."""
    with draft_folder(DECODING, folder) as scratch, images.reader.opened(scratch) as read:
        for row in rows:
            with suppress(*DECODE_ERRORS):
                read(row)
                return True
    return False


def _read_facts(folder: Path) -> "pd.DataFrame":
    import pandas as pd

    texts = {name: str for name in FACTS if Facts.__annotations__[name] is str}
    return pd.read_csv(folder / FACTS_FILE, dtype=texts, keep_default_na=False)


def _fingerprint(images: ImageSet, facts: "pd.DataFrame", resize: Resize) -> str:
    """Hash of all that decides what a network sees, which cached features are known by too."""
    digest = hashlib.blake2b(resize.encode(), digest_size=16)
    columns = (images.table["image"], images.table["label"], facts["content"], facts["pixels"])
    for row in zip(*(column.tolist() for column in columns), strict=True):  # a list is iterated far faster
        digest.update(("\t".join(row) + "\n").encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Work:
    """What the decoding processes share: the file of the pickled reader, what is wanted, and the folder of drafts."""

    reader: Path
    forms: tuple[Form, ...]
    scratch: Path
    with_facts: bool
    window: Window | None
    max_pixels: int


@dataclass(frozen=True)
class _Decoding:
    """Decodes a set once, in order; attributes as the arguments of `store_images`."""

    images: ImageSet
    folder: Path
    advance: Advance
    jobs: int
    window: Window | None

    def run(self, known: "pd.DataFrame | None", wanted: Iterable[Form]) -> "pd.DataFrame":
        """Decode every image; grey ones and coloured ones go to drafts of one and of three channels.

        Args:
            known: the facts that are stored; None if these are wanted too, and all that is stored is void.
            wanted: forms; those that are void are decoded again besides.

        Returns:
            the facts; other ones than those known if other images could be decoded than by these.
        """
        with full_disk_named(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        forms = tuple(sorted({*wanted, *(_forms_in(self.folder) if known is None else ())}))
        needed = _bytes(self.images, [size for size, _ in forms], with_facts=known is None)
        with draft_folder(DECODING, self.folder) as scratch, full_disk_named(self.folder, needed):
            problems, coloured = self._to_drafts(forms, scratch, with_facts=known is None)
            if known is None or problems == known["problem"].tolist():
                channels = 3 if coloured.any() else 1
                for form in forms if channels == 3 else ():
                    _fill_grey(scratch, form, ~coloured)
                drafts = {_array(self.folder, form): _draft(scratch, form, channels) for form in forms}
                if known is not None:
                    _publish(drafts)
                    return known
                facts = _read_facts(scratch)
                _publish_anew(drafts, scratch, self.folder)
                return facts
        return self.run(None, forms)

    def _to_drafts(
        self, forms: tuple[Form, ...], scratch: Path, with_facts: bool
    ) -> tuple[list[str], npt.NDArray[np.bool_]]:
        """Arrays and facts in ``scratch``; the problem of each image, and whether it is coloured."""
        n_images = len(self.images.table)
        if with_facts:
            np.lib.format.open_memmap(scratch / THUMBNAILS, "w+", np.uint8, (n_images, THUMBNAIL, THUMBNAIL))
        for form in forms:
            for channels in CHANNELS:  # sparse files: an array that nothing is written to takes no space
                shape = (n_images, form[0], form[0], channels)
                np.lib.format.open_memmap(_draft(scratch, form, channels), "w+", np.uint8, shape)
        coloured = np.zeros(n_images, dtype=bool)
        problems: list[str] = []
        with (
            self.images.reader.opened(scratch) as read,
            (scratch / FACTS_FILE).open("w", newline="", encoding="utf-8") as table,
        ):
            writer = csv.writer(table)
            writer.writerow(FACTS)
            window = self.window or (read.window if isinstance(read, Windowed) else None)
            limit = self.images.reader.max_pixels
            work = _Work(_pickled(read, scratch), forms, scratch, with_facts, window, limit)
            with _in_chunks(_decode_chunk, work, n_images, self.jobs) as chunks:
                for facts, colours in chunks:
                    writer.writerows(facts)
                    coloured[len(problems) : len(problems) + len(colours)] = colours
                    problems += [fact[PROBLEM] for fact in facts]
                    self.advance(len(colours))
        return problems, coloured

    def count_changed(self, facts: "pd.DataFrame") -> int:
        """How many images are not what they were when they were decoded."""
        changed, rows = 0, 0
        with draft_folder(DECODING, self.folder) as scratch, self.images.reader.opened(scratch) as read:
            known = facts["content"].tolist()
            with _in_chunks(_hash_chunk, _pickled(read, scratch), len(facts), self.jobs) as chunks:
                for hashes in chunks:
                    changed += sum(a != b for a, b in zip(hashes, known[rows : rows + len(hashes)], strict=True))
                    rows += len(hashes)
                    self.advance(len(hashes))
        return changed


def _publish(drafts: Mapping[Path, Path]) -> None:
    for file, draft in drafts.items():
        checksums.keep(file, of=draft)
        draft.replace(file)


def _publish_anew(drafts: Mapping[Path, Path], scratch: Path, folder: Path) -> None:
    """Put facts and arrays in the place of others, and remove what was derived; a crash leaves nothing wrong."""
    void = {file: draft for file, draft in drafts.items() if file.is_file()}
    if void or (folder / THUMBNAILS).is_file():
        (folder / FACTS_FILE).unlink(missing_ok=True)
    for file in _derived(folder):
        file.unlink(missing_ok=True)
    _publish(void)
    _publish({folder / name: scratch / name for name in (THUMBNAILS, FACTS_FILE)})
    _publish({file: draft for file, draft in drafts.items() if file not in void})


def _pickled(read: Read, scratch: Path) -> Path:
    """The reader in a file: names of many images are not sent with each chunk again."""
    path = scratch / "reader.pickle"
    path.write_bytes(pickle.dumps(read))
    return path


@lru_cache(maxsize=1)
def _reader(path: Path) -> Read:
    read: Read = pickle.loads(path.read_bytes())  # written by `_pickled`, a moment ago
    return read


@contextmanager
def _in_chunks(function: Callable[..., Any], work: Any, n_images: int, jobs: int) -> Iterator[Iterator[Any]]:
    """``function(work, rows)`` of each chunk of rows, in order, in processes of their own; these end with the block."""
    import joblib

    chunk = min(CHUNK, -(-n_images // (4 * jobs)))
    chunks = [range(start, min(start + chunk, n_images)) for start in range(0, n_images, chunk)]
    with joblib.parallel_config(backend="loky", idle_worker_timeout=30):
        tasks = (joblib.delayed(function)(work, rows) for rows in chunks)
        results = joblib.Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4*n_jobs", batch_size=1)(tasks)
        try:
            yield results
        finally:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", UNUSED, UserWarning)
                results.close()


def _decode_chunk(work: _Work, rows: range) -> tuple[list[tuple[Any, ...]], list[bool]]:
    """In a decoding process: some images written to the drafts; their facts, and which are coloured."""
    read = _reader(work.reader)
    facts, coloured = [], []
    with ExitStack() as opened:
        keys = [(form, channels) for form in work.forms for channels in CHANNELS]
        write = {key: opened.enter_context(_writing(_draft(work.scratch, *key))) for key in keys}
        write_small = opened.enter_context(_writing(work.scratch / THUMBNAILS)) if work.with_facts else None
        for row in rows:
            known, pixels, small = _decode_one(read, row, work)
            facts.append(astuple(known))
            coloured.append(bool(pixels) and pixels[0].shape[-1] == 3)
            if write_small and small is not None:
                write_small(row, small)
            for form, array in zip(work.forms, pixels, strict=bool(pixels)):
                write[form, array.shape[-1]](row, array)
    return facts, coloured


@contextmanager
def _writing(draft: Path) -> Iterator[Callable[[int, Pixels], None]]:
    """Writes rows of a draft, as several processes may at a time.

    A full disk is an error that says so; in a memory map it would end the process.
    """
    start = np.load(draft, mmap_mode="r").offset
    with draft.open("r+b") as file:
        number = file.fileno()
        yield lambda row, pixels: _write_whole(number, pixels, start + row * pixels.size)


def _write_whole(number: int, pixels: Pixels, start: int) -> None:
    """Write from byte ``start`` on; a disk that fills up takes a part, and says at the next call that it is full."""
    left = np.ascontiguousarray(pixels).data.cast("B")
    while left:
        written = os.pwrite(number, left, start)
        left, start = left[written:], start + written


def _decode_one(read: Read, row: int, work: _Work) -> tuple[Facts, list[Pixels], Pixels | None]:
    content: Content | None = None
    try:
        content = read(row)
        alone = FileLock(work.scratch / "large.lock")  # held while images are decoded that take up to a gigabyte
        decoded = decode(content, work.window, alone, work.max_pixels)
        facts = facts_of(content, decoded) if work.with_facts else Facts()
        small = thumbnail(decoded.image) if work.with_facts else None
        return facts, [fit(decoded.image, *form) for form in work.forms], small
    except DECODE_ERRORS as error:
        return problem_of(error, content), [], None


def _fill_grey(scratch: Path, form: Form, grey: npt.NDArray[np.bool_]) -> None:
    """Copy the grey images of a coloured set to its array of three channels."""
    single = np.load(_draft(scratch, form, 1), mmap_mode="r")
    with _writing(_draft(scratch, form, 3)) as write:
        for row in np.flatnonzero(grey).tolist():
            write(row, np.repeat(single[row], 3, axis=-1))


def _hash_chunk(reader: Path, rows: range) -> list[str]:
    """In a process: the content hashes of some images; that of a file that cannot be read is empty."""
    read, hashes = _reader(reader), []
    for row in rows:
        try:
            hashes.append(content_hash(read(row)))
        except (OSError, TooLarge):
            hashes.append("")
    return hashes
