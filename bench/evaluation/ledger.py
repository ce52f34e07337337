"""The ledger of openings: every time that a test split was opened, in whichever run, is a line that stays.

The lines lie in ``CACHE/test-openings.jsonl`` beside the stored sets, and each run keeps its own in run.json, so that
neither a new cache nor a moved run folder makes an opening unseen. Each line carries its checksum, is on the disk
before an image is read, and begins on a line of its own whatever a crash has left before it.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import xxhash
from filelock import FileLock
from pydantic import ValidationError

from bench.run.documents import LedgerRecord
from bench.run.folder import RunDir, to_disk
from bench.run.record import OpeningRecord

LEDGER = "test-openings.jsonl"
MOST_SAMPLED = 1000
_DIGITS = 12
_BEGINNING = re.compile(r'\n|(?=\{"time": )')
"""Where a line begins, also after one that a crash has cut short."""


class Opening(OpeningRecord):
    """An opening of which everything is known that earlier ones are compared by."""

    time: str
    run: str
    data: str
    split: str
    images: int
    decisions: str

    def same_as(self, other: "Opening") -> bool:
        """Whether both are of one run, one split and the same decisions."""
        names = ("run", "begun", "data", "split", "decisions")
        return all(getattr(self, name) == getattr(other, name) for name in names)

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
    found = {*_of_ledger(cache / LEDGER)[0], *_of_runs(run)}
    return sorted(found, key=lambda one: (one.time, one.run))


def unreadable(cache: Path) -> int:
    """How many lines of the ledger are damaged; each may have been an opening."""
    return _of_ledger(cache / LEDGER)[1]


def add(cache: Path, opening: Opening, run: RunDir) -> list[str]:
    """Write an opening down where it is not yet, in the ledger and in run.json; times of all of this run."""
    cache.mkdir(parents=True, exist_ok=True)
    if opening not in _of_ledger(cache / LEDGER)[0]:
        _append(cache, opening)
    record = run.read()
    if opening.model_dump() not in [one.model_dump() for one in record.test.openings]:
        record = run.add_opening(opening)
    return [one.time for one in record.test.openings]


def _append(cache: Path, opening: Opening) -> None:
    with FileLock(cache / f".{LEDGER}.lock"), (cache / LEDGER).open("a+b") as file:
        torn = file.tell() > 0 and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * torn + _line(opening).encode())
        file.flush()
        os.fsync(file.fileno())
    to_disk(cache)


def _line(opening: Opening) -> str:
    entry = opening.model_dump()
    return json.dumps({**entry, "checksum": _checksum(entry)}) + "\n"


def _checksum(entry: dict[str, object]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(entry).encode())


def summary(known: list[Opening], present: Opening, unreadable: int = 0) -> LedgerRecord:
    """What evaluation.json says of the ledger: counts, the openings that concern these images, and a sentence.

    Args:
        known: all openings on record, the present one included.
        present: the one that this evaluation is made of.
        unreadable: lines of the ledger that are damaged.
    """
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
        unreadable=unreadable,
        sentence=" ".join([*_sentences(here, sharing, others, present), *_damage(unreadable)]),
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


def _damage(lines: int) -> Iterator[str]:
    if lines:
        what = "One line of the ledger is" if lines == 1 else f"{lines} lines of the ledger are"
        yield f"{what} damaged, and may have been of these images too."


def _of_ledger(path: Path) -> tuple[list[Opening], int]:
    """The openings of the ledger, and how many of its lines are damaged.

    One that a crash has cut short may stand before another in the same line.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found, damaged = [], 0
    for part in filter(str.strip, _BEGINNING.split(text)):
        try:
            entry = json.loads(part)
            sound = entry.pop("checksum", None) in (None, _checksum(entry))  # none in those of an earlier version
            found += [Opening.model_validate(entry)] if sound else []
            damaged += not sound
        except (ValueError, AttributeError, TypeError, RecursionError):
            damaged += 1
    return found, damaged


def _of_runs(run: RunDir) -> Iterator[Opening]:
    for path in sorted(run.path.parent.glob("*/run.json")):
        try:
            entries = list(json.loads(path.read_text(encoding="utf-8")).get("test", {}).get("openings", []))
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue
        for entry in entries:
            with suppress(ValidationError):
                yield Opening.model_validate(entry)
