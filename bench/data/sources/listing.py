"""What the sources made of files share: which files are images, how splits are called, and the set they become."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from bench.data.images.dicom import ENDINGS as DICOM_ENDINGS
from bench.data.images.dicom import has_magic, read_patient_ids, require_pydicom
from bench.data.imageset import COLUMNS, FileReader, ImageSet, LeftOut
from bench.data.patients import find_patients
from bench.errors import ConfigError

PICTURES = (".jpg", ".jpeg", ".jfif", ".jp2", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
EXTENSIONS = (*PICTURES, *DICOM_ENDINGS)
OTHERS = (
    *(
        ".csv",
        ".tsv",
        ".txt",
        ".json",
        ".xml",
        ".yaml",
        ".yml",
        ".md",
        ".html",
        ".pdf",
        ".xls",
        ".xlsx",
        ".doc",
        ".docx",
    ),
    *(
        ".zip",
        ".gz",
        ".tar",
        ".7z",
        ".rar",
        ".npy",
        ".npz",
        ".h5",
        ".pt",
        ".pkl",
        ".mat",
        ".nii",
        ".mp4",
        ".avi",
        ".svg",
    ),
    *(".py", ".ipynb", ".db", ".log"),
)
"""Endings of files that are no images, and not looked into."""
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n"),
    *(b"P5\n", b"P6\n", b"P5 ", b"P6 "),
)
"""What pictures begin with; WebP and BMP aside."""
SPLIT_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validating", "dev", "devel", "development", "eval", "evaluation", "tuning"),
    "test": ("test", "tests", "testing", "tst", "holdout"),
}
SPLIT_NAMES = {word: split for split, words in SPLIT_WORDS.items() for word in words}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
# Written together with a word for a collection, as in trainset or testimages; trainval is both, to be split again.
_FUSED = re.compile(
    rf"({'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})(set|data|dataset|images?|imgs?|split|val)"
)
_FOLD = re.compile(r"(?:fold|folds|cv|kfold|k-fold|cvfold)[ _\-]*(\d{1,3})|(\d{1,3})[ _\-]*fold", re.IGNORECASE)
_HELD_OUT = re.compile(r"h[oe]ld[\W_]*out", re.IGNORECASE)
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reads ``path``, and what lies below it.

    Raises:
        ConfigError: in place of `OSError`, such as where the permission to read is missing.
    """
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else str(path)
        why = error.strerror or error
        raise ConfigError(f"{printable(where)} cannot be read ({why}); all of --data must be readable.") from None


def printable(name: str) -> str:
    """``name`` with what is not UTF-8 in it written as escapes; unchanged where all of it is."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def listed(names: Iterable[str]) -> str:
    """The first of the names, as a message has them."""
    shown = [printable(name) for name in names]
    return ", ".join(shown[:5]) + (", …" if len(shown) > 5 else "")


def split_of(name: str) -> str | None:
    """The split that a folder or a cell called ``name`` stands for: train, val, test, or None.

    One of the words of ``SPLIT_WORDS`` must be in it, in any case, with whatever stands before and after:
    ``Training``, ``test_set``, ``xray_train``, ``train-2019``, ``ValSet``. A name with words of two splits is train
    where they are train and val (what is to be split again), and none otherwise. The name alone cannot tell a split
    ``test_2`` from a class ``test_positive``: for a folder, what lies in it must.
    """
    found = {SPLIT_NAMES[word] for word in words_of(name) if word in SPLIT_NAMES}
    if found == {"train", "val"}:
        return "train"
    return found.pop() if len(found) == 1 else None


def fold_of(name: str) -> str | None:
    """The number of the fold that a folder called ``name`` stands for, such as 3 for ``fold_03``, or None."""
    match = _FOLD.fullmatch(name.strip())
    return (match[1] or match[2]).lstrip("0") or "0" if match else None


def words_of(name: str) -> set[str]:
    """The words and numbers in a name, in lower case; ``trainset`` is train and set."""
    name = _HELD_OUT.sub("holdout", unicodedata.normalize("NFKC", name))
    # Parted where an upper case letter begins a word (TrainSet), and not (TRAINset).
    words = {word.lower() for word in (*_WORD.findall(name), *_WORD.findall(name.lower()))}
    fused = {word: match for word in words if (match := _FUSED.fullmatch(word))}
    return words - fused.keys() | {part for match in fused.values() for part in match.groups()}


def merge_labels(labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels with one spelling a class, and a note for each class that was written in several ways.

    Names that are equal after Unicode normalisation (NFKC), case folding and stripping are one class, and so are a
    whole number and its float, as 1 and 1.0. 01 and 1 are two.

    Returns:
        The labels, in order, blanks around them stripped, each under its class's most frequent spelling (of equally
        frequent ones, the first seen); and the notes, sentences.
    """
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for label, count in Counter(labels).items():
        spellings[folded(label)][label] += count
    chosen = {one: counts.most_common(1)[0][0].strip() for one, counts in spellings.items()}
    spelled = {label: chosen[one] for one, counts in spellings.items() for label in counts}
    notes = [
        f"Labels {' and '.join(f'{_shown(spelling)} ({count})' for spelling, count in counts.items())} are one class, "
        f"{_shown(chosen[one])}: they differ only in case, blanks or Unicode form, or as 1 and 1.0 do."
        for one, counts in spellings.items()
        if len(counts) > 1
    ]
    return [spelled[label] for label in labels], notes


def folded(label: str) -> str:
    """What is the same for all ways to write one class."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    text = " ".join(text.strip("\ufeff\u200b").split())
    number = _WHOLE_NUMBER.fullmatch(text)
    return number[1] if number else text


def _shown(label: str) -> str:
    """In quotes; as code points where it would look like another."""
    return repr(label) if unicodedata.is_normalized("NFKC", label) else ascii(label)


def looks_like_an_image(path: str) -> bool:
    """Whether the file at ``path`` is called like an image or, where its ending says neither yes nor no, begins so."""
    ending = _ending(path)
    return ending in EXTENSIONS or (ending not in OTHERS and (_is_picture(path) or has_magic(Path(path))))


def is_dicom(root: Path, name: str) -> bool:
    """Whether image ``name`` below ``root`` is DICOM: by its ending, or by its content where that tells nothing."""
    ending = _ending(name)
    return ending in DICOM_ENDINGS or (ending not in PICTURES and ending not in OTHERS and has_magic(root / name))


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path each takes ten times as long)


def _is_picture(path: str) -> bool:
    """Whether a file begins as pictures of the kinds that are read do, whatever it is called."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def stamp(stat: os.stat_result) -> str:
    """A text that changes when the file does."""
    return f"{stat.st_size}-{stat.st_mtime_ns}"


def check_classes(where: str | Path, labels: Iterable[str], carrier: str, masks: Sequence[str] = ()) -> tuple[str, ...]:
    """The class names in order.

    Args:
        where: the source, for the message.
        labels: class names, repeated as they may be.
        carrier: what carries a label there, such as ``class folder``.
        masks: paths of what was taken for masks, for the message.

    Raises:
        ConfigError: if there are fewer than two, or a name lists several labels.
    """
    classes = tuple(sorted(set(labels)))
    several = [label for label in classes if "|" in label or ";" in label]
    if several:
        raise ConfigError(
            f"{where} looks like multi-label data ({carrier} {several[0]!r}); each image must have exactly one label."
        )
    if len(classes) < 2:
        taken = f" ({len(masks)} images, such as {printable(masks[0])}, were taken for masks)" if masks else ""
        raise ConfigError(
            f"{where} holds one class only ({classes[0]}){taken}; at least two {carrier}s with images are needed."
        )
    return classes


def file_set(
    source: str,
    path: Path,
    root: Path,
    table: pd.DataFrame,
    stamps: Sequence[str],
    *,
    classes: tuple[str, ...],
    patient_pattern: str | None,
    known: Sequence[str] = (),
    known_rule: str = "",
    others: Sequence[str] = (),
    notes: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    layout: str = "",
    left_out: Sequence[LeftOut] = (),
) -> ImageSet:
    """The set of images that are files of their own.

    Args:
        source: the kind of source.
        path: where it was found.
        root: the folder that names are relative to.
        table: columns ``image``, ``label``, ``split``, and maybe ``fold``.
        stamps: one an image.
        classes: class names in order.
        patient_pattern: as given by ``--patient-pattern``.
        known: the patients that the source names, empty where it names none; goes before DICOM headers.
        known_rule: where ``known`` comes from, in words.
        others: as in `ImageSet`.
        notes: what the user should know.
        groups: columns ``group:COLUMN`` -> a text an image, as `bench.data.groups` makes them.
        layout, left_out: as in `ImageSet`; kinds of which there is nothing are dropped.

    Raises:
        ConfigError: if the pattern is of no use, or there are DICOM files and nothing to read them with.
    """
    names = table["image"].tolist()
    dicom = [row for row, name in enumerate(names) if is_dicom(root, name)]
    if dicom:
        require_pydicom()
        if patient_pattern is None and not any(known):
            ids = [""] * len(names)
            for row, patient in zip(dicom, read_patient_ids([root / names[row] for row in dicom]), strict=True):
                ids[row] = patient
            if len(set(ids) - {""}) > 1:
                known, known_rule = ids, "DICOM PatientID"
            elif any(ids):
                notes = [
                    *notes,
                    "The DICOM PatientID is the same in all files, so it was not used to tell patients apart.",
                ]
    patients = find_patients(names, patient_pattern, known or None, known_rule)
    suggested = any("--patient-pattern" in note for note in notes)  # by who knows the layout, so not by names again
    notes = [*notes, *(note for note in patients.notes if not (suggested and patients.assumed))]
    return ImageSet(
        source=source,
        path=str(path),
        classes=classes,
        table=table.assign(patient=patients.wide, patient_narrow=patients.narrow, fold=table.get("fold", ""))[
            list(COLUMNS)
        ].assign(**{name: list(cells) for name, cells in (groups or {}).items()}),
        stamps=tuple(stamps),
        reader=FileReader(root, tuple(names)),
        patient_rule=patients.rule,
        patients_assumed=patients.assumed,
        others=tuple(others),
        notes=tuple(notes),
        layout=layout,
        left_out=tuple(one for one in left_out if one.names),
    )
