"""Images that somebody wants classified and that are test images of a run: that opens the test split, and is noted."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from bench import numbers
from bench.data.images.decode import Facts
from bench.errors import ConfigError
from bench.evaluation.known_images import DIGITS, PERCEPTUAL, counterparts, hashes
from bench.evaluation.ledger import EVALUATION, PREDICTION, SEALED, Known, Ledgers, Opening
from bench.evaluation.test_access import split_fingerprint
from bench.run.folder import RunDir
from bench.run.ledgers import folders
from bench.run.tables import SPLITS


@dataclass(frozen=True)
class TestSplit:
    """A test split that is known: from splits.csv of a run, or from a line of a ledger.

    Attributes:
        run: that it belongs to, and ``begun``, when that was created.
        data: fingerprint of the whole set.
        split: fingerprint of the test images.
        pixels, looks: hashes of the images, as in `bench.evaluation.known_images`.
    """

    __test__ = False  # no test of pytest's
    run: str
    begun: str
    data: str
    split: str
    pixels: str
    looks: str


@dataclass(frozen=True)
class Found:
    """Images that are in a test split.

    Attributes:
        split: that one.
        rows: positions of the images.
        altered: how many of them are known by their looks only.
        pixels, looks: hashes of the test images that they are.
    """

    split: TestSplit
    rows: frozenset[int]
    altered: int
    pixels: frozenset[str]
    looks: frozenset[str]


def note_test_images(run: RunDir, paths: Sequence[Path], facts: Sequence[Facts], decisions: str) -> str:
    """Write into the ledgers that test images are looked at, before they are; returns that in words, or nothing.

    Args:
        run: whose model looks at them.
        paths: of the images.
        facts: of each.
        decisions: SHA-256 of the run's best_model.json.

    Raises:
        OSError: if no ledger can be written.
    """
    record = run.read()
    ledgers = Ledgers(folders(record.settings, paths))
    splits = [*_of_runs(run), *_of_ledgers(ledgers.known(run))]
    found = [match for match in (_match(split, facts) for split in splits) if match.rows]
    if not found:
        return ""
    most = max(found, key=lambda match: (len(match.rows), -match.altered))
    line = Opening(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        run=run.name,
        data=most.split.data,
        split=most.split.split,
        images=len(most.rows),
        decisions=decisions,
        begun=record.created,
        sample="".join(sorted(frozenset().union(*(match.pixels for match in found)))),
        looks="".join(sorted(frozenset().union(*(match.looks for match in found)))),
        kind=PREDICTION,
        plan=record.plans[-1].sha256 if record.plans else "",
    )
    ledgers.write(line)
    altered = f" ({most.altered} of them resized or recompressed)" if most.altered else ""
    these = "is a test image" if len(most.rows) == 1 else "are test images"
    return (
        f"{len(most.rows)} of {numbers.counted(len(paths), 'image')} {these} of run {most.split.run}{altered}; that is "
        "written into the ledger as an opening of its test split."
    )


def _match(split: TestSplit, facts: Sequence[Facts]) -> Found:
    known = set(hashes(split.pixels))
    same = {row: one.pixels[:DIGITS] for row, one in enumerate(facts) if one.pixels[:DIGITS] in known}
    left = [row for row, one in enumerate(facts) if row not in same and not one.constant]
    places = counterparts("".join(facts[row].perceptual_hash for row in left), split.looks, ours_is_whole=False)
    theirs = hashes(split.looks, PERCEPTUAL)
    near = {row: theirs[place] for row, place in zip(left, places, strict=True) if place >= 0}
    exact = {facts[row].perceptual_hash for row in same if not facts[row].constant}
    return Found(
        split=split,
        rows=frozenset({*same, *near}),
        altered=len(near),
        pixels=frozenset(same.values()),
        looks=frozenset({*exact, *near.values()}),
    )


def _of_runs(run: RunDir) -> Iterator[TestSplit]:
    """Those of ``run`` itself and of the runs beside it, of which every image is known."""
    for path in sorted({run.path, *(one.parent for one in run.path.parent.glob("*/splits.csv"))}):
        other = RunDir(path)
        with suppress(OSError, ValueError, ConfigError):
            table, _ = SPLITS.read_leniently(path)
            table = table[(table["split"] == "test") & (table["pixels"].fillna("") != "")]
            record = other.read()
            if len(table):
                data = record.data.fingerprint if record.data else ""
                pixels, looks = ("".join(_distinct(table[name], size)) for name, size in _SIZES.items())
                yield TestSplit(other.name, record.created, data, split_fingerprint(table), pixels, looks)


_SIZES = {"pixels": DIGITS, "looks": PERCEPTUAL}


def _distinct(values: "pd.Series[str]", size: int) -> list[str]:
    return sorted({value[:size] for value in values.fillna("") if len(value) >= size})


def _of_ledgers(known: Known) -> Iterator[TestSplit]:
    for line in (*known.of(SEALED), *known.of(EVALUATION)):
        yield TestSplit(line.run, line.begun, line.data, line.split, line.sample, line.looks)
