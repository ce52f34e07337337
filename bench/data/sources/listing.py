"""What the sources that are files share: which files are images, which classes there are, and the set they become."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.images.dicom import ENDINGS as DICOM_ENDINGS
from bench.data.images.dicom import HEAD, is_dicom_content, read_patient_ids, require_pydicom
from bench.data.imageset import COLUMNS, Excluded, FileReader, ImageSet
from bench.data.patients import find_patients

if TYPE_CHECKING:
    import pandas as pd

PICTURES = (".jpg", ".jpeg", ".jfif", ".jp2", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
EXTENSIONS = (*PICTURES, *DICOM_ENDINGS)
OTHERS = (
    *(".csv", ".tsv", ".txt", ".json", ".xml", ".yaml", ".yml", ".md", ".html", ".pdf", ".xls", ".xlsx"),
    *(".doc", ".docx", ".zip", ".gz", ".tar", ".7z", ".rar", ".npy", ".npz", ".h5", ".pt", ".pkl", ".mat", ".nii"),
    *(".mp4", ".avi", ".svg", ".py", ".ipynb", ".db", ".log"),
)
"""Endings of files that are no images, and not opened."""
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n"),
    *(b"P5\n", b"P6\n", b"P5 ", b"P6 "),
)
"""What pictures begin with; WebP and BMP aside."""


def looks_like_an_image(path: str) -> bool:
    """Whether the file at ``path`` is called like an image or, where its ending says neither yes nor no, begins so."""
    ending = _ending(path)
    if ending in EXTENSIONS or ending in OTHERS:
        return ending in EXTENSIONS
    head = _head(path)
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or is_dicom_content(head)


def is_dicom(root: Path, name: str) -> bool:
    """Whether image ``name`` below ``root`` is DICOM: by its ending, or by its content where that tells nothing."""
    ending = _ending(name)
    return ending in DICOM_ENDINGS or (
        ending not in PICTURES and ending not in OTHERS and is_dicom_content(_head(root / name))
    )


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path each takes ten times as long)


def _head(path: str | Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


@dataclass(frozen=True)
class Found:
    """The files of a set, before anyone has told the patients apart.

    Attributes:
        source, classes, others, notes, layout, excluded: as in `ImageSet`; kinds of which there is nothing are dropped.
        path: where it was found.
        root: the folder that names are relative to.
        table: columns ``image``, ``label``, ``split``, and maybe ``fold``.
        stamps: one per image.
        patients: those that the source names, empty where it names none; they go before DICOM headers.
        patient_rule: where ``patients`` comes from, in words.
        groups: columns ``group:COLUMN`` -> one text per image, as `bench.data.patients` makes them.
    """

    source: str
    path: Path
    root: Path
    table: "pd.DataFrame"
    stamps: Sequence[str]
    classes: tuple[str, ...]
    patients: Sequence[str]
    patient_rule: str
    others: Sequence[str] = ()
    notes: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    layout: str = ""
    excluded: Sequence[Excluded] = ()


def file_set(found: Found, patient_pattern: str | None) -> ImageSet:
    """The set of images that are files of their own.

    Raises:
        ConfigError: if the pattern is of no use, or there are DICOM files and nothing to read them with.
    """
    names = found.table["image"].tolist()
    known, known_rule, notes = found.patients, found.patient_rule, list(found.notes)
    dicom = [row for row, name in enumerate(names) if is_dicom(found.root, name)]
    if dicom:
        require_pydicom()
        if patient_pattern is None and not any(known):
            ids = [""] * len(names)
            for row, patient in zip(dicom, read_patient_ids([found.root / names[row] for row in dicom]), strict=True):
                ids[row] = patient
            if len(set(ids) - {""}) > 1:
                known, known_rule = ids, "DICOM PatientID"
            elif any(ids):
                notes.append("The DICOM PatientID is the same in all files, so it was not used to tell patients apart.")
    patients = find_patients(names, patient_pattern, known or None, known_rule)
    suggested = any("--patient-pattern" in note for note in notes)  # by who knows the layout, so not by names again
    notes += [note for note in patients.notes if not (suggested and patients.assumed)]
    fold = found.table.get("fold", "")
    table = found.table.assign(split_group=patients.split_groups, patient_id=patients.ids, fold=fold)[list(COLUMNS)]
    return ImageSet(
        source=found.source,
        path=str(found.path),
        classes=found.classes,
        table=table.assign(**{name: list(cells) for name, cells in found.groups.items()}),
        stamps=tuple(found.stamps),
        reader=FileReader(found.root, tuple(names)),
        patient_rule=patients.rule,
        patients_assumed=patients.assumed,
        others=tuple(found.others),
        notes=tuple(notes),
        layout=found.layout,
        excluded=tuple(one for one in found.excluded if one.names),
    )
