"""The ledger of openings: every time that a test split was opened, in whichever run, is a line that stays.

The lines lie in ``CACHE/test-openings.jsonl`` beside the stored sets, and each run keeps its own in run.json, so that
neither a new cache nor a moved run folder makes an opening unseen.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from bench.rundir import RunDir

LEDGER = "test-openings.jsonl"


@dataclass(frozen=True)
class Opening:
    """One opening of a test split.

    Attributes:
        time: ISO time, UTC.
        run: name of the run.
        data: fingerprint of the whole set, names and labels included.
        split: fingerprint of the test images alone, by their pixels: other names, labels or training images do not
            make it another split.
        images: how many there are.
        decisions: SHA-256 of best_model.json as it stood, where every choice is written down.
    """

    time: str
    run: str
    data: str
    split: str
    images: int
    decisions: str


def openings(cache: Path, run: RunDir) -> list[Opening]:
    """All openings on record: those of the ledger, and those that runs beside ``run`` remember; by time."""
    found = {*_of_ledger(cache / LEDGER), *_of_runs(run)}
    return sorted(found, key=lambda one: (one.time, one.run))


def add(cache: Path, opening: Opening, run: RunDir) -> None:
    """Write an opening down, in the ledger and in run.json, before anything is read."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{LEDGER}.lock"), (cache / LEDGER).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(opening)) + "\n")

    def note(content: dict[str, Any]) -> None:
        before = content.get("test", {})
        content["test"] = {
            "opened": [*before.get("opened", []), opening.time],
            "openings": [*before.get("openings", []), asdict(opening)],
        }

    run.update_run(note)


def summary(known: list[Opening], data: str, split: str, images: int) -> dict[str, Any]:
    """What evaluation.json says of the ledger: counts, the openings that concern this data, and a sentence.

    Args:
        known: all openings on record, the present one included.
        data, split: fingerprints of the present set and of its test split.
        images: in this test split.
    """
    here = [one for one in known if one.split == split]
    others = [one for one in known if one.split != split and one.data == data]
    return {
        "this_split": len(here),
        "this_data": len(here) + len(others),
        "overlapping": len(others),
        "openings": [asdict(one) for one in (*here, *others)],
        "sentence": _sentence(here, others, images),
    }


def _sentence(here: list[Opening], others: list[Opening], images: int) -> str:
    if len(here) == 1:
        told = f"These {images} test images were opened for the first time."
    else:
        runs = len({one.run for one in here})
        by = f"by {runs} runs" if runs > 1 else "by this run alone"
        told = (
            f"These {images} test images have been opened {len(here)} times, {by}: a choice made after having seen an "
            "earlier result makes this one optimistic."
        )
    if others:
        times = "once" if len(others) == 1 else f"{len(others)} times"
        told += f" Other test splits of the same data, which may share images with this one, were opened {times}."
    return told


def _of_ledger(path: Path) -> Iterator[Opening]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield _opening(json.loads(line))
        except (ValueError, TypeError, KeyError):  # a line that a crash cut short
            continue


def _of_runs(run: RunDir) -> Iterator[Opening]:
    for path in sorted(run.path.parent.glob("*/run.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries = content.get("test", {}).get("openings", [])
        except (OSError, ValueError, AttributeError):
            continue
        for entry in entries:
            try:
                yield _opening(entry)
            except (TypeError, KeyError):
                continue


def _opening(entry: Mapping[str, Any]) -> Opening:
    return Opening(**{field.name: field.type(entry[field.name]) for field in fields(Opening)})  # type: ignore[operator]
