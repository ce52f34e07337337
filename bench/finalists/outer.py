"""One fold of a nested loop: what is retrained on it, and which finalist its own validation images choose.

The images that the fold holds out are in no training, and decide nothing: the chosen model is asked about them once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.splits import OuterFold
from bench.finalists.seeds import (
    NoFinalist,
    Outcome,
    Wanted,
    completed,
    judge,
    lost_to_crashes,
    mark_representative,
    mean_metrics,
    reached,
)
from bench.run.courses import Curve
from bench.run.results import TrialRecord, rank
from bench.run.tables import Row
from bench.seeds import stable_seed
from bench.stats.metrics import Metric
from bench.train.job import TrainingJob
from bench.trial import TrialConfig, TrialResult

KIND = "outer"
OverFolds = Callable[[Sequence[str]], Mapping[str, Sequence[Row]]]


@dataclass(frozen=True)
class Retraining:
    """How the finalists of a fold are retrained: as those of the run are.

    Attributes:
        metric: the run's.
        seed: of the run.
        repeats: seeds that each finalist is trained with.
        views: views of its augmentation that a training turns through.
    """

    metric: Metric
    seed: int
    repeats: int
    views: int


@dataclass(frozen=True)
class Winner:
    """What the procedure chose in a fold.

    Attributes:
        config: of the winning backbone's finalist.
        validation: its mean validation score over its seeds, or over folds, by which it won.
        seed: of the training that stands for the others, as in a run the exported one.
        result: of that training.
    """

    config: TrialConfig
    validation: float
    seed: int
    result: TrialResult


def wanted_in(fold: OuterFold, chosen: Sequence[TrialRecord], how: Retraining) -> list[Wanted]:
    """The retrainings of a fold: of each backbone's best trial, with so many seeds."""
    wanted = []
    for record in chosen:
        for repeat in range(1, how.repeats + 1):
            seed = stable_seed(KIND, how.seed, fold.repeat, fold.fold, record.config.key, repeat)
            job = TrainingJob(record.config, seed, how.views, repeat - 1, fold.rows, held_out=fold.held_out)
            wanted.append(Wanted(Curve(KIND, record.config.backbone, repeat), job))
    return wanted


def choose_winner(
    outcomes: Iterable[tuple[Wanted, Outcome]], metric: Metric, over_folds: OverFolds | None = None
) -> Winner:
    """The finalist with the best mean validation score over its seeds, by the training nearest their median.

    Where finalists are validated over folds, the mean of these decides, as in a run.

    Args:
        outcomes: of the retrainings.
        metric: the run's.
        over_folds: backbones that could be retrained -> their rows of folds.csv.

    Raises:
        NoFinalist: if none could be retrained, or a crash has taken one, as in a run.
    """
    rows: dict[str, list[Row]] = {}
    results: dict[tuple[str, Any], tuple[TrainingJob, TrialResult]] = {}
    lost: Mapping[str, str] = {}
    for one, outcome in outcomes:
        result, reason, crashed = judge(outcome)
        name, repeat = one.curve.name, one.curve.repeat
        state = "completed" if result else "failed"
        rows.setdefault(name, []).append({"repeat": repeat, "state": state, "reason": reason, **reached(result)})
        if result is not None:
            results[name, repeat] = one.job, result
        elif crashed:
            lost = {**lost, name: reason}
    finished = {name: own for name, own in rows.items() if completed(own)}
    gone = [f"{name} ({reason})" for name, reason in lost.items() if name not in finished]
    if gone:
        raise NoFinalist(lost_to_crashes(gone))
    if not finished:
        reasons = [row["reason"] for own in rows.values() for row in own]
        raise NoFinalist(f"No finalist could be retrained; the last: {reasons[-1] if reasons else 'there was none'}")
    means = {name: mean_metrics(own) for name, own in finished.items()}
    of_folds = {name: own for name, own in (over_folds(list(finished)) if over_folds else {}).items() if completed(own)}
    deciding = means | {name: mean_metrics(own) for name, own in of_folds.items()}
    best = min(means, key=lambda name: (bool(of_folds) and name not in of_folds, *rank(metric, deciding[name]), name))
    row = mark_representative(finished[best], metric)
    assert row is not None
    job, result = results[best, row["repeat"]]
    return Winner(job.config, deciding[best][metric.name], job.seed, result)
