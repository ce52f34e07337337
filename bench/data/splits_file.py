"""splits.csv: which image went where, written by every run and taken over by ``--splits``."""

from pathlib import Path

import pandas as pd

from bench.data.splits import SPLITS
from bench.errors import ConfigError
from bench.run.folder import write_table

NEEDED = ("image", "split")


def write_splits(path: Path, table: pd.DataFrame) -> None:
    """Write a row an image: image, label, patient (read narrowly), patient_wide, split, and why it is in none."""
    renamed = table.rename(columns={"patient": "patient_wide"}).rename(columns={"patient_narrow": "patient"})
    write_table(path, renamed[["image", "label", "patient", "patient_wide", "split", "reason"]])


def same_images(path: Path, table: pd.DataFrame) -> bool:
    """Whether the file ``path``, which a run wrote, lists the images of ``table`` and no others.

    Raises:
        ConfigError: if the file cannot be read.
    """
    return set(_read(path)["image"]) == set(table["image"])


def take_over(path: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, str]]:
    """The splits in the file ``path`` for the images of ``table``.

    Args:
        path: a CSV file with the columns ``image`` and ``split`` (train, val, test, or empty for an image that takes
            no part), maybe ``label`` and ``reason``; other columns are ignored.
        table: as in `bench.data.imageset.ImageSet`.

    Returns:
        the table with the file's splits, and row number -> reason of the images that take no part.

    Raises:
        ConfigError: if the file cannot be read, names images that are not there or other labels, or lacks a split.
    """
    rows = _read(path)
    known = dict(zip(table["image"], table["label"], strict=True))
    _refuse(path, "images that the data do not hold", rows.loc[~rows["image"].isin(known) & (rows["split"] != "")])
    rows = rows[rows["image"].isin(known)]
    if "label" in rows:
        other = rows["image"].map(known) != rows["label"]
        _refuse(path, "images under another label than the data", rows[other & (rows["split"] != "")])
    missing = [split for split in SPLITS if split not in set(rows["split"])]
    if missing:
        raise ConfigError(f"--splits {path} puts no image into {missing[0]}; train, val and test are all needed.")
    split_of = dict(zip(rows["image"], rows["split"], strict=True))
    reasons = dict(zip(rows["image"], rows["reason"], strict=True)) if "reason" in rows else {}
    table = table.assign(split=[split_of.get(name, "") for name in table["image"]])
    silent = {
        row: reasons.get(name) or f"takes no part by {path.name}"
        for row, (name, split) in enumerate(zip(table["image"], table["split"], strict=True))
        if not split
    }
    return table, silent


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--splits {path} cannot be read as a CSV file: {reason}.") from None
    absent = [name for name in NEEDED if name not in rows]
    if absent:
        raise ConfigError(
            f"--splits {path} has no column {' and no column '.join(absent)} (it has {', '.join(rows.columns)}); "
            "image and split are needed, as a run's splits.csv has them."
        )
    _refuse(path, "images twice", rows[rows["image"].duplicated()])
    odd = sorted(set(rows["split"]) - {*SPLITS, ""})
    if odd:
        raise ConfigError(f"--splits {path} names the split {odd[0]!r}; train, val, test or nothing is accepted.")
    return rows


def _refuse(path: Path, what: str, rows: pd.DataFrame) -> None:
    if len(rows):
        some = ", ".join(rows["image"].head(5))
        raise ConfigError(f"--splits {path} names {what} ({len(rows)}, such as {some}); it must fit the data.")
