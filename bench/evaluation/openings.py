"""What is said of the openings on record of a test split: evaluation.json's ``ledger``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import numbers
from bench.evaluation.ledger import EVALUATION, PREDICTION, Known, Opening
from bench.run.documents import LedgerRecord
from bench.run.record import OpeningRecord

OPTIMISTIC = "a choice made after having seen an earlier result makes this one optimistic."


@dataclass(frozen=True)
class _Sharing:
    """Openings of other splits, or predictions, that share images with the present split."""

    openings: tuple[Opening, ...]
    shared: int
    altered: int

    @classmethod
    def among(cls, known: Sequence[Opening], present: Opening) -> "_Sharing":
        found = [(one, *present.shared(one)) for one in known]
        found = [one for one in found if one[1]]
        _, shared, altered = max(found, key=lambda one: one[1:], default=(present, 0, 0))
        return cls(tuple(one for one, _, _ in found), shared, altered)


def summary(known: Known, present: Opening) -> LedgerRecord:
    """Counts, the openings that concern these images, and what is to be said, the present one being on record.

    Args:
        known: all that is on record, the present opening included.
        present: the one that this evaluation is made of.
    """
    evaluations = known.of(EVALUATION)
    here = [one for one in evaluations if one.split == present.split]
    rest = [one for one in evaluations if one.split != present.split]
    sharing, predicted = _Sharing.among(rest, present), _Sharing.among(known.of(PREDICTION), present)
    others = [one for one in rest if one.data == present.data and one not in sharing.openings]
    concern = (*here, *sharing.openings, *predicted.openings, *others)
    told = [
        *_of_evaluations(here, sharing, present, known.since or present.time[:10]),
        *_of_predictions(predicted),
        *([f"Other test splits of the same data were opened {numbers.times(len(others))}."] if others else []),
        *_damage(known),
    ]
    return LedgerRecord(
        this_split=len(here),
        this_data=sum(one.data == present.data for one in evaluations),
        overlapping=len(sharing.openings),
        shared_images=sharing.shared,
        altered_images=sharing.altered,
        predicted=len(predicted.openings),
        predicted_images=predicted.shared,
        openings=tuple(
            OpeningRecord(**one.model_dump(exclude={"sample", "looks", "ledgers", "call"})) for one in concern
        ),
        unreadable=known.unreadable,
        broken=known.broken,
        since=known.since,
        sentence=" ".join(told),
    )


def _of_evaluations(here: list[Opening], sharing: _Sharing, present: Opening, since: str) -> Iterator[str]:
    test = f"These {present.images} test images"
    splits = f"other test splits that share up to {sharing.shared} of these images{_altered(sharing)}"
    often = numbers.times(len(sharing.openings))
    if len(here) > 1:
        yield f"{test} have been opened {len(here)} times, {_runs(here, present)}: {OPTIMISTIC}"
        if sharing.openings:
            yield f"{splits[0].upper()}{splits[1:]} were opened {often}."
        return
    none = f"{test} are opened here; no other opening of just these is on record on this machine since {since}"
    yield f"{none}, but {splits} were opened {often} before: {OPTIMISTIC}" if sharing.openings else f"{none}."


def _of_predictions(predicted: _Sharing) -> Iterator[str]:
    if predicted.openings:
        most = numbers.counted(predicted.shared, "test image")
        yield (
            f"Up to {most} at a time{_altered(predicted)} were classified by `predict`, "
            f"{numbers.times(len(predicted.openings))}: "
            "whoever held the answers against the labels had seen results."
        )


def _altered(sharing: _Sharing) -> str:
    return f" ({sharing.altered} of these resized or recompressed)" if sharing.altered else ""


def _runs(openings: list[Opening], present: Opening) -> str:
    runs = {(one.run, one.begun) for one in openings} | {(present.run, present.begun)}
    plans = {one.plan for one in openings}
    told = f"by {len(runs)} runs" if len(runs) > 1 else "by this run alone"
    return told + (f" and under {len(plans)} plans" if len(plans) > 1 else "")


def _damage(known: Known) -> Iterator[str]:
    if known.unreadable:
        what = "One line of the ledger is" if known.unreadable == 1 else f"{known.unreadable} lines of the ledger are"
        yield f"{what} damaged, and may have been of these images too."
    yield from known.broken
