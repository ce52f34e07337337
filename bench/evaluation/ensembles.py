"""An ensemble of the finalists' trainings: chosen on validation, written as one file, scored in the one opening.

What every seed said of the validation images is in predictions_epochs.jsonl.gz, what it says of the test images in
predictions_models.csv, so that choosing and scoring compute nothing with a network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.disk import pass_on_full_disk
from bench.evaluation import familiar
from bench.evaluation.by_patient import decide_by_patient
from bench.evaluation.ensemble_file import MemberFile, Written, write_ensemble
from bench.evaluation.inputs import CallAll, EvaluationInputs, ScoredModel
from bench.evaluation.shared_scores import ModelFile
from bench.evaluation.thresholds import frozen_thresholds
from bench.failures import told
from bench.models.backbones import get_backbone
from bench.models.metadata import write_with_card
from bench.numbers import counted, joined
from bench.run.courses import kept_images, read_courses
from bench.run.documents import Cost, EnsembleCard, EnsembleChoice, EnsembleMember, ModelCard, Refusal
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.record import read_strictly
from bench.run.results import rank
from bench.run.tables import Row, records
from bench.stats.calibration import CalibrationMap, choose_map
from bench.stats.conformal import conformal_scores
from bench.stats.ensemble import MOST_MEMBERS, greedy, weighted_mean
from bench.stats.metrics import Metric, Scores, log_loss
from bench.stats.predictions import Predictions

CHECKED_IMAGES = 32


@dataclass(frozen=True)
class Candidate:
    """A training that could be a member: its row of finalists.csv, its map, and what it says of validation."""

    row: Row
    calibration: CalibrationMap
    calibrated: Scores

    @property
    def member(self) -> EnsembleMember:
        """As a member that counts once."""
        row = self.row
        return EnsembleMember(
            model=row["backbone"], repeat=row["repeat"], sha256=row["sha256"], count=1, calibration=self.calibration
        )


@dataclass(frozen=True)
class Known:
    """What was decided of the winner, and what the finalists' representatives say of validation.

    Attributes:
        winner: name of the backbone.
        calibration: the winner's map.
        validation: backbone -> predictions of its representative's reloaded file.
        provenance: what the card of a model says of its run, data and weights.
    """

    winner: str
    calibration: CalibrationMap
    validation: Mapping[str, Predictions]
    provenance: ModelCard = field(default_factory=ModelCard)


def choose_ensemble(inputs: EvaluationInputs, run: RunDir, known: Known) -> tuple[EnsembleChoice, Scores | None]:
    """The members, by greedy selection on validation; none where one training is as good as any average.

    Candidates are all completed trainings of the finalists that take images of the winner's size. Trainings over folds
    leave no file, and so cannot be members.

    Returns:
        the choice; the ensemble's probabilities of the validation images that predictions_epochs.jsonl.gz keeps.
    """
    metric, images = inputs.metric, known.validation[known.winner]
    kept = kept_images(len(images))
    part = images.part(kept)
    found = EnsembleChoice(metric=metric.name, members=())
    if metric.needs_all_classes and part.missing_classes:
        return found.model_copy(update={"reason": part.missing_classes}), None
    rows, left_out = _rows(inputs, known.winner)
    candidates = _candidates(rows, inputs, run, known, kept)
    found = found.model_copy(update={"candidates": len(candidates), "left_out": left_out})
    own = next((one for one in candidates if one.row["winner"]), None)
    if own is None or len(candidates) < 2:
        return found.model_copy(update={"reason": "there are no other trainings to average the winner with"}), None

    def rate(scores: Scores) -> tuple[float, ...]:
        return rank(metric, _metrics(part, scores, metric))

    counts = greedy([one.calibrated for one in candidates], rate, MOST_MEMBERS)
    chosen = [one for one, count in zip(candidates, counts, strict=True) if count]
    averaged = part.with_scores(weighted_mean([one.calibrated for one in chosen], counts[counts > 0]))
    found = found.model_copy(
        update={
            "validation": _metrics(part, averaged.scores, metric)[metric.name],
            "winner_validation": _metrics(part, own.calibrated, metric)[metric.name],
        }
    )
    if len(chosen) < 2:
        name = f"{get_backbone(chosen[0].row['backbone']).title}, seed {chosen[0].row['repeat']},"
        reason = f"on validation no average is better than one training, {name} alone"
        return found.model_copy(update={"reason": reason}), None
    if not rate(averaged.scores) < rate(own.calibrated):
        return found.model_copy(update={"reason": "no average is better than the winner on validation"}), None
    target = inputs.settings.target_sensitivity
    thresholds = frozen_thresholds(averaged, target, inputs.bootstrap, CalibrationMap())
    members = [
        one.member.model_copy(update={"count": int(count)})
        for one, count in zip(chosen, counts[counts > 0], strict=True)
    ]
    threshold = thresholds[0] if len(thresholds) == 1 else None
    about = {"members": tuple(members), "threshold": threshold, "thresholds": thresholds}
    return found.model_copy(update=about), averaged.scores


def _metrics(images: Predictions, scores: Scores, metric: Metric) -> dict[str, float]:
    return {metric.name: metric.compute(images.labels, scores), "log_loss": log_loss(images.labels, scores)}


def _rows(inputs: EvaluationInputs, winner: str) -> tuple[list[Row], str]:
    """Rows of finalists.csv that may be members, and why others may not."""
    done = records(inputs.finalists[inputs.finalists["state"] == "completed"]) if len(inputs.finalists) else []
    size = inputs.images[winner].size
    other = sorted({row["backbone"] for row in done if inputs.images[row["backbone"]].size != size})
    titles = joined([get_backbone(name).title for name in other])
    verb = "takes" if len(other) == 1 else "take"
    why = f"{titles} {verb} images of another size than the winner’s {size} × {size}" if other else ""
    return [row for row in done if row["backbone"] not in other], why


def _candidates(
    rows: Sequence[Row], inputs: EvaluationInputs, run: RunDir, known: Known, kept: npt.NDArray[np.int64]
) -> list[Candidate]:
    """With calibration maps, fitted to what each says of validation: representatives by file, others as trained."""
    courses = {
        (one.curve.name, one.curve.repeat): one.scores[-1]
        for one in read_courses(run)
        if one.curve.kind == "finalist" and one.curve.fold is None
    }
    found = []
    for row in rows:
        name = str(row["backbone"])
        if row["representative"] and name in known.validation:
            one = known.validation[name].part(kept)
        elif (name, row["repeat"]) in courses and len(courses[name, row["repeat"]]) == len(kept):
            one = known.validation[known.winner].part(kept).with_scores(courses[name, row["repeat"]])
        else:
            continue
        how = known.calibration if row["winner"] else choose_map(one, inputs.class_weights, inputs.settings.seed).map
        found.append(Candidate(row, how, how(one.scores)))
    return found


def export_ensemble(
    choice: EnsembleChoice,
    scores: Scores | None,
    inputs: EvaluationInputs,
    run: RunDir,
    known: Known,
    call_all: CallAll,
) -> EnsembleChoice:
    """Write best_ensemble.h5 and best_ensemble.json; what an earlier choice left is removed where there is none.

    Args:
        choice, scores: as `choose_ensemble` returns them.
        inputs: of the evaluation.
        run: the run folder.
        known: of the winner and the other finalists.
        call_all: runs calls in workers.

    Returns:
        ``choice``; without members, and with the reason, if the file could not be written: that costs nothing else.
    """
    for path in run.of_ensemble:
        path.unlink(missing_ok=True)
    if not choice.members or scores is None:
        return choice
    rows = {(row["backbone"], row["repeat"]): row for row in records(inputs.finalists)}
    winner = _file(next(row for row in rows.values() if row["winner"]), run)
    members = [MemberFile(one, _file(rows[one.model, one.repeat], run)) for one in choice.members]
    arguments = (run.best_ensemble.absolute(), members, winner.path, inputs.images[known.winner])
    try:
        (written,) = call_all([partial(write_ensemble, *arguments, inputs.rows("val")[:CHECKED_IMAGES])])
    except Exception as error:
        pass_on_full_disk(error)
        reason = f"the ensemble could not be written as one file: {told(error)}"
        return choice.model_copy(update={"members": (), "threshold": None, "thresholds": (), "reason": reason})
    held = _held(choice, scores, inputs, run, known)
    of_run = ModelCard.model_validate(held.content() | known.provenance.content())
    write_with_card(run.best_ensemble, run.best_ensemble, of_run)
    write_json(run.best_ensemble_card, _card(choice, held, written, members, winner, run))
    return choice


def _file(row: Row, run: RunDir) -> ModelFile:
    path = (run.path / str(row["model"])).absolute()
    return ModelFile.of_backbone(path, str(row["backbone"]), int(row["config_unfreeze_depth"]))


def _held(choice: EnsembleChoice, scores: Scores, inputs: EvaluationInputs, run: RunDir, known: Known) -> ModelCard:
    """What best_ensemble.h5 says of itself, as a model that takes the images that the winner takes.

    Prediction sets and the rule for patients rest on its ``scores`` of the validation images that are kept.
    """
    images = known.validation[known.winner]
    kept = kept_images(len(images))
    own = images.part(kept).with_scores(scores)
    no_features = Refusal(what=familiar.WHAT, reason="an ensemble has no pooled features of its own")
    return ModelCard(
        file=run.best_ensemble.name,
        classes=tuple(inputs.classes),
        ordinal=inputs.ordinal,
        input=inputs.taken_by(known.winner),
        calibration=CalibrationMap(),
        threshold=choice.threshold,
        thresholds=choice.thresholds,
        conformal=conformal_scores(own.labels, own.scores, own.patients),
        training=familiar.training_images(inputs, no_features, 0),
        by_patient=decide_by_patient(inputs, own, inputs.rows("val")[kept]),
    )


def _card(
    choice: EnsembleChoice,
    held: ModelCard,
    written: Written,
    members: Sequence[MemberFile],
    winner: ModelFile,
    run: RunDir,
) -> EnsembleCard:
    """best_ensemble.json, once the file has the card that it ``held``; the ``winner`` is as it was trained, without."""
    own, winners, *each = written.milliseconds
    return EnsembleCard(
        file=held.file,
        sha256=file_sha256(run.best_ensemble),
        classes=held.classes,
        input=held.input,
        **{name: getattr(choice, name) for name in choice.model_fields_set},
        calibration=CalibrationMap(),
        checked={"images": written.images, "largest_difference": written.difference},
        cost=cost(own, winners, _megabytes(run.best_ensemble), _megabytes(winner.path)),
        member_milliseconds=tuple(each),
        member_megabytes=tuple(_megabytes(one.file.path) for one in members),
    )


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def cost(milliseconds: float, winner_milliseconds: float, megabytes: float, winner_megabytes: float) -> Cost:
    """With both as ratios."""
    return Cost(
        milliseconds=milliseconds,
        winner_milliseconds=winner_milliseconds,
        time=milliseconds / winner_milliseconds,
        megabytes=megabytes,
        winner_megabytes=winner_megabytes,
        size=megabytes / winner_megabytes,
    )


def averaged(choice: EnsembleChoice, models: Mapping[str, ScoredModel]) -> Scores:
    """The ensemble's probabilities of the images that ``models`` were scored on."""
    repeats = [models[one.model].repeats[one.repeat] for one in choice.members]
    calibrated = [one.calibration(found.scores) for one, found in zip(choice.members, repeats, strict=True)]
    return weighted_mean(calibrated, [one.count for one in choice.members])


def title(choice: EnsembleChoice) -> str:
    """Of what it consists: ``Ensemble of 3 trainings (VGG16 seeds 1 and 2, ResNet50 seed 1)``."""
    by_backbone: dict[str, list[str]] = {}
    for one in choice.members:
        times = f" (× {one.count})" if one.count > 1 else ""
        by_backbone.setdefault(get_backbone(one.model).title, []).append(f"{one.repeat}{times}")
    parts = [f"{name} seed{'s' if len(seeds) > 1 else ''} {joined(seeds)}" for name, seeds in by_backbone.items()]
    return f"Ensemble of {counted(len(choice.members), 'training')} ({', '.join(parts)})"


def cost_of(run: RunDir) -> Cost | None:
    """What best_ensemble.json says of it."""
    return read_strictly(EnsembleCard, run.best_ensemble_card).cost if run.best_ensemble_card.exists() else None
