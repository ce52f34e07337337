"""Two samples of patients under one frozen model, the external and the internal one: scores, and their differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix

from bench.errors import ConfigError
from bench.evaluation.calibration import calibration_scores
from bench.evaluation.conformal import conformal, share
from bench.evaluation.scoring import score_model
from bench.evaluation.secondary import ENSEMBLE
from bench.reuse.model import ReusableModel
from bench.reuse.predict import decided
from bench.run import tables
from bench.run.documents import CalibrationScores, Estimate, SampleDifference, SampleScores, Threshold
from bench.stats.bootstrap import Bootstrap, Resampled, between_samples
from bench.stats.enough import fewest, too_few
from bench.stats.metrics import METRICS, Values, Weights
from bench.stats.predictions import Predictions

RATES = ("sensitivity", "specificity")


@dataclass(frozen=True)
class Sample:
    """What a model says of the images of one sample of patients.

    Attributes:
        model: everything of it is frozen.
        own: predictions with the network's own probabilities.
        bootstrap: draws, level and seed; the seeds of two samples that are compared must differ.
    """

    model: ReusableModel
    own: Predictions
    bootstrap: Bootstrap

    @cached_property
    def calibrated(self) -> Predictions:
        """The same with calibrated probabilities, by the map of the card."""
        return self.own.with_scores(self.model.calibrated(self.own.scores))

    @cached_property
    def called(self) -> npt.NDArray[np.int64]:
        """Class index of what each image is called, shape (n_images,), as `predict` calls it."""
        return decided(self.model.card, self.own.scores)[0]

    def scores(self, unlike: npt.NDArray[np.bool_] | None = None) -> SampleScores:
        """What external.json says of the sample; ``unlike`` tells which images are unlike the training images."""
        own, classes = self.own, self.own.classes
        counts = np.bincount(own.labels, minlength=len(classes)).tolist()
        card = self.model.card
        return SampleScores(
            images=len(own),
            patients=own.n_patients,
            several_images_a_patient=own.n_patients < len(own),
            by_class=dict(zip(classes, counts, strict=True)),
            scores=score_model(own, self.bootstrap),
            called=confusion_matrix(own.labels, self.called, labels=range(len(classes))).tolist(),
            conformal=conformal(card.conformal, self.calibrated) if card.conformal else None,
            unlike=None if unlike is None else share(int(unlike.sum()), len(unlike)),
        )

    def calibration(self) -> dict[str, CalibrationScores]:
        """Agreement of probabilities with what was observed, ``before`` the frozen map and ``after`` it."""
        steps = {"before": self.own, "after": self.calibrated}
        return {name: calibration_scores(one, self.bootstrap) for name, one in steps.items()}


def internal_sample(model: ReusableModel, bootstrap: Bootstrap) -> Sample | str:
    """The internal test of the model's run, from its table of predictions; why there is none, in words."""
    run = model.run
    if run is None:
        return "the model was given without its run"
    if not run.evaluation.is_file() or (run.begun and not run.finished("evaluation")):
        return f"the test split of run {run.name} has not been opened for this model"
    names = [f"prob_{name}" for name in model.classes]
    schema = tables.PREDICTIONS_SECONDARY if model.is_ensemble else tables.PREDICTIONS_TEST
    try:
        table = schema.read(run.path)
    except (OSError, ValueError, ConfigError):
        return f"{schema.file} of run {run.name} cannot be read"
    if model.is_ensemble:
        table = table[(table["model"] == ENSEMBLE) & (table["split"] == "test")]
    known = table["label"].isin(list(model.classes))
    if not len(table) or not known.all() or any(name not in table or table[name].isna().any() for name in names):
        return f"{schema.file} of run {run.name} is not of this model"
    index = {name: number for number, name in enumerate(model.classes)}
    labels = table["label"].map(index).to_numpy(dtype=np.int64)
    patients = table["patient"].where(table["patient"] != "", table["image"]).to_numpy()
    scores = table[names].to_numpy(np.float64)
    return Sample(model, Predictions(labels, scores, patients, model.classes, model.card.ordinal), bootstrap)


@dataclass(frozen=True)
class _Measure:
    """A measure of predictions: a metric by its name, or a rate of one class at its frozen threshold."""

    name: str
    threshold: Threshold | None = None

    def reason(self, sample: Predictions) -> str:
        """Why it has no interval in a sample; empty if it has."""
        if self.threshold is None:
            metric = METRICS[self.name]
            return (sample.missing_classes if metric.needs_all_classes else "") or sample.few_for(metric)
        side, _ = self._rate(sample, self.threshold)
        return too_few(sample.patients, {self._whose(self.threshold): side})

    def fewest(self, sample: Predictions) -> int:
        """Patients that its t interval goes by: of a rate, those with images that it is about."""
        if self.threshold is None:
            return sample.fewest_for(METRICS[self.name])
        return fewest(sample.patients, {self.name: self._rate(sample, self.threshold)[0]})

    def known(self, sample: Predictions) -> bool:
        """Whether it has a value."""
        if self.threshold is None:
            return not (METRICS[self.name].needs_all_classes and sample.missing_classes)
        return bool(self._rate(sample, self.threshold)[0].any())

    def values(self, sample: Predictions, weights: Weights) -> Values:
        """Its value in each draw, shape (n_draws,)."""
        if self.threshold is None:
            return METRICS[self.name].weighted(sample.labels, sample.scores, weights)
        side, right = self._rate(sample, self.threshold)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(weights[:, side] @ right[side].astype(np.float64) / weights[:, side].sum(axis=1))

    def _whose(self, threshold: Threshold) -> str:
        return threshold.label if self.name == "sensitivity" else f"classes other than {threshold.label}"

    def _rate(self, sample: Predictions, threshold: Threshold) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which images it is about, and which are called rightly."""
        one = sample.against_rest(list(sample.classes).index(threshold.label))
        called = np.asarray(one.scores >= threshold.value)
        return (one.positive, called) if self.name == "sensitivity" else (~one.positive, ~called)


def differences(
    external: Sample, internal: Sample | None, thresholds: Sequence[Threshold]
) -> tuple[SampleDifference, ...]:
    """Every metric, and sensitivity and specificity at each frozen threshold: external, internal, and the difference.

    Args:
        external: the new patients.
        internal: those of the internal test; None where there was none, and then there are no differences.
        thresholds: frozen, of the card.

    Raises:
        ValueError: if both samples are drawn by the same seed, which ties their draws to each other.
    """
    if internal is not None and internal.bootstrap.draws and internal.bootstrap.seed == external.bootstrap.seed:
        raise ValueError("two samples need seeds of their own")
    measures = [_Measure(name) for name in external.own.metrics]
    measures += [_Measure(name, one) for one in thresholds for name in RATES]
    return tuple(_differences(measures, external, internal))


def _differences(measures: Sequence[_Measure], external: Sample, internal: Sample | None) -> Iterator[SampleDifference]:
    sides = [external] if internal is None else [external, internal]
    found = [_resampled([one for one in measures if one.known(side.own)], side) for side in sides]
    for measure in measures:
        reasons = [measure.reason(side.own) for side in sides]
        told = [one.get(measure) for one in found]
        estimates = [_estimate(one, reason) for one, reason in zip(told, reasons, strict=True)]
        label = measure.threshold.label if measure.threshold else ""
        row = SampleDifference(measure=measure.name, label=label, external=estimates[0])
        if internal is None:
            yield row
            continue
        difference, p = Estimate(), None
        outside, inside = told
        if outside is not None and inside is not None:
            apart = between_samples(_column(*outside), _column(*inside), 0)
            trusted = not any(reasons)
            difference = Estimate(
                value=apart.value, low=apart.low if trusted else None, high=apart.high if trusted else None
            )
            p = apart.p if trusted else None
        where = zip(("externally", "internally"), reasons, strict=True)
        reason = "; ".join(f"{place} {why}" for place, why in where if why)
        if not reason and difference.value is not None and difference.low is None:
            reason = "all draws of one sample agree"
        yield row.model_copy(update={"internal": estimates[1], "difference": difference, "p": p, "reason": reason})


Found = dict[_Measure, tuple[Resampled, int]]


def _resampled(measures: Sequence[_Measure], sample: Sample) -> Found:
    """Each measure's draws: all of them, and the column in which it stands."""
    own = sample.own
    draws = sample.bootstrap.unless(own.few)
    whole = draws.resample(
        lambda weights: np.column_stack([one.values(own, weights) for one in measures]), own.patients
    )
    return {one: (replace(whole, fewest=one.fewest(own)), column) for column, one in enumerate(measures)}


def _column(whole: Resampled, column: int) -> Resampled:
    one = slice(column, column + 1)
    return replace(whole, value=whole.value[one], draws=whole.draws[:, one], left_out=whole.left_out[:, one])


def _estimate(found: tuple[Resampled, int] | None, reason: str) -> Estimate:
    if found is None:
        return Estimate(reason=reason)
    whole, column = found
    low, high = (None, None) if reason else whole.ends(column)
    return Estimate(value=whole.known_values[column], low=low, high=high, reason=reason)
