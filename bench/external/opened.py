"""The ledger of external tests: how often these images have been shown to this model before."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd

from bench.evaluation.known_images import looks_of, sample_of
from bench.evaluation.ledger import EXTERNAL, Ledgers, Opening
from bench.evaluation.test_access import split_fingerprint
from bench.numbers import counted, times
from bench.reuse.model import ReusableModel
from bench.run.documents import ExternalLedger
from bench.run.folder import RunDir
from bench.run.ledgers import folders
from bench.settings import RunSettings


def open_images(
    model: ReusableModel, settings: RunSettings, trained: str, facts: pd.DataFrame, data: str
) -> ExternalLedger:
    """Write the test into the ledgers, before an image is classified, and count those that stand there.

    Args:
        model: that is tested.
        settings: of the test; its images may have a ledger of their own.
        trained: SHA-256 of the training's file, by which tests of one model are known.
        facts: of the images that take part, columns as in `bench.data.images.decode.Facts`.
        data: fingerprint of all images.

    Raises:
        OSError: if no ledger can be written.
    """
    begun, run = model.card.created, model.run or RunDir(model.path)
    opening = Opening(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        run=model.card.run or (model.run.name if model.run else model.path.name),
        data=data,
        split=split_fingerprint(facts),
        images=len(facts),
        decisions=trained,
        begun=begun,
        sample=sample_of(facts["pixels"].astype(str)),
        looks=looks_of(facts),
        kind=EXTERNAL,
    )
    ledgers = Ledgers(folders(settings))
    before = ledgers.known(run).of(EXTERNAL)
    ledgers.write(opening)
    return summary(before, opening)


def summary(before: Sequence[Opening], opening: Opening) -> ExternalLedger:
    """What is to be said of the tests ``before`` this one."""
    of_model = [one for one in before if one.decisions == opening.decisions]
    same = [one for one in of_model if one.split == opening.split]
    overlapping = [one for one in of_model if one not in same and opening.shared(one)[0]]
    others = [one for one in before if one not in of_model and one.split == opening.split]
    these = f"These {counted(opening.images, 'image')}"
    told = [f"{these} have been evaluated with this model {times(len(same))} before."]
    if not same:
        told = [f"{these} have not been evaluated with this model before, as far as the ledgers of this machine know."]
    if overlapping:
        told.append(f"Other sets that share images with them were evaluated with it {times(len(overlapping))}.")
    if others:
        told.append(f"Other models were evaluated on just these images {times(len(others))}.")
    if same or overlapping:
        told.append("A choice made after an earlier result makes this one optimistic.")
    return ExternalLedger(
        before=len(same), overlapping=len(overlapping), by_others=len(others), sentence=" ".join(told)
    )
