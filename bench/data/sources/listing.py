"""What sources share: which files are images, and how their patients are told apart."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.data.images.dicom import ENDINGS as DICOM_ENDINGS
from bench.data.images.dicom import HEAD, is_dicom_content, read_patient_ids, require_pydicom
from bench.data.imageset import COLUMNS, FileReader, ImageSet, at_once
from bench.data.names import listed, word_list
from bench.data.patients import find_patients, joined

PICTURES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".jpx", ".jpf", ".j2k", ".j2c", ".jpc", ".png", ".bmp", ".dib", ".gif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".tif", ".tiff", ".webp"),
)
EXTENSIONS = (*PICTURES, *DICOM_ENDINGS)
LOOKED_INTO = 8
"""At most so many of the files called like pictures, evenly spread, to see whether they are DICOM."""
DEEPEST = 100
"""Folders within folders that are walked; published sets have up to ten."""
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51", b"P5\n", b"P6\n", b"P5 ", b"P6 "),
)
"""What pictures begin with; WebP, BMP and rarer ways to begin a PNM aside."""
PNM = re.compile(rb"P[1-6Ff]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s")
"""How the head of a PNM begins: its kind, comments, width and height."""
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""How many bytes the second header of a BMP has, which stands at its beginning; two letters alone may be a text's."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def is_archive(name: str) -> bool:
    """Whether the ending of a name is that of an archive; that of one file which is compressed, .nii.gz, is not."""
    return name.lower().endswith(ARCHIVES)


def is_called_like_an_image(name: str) -> bool:
    """Whether the ending of a name is that of an image."""
    return _ending(name) in EXTENSIONS


def looks_like_an_image(path: str) -> bool:
    """Whether the file at ``path`` is called like an image or, where its ending says neither yes nor no, begins so."""
    ending = _ending(path)
    if ending in EXTENSIONS or ending in word_list("other files"):
        return ending in EXTENSIONS
    head = _head(path)
    return _begins_a_picture(head) or is_dicom_content(head)


def _begins_a_picture(head: bytes) -> bool:
    if head.startswith(MAGIC) or PNM.match(head):
        return True
    is_bmp = head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS
    return is_bmp or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_dicom(root: Path, name: str) -> bool:
    """Whether image ``name`` below ``root`` is DICOM: by its ending, or by its content where that is another."""
    ending = _ending(name)
    return ending in DICOM_ENDINGS or (ending not in word_list("other files") and is_dicom_content(_head(root / name)))


def _dicom_rows(root: Path, names: Sequence[str]) -> list[int]:
    """The places of the images that are DICOM.

    Those called like pictures are looked into only where there are DICOM files among a few of them, or beside them.
    """
    pictures = [row for row, name in enumerate(names) if _ending(name) in PICTURES]
    found = [row for row in sorted({*range(len(names))} - {*pictures}) if is_dicom(root, names[row])]
    some = pictures[:: -(-len(pictures) // LOOKED_INTO) or 1]
    if not found and not any(is_dicom(root, names[row]) for row in some):
        return []
    return sorted(found + [row for row in pictures if is_dicom(root, names[row])])


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path each takes ten times as long)


def _head(path: str | Path) -> bytes:
    """The first bytes of a file; none where it cannot be read, or is a pipe."""
    try:
        with open(path, "rb", opener=at_once) as file:
            return file.read(HEAD)
    except OSError:
        return b""


def note_outside(root: Path, names: Sequence[str]) -> list[str]:
    """A note on the images that links, or paths that climb out of ``root``, take from elsewhere; none if all lie there.

    Args:
        root: the folder that the names start from.
        names: of files, relative to it or absolute.
    """
    real, folders = os.path.realpath(root), dict[str, str]()
    outside = []
    for name in names:
        folder, _, file = os.path.join(root, name).rpartition("/")  # noqa: PTH118 (a Path each takes ten times as long)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        place = f"{folders[folder]}/{file}"
        place = os.path.realpath(place) if os.path.islink(place) else place  # noqa: PTH114
        if not f"{place}/".startswith(f"{real.rstrip('/')}/"):
            outside.append(f"{name} ({place})")
    if not outside:
        return []
    noun = "image lies" if len(outside) == 1 else "images lie"
    return [f"{len(outside)} {noun} outside {root}, by links or paths that lead out of it: {listed(outside, 3)}."]


def with_patients(draft: ImageSet, patient_pattern: str | None) -> ImageSet:
    """``draft`` with its patients told apart.

    Args:
        draft: its table's ``patient_id`` holds what the source names, empty where it names none; ``patient_rule`` says
            where that comes from. It goes before the headers of DICOM files.
        patient_pattern: as in `bench.data.patients.find_patients`.

    Raises:
        ConfigError: if the pattern is of no use, or there are DICOM files and nothing to read them with.
    """
    names, known, rule = draft.table["image"].tolist(), draft.table["patient_id"].tolist(), draft.patient_rule
    notes = list(draft.notes)
    if isinstance(draft.reader, FileReader):
        root = draft.reader.root
        dicom = _dicom_rows(root, names)
        if dicom:
            require_pydicom()
        if dicom and patient_pattern is None and not any(known):
            ids = dict(
                zip(dicom, read_patient_ids([root / names[row] for row in dicom], draft.reader.max_pixels), strict=True)
            )
            if len({*joined(list(ids.values()))[0]} - {""}) > 1:
                known, rule = [ids.get(row, "") for row in range(len(names))], "DICOM PatientID"
            elif any(ids.values()):
                notes.append("The DICOM PatientID is the same in all files, so it was not used to tell patients apart.")
    patients = find_patients(names, patient_pattern, known, rule, len(draft.classes))
    suggested = any("--patient-pattern" in note for note in notes)  # by who knows the layout, so not by names again
    notes += [note for note in patients.notes if not (suggested and patients.assumed)]
    table = draft.table.assign(split_group=patients.split_groups, patient_id=patients.ids)
    subgroups = [name for name in table if name not in COLUMNS]
    return replace(
        draft,
        table=table[[*COLUMNS, *subgroups]],
        patient_rule=patients.rule,
        patients_assumed=patients.assumed,
        notes=tuple(notes),
    )
