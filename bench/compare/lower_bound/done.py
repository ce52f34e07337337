"""What a run trained and scored, as the files in its folder tell; nothing is measured here."""

from collections import Counter
from collections.abc import Mapping, Sequence

from bench.compare.lower_bound.work import SMALL_CNN, Scoring, Trained
from bench.evaluation.saliency import GRID, OCCLUSION
from bench.finalists.baselines import TRAINED
from bench.models.small_cnn import BATCH_SIZE
from bench.run.courses import Curve
from bench.run.documents import SaliencyRecord
from bench.run.folder import RunDir
from bench.run.record import read_strictly
from bench.run.results import TrialLog
from bench.run.tables import BASELINES, FINALISTS, FOLDS, LEARNING_CURVE, ROBUSTNESS, Row
from bench.trial import EpochRecord, TrialConfig

Curves = Mapping[Curve, Sequence[EpochRecord]]


def trained_in_search(log: TrialLog) -> list[Trained]:
    """The trials of a run with the epochs that they had."""
    curves = log.epochs.curves
    return [_trained(record.config, curves.get(Curve("trial", str(record.trial)), ())) for record in log.records]


def trained_after(run: RunDir, curves: Curves, epochs: int) -> list[Trained]:
    """The finalists, folds, baselines and smaller trainings of a run with the epochs that they had.

    Each turns through as many views as it may have epochs, and begins with the one of its repeat or fold, from 1.

    Args:
        run: whose tables tell of them.
        curves: of epochs.csv.
        epochs: that one phase may have.
    """
    found = []
    for row in FINALISTS.records(run.path):
        curve = curves.get(Curve("finalist", row["backbone"], row["repeat"]), ())
        found.append(_trained(TrialConfig.from_row(row), curve, epochs, row["repeat"]))
    for row in FOLDS.records(run.path) if run.folds.exists() else ():
        curve, images = curves.get(Curve("fold", row["backbone"], fold=row["fold"]), ()), None
        if row["images_train"] is not None and row["images_val"] is not None:
            images = row["images_train"], row["images_val"]
        found.append(_trained(TrialConfig.from_row(row), curve, epochs, row["fold"], images))
    for row in LEARNING_CURVE.records(run.path) if run.learning_curve.exists() else ():
        if row["share"] == 1:  # a finalist
            continue
        curve = curves.get(Curve("size", f"{row['share']:g}", row["draw"]), ())
        images = (row["images"], row["images_val"]) if row["images"] and row["images_val"] else None
        found.append(_trained(TrialConfig.from_row(row), curve, epochs, row["draw"] or 1, images))
    for row in _baselines(run):
        curve = curves.get(Curve("baseline", row["baseline"], row["repeat"]), ())
        found.append(_trained(_config(row), curve, epochs, row["repeat"]))
    return found


def winner_in(run: RunDir) -> str | None:
    """The backbone of the winner; None where there is none yet."""
    rows = FINALISTS.records(run.path) if run.finalists.exists() else []
    return next((row["backbone"] for row in rows if row["winner"]), None)


def scored(run: RunDir, n_val: int, n_test: int) -> Scoring:
    """What the evaluation of a run predicted: ``n_test`` images too, once the test split was opened.

    Raises:
        ValueError: if there is no winner.
    """
    finalists, winner = FINALISTS.records(run.path), winner_in(run)
    if winner is None:
        raise ValueError("finalists.csv names no winner")
    models = [(row["config_backbone"], row["config_unfreeze_depth"]) for row in finalists if row["model"]]
    configs = [_config(row) for row in _baselines(run) if row["model"]]
    models += [(config.backbone, config.unfreeze_depth) for config in configs]
    n_images = n_val + (n_test if run.evaluation.exists() else 0)
    return Scoring(models, n_images, winner, n_images + _altered(run) + _mapped(run))


def _altered(run: RunDir) -> int:
    """Images of robustness.csv times the levels at which they were altered."""
    rows = ROBUSTNESS.records(run.path) if run.robustness.exists() else []
    return sum(row["images"] or 0 for row in rows if row["corruption"] != "none")


def _mapped(run: RunDir) -> int:
    """Passes through the network and its copy with shuffled weights for the maps of saliency.json."""
    if not run.saliency.exists():
        return 0
    maps = read_strictly(SaliencyRecord, run.saliency)
    return 2 * len(maps.items) * (GRID * GRID + 1 if maps.method == OCCLUSION else 1)


def _baselines(run: RunDir) -> list[Row]:
    """The rows of those that are networks and were trained."""
    rows = BASELINES.records(run.path) if run.baselines.exists() else []
    return [row for row in rows if row["baseline"] in TRAINED and row["state"] != "skipped"]


def _config(row: Row) -> TrialConfig:
    if row["baseline"] == SMALL_CNN:
        return TrialConfig(SMALL_CNN, augmentation="none", batch_size=BATCH_SIZE)
    return TrialConfig.from_row(row)


def _trained(
    config: TrialConfig,
    curve: Sequence[EpochRecord],
    views: int = 0,
    number: int = 1,
    images: tuple[int, int] | None = None,
) -> Trained:
    """A training whose repeat or fold is ``number``, from 1."""
    phases = Counter(epoch.phase for epoch in curve)
    return Trained(config, phases["head"] + phases["scratch"], phases["finetune"], views, number - 1, images)
