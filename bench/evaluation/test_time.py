"""Test-time augmentation: the winner's calibrated probabilities, averaged over each image and augmented copies of it.

The copies are drawn by the policy that the winner was trained with. Sources: Krizhevsky et al., NIPS 2012 (crops and
mirror images); Shanmugam et al., Better Aggregation in Test-Time Augmentation, ICCV 2021, by which it helps least where
a network was trained with much augmentation, and can turn right answers wrong.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.disk import pass_on_full_disk
from bench.evaluation.inputs import CallAll, Decisions, EvaluationInputs
from bench.evaluation.thresholds import frozen_thresholds
from bench.failures import told
from bench.models.augmentation import Augmenter, Policy
from bench.models.export import in_one_shape, load_model
from bench.numbers import counted
from bench.run.documents import AveragedViews
from bench.run.folder import RunDir
from bench.seeds import stable_seed
from bench.stats.calibration import CalibrationMap
from bench.stats.metrics import Scores

BATCH = 32
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Views:
    """Which augmented copies of each image there are.

    Attributes:
        policy: that they are drawn by.
        count: how many of an image.
        seed: a copy depends on its image, on this and on the number of the view alone.
    """

    policy: Policy
    count: int
    seed: int

    def draws(self) -> list[Augmenter]:
        """What draws each of them."""
        seeds = [stable_seed("test-time view", self.seed, number) for number in range(1, self.count + 1)]
        return [Augmenter(self.policy, seed) for seed in seeds]


def views_mean(
    model: Path, stored: StoredImages, rows: Rows, views: Views, calibration: CalibrationMap
) -> npt.NDArray[np.float64]:
    """The mean of calibrated probabilities over images and the augmented copies of each, computed in a worker.

    Returns:
        float array of shape (len(rows), n_classes), rows sum to 1.
    """
    network, images, draws = load_model(model), stored.open(), views.draws()
    parts = []
    for start in range(0, len(rows), BATCH):
        some = np.asarray(images[rows[start : start + BATCH]])
        seen = [some, *(draw(some) for draw in draws)]
        found = [calibration(in_one_shape(network, one, BATCH)[0]) for one in seen]
        parts.append(np.mean(found, axis=0))
    return np.concatenate(parts)


def averaged_views(
    inputs: EvaluationInputs, decisions: Decisions, run: RunDir, call_all: CallAll
) -> tuple[AveragedViews, Scores | None]:
    """What is fixed on validation of ``--tta``, and its probabilities of the validation images."""
    metric, views = inputs.metric, inputs.settings.tta
    policy = inputs.policies.get(policy_of(inputs))
    found = AveragedViews(views=views, policy=policy_of(inputs), metric=metric.name)
    if policy is None or policy.identity:
        why = "the winner was trained without augmentation, so there is no policy to draw views by"
        return found.model_copy(update={"reason": why}), None
    stored = inputs.images[decisions.winner]
    try:
        scores = mean_over_views(inputs, decisions, run, inputs.rows("val"), stored, call_all)
    except Exception as error:  # what is set beside the winner ends nothing
        pass_on_full_disk(error)
        return found.model_copy(update={"reason": told(error)}), None
    own = decisions.validation[decisions.winner]
    averaged = own.with_scores(scores)
    thresholds = frozen_thresholds(averaged, inputs.settings.target_sensitivity, inputs.bootstrap, CalibrationMap())
    possible = not (metric.needs_all_classes and own.missing_classes)
    about = {
        "validation": metric.compute(own.labels, scores) if possible else None,
        "winner_validation": metric.compute(own.labels, decisions.calibration.map(own.scores)) if possible else None,
        "threshold": thresholds[0] if len(thresholds) == 1 else None,
        "thresholds": thresholds,
    }
    return found.model_copy(update=about), scores


def policy_of(inputs: EvaluationInputs) -> str:
    """Name of the policy that the winner was trained with."""
    rows = inputs.finalists
    return str(rows.loc[rows["winner"], "config_augmentation"].iloc[0])


def mean_over_views(
    inputs: EvaluationInputs, decisions: Decisions, run: RunDir, rows: Rows, stored: StoredImages, call_all: CallAll
) -> Scores:
    """The winner's mean over views of some rows of a stored set; those of the test split have been opened."""
    views = Views(inputs.policies[policy_of(inputs)], inputs.settings.tta, inputs.settings.seed)
    model, how = run.best_model.absolute(), decisions.calibration.map
    (found,) = call_all([partial(views_mean, model, stored, rows, views, how)])
    return np.asarray(found)


def title(choice: AveragedViews) -> str:
    """For people."""
    return f"Winner, averaged over each image and {counted(choice.views, 'augmented copy', 'augmented copies')}"
