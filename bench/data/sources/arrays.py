"""An .npz file in the layout of MedMNIST: train_images and train_labels, the same for val and test if there are any.

Only the labels are loaded; images are read one at a time. Light to import, for decoding runs in processes of its own.
"""

import io
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.data.images.limits import MOST_PIXELS, TooLarge, check_size
from bench.data.images.window import Window, of_set, tails_of
from bench.data.imageset import ImageSet, stamp
from bench.data.names import (
    beside_split,
    check_classes,
    eval_as_test,
    listed,
    missing_taken,
    readable,
    split_of,
    word_list,
    words_of,
)
from bench.disk import FULL, full_disk_named
from bench.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
LAYOUT = (
    "an .npz file holds train_images and train_labels, and may hold val_images, val_labels, test_images, test_labels"
)
SHAPES = "(n, height, width), (n, height, width, 1) or (n, height, width, 3)"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What reading an archive that is none, or is damaged, ends in."""
MOST_IMAGES = 2_000_000  # whose names and facts take about 1 GB
MOST_UNPACKED = 100
"""An archive does not unpack to more than so many times its size; images compress by 2 to 20."""
OTHER_SCALE = 40
"""Arrays whose values spread so many times as far as those of others are in another scale."""
SMALL = 10**8  # bytes that any archive may unpack to
HEADER = 1 << 16  # bytes that are enough for the header of an array
EIGHT_BITS = (np.dtype(np.uint8), np.dtype(bool))  # kinds of arrays that need no window
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_source(
    path: Path,
    class_names: Sequence[str] | None = None,
    patient_pattern: str | None = None,
    max_pixels: int = MOST_PIXELS,
) -> ImageSet:
    """The images in the .npz file at ``path``, of which only the labels are loaded.

    Args:
        path: the file.
        class_names: names of the labels 0, 1, …; the labels themselves where these do not fit.
        patient_pattern: refused, as rows of arrays have no names.
        max_pixels: of an image.

    Raises:
        ConfigError: if the file is not laid out as it should be, unpacks to more than an archive of images can, or a
            pattern is given.
    """
    from bench.data.sources.listing import with_patients

    refuse_pattern(path, patient_pattern)
    with open_npz(path) as archive:
        splits = _splits_in(path, archive)
        check_unpacked(path, archive, [name for names in splits.values() for name in names], max_pixels)
        _check_kinds(path, archive, [images for images, _ in splits.values()])
        found = [_labels(path, archive, *names, needed=split == "train") for split, names in splits.items()]
        notes = _notes(archive, splits)
    labels, columns = zip(*found, strict=True)
    _check_columns(path, {name: count for (_, name), count in zip(splits.values(), columns, strict=True)})
    counts = {split: len(part) for split, part in zip(splits, labels, strict=True)}
    named = _named(path, np.unique(np.concatenate(labels)), class_names)
    notes += missing_taken(named.values())
    table = _table(counts, [named[value] for part in labels for value in part.tolist()])
    file = stamp(path.stat())
    if columns[0]:
        notes.append(f"The labels are one-hot: of their {columns[0]} columns the one that holds 1 is the class.")
    draft = ImageSet(
        source="npz",
        path=str(path),
        classes=tuple(named.values()),
        table=table,
        stamps=tuple(f"{file}-{name}" for name in table["image"]),
        reader=NpzReader(path, tuple(images for images, _ in splits.values()), tuple(counts.values()), max_pixels),
        patient_rule="",
        notes=tuple(notes),
    )
    return with_patients(draft, None)


def _check_columns(path: Path, counts: Mapping[str, int]) -> None:
    """Refuse arrays of labels with different numbers of columns, which are 0 where labels are not one-hot."""
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} {count or 'one'}" for name, count in counts.items())
        raise ConfigError(f"The labels in {path} have different numbers of columns ({told}); one layout is needed.")


def _table(counts: Mapping[str, int], labels: Sequence[str]) -> "pd.DataFrame":
    """One row per image, called by its split and its row there, of which ``counts`` says how many there are."""
    import pandas as pd

    digits = max(5, len(str(max(counts.values()) - 1)))
    return pd.DataFrame(
        {
            "image": [f"{split}/{row:0{digits}}" for split, count in counts.items() for row in range(count)],
            "label": labels,
            "patient_id": "",
            "split": np.repeat([*counts], [*counts.values()]),
            "fold": "",
        }
    )


def _named(path: Path, values: npt.NDArray[np.int64], class_names: Sequence[str] | None) -> dict[int, str]:
    """Label -> class name, in order; the labels themselves where the names do not fit."""
    if class_names is None or not np.array_equal(values, np.arange(len(class_names))):
        class_names = [str(value) for value in values]
    check_classes(path, class_names, "label")
    return dict(zip(values.tolist(), class_names, strict=True))


def refuse_pattern(where: str | Path, patient_pattern: str | None) -> None:
    """Refuse, by a ConfigError, ``--patient-pattern``: a pattern cannot match rows of arrays."""
    if patient_pattern is not None:
        raise ConfigError(
            f"--patient-pattern cannot be used with {where}: its images are rows of arrays and have no file names; "
            "leave it out, or give the images as a folder or a .csv."
        )


def _splits_in(path: Path, archive: zipfile.ZipFile) -> dict[str, tuple[str, str]]:
    """Split -> the names of its images and of their labels, of those that are there, train first."""
    there = _members(archive)
    called = eval_as_test({name: split for name in there if _kind(name) and (split := split_of(name))})
    found: dict[str, dict[str, str]] = {"train": {}}
    for name, split in called.items():
        if _kind(name) == "labels" and f"{split}_labels" in {*called} - {name}:
            continue  # other labels of the same images, such as train_targets, are told as not used
        other = found.setdefault(split, {}).setdefault(_kind(name), name)
        if other != name:
            raise ConfigError(
                f"{path} has two arrays of {_kind(name)} for the {split} split, {other} and {name}; leave one out."
            )
    splits = [split for split in SPLITS if split in found]
    missing = [f"{split}_{kind}" for split in splits for kind in ("images", "labels") if kind not in found[split]]
    if missing:
        raise ConfigError(
            f"{path} has no {' and no '.join(missing)} (found: {', '.join(there) or 'nothing'}); {LAYOUT}."
        )
    return {split: (found[split]["images"], found[split]["labels"]) for split in splits}


def _members(archive: zipfile.ZipFile) -> list[str]:
    """The names of its arrays."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _kind(name: str) -> str:
    """What an array of a split holds by its name, images or labels; empty where it says something else."""
    rest = beside_split(name)
    if split_of(name) is None or rest - word_list("arrays of images") - word_list("arrays of labels"):
        return ""
    kinds = ("labels", "images")  # image_labels are labels
    return next((kind for kind in kinds if words_of(name) & word_list(f"arrays of {kind}")), "")


def _notes(archive: zipfile.ZipFile, splits: Mapping[str, tuple[str, str]]) -> list[str]:
    """Which arrays were taken for the splits where they are called otherwise, and which were not used."""
    notes = [
        f"Arrays {' and '.join(names)} are taken as the {split} split."
        for split, names in splits.items()
        if names != (f"{split}_images", f"{split}_labels")
    ]
    used = {name for names in splits.values() for name in names}
    unused = [name for name in _members(archive) if name not in used]
    return notes + ([f"Arrays that are not used: {listed(unused, len(unused))}."] if unused else [])


def check_unpacked(path: Path, archive: zipfile.ZipFile, names: Sequence[str], max_pixels: int) -> None:
    """Refuse an archive whose arrays are not as large as their headers say, or larger than images of its size can be.

    All of it is told from the directory of the archive and the headers of the arrays.
    """
    sizes = {name: archive.getinfo(f"{name}.npy").file_size for name in names}
    for name, size in sizes.items():
        shape, dtype = header(archive, name)
        count = math.prod(shape) * dtype.itemsize
        whole = min(shape, default=0) >= 0 and count <= size <= count + HEADER
        if not whole and not dtype.hasobject:  # which is refused as no numbers
            raise ConfigError(f"{name} in {path} has shape {shape} of {dtype}, but {size:,} bytes; it is damaged.")
        if shape and shape[0] > MOST_IMAGES:
            raise ConfigError(f"{path} holds {shape[0]:,} {name}; at most {MOST_IMAGES:,} are accepted.")
        if len(shape) > 2:
            try:
                check_size(shape[2], shape[1], max_pixels)
            except TooLarge as error:
                raise ConfigError(f"{name} in {path} cannot be used: of each image, {error}.") from None
    packed, unpacked = path.stat().st_size, sum(sizes.values())
    if unpacked > max(SMALL, MOST_UNPACKED * packed):
        raise ConfigError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked:,}, more than {MOST_UNPACKED} times as many, which "
            "images do not; if it is meant, write it by numpy.savez, without compression."
        )


def _check_kinds(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> None:
    """Refuse images of 8 bits in one split and of more in another: no window serves both."""
    kinds = {name: header(archive, name)[1] for name in names}
    if len({kind in EIGHT_BITS for kind in kinds.values()}) > 1:
        told = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise ConfigError(f"{path} holds images of different kinds ({told}); all must be uint8, or none.")


def _labels(
    path: Path, archive: zipfile.ZipFile, images: str, labels: str, needed: bool
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], int]:
    """The labels of a split, shape (n_images,), and the number of their columns if they are one-hot, else 0.

    Args:
        path, archive: the file.
        images, labels: the names of the split's arrays.
        needed: whether the split may not be empty.
    """
    shape, dtype = header(archive, images)
    label_shape, label_dtype = header(archive, labels)
    one_hot = len(label_shape) == 2 and label_shape[1] > 1
    for name, kind, accepted in (
        (images, dtype, "biuf"),
        (labels, label_dtype, "biuf" if one_hot else "biu"),
    ):
        if kind.kind not in accepted:
            numbers = "numbers" if "f" in accepted else "integers"
            raise ConfigError(f"{name} in {path} is an array of {kind}; {numbers} are needed.")
    if 0 in shape[1:] or not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        raise ConfigError(f"{images} in {path} has shape {shape}; {SHAPES} is needed.")
    if len(label_shape) not in (1, 2) or 0 in label_shape[1:]:
        raise ConfigError(f"{labels} in {path} has shape {label_shape}; (n,) or (n, 1) is needed.")
    if shape[0] != label_shape[0]:
        raise ConfigError(f"{path} holds {shape[0]} {images} but {label_shape[0]} {labels}.")
    if needed and not shape[0]:
        raise ConfigError(f"{images} in {path} is empty; images to train on are needed.")
    values = load(archive, labels)
    if one_hot:
        return _from_one_hot(path, labels, values), label_shape[1]
    return values.reshape(-1).astype(np.int64), 0


def _from_one_hot(path: Path, labels: str, values: np.ndarray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The column that holds 1, of each row; anything but a single 1 among zeros is refused."""
    ones = (values == 1).sum(axis=1)
    if not ((values == 0) | (values == 1)).all():
        raise ConfigError(
            f"{labels} in {path} has shape {values.shape} and is not one-hot: it holds other numbers than 0 and "
            "1; give one label per image, such as by labels.argmax(axis=1)."
        )
    if (ones != 1).any():
        raise ConfigError(
            f"{path} looks like multi-label data ({labels} has shape {values.shape}, and "
            f"{int((ones != 1).sum())} of its rows hold several ones, or none); each image must have exactly one label."
        )
    return np.asarray(values.argmax(axis=1), dtype=np.int64)


# Reading


@contextmanager
def open_npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """The file at ``path`` as the zip archive that it is.

    Raises:
        ConfigError: if it is none, cannot be read, or turns out to be damaged while it is open.
    """
    try:
        with readable(path):
            archive = zipfile.ZipFile(path)
        with archive:
            yield archive
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise ConfigError(f"{path} is no .npz file that can be read ({error}).") from None


def header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of array ``name``, read from its first bytes."""
    with archive.open(f"{name}.npy") as member:
        beginning = io.BytesIO(member.read(HEADER))
    version = np.lib.format.read_magic(beginning)
    if version not in HEADERS:
        raise ValueError(f"{name} has version {version} of the .npy format")
    shape, _, dtype = HEADERS[version](beginning)
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
        max_pixels: of an image.
    """

    path: Path
    arrays: tuple[str, ...]
    counts: tuple[int, ...]
    max_pixels: int = MOST_PIXELS

    @contextmanager
    def opened(self, scratch: Path, of_one_set: bool = True) -> Iterator["Rows"]:
        """The rows of the arrays one after another; they are unpacked into ``scratch`` for the time being.

        Arrays of more than 8 bits are read once for the window of them all, which is for arrays ``of_one_set``.

        Raises:
            ConfigError: if the file is damaged, or arrays of one set differ in scale.
        """
        with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
            with open_npz(self.path) as archive:
                members = [f"{name}.npy" for name in self.arrays]
                with full_disk_named(scratch, sum(archive.getinfo(one).file_size for one in members)):
                    archive.extractall(folder, members)
                deep = [name for name in self.arrays if header(archive, name)[1] not in EIGHT_BITS]
            values = {name: np.load(Path(folder) / f"{name}.npy", mmap_mode="r") for name in deep}
            if of_one_set:
                _refuse_scales(self.path, values)
            window = of_set(list(values.values()))
            yield Rows(Path(folder), self.arrays, self.counts, window)


def _refuse_scales(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse arrays of which one goes from 0 to 1, say, and another to 255: no window serves both."""
    if len(arrays) < 2:
        return
    tails = {name: ends for name, array in arrays.items() if (ends := tails_of([array])) and ends[1] > ends[0]}
    spans = sorted(tails, key=lambda name: tails[name][1] - tails[name][0])
    if spans and np.ptp(tails[spans[-1]]) > OTHER_SCALE * np.ptp(tails[spans[0]]):
        told = " and ".join(f"{name} from {tails[name][0]:g} to {tails[name][1]:g}" for name in (spans[0], spans[-1]))
        raise ConfigError(
            f"{path} holds images in different scales ({told}, but for a few values), which no one window shows; scale "
            "all alike."
        )


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
