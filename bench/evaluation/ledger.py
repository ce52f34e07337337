"""The ledger of openings: every time that a test split was opened, in whichever run, is a line that stays.

The lines lie in ``CACHE/test-openings.jsonl`` beside the stored sets, and each run keeps its own in run.json, so that
neither a new cache nor a moved run folder makes an opening unseen.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from bench.run.documents import LedgerRecord
from bench.run.folder import RunDir
from bench.run.record import OpeningRecord

LEDGER = "test-openings.jsonl"
MOST_SAMPLED = 1000
_DIGITS = 12


class Opening(OpeningRecord):
    """An opening of which everything is known that earlier ones are compared by."""

    time: str
    run: str
    data: str
    split: str
    images: int
    decisions: str

    def shared(self, other: "Opening") -> int:
        """How many images both splits hold, at least: exact up to `MOST_SAMPLED` images per split."""
        return len(_images(self.sample) & _images(other.sample))


def sample_of(pixels: Iterable[str]) -> str:
    """The first 48 bits of the `MOST_SAMPLED` smallest of some hexadecimal hashes, one after the other.

    The smallest of two sets are among the smallest of what they share, so that a sample finds what random draws would
    miss (bottom-k sketch: Cohen & Kaplan 2007).
    """
    return "".join(sorted({value[:_DIGITS] for value in pixels})[:MOST_SAMPLED])


def _images(sample: str) -> set[str]:
    return {sample[start : start + _DIGITS] for start in range(0, len(sample), _DIGITS)}


def openings(cache: Path, run: RunDir) -> list[Opening]:
    """All openings on record: those of the ledger, and those that runs beside ``run`` remember; by time."""
    found = {*_of_ledger(cache / LEDGER), *_of_runs(run)}
    return sorted(found, key=lambda one: (one.time, one.run))


def add(cache: Path, opening: Opening, run: RunDir) -> list[str]:
    """Write an opening down, in the ledger and in run.json, before anything is read; times of all of this run."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{LEDGER}.lock"), (cache / LEDGER).open("a", encoding="utf-8") as file:
        file.write(json.dumps(opening.model_dump()) + "\n")
    record = run.add_opening(opening)
    return [one.time for one in record.test.openings]


def summary(known: list[Opening], present: Opening) -> LedgerRecord:
    """What evaluation.json says of the ledger: counts, the openings that concern these images, and a sentence."""
    here = [one for one in known if one.split == present.split]
    rest = [one for one in known if one.split != present.split]
    sharing = [one for one in rest if present.shared(one)]
    others = [one for one in rest if one.data == present.data and one not in sharing]
    concern = (one.model_dump(exclude={"sample"}) for one in (*here, *sharing, *others))
    return LedgerRecord(
        this_split=len(here),
        this_data=sum(one.data == present.data for one in known),
        overlapping=len(sharing),
        shared_images=max((present.shared(one) for one in sharing), default=0),
        openings=tuple(OpeningRecord(**one) for one in concern),
        sentence=" ".join(_sentences(here, sharing, others, present)),
    )


def _sentences(here: list[Opening], sharing: list[Opening], others: list[Opening], present: Opening) -> Iterator[str]:
    optimistic = "a choice made after having seen an earlier result makes this one optimistic."
    shared = max((present.shared(one) for one in sharing), default=0)
    if len(here) > 1:
        yield (
            f"These {present.images} test images have been opened {len(here)} times, {_runs(here, present)}: "
            f"{optimistic}"
        )
        if sharing:
            yield f"Test splits that hold up to {shared} of them besides others were opened {_times(sharing)}."
    elif sharing:
        yield (
            f"Just these {present.images} test images were opened for the first time, but test splits that hold up to "
            f"{shared} of them were opened {_times(sharing)} before: {optimistic}"
        )
    else:
        yield f"These {present.images} test images were opened for the first time."
    if others:
        yield f"Other test splits of the same data were opened {_times(others)}."


def _runs(openings: list[Opening], present: Opening) -> str:
    runs = {(one.run, one.begun) for one in openings} | {(present.run, present.begun)}
    return f"by {len(runs)} runs" if len(runs) > 1 else "by this run alone"


def _times(openings: list[Opening]) -> str:
    return "once" if len(openings) == 1 else f"{len(openings)} times"


def _of_ledger(path: Path) -> Iterator[Opening]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        with suppress(ValidationError):  # a line that a crash cut short
            yield Opening.model_validate_json(line)


def _of_runs(run: RunDir) -> Iterator[Opening]:
    for path in sorted(run.path.parent.glob("*/run.json")):
        try:
            entries = json.loads(path.read_text(encoding="utf-8")).get("test", {}).get("openings", [])
        except (OSError, ValueError, AttributeError):
            continue
        for entry in entries:
            with suppress(ValidationError):
                yield Opening.model_validate(entry)
