"""Images that somebody wants classified and that are test images of a run: that opens the test split, and is noted."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from bench import numbers
from bench.data.images.decode import Facts
from bench.errors import ConfigError
from bench.evaluation.known_images import DIGITS, PERCEPTUAL, counterparts, hashes
from bench.evaluation.ledger import EVALUATION, PREDICTION, SEALED, Known, Ledgers, Opening
from bench.evaluation.test_access import split_fingerprint
from bench.run.documents import ModelCard
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


@dataclass
class TestImages:
    """Every test split that is known, and which of its images are looked at, part by part.

    Attributes:
        run: whose model looks at them; of a model without its run, the place of its file.
        name, begun: of the run, and when it was created.
        ledgers: where it is written down.
        decisions: SHA-256 of the run's best_model.json.
        plan: hash of its plan; empty where that is not known.
        call: which command this is.
        seen: images so far.
        found: of these, test images: by the split that holds the most.
    """

    __test__ = False  # no test of pytest's
    run: RunDir
    name: str
    begun: str
    ledgers: Ledgers
    decisions: str
    plan: str = ""
    call: str = field(default_factory=lambda: f"{datetime.now(UTC).isoformat()}-{os.getpid()}")
    seen: int = 0
    parts: int = 0
    found: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: RunDir, paths: Iterable[Path], decisions: str) -> "TestImages":
        """For a run's model and the images at ``paths``."""
        record = run.read()
        plan = record.plans[-1].sha256 if record.plans else ""
        ledgers = Ledgers(folders(record.settings, paths))
        return cls(run, run.name, record.created, ledgers, decisions, plan)

    @classmethod
    def of_file(cls, model: Path, card: ModelCard, paths: Iterable[Path]) -> "TestImages":
        """For a model without its run: what the ledgers of this machine and of the images know."""
        return cls(RunDir(model), card.run, card.created, Ledgers(folders(None, paths)), card.sha256)

    @cached_property
    def _splits(self) -> list[TestSplit]:
        runs = _of_runs(self.run) if self.run.run.is_file() else ()
        return [*runs, *_of_ledgers(self.ledgers.known(self.run))]

    def note(self, facts: Sequence[Facts]) -> None:
        """Write into the ledgers that test images are looked at, before they are.

        Raises:
            OSError: if no ledger can be written.
        """
        self.seen += len(facts)
        found = [match for match in (_match(split, facts) for split in self._splits) if match.rows]
        if not found:
            return
        found.sort(key=lambda match: (len(match.rows), -match.altered))
        for match in {match.split.split: match for match in found}.values():  # a run and a ledger may name the same
            before, altered, _ = self.found.get(match.split.split, (0, 0, ""))
            self.found[match.split.split] = before + len(match.rows), altered + match.altered, match.split.run
        most = found[-1]
        self.parts += 1
        self.ledgers.write(
            Opening(
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                run=self.name,
                data=most.split.data,
                split=most.split.split,
                images=len(most.rows),
                decisions=self.decisions,
                begun=self.begun,
                sample="".join(sorted(frozenset().union(*(match.pixels for match in found)))),
                looks="".join(sorted(frozenset().union(*(match.looks for match in found)))),
                kind=PREDICTION,
                plan=self.plan,
                call=f"{self.call}/{self.parts}",
            )
        )

    @property
    def sentence(self) -> str:
        """What was written, in words; empty where no test image was seen."""
        if not self.found:
            return ""
        images, altered, run = max(self.found.values(), key=lambda one: (one[0], -one[1]))
        told = f" ({altered} of them resized or recompressed)" if altered else ""
        these = "is a test image" if images == 1 else "are test images"
        return (
            f"{images} of {numbers.counted(self.seen, 'image')} {these} of run {run}{told}; that is written into the "
            "ledger as an opening of its test split."
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
