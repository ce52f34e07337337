"""Where images come from: each source becomes one `ImageSet`, a table of images with label, patient and split.

Nothing is decoded here; `store.py` does that.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from PIL import Image

from bench.data import demo
from bench.errors import ConfigError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LAYOUTS = "folders of images called after their class, directly or inside train/, val/ and test/"


@dataclass(frozen=True)
class ImageSet:
    """Labelled images, not yet decoded.

    Attributes:
        source: the kind of source, ``folder`` or ``demo``.
        path: where it was found, as the user gave it.
        classes: class names in the order of their indices.
        table: a row an image: ``image`` (its name in the source), ``label`` (class name), ``patient`` (read
            widely; splits keep these together), ``patient_narrow`` (leaks are looked for by this one), ``split``
            (``train``, ``val``, ``test``, or empty where none is given).
        stamps: a text an image that changes when its file changes (size and modification time).
        read: row number -> the bytes of the encoded image.
        patient_rule: how patients were told apart, in words.
        synthetic: whether the images are drawn, not taken.
        notes: what the user should know about this source, in sentences.
    """

    source: str
    path: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    stamps: tuple[str, ...]
    read: Callable[[int], bytes]
    patient_rule: str
    synthetic: bool = False
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class PatientRule:
    """How the patient is read from a file name, narrowly (series and number) and widely (number alone)."""

    title: str
    pattern: re.Pattern[str]
    narrow: str
    wide: str


PATIENT_RULES = (
    PatientRule(
        "built-in reading of the public chest X-ray names (personN_bacteria_M)",
        re.compile(r"^person(?P<number>\d+)_(?P<series>bacteria|virus)_\d+"),
        narrow=r"\g<series>-\g<number>",
        wide=r"person-\g<number>",
    ),
    PatientRule(
        "built-in reading of the public chest X-ray names (IM-N-M)",
        re.compile(r"^(?P<series>NORMAL2-)?IM-(?P<number>\d+)-\d+"),
        narrow=r"\g<series>IM-\g<number>",
        wide=r"IM-\g<number>",
    ),
)
"""In the public paediatric chest X-ray set the series are numbered independently, so the number alone joins
images of different children; that is safe for drawing splits and a false alarm when looking for leaks."""


def read_patients(names: Iterable[str]) -> tuple[list[str], list[str], str]:
    """Patients by file name: (wide, narrow, the rule in words).

    A rule is used only if every name matches one of them; otherwise each image is its own patient.
    """
    wide, narrow = [], []
    names = list(names)
    for name in names:
        stem = Path(name).name
        for rule in PATIENT_RULES:
            match = rule.pattern.match(stem)
            if match:
                wide.append(match.expand(rule.wide))
                narrow.append(match.expand(rule.narrow))
                break
    if len(wide) < len(names):
        return names, names, "each image is taken for its own patient (an assumption: the names carry none)"
    return wide, narrow, "built-in reading of the public chest X-ray file names"


def open_source(data: str | None, seed: int) -> ImageSet:
    """The images at ``data``, or the demo data set drawn from ``seed`` where it is None or ``demo``.

    Raises:
        ConfigError: if there is nothing usable; the message says what is accepted.
    """
    if data is None or data == "demo":
        return demo_source(seed)
    return folder_source(Path(data))


def demo_source(seed: int) -> ImageSet:
    """The embedded data set: synthetic chest phantoms."""
    drawn = demo.draw(seed=seed)

    def read(row: int) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(drawn.images[row]).save(buffer, format="PNG", compress_level=1)
        return buffer.getvalue()

    names = [f"phantom-{row:04d}.png" for row in range(len(drawn.labels))]
    patients = list(drawn.patients)
    table = pd.DataFrame(
        {
            "image": names,
            "label": list(drawn.labels),
            "patient": patients,
            "patient_narrow": patients,
            "split": list(drawn.splits),
        }
    )
    return ImageSet(
        source="demo",
        path="embedded demo data",
        classes=tuple(sorted(table["label"].unique())),
        table=table,
        stamps=(f"seed {seed}, {hashlib.blake2b(drawn.images.tobytes(), digest_size=16).hexdigest()}",) * len(names),
        read=read,
        patient_rule="known: the images are drawn patient by patient",
        synthetic=True,
        notes=("The demo data are synthetic phantoms drawn from a seed; scores on them say nothing about medicine.",),
    )


def folder_source(root: Path) -> ImageSet:
    """Images below ``root``, laid out as split/class/image or class/image.

    Raises:
        ConfigError: if the folder is missing, holds no images, or fewer than two classes.
    """
    if not root.exists():
        raise ConfigError(f"There is no folder {root}; --data takes {LAYOUTS}.")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; --data takes {LAYOUTS}.")
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__")))
    split_folders = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if split_folders and not any(SPLIT_NAMES[folder.name.lower()] == "train" for folder in split_folders):
        raise ConfigError(
            f"{root} has {', '.join(f.name for f in split_folders)} but no train folder; --data takes {LAYOUTS}."
        )
    rows: list[tuple[str, str, str]] = []
    for top in split_folders or [root]:
        split = SPLIT_NAMES[top.name.lower()] if split_folders else ""
        for class_folder in sorted(
            entry for entry in top.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__"))
        ):
            rows += [
                (path.relative_to(root).as_posix(), class_folder.name, split)
                for path in sorted(class_folder.rglob("*"))
                if path.suffix.lower() in EXTENSIONS and path.is_file() and not _hidden(path.relative_to(class_folder))
            ]
    if not rows:
        raise ConfigError(_why_empty(root))
    table = pd.DataFrame(rows, columns=["image", "label", "split"])
    classes = tuple(sorted(table["label"].unique()))
    if len(classes) < 2:
        raise ConfigError(
            f"{root} holds one class only ({classes[0]}); at least two class folders with images are needed."
        )
    _refuse_multi_label(root, table)
    wide, narrow, rule = read_patients(table["image"])
    table["patient"], table["patient_narrow"] = wide, narrow
    names = table["image"].astype(str).tolist()
    stats = [(root / name).stat() for name in names]
    notes = []
    ignored = sorted(folder.name for folder in folders if split_folders and folder not in split_folders)
    if ignored:
        notes.append(f"Folders beside the splits were left out: {', '.join(ignored)}.")
    return ImageSet(
        source="folder",
        path=str(root),
        classes=classes,
        table=table[["image", "label", "patient", "patient_narrow", "split"]],
        stamps=tuple(f"{stat.st_size}-{stat.st_mtime_ns}" for stat in stats),
        read=lambda row: (root / names[row]).read_bytes(),
        patient_rule=rule,
        notes=tuple(notes),
    )


def _hidden(path: Path) -> bool:
    """Whether a file or a folder on the way to it is one that programs keep for themselves."""
    return any(part.startswith((".", "__")) for part in path.parts)


def _why_empty(root: Path) -> str:
    loose = [path for path in root.iterdir() if path.suffix.lower() in EXTENSIONS]
    if loose:
        return f"The images in {root} lie in no class folder, so they have no label; --data takes {LAYOUTS}."
    return f"There are no images below {root} (looked for {', '.join(EXTENSIONS)}); --data takes {LAYOUTS}."


def _refuse_multi_label(root: Path, table: pd.DataFrame) -> None:
    """Refuse sets in which an image carries several labels: one label an image is what everything here assumes."""
    several = sorted({label for label in table["label"] if "|" in label or ";" in label})
    if several:
        raise ConfigError(
            f"{root} looks like multi-label data (class folder {several[0]!r}); each image must have exactly one label."
        )
    named = table.assign(name=[Path(image).name for image in table["image"]])
    shared = named.groupby(["split", "name"]).filter(lambda group: group["label"].nunique() > 1)
    same = 0
    for _, group in shared.groupby(["split", "name"]):
        if len({(root / image).stat().st_size for image in group["image"]}) == 1:
            same += len({(root / image).read_bytes() for image in group["image"]}) == 1
    if same > 0.01 * len(table):
        raise ConfigError(
            f"{root} looks like multi-label data ({same} images lie in several class folders); "
            "each image must have exactly one label."
        )
