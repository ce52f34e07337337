"""outer.csv and run.json -> what the nested loop says beside the other scores, its folds, and what one would cost."""

from dataclasses import dataclass

import pandas as pd

from bench.clock import column as clock_column
from bench.report.read.files import RunFiles
from bench.run.record import OuterRecord
from bench.stats.enough import FEW_FOR_A_TEST, RECOMMENDED_OUTER, outer_folds_for

_, REPEATS = RECOMMENDED_OUTER
ONCE = ("start-up", "waiting", "filling", "tracing")
"""What a trial spent on things that another one finds done."""


@dataclass(frozen=True)
class Cost:
    """What a nested loop would take.

    Attributes:
        patients: of the test split, which are few.
        folds, repeats: of the loop.
        trainings: trials and retrainings of all folds.
        seconds: by what this run has measured; None where it has not.
    """

    patients: int
    folds: int
    repeats: int
    trainings: int
    seconds: float | None


def cost(files: RunFiles) -> Cost | None:
    """What the loop that is recommended would take.

    None where there is one, the test split has patients enough, or the others are too few for a loop.
    """
    settings, test, splits = files.record.settings, files.about_data.splits.get("test"), files.splits
    if files.record.outer is not None or test is None or not 0 < test.patients < FEW_FOR_A_TEST or splits is None:
        return None
    inner = 0 if files.folds is None else files.folds["fold"].nunique()
    pool = splits[splits["split"].isin(["train", "val"])]
    patients = pool["patient_wide"].fillna(pool["patient"]).groupby(pool["label"]).nunique()
    folds = outer_folds_for(int(patients.min()) if len(patients) else 0, inner)
    if not folds:
        return None
    each = settings.budget + (settings.repeats + inner) * max(1, len(files.backbones))
    return Cost(test.patients, folds, REPEATS, folds * REPEATS * each, _seconds(files, folds))


def _seconds(files: RunFiles, folds: int) -> float | None:
    """Of trials and retrainings as this run had them, on the share of the images that one of the folds leaves."""
    if files.trials is None or files.finalists is None:
        return None
    once = files.trials[[clock_column(name) for name in ONCE]].sum(axis=1)
    spent = (files.trials["seconds"] - once).clip(lower=0) / files.trials["trial"].map(files.record.jobs_of)
    took = spent.sum() + files.finalists["seconds"].sum() * _share(files, "finalist")
    took += 0.0 if files.folds is None else files.folds["seconds"].sum() * _share(files, "fold")
    return float(REPEATS * took * (folds - 1)) or None


def _share(files: RunFiles, kind: str) -> float:
    """The share of a second of some trainings that was the run's own, by how many ran at a time."""
    record = files.record
    jobs = [(one.ended - one.began, record.jobs_at(one.began)) for one in record.timeline if one.kind == kind]
    total = sum(seconds for seconds, _ in jobs)
    return sum(seconds / count for seconds, count in jobs) / total if total > 0 else 1 / max(1, record.hardware.jobs)


def beside(files: RunFiles, found: OuterRecord) -> pd.DataFrame:
    """The procedure's score and those that a reader might take for it: ``what``, ``score`` with bounds, ``about``."""
    metric, selection = files.metric, files.tested.selection
    rows = [
        ("The procedure, outer folds", found.score, found.low, found.high, "patients that had no say in anything"),
        ("The same, all folds pooled", found.pooled, None, None, "calibrated, so that folds share a scale"),
        ("Its choice in each fold, on validation", found.validation, None, None, "the images that chose it"),
        ("The winner, on validation", files.over_seeds().mean, None, None, "the images that chose it"),
    ]
    if selection is not None and selection.corrected is not None:
        about = "the search alone, bootstrap bias correction"
        rows.append(("The selection, corrected", selection.corrected, selection.low, selection.high, about))
    if (tested := files.chosen_scores.get(metric.name)) is not None:
        rows.append(("The exported model, internal test", *tested, "one model, the patients of the test split"))
    table = pd.DataFrame(rows, columns=["what", "score", "score_low", "score_high", "about"])
    return table[table["score"].notna()].reset_index(drop=True)
