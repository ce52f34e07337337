"""The ledger of openings: every time that a test split was opened, in whichever run, is a line that stays.

The lines lie in a file on this machine, in one beside the cache and, where that is wanted, in one beside the data
(`bench.run.ledgers`); each run keeps its own in run.json. Neither a new cache nor a new output folder makes an opening
unseen. Each line carries its checksum and the hash of the line before it, is on the disk before an image is read, and
begins on a line of its own whatever a crash has left before it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash
from filelock import FileLock
from pydantic import ValidationError

from bench.evaluation.known_images import PERCEPTUAL, counterparts, hashes, same_pixels
from bench.run.folder import RunDir, to_disk
from bench.run.ledgers import LEDGER
from bench.run.record import OpeningRecord

EVALUATION, PREDICTION, SEALED, SCORES = "evaluation", "prediction", "sealed", "scores"
EXTERNAL = "external"
"""Kinds of lines: an evaluation's opening; test images given to `predict`; a test split that a run set aside before its
search; what an evaluation came to, known only after its opening; and an external test, whose ``decisions`` are the hash
of the model's file."""
_BEGINNING = re.compile(r'\n|(?=\{"time": )')
"""Where a line begins, also after one that a crash has cut short."""


class Opening(OpeningRecord):
    """A line of which everything is known that others are compared by."""

    time: str
    run: str
    data: str
    split: str
    images: int
    decisions: str

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it from others, in whichever ledger it stands."""
        place = (self.kind, self.time, self.run, self.begun, self.data, self.split, self.decisions, self.plan)
        return (*place, self.call) if self.call else place

    def joined_to(self, first: "Opening") -> "Opening":
        """Both parts of one command as one line, at the time of the ``first``."""
        return first.model_copy(
            update={
                "images": first.images + self.images,
                "sample": "".join(sorted({*hashes(first.sample), *hashes(self.sample)})),
                "looks": "".join(sorted({*hashes(first.looks, PERCEPTUAL), *hashes(self.looks, PERCEPTUAL)})),
            }
        )

    def same_as(self, other: "Opening") -> bool:
        """Whether both are of one kind, run and split, under the same decisions and plan."""
        return self.key[:1] + self.key[2:] == other.key[:1] + other.key[2:]

    def shared(self, other: "Opening") -> tuple[int, int]:
        """How many images both splits hold, at least; and how many of these only by their looks, not their pixels."""
        same = same_pixels(self.sample, other.sample)
        near = int((counterparts(self.looks, other.looks) >= 0).sum())
        return max(same, near), max(0, near - same)


@dataclass(frozen=True)
class Known:
    """All that is on record.

    Attributes:
        lines: of every kind but `SCORES`, which are joined to the openings that they belong to; by time.
        unreadable: lines that are damaged; each may have been an opening.
        broken: where a ledger is no longer as it was written, in sentences.
        since: date from which there is a record; empty where there is none.
    """

    lines: tuple[Opening, ...] = ()
    unreadable: int = 0
    broken: tuple[str, ...] = ()
    since: str = ""

    def of(self, kind: str) -> list[Opening]:
        """The lines of one kind; the parts of one command count as one line."""
        found: dict[tuple[str, ...], Opening] = {}
        for one in self.lines:
            if one.kind == kind:
                key = (one.run, one.begun, one.call.partition("/")[0]) if one.call else one.key
                found[key] = one.joined_to(found[key]) if key in found else one
        return list(found.values())


@dataclass(frozen=True)
class Ledgers:
    """The folders in which ledgers lie."""

    folders: tuple[Path, ...]

    def known(self, run: RunDir) -> Known:
        """What all of them hold, and what runs beside ``run`` remember."""
        found = [_read(folder / LEDGER) for folder in self.folders]
        remembered = list(_of_runs(run))
        lines = [line for ledger in found for line in ledger.lines]
        scores = {_scored(line): line.scores for line in lines if line.kind == SCORES}
        by_key = {line.key: line for line in (*remembered, *lines) if line.kind != SCORES}
        joined = [line.model_copy(update={"scores": scores.get(_scored(line), {})}) for line in by_key.values()]
        there = {str(folder): {line.key for line in one.lines} for folder, one in zip(self.folders, found, strict=True)}
        gone = [
            f"The ledger in {place} lacks an opening of {line.time} that run {line.run} wrote into it."
            for line in remembered
            for place in line.ledgers
            if place in there and line.key not in there[place]
        ]
        return Known(
            lines=tuple(sorted(joined, key=lambda one: (one.time, one.run))),
            unreadable=sum(one.unreadable for one in found),
            broken=(*(sentence for one in found for sentence in one.broken), *dict.fromkeys(gone)),
            since=min((line.time for line in lines), default="")[:10],
        )

    def write(self, line: Opening) -> Opening:
        """Write ``line`` into every ledger that lacks it; returns it with the places that hold it.

        A ledger that cannot be written, such as one beside data that are read-only, is passed over.

        Raises:
            OSError: if none can be written.
        """
        written, errors = [], []
        for folder in self.folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if line.key not in {one.key for one in _read(folder / LEDGER).lines}:
                    _append(folder, line)
                written.append(str(folder))
            except OSError as error:
                errors.append(error)
        if not written and errors:
            raise errors[-1]
        return line.model_copy(update={"ledgers": tuple(written)})

    def add(self, opening: Opening, run: RunDir) -> list[str]:
        """Write an opening down where it is not yet, in the ledgers and in run.json; times of all of this run."""
        opening = self.write(opening)
        record = run.read()
        if opening.key not in [Opening.model_validate(one.model_dump()).key for one in record.test.openings]:
            record = run.add_opening(opening)
        return [one.time for one in record.test.openings]


def _scored(line: Opening) -> tuple[str, ...]:
    return line.key[1:]


def _append(folder: Path, opening: Opening) -> None:
    path = folder / LEDGER
    with FileLock(folder / f".{LEDGER}.lock"), path.open("a+b") as file:
        file.seek(0)
        before = file.read()
        torn = bool(before) and not before.endswith(b"\n")
        file.write(b"\n" * torn + _line(opening, _previous(before)).encode())
        file.flush()
        os.fsync(file.fileno())
    to_disk(folder)


def _previous(content: bytes) -> str:
    """SHA-256 of the last line; empty where there is none."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    return hashlib.sha256(lines[-1]).hexdigest() if lines else ""


def _line(opening: Opening, previous: str) -> str:
    entry = {**opening.model_dump(exclude={"ledgers"}), "previous": previous}
    return json.dumps({**entry, "checksum": _checksum(entry)}) + "\n"


def _checksum(entry: dict[str, object]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(entry).encode())


def _read(path: Path) -> Known:
    """One ledger; a line that a crash has cut short may stand before another in the same line."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Known()
    except OSError as error:
        return Known(broken=(f"The ledger {path} cannot be read ({error.strerror}).",))
    found, damaged = [], 0
    for part in filter(str.strip, _BEGINNING.split(content.decode(errors="replace"))):
        try:
            entry = json.loads(part)
            sound = entry.pop("checksum", None) in (None, _checksum(entry))  # none in those of an earlier version
            found += [Opening.model_validate(entry)] if sound else []
            damaged += not sound
        except (ValueError, AttributeError, TypeError, RecursionError):
            damaged += 1
    return Known(tuple(found), damaged, tuple(_broken(path, content)))


def _broken(path: Path, content: bytes) -> Iterator[str]:
    """Where a line does not follow the one that it was written after.

    Earlier versions wrote lines without a chain, which stand before the first that has one; of those behind it, the
    first is told.
    """
    before, chained, stripped = "", False, False
    for number, line in enumerate((line for line in content.split(b"\n") if line.strip()), start=1):
        with suppress(ValueError, AttributeError, RecursionError):
            previous = json.loads(line).get("previous")
            lacking = previous is None and chained and not stripped
            if lacking or previous not in (None, before):
                where = f"line {number}" if number > 1 else "its first line"
                yield f"The chain of {path} is broken before {where}: lines there were changed, removed or added."
            chained, stripped = chained or previous is not None, stripped or lacking
        before = hashlib.sha256(line).hexdigest()


def _of_runs(run: RunDir) -> Iterator[Opening]:
    for path in sorted(run.path.parent.glob("*/run.json")):
        try:
            entries = list(json.loads(path.read_text(encoding="utf-8")).get("test", {}).get("openings", []))
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            continue
        for entry in entries:
            with suppress(ValidationError):
                yield Opening.model_validate(entry)
