"""Which images are meant by what is typed: files, folders, patterns, manifests, DICOM, arrays; none is decoded here."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.data.images.limits import MOST_PIXELS
from bench.data.imageset import Content, read_file
from bench.data.names import listed
from bench.data.patients import by_pattern
from bench.data.sources.arrays import NpzReader, check_unpacked, header, open_npz
from bench.data.sources.columns import Columns, filled, role_of, take_first, take_path
from bench.data.sources.image_files import ImageFiles
from bench.data.sources.listing import DEEPEST, is_dicom, looks_like_an_image
from bench.data.sources.table_file import ENDINGS, read_table
from bench.errors import ConfigError
from bench.numbers import counted

SHAPES = "(n, height, width) or (n, height, width, 1 or 3)"


@dataclass(frozen=True)
class Wanted:
    """One image that is to be classified.

    Attributes:
        name: as it stands in the table.
        read: gives its content; raises what `bench.data.imageset.read_file` does.
        patient: as a manifest names the patient; empty where none does.
        file: where it lies, or the file of the array it is a row of.
        row: array and number of that row; empty for a file of its own.
        max_pixels: of an image that is read.
    """

    name: str
    read: Callable[[], Content]
    file: Path
    patient: str = ""
    row: str = ""
    max_pixels: int = MOST_PIXELS

    @property
    def place(self) -> tuple[str, str]:
        """The same for all names of one image."""
        try:
            return os.path.realpath(self.file), self.row
        except ValueError:  # no path can be so
            return str(self.file), self.row


@dataclass(frozen=True)
class _Reading:
    """How what is named is read.

    Attributes:
        stack: closes what was unpacked.
        max_pixels: of an image.
    """

    stack: ExitStack
    max_pixels: int

    def file(self, path: Path, name: str = "", patient: str = "") -> Wanted:
        """The image in a file, which is not looked at yet."""
        shown = (name or str(path)).encode("utf-8", "backslashreplace").decode()  # a name may be of other bytes
        return Wanted(shown, lambda: read_file(path, self.max_pixels), path, patient, max_pixels=self.max_pixels)

    def refused(self, path: Path, why: ConfigError) -> Wanted:
        """In the place of the images of a file of which no use can be made; reading it raises a ValueError."""

        def refuse() -> Content:
            raise ValueError(str(why).rstrip("."))

        return replace(self.file(path), read=refuse)


def wanted_images(
    paths: Sequence[str | os.PathLike[str]],
    stack: ExitStack,
    tell: Callable[[str], None] = lambda line: None,
    max_pixels: int = MOST_PIXELS,
    patient_pattern: str | None = None,
) -> list[Wanted]:
    """The images that ``paths`` mean, in their order, those of a folder by name; what is named is taken as it is.

    An image that is named in several ways is taken once, at its first place, by the first that names its patient.

    Args:
        paths: image files, folders (searched to the bottom), patterns with ``*``, ``?`` or ``**``, tables with a column
            of paths (as `bench.data.sources.columns` knows them), and .npz files of arrays of images.
        stack: closes what was unpacked.
        tell: told how many repeats were left out, if any.
        max_pixels: of an image that is read.
        patient_pattern: goes before what a manifest or a DICOM file says, as in `bench.data.patients.find_patients`.

    Raises:
        ConfigError: if nothing is named, a folder holds no image, a table or archive cannot be read, or the pattern
            matches no name.
    """
    if not paths:
        raise ConfigError("No images are named; paths of files and folders, and patterns, are accepted.")
    reading = _Reading(stack, max_pixels)
    found = [image for path in paths for image in _of_path(str(path), reading, alone=len(paths) == 1)]
    if not found:
        raise ConfigError(f"{listed([str(path) for path in paths])} hold no file that looks like an image.")
    kept: dict[tuple[str, str], Wanted] = {}
    for image in found:
        known = kept.setdefault(image.place, image)
        if image.patient and not known.patient:
            kept[image.place] = image
    if repeats := len(found) - len(kept):
        tell(f"images that are named more than once are taken once; {counted(repeats, 'repeat')} left out.")
    if patient_pattern is None:
        return list(kept.values())
    patients = by_pattern([Path(image.name).as_posix() for image in kept.values()], patient_pattern)
    return [
        replace(image, patient=patient or image.patient) for image, patient in zip(kept.values(), patients, strict=True)
    ]


def _of_path(text: str, reading: _Reading, alone: bool) -> Iterable[Wanted]:
    """The images of one path; beside others an empty folder has none, and what is no table or archive is a row."""
    path = Path(text)
    if path.is_dir():
        found = [reading.file(one) for one in _in_folder(path)]
        if not found and alone:
            raise ConfigError(f"The folder {path} holds no file that looks like an image.")
        return found
    if path.exists():
        ending = path.suffix.lower()
        if ending != ".npz" and ending not in ENDINGS:
            return [reading.file(path)]
        try:
            return _of_arrays(path, reading) if ending == ".npz" else _of_table(path, reading)
        except ConfigError as error:
            if alone:
                raise
            return [reading.refused(path, error) if ending == ".npz" else reading.file(path)]
    if glob.has_magic(text):
        matches = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 (a Path would end at its own pattern rules)
        if matches:
            files = [one for one in matches if not Path(one).is_dir() or "**" not in text]
            return [image for one in files for image in _of_path(one, reading, alone=False)]
    return [reading.file(path)]


def _in_folder(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if Path(folder).relative_to(root).as_posix().count("/") >= DEEPEST:
            folders[:] = []
        for name in sorted(files):
            path = Path(folder) / name
            if not name.startswith(".") and looks_like_an_image(str(path)):
                yield path


def patient_of(image: Wanted) -> str:
    """The patient of an image: of its manifest, else the PatientID of a DICOM file, else unknown and empty."""
    if image.patient or not is_dicom(image.file.parent, image.file.name):
        return image.patient
    from bench.data.images.dicom import read_patient_ids

    return read_patient_ids([image.file], image.max_pixels)[0]


def _of_table(path: Path, reading: _Reading) -> list[Wanted]:
    """The images of a manifest; a path that leads to no file stays, and is a row that says so."""
    cells = read_table(path, role_of)
    if not cells.rows:
        raise ConfigError(f"{path} has no rows; one row per image is needed, with a column path.")
    columns = Columns(cells, {}, [])
    located = take_path(columns, ImageFiles(path.parent))
    if located.ambiguous:
        name, places = next(iter(located.ambiguous.items()))
        raise ConfigError(f"{name} in {path} may mean several files: {listed(places)}; write whole paths.")
    if filled(cells, "patient"):
        take_first(columns, "patient")
    rows = zip(columns.cells("path"), located.names, columns.cells("patient"), strict=True)
    return [
        reading.file(path.parent / (name or cell), str(path.parent / (name or cell)), patient)
        for cell, name, patient in rows
    ]


def _of_arrays(path: Path, reading: _Reading) -> list[Wanted]:
    """Every row of every array of images in an .npz file, called ``FILE:ARRAY/ROW``."""
    with open_npz(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        kinds = {name: header(archive, name) for name in names}
    images = {
        name: shape
        for name, (shape, dtype) in kinds.items()
        if dtype.kind in "biuf" and 0 not in shape and (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3)))
    }
    if not images:
        raise ConfigError(f"{path} holds no array of images, which has the shape {SHAPES}.")
    with open_npz(path) as archive:
        check_unpacked(path, archive, list(images), reading.max_pixels)
    scratch = Path(reading.stack.enter_context(TemporaryDirectory(prefix="bench-predict-", ignore_cleanup_errors=True)))
    counts = tuple(shape[0] for shape in images.values())
    rows = reading.stack.enter_context(NpzReader(path, tuple(images), counts).opened(scratch, of_one_set=False))
    places = [(name, row) for name, shape in images.items() for row in range(shape[0])]
    return [
        Wanted(f"{path}:{name}/{row}", lambda place=place: rows(place), path, row=f"{name}/{row}")  # type: ignore[misc]
        for place, (name, row) in enumerate(places)
    ]
