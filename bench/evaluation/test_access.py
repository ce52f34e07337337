"""The wall around the test split: it is given out once, when every choice is written down, and that is recorded.

Everything else works on the set under a seal (`bench.data.sealing`), in which test images cannot be read.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.store import StoredImages
from bench.data.patients import PREFIX
from bench.data.splits import rows_of
from bench.evaluation import ledger
from bench.evaluation.known_images import looks_of, sample_of
from bench.run.documents import ModelCard
from bench.run.folder import STAGES, RunDir, file_sha256
from bench.run.record import read_strictly


class TestSealed(Exception):
    """The test split was to be opened before every choice was written down, or a second time."""

    __test__ = False  # not a test, whatever pytest thinks of its name


@dataclass(frozen=True)
class OpenTest:
    """The test split, opened.

    Attributes:
        rows: row numbers of its images, shape (n_images,).
        table: their rows: ``image``, ``label``, ``patient_id`` and what else the table holds.
        facts: their facts, columns as in `bench.data.images.decode.Facts`.
        images: backbone name -> the stored set at that backbone's size, without a seal.
        opening: this one, as it was written into the ledger.
        known: all on record, of this data and of others, this one included.
        times: when this run opened the split, this time included.
    """

    rows: npt.NDArray[np.int64]
    table: pd.DataFrame
    facts: pd.DataFrame
    images: Mapping[str, StoredImages]
    opening: ledger.Opening
    known: ledger.Known
    times: list[str]


class SealedTest:
    """The test split of a run, behind the wall.

    Args:
        table: one row per image of the whole set, with ``split``.
        facts: one row per image of the whole set.
        images: backbone name -> the stored set, without a seal.
        run: the run folder; what `open` insists on must lie there.
        ledgers: where openings are written down.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        facts: pd.DataFrame,
        images: Mapping[str, StoredImages],
        run: RunDir,
        ledgers: ledger.Ledgers,
    ) -> None:
        self._table = table
        self._facts = facts
        self._images = images
        self._run = run
        self._ledgers = ledgers
        self._rows = rows_of(table, "test")
        self._data = next(iter(images.values())).fingerprint if images else ""

    def __len__(self) -> int:
        return len(self._rows)

    def sealed_table(self) -> pd.DataFrame:
        """The table as everybody else sees it: the test split without labels, and without groups, which tell them."""
        hidden = self._table.copy()
        telling = [name for name in hidden if name == "label" or str(name).startswith(PREFIX)]
        hidden.loc[hidden.index[self._rows], telling] = ""
        return hidden

    def sealed_images(self) -> dict[str, StoredImages]:
        """The stored sets as everybody else sees them."""
        return {name: stored.sealed(self._rows) for name, stored in self._images.items()}

    def open(self) -> OpenTest:
        """The test split; written into the ledger before it is handed out.

        Raises:
            TestSealed: if a choice is still open, the choices are not about the files that are there, or the split
                has been evaluated under them already.
        """
        run = self._run
        for stage in STAGES[: STAGES.index("evaluation")]:
            if not run.finished(stage):
                raise TestSealed(f"the test split stays sealed: the stage {stage!r} of the run is not finished")
        if not run.best_model_card.exists():
            raise TestSealed("the test split stays sealed: best_model.json, where every choice is written, is missing")
        card = read_strictly(ModelCard, run.best_model_card)
        if not run.best_model.exists() or card.sha256 != file_sha256(run.best_model):
            raise TestSealed("the test split stays sealed: best_model.json speaks of another best_model.h5")
        if run.evaluation.exists():
            raise TestSealed("the test split is open already: evaluation.json holds what came of it")
        opening = self._line(ledger.EVALUATION, decisions=file_sha256(run.best_model_card))
        before = self._ledgers.known(run)
        same = next((one for one in before.lines if one.same_as(opening)), None)
        if same is not None:
            opening = same  # of which the evaluation is made once more: nothing was decided since
        times = self._ledgers.add(opening, run)
        return OpenTest(
            rows=self._rows,
            table=self._table.iloc[self._rows],
            facts=self._facts.iloc[self._rows],
            images=self._images,
            opening=opening,
            known=self._ledgers.known(run),
            times=times,
        )

    def set_aside(self) -> list[Path]:
        """Write down, before the search, which images are the test split, so that they are known wherever they turn up.

        Returns:
            folders of ledgers that cannot be written, which is no reason to stop: openings have to be, this need not.
        """
        line, written = self._line(ledger.SEALED), ()  # type: tuple[ledger.Opening, tuple[str, ...]]
        known = self._ledgers.known(self._run).of(ledger.SEALED)
        if not len(self) or any(one.same_as(line) for one in known):
            return []
        with suppress(OSError):
            written = self._ledgers.write(line).ledgers
        return [folder for folder in self._ledgers.folders if str(folder) not in written]

    def scored(self, opening: ledger.Opening, scores: Mapping[str, float]) -> None:
        """Add to the ledgers what came of an opening."""
        line = opening.model_copy(update={"kind": ledger.SCORES, "sample": "", "looks": "", "scores": dict(scores)})
        with suppress(OSError):
            self._ledgers.write(line)

    def _line(self, kind: str, decisions: str = "") -> ledger.Opening:
        facts, record = self._facts.iloc[self._rows], self._run.read()
        return ledger.Opening(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            run=self._run.name,
            data=self._data,
            split=split_fingerprint(facts),
            images=len(self),
            decisions=decisions,
            begun=record.created,
            sample=sample_of(facts["pixels"].astype(str)),
            looks=looks_of(facts),
            kind=kind,
            plan=record.plans[-1].sha256 if record.plans else "",
        )


def split_fingerprint(facts: pd.DataFrame) -> str:
    """Hash of a set of images by their pixels, whatever their names, labels and order."""
    pixels = "\n".join(sorted(facts["pixels"].astype(str)))
    return hashlib.blake2b(pixels.encode(), digest_size=16).hexdigest()
