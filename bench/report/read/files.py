"""The files of a run folder as the report reads them: each as far as it is whole, or one sentence on why it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.checksums import checksum
from bench.invocation import in_output, resume, typed
from bench.numbers import number
from bench.report import names
from bench.report.read.reading import Arrays, Problems, arrays, changed, document, missing, table, told_now, unreadable
from bench.run import tables
from bench.run.documents import (
    AuditRecord,
    CalibrationRecord,
    EvaluationRecord,
    ExternalRecord,
    LowerBoundRecord,
    ModelScores,
    SaliencyRecord,
)
from bench.run.folder import STAGES, RunDir
from bench.run.record import DataRecord, RunRecord
from bench.search.parameters import GIVEN, PARAMETERS
from bench.stats.metrics import BRIER_SUM, METRICS, Metric

MAPS, TEXTS = ("maps", "randomised"), ("splits", "names")
"""Arrays of an .npz file of images that hold a map of each image, or a text; others hold whole numbers."""
KINDS = {"f": "floats", "U": "texts", "iu": "whole numbers"}
"""By the kinds of NumPy."""
UNTESTED = "it is written when the test split is opened under the present models"


Bounded = tuple[float | None, float | None, float | None]
"""A value with the bounds of its interval."""


@dataclass(frozen=True)
class Repeated:
    """Scores of one model over ``n`` seeds or folds; the standard deviation is NaN for a single one."""

    n: int = 0
    mean: float | None = None
    sd: float | None = None


@dataclass(frozen=True)
class Gallery:
    """Augmented images, column 0 the original.

    ``images`` is a uint8 array of shape (n_policies, n_columns, height, width, 1 or 3).
    """

    policies: list[str]
    images: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Images as a model saw them, and maps of the same images where there are any.

    Attributes:
        images: uint8, shape (n, height, width, 1 or 3).
        ranks: number of each image, shape (n,); of failures alone.
        maps, randomised: float in [0, 1], shape (n, height, width); of saliency alone.
        names: split and file name of each; of thumbnails alone.
    """

    images: npt.NDArray[np.uint8]
    ranks: tuple[int, ...] = ()
    maps: npt.NDArray[np.float32] | None = None
    randomised: npt.NDArray[np.float32] | None = None
    names: tuple[tuple[str, str], ...] = ()


@dataclass
class Evaluated:
    """What the evaluation wrote in files of their own; None where one is not there, or cannot be read."""

    comparisons: pd.DataFrame | None = None
    points: pd.DataFrame | None = None
    prevalences: pd.DataFrame | None = None
    decision: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    calibration: CalibrationRecord | None = None
    subgroups: pd.DataFrame | None = None
    failures: pd.DataFrame | None = None
    failure_images: Images | None = None
    robustness: pd.DataFrame | None = None
    saliency: SaliencyRecord | None = None
    saliency_images: Images | None = None
    validation: pd.DataFrame | None = None
    thumbnails: Images | None = None


@dataclass
class RunFiles:
    """What a run folder holds; ``problems`` says for each file that is not there, or not whole, why.

    Tables have every column of their schema (`bench.run.tables`).

    Attributes:
        record: run.json; empty where it cannot be read.
        titles: of backbones by name, as run.json gives them, or that of a run beside it.
        trials: one row per configuration: its last trial.
        retried: number of failed trials whose configuration was tried again; no part of ``trials``.
        folds, learning_curve, outer: None where the run has none, which is no problem.
        external: of each test of the run's model on other data, by the name of its folder.
        limit: what the machine could do at best; None where it was not computed, which is no problem.
        opened: whether there is an evaluation of the test split: evaluation.json is there, readable or not.
        outdated: whether that evaluation is of finalists that have been trained anew since; it is left out then.
        unfinished: whether a stage of the run has not come to its end.
        changed: names of the files that are there, but not as the run wrote them.
    """

    record: RunRecord = field(default_factory=RunRecord)
    titles: Mapping[str, str] = field(default_factory=dict)
    trials: pd.DataFrame | None = None
    retried: int = 0
    epochs: pd.DataFrame | None = None
    finalists: pd.DataFrame | None = None
    baselines: pd.DataFrame | None = None
    folds: pd.DataFrame | None = None
    learning_curve: pd.DataFrame | None = None
    outer: pd.DataFrame | None = None
    splits: pd.DataFrame | None = None
    predictions: pd.DataFrame | None = None
    predictions_models: pd.DataFrame | None = None
    evaluation: EvaluationRecord | None = None
    audit: AuditRecord | None = None
    evaluated: Evaluated = field(default_factory=Evaluated)
    gallery: Gallery | None = None
    copies: Images | None = None
    suspects: pd.DataFrame | None = None
    suspected_images: Images | None = None
    external: Mapping[str, ExternalRecord] = field(default_factory=dict)
    limit: LowerBoundRecord | None = None
    opened: bool = False
    outdated: bool = False
    unfinished: bool = False
    changed: list[str] = field(default_factory=list)
    problems: Problems = field(default_factory=dict)

    @property
    def about_data(self) -> DataRecord:
        """What run.json says about the images; empty where it does not."""
        return self.record.data or DataRecord()

    @property
    def tested(self) -> EvaluationRecord:
        """``evaluation``, empty where there is none."""
        return self.evaluation or EvaluationRecord()

    def title(self, name: Any) -> str:
        """The title of a backbone or a baseline, or the name itself where it has none."""
        return names.model(name, self.titles)

    @property
    def classes(self) -> list[str]:
        """The class names in the order of the model's outputs."""
        return list(self.tested.classes or self.about_data.classes)

    @property
    def names(self) -> list[str]:
        """Names that come from the data: of classes and backbones, and of files, patients and subgroups."""
        found = [*self.classes, *self.titles.values()]
        for rows, columns in ((self.splits, ("image", "patient")), (self.evaluated.subgroups, ("group", "value"))):
            found += (
                [] if rows is None else [str(name) for column in columns for name in rows[column].dropna().unique()]
            )
        return found

    @property
    def openings(self) -> int:
        """How often this run has opened its test split, whether or not an evaluation came of it."""
        return len(self.record.test.openings)

    @property
    def brier(self) -> str:
        """Which Brier score the evaluation holds; one that does not say so holds the sum over classes."""
        return self.tested.definitions.get("brier") or BRIER_SUM

    @property
    def metric(self) -> Metric:
        """The metric that the search ranked by; ROC AUC where the run does not say."""
        settings, winner = self.record.settings, self.record.winner
        named = settings.metric if winner is None or "metric" in settings.model_fields_set else winner.metric
        return METRICS.get(named, METRICS["auc"])

    @property
    def chosen(self) -> str:
        """Name of the backbone that validation chose, the winner; empty while there is none."""
        if self.tested.winner or self.record.winner:
            return self.tested.winner or self.record.winner.backbone  # type: ignore[union-attr]
        rows = self.finalists
        won = [] if rows is None else rows.loc[rows["winner"], "backbone"].tolist()
        return str(won[0]) if won else ""

    @property
    def begun_with(self) -> str:
        """The initialisation of the winner; `GIVEN` where there is no winner, or its table has no such column."""
        rows, column = self.finalists, PARAMETERS["initialisation"].column
        own = [] if rows is None or column not in rows else rows.loc[rows["backbone"] == self.chosen, column].tolist()
        return str(own[0]) if own and names.present(own[0]) and own[0] else GIVEN

    @property
    def chosen_model(self) -> ModelScores | None:
        """The winner's part of evaluation.json; None where there is none."""
        return self.tested.models.get(self.chosen)

    @property
    def chosen_scores(self) -> dict[str, Bounded]:
        """Value, low and high of each metric of the winner on test."""
        model = self.chosen_model
        return {name: (one.value, one.low, one.high) for name, one in model.metrics.items()} if model else {}

    def over_seeds(self, metric: Metric | None = None) -> Repeated:
        """The winner's validation score by ``metric`` (that of the search) over its seeds."""
        rows = self.finalists
        if rows is None:
            return Repeated()
        won = rows[(rows["backbone"] == self.chosen) & (rows["state"] == "completed")]
        scores = won[f"metric_{(metric or self.metric).name}"].dropna()
        return Repeated(len(scores), scores.mean(), scores.std())

    def over_folds(self) -> Repeated:
        """The winner's validation score over the folds, by which it was chosen; of none where the run has none."""
        rows = pd.DataFrame() if self.finalists is None else self.finalists[self.finalists["winner"]].head(1)
        if not len(rows) or rows["fold_mean"].isna().all():
            return Repeated()
        row = rows.iloc[0]
        return Repeated(int(number(row["folds"]) or 0), row["fold_mean"], row["fold_sd"])

    def without_images(self) -> "RunFiles":
        """The same without a picture of an image; ``problems`` says of each file of pictures why it is left out."""
        left_out = {
            name: "The page was rendered without pictures of images (--no-images)."
            for name, there in {
                "augmentation.npz": self.gallery,
                "copies.npz": self.copies,
                "suspected_labels.npz": self.suspected_images,
                "failures.npz": self.evaluated.failure_images,
                "saliency.npz": self.evaluated.saliency_images,
                "thumbnails.npz": self.evaluated.thumbnails,
            }.items()
            if there is not None
        }
        evaluated = replace(self.evaluated, failure_images=None, saliency_images=None, thumbnails=None)
        bare = replace(self, evaluated=evaluated, gallery=None, copies=None, suspected_images=None)
        bare.problems = {**self.problems, **left_out}
        return bare

    @property
    def patients_assumed(self) -> bool:
        """Whether each image was taken for its own patient for want of a name, so that patients cannot be counted."""
        return self.audit is not None and self.audit.patients.assumed

    @property
    def backbones(self) -> list[str]:
        """Every backbone that the run knows of: those of its settings or of its space, then those in the tables."""
        space = self.record.space.parameters.get("backbone")
        known = [str(name) for name in self.record.settings.backbones or (space.choices if space else ())]
        for rows, column in ((self.trials, "config_backbone"), (self.finalists, "backbone")):
            known += [] if rows is None else sorted(rows[column].dropna().unique())
        return list(dict.fromkeys(known))


def read(run: RunDir) -> RunFiles:
    """Every file of ``run`` that can be read, and a sentence for each that cannot."""
    problems: Problems = {}
    states = list(names.STATES)
    trials = table(tables.TRIALS, run.path, problems, "no trial has finished yet", states)
    again = pd.Series(dtype="bool") if trials is None else trials["retried_as"].notna()
    limit = run.path / "limit.json"
    record = _record(run, problems)
    files = RunFiles(
        record=record,
        titles=record.titles,
        trials=None if trials is None else trials[~again].reset_index(drop=True),
        retried=int(again.sum()),
        epochs=table(tables.EPOCHS, run.path, problems, "no epoch has finished yet"),
        finalists=table(tables.FINALISTS, run.path, problems, "the finalists have not been retrained yet", states),
        baselines=table(tables.BASELINES, run.path, problems, "no baseline has been trained"),
        folds=table(tables.FOLDS, run.path, problems, "", states) if run.folds.exists() else None,
        learning_curve=table(tables.LEARNING_CURVE, run.path, problems, "", states)
        if run.learning_curve.exists()
        else None,
        outer=table(tables.OUTER, run.path, problems, "", states) if run.outer.exists() else None,
        splits=table(tables.SPLITS, run.path, problems, "the data stage has not finished"),
        audit=document(AuditRecord, run.audit, problems, "the data have not been audited"),
        gallery=_gallery(run, problems),
        copies=_images(run, run.copies.name, ["ranks"], problems, "") if run.copies.exists() else None,
        suspects=table(tables.SUSPECTED_LABELS, run.path, problems, "") if run.suspected_labels.exists() else None,
        suspected_images=(
            _images(run, run.suspected_images.name, ["ranks"], problems, "") if run.suspected_images.exists() else None
        ),
        external=_external(run, problems),
        limit=document(LowerBoundRecord, limit, problems) if limit.exists() else None,
        opened=run.evaluation.exists(),
        unfinished=run.begun and not all(run.finished(stage) for stage in STAGES),
        problems=problems,
    )
    _read_evaluation(run, files)
    _compare(run, files)
    return files


def _compare(run: RunDir, files: RunFiles) -> None:
    """Note which files are not as the run wrote them, by the checksums in run.json, and by that of run.json itself."""
    problems = files.problems
    if said := run.changes_of_run:
        changed(run.run, problems, said)
        files.changed.append(run.run.name)
    for path in run.pinned_files(files.record.pinned):
        there, told = path.is_file(), files.record.pinned[path.name]
        try:
            same = there and checksum(path) == told
        except OSError as error:
            unreadable(path, problems, error)
            continue
        if same or told_now(run.run, path) != told:
            continue
        if not there and path.suffix == ".h5":  # large, often taken elsewhere, and no page needs it
            continue
        if not there:
            problems.setdefault(path.name, f"{path.name} is gone, which the run wrote.")
        else:
            changed(path, problems)
            files.changed.append(path.name)


def _external(run: RunDir, problems: Problems) -> dict[str, ExternalRecord]:
    paths = sorted(run.external.glob("*/external.json"))
    found = {path.parent.name: document(ExternalRecord, path, problems) for path in paths}
    return {name: record for name, record in found.items() if record is not None}


def _record(run: RunDir, problems: Problems) -> RunRecord:
    record = document(RunRecord, run.run, problems, "this is no run folder")
    if record is None:
        problems["run.json"] = f"{problems['run.json'].rstrip('.')}; settings and data are unknown."
    return record or RunRecord()


def _read_evaluation(run: RunDir, files: RunFiles) -> None:
    """What came of the test split, unless it came of other models than those that are there."""
    problems = files.problems
    files.evaluation = document(EvaluationRecord, run.evaluation, problems, _sealed(run, files.openings))
    evaluated = files.tested.files
    if evaluated and files.finalists is not None:
        trained = files.finalists[(files.finalists["state"] == "completed") & files.finalists["sha256"].notna()]
        present = zip(trained["backbone"], trained["repeat"], trained["sha256"], strict=True)
        files.outdated = any(evaluated.get(f"{name}-{repeat:.0f}") != digest for name, repeat, digest in present)
    if files.outdated:
        files.evaluation = None
        problems["evaluation.json"] = (
            "The test split was evaluated before the finalists were trained anew: what was found then is about other "
            f"models and is left out. Finish the run by “{resume(run.name, run.path.parent)}”."
        )
    if files.opened and not files.outdated:
        _read_tested(run, files)
    else:
        for path in run.of_test[1:]:  # what may lie there all the same is of other models
            if path not in run.of_some_tests:
                missing(path, problems, UNTESTED)


def _read_tested(run: RunDir, files: RunFiles) -> None:
    """Every file that the evaluation leaves beside evaluation.json."""
    problems, refusals = files.problems, files.tested.refusals

    def why(name: str) -> str:
        told = [refusal.reason.rstrip(".") for refusal in refusals if refusal.what.startswith(name)]
        return told[0] if told else "the evaluation did not write it, or it was moved"

    def rows(schema: tables.Schema) -> pd.DataFrame | None:
        return table(schema, run.path, problems, why(schema.file.removesuffix(".csv")))

    files.predictions = rows(tables.PREDICTIONS_TEST)
    if run.predictions_models.exists():
        files.predictions_models = rows(tables.PREDICTIONS_MODELS)
    files.evaluated = Evaluated(
        comparisons=rows(tables.COMPARISONS),
        points=rows(tables.OPERATING_POINTS),
        prevalences=rows(tables.PREVALENCES),
        decision=rows(tables.DECISION_CURVE),
        curves=rows(tables.CURVES),
        calibration=document(CalibrationRecord, run.path / "calibration.json", problems, why("calibration")),
        subgroups=rows(tables.SUBGROUPS),
        failures=rows(tables.FAILURES),
        failure_images=_images(run, "failures.npz", ["ranks"], problems, why("failures")),
        robustness=rows(tables.ROBUSTNESS),
        saliency=document(SaliencyRecord, run.path / "saliency.json", problems, why("saliency")),
        saliency_images=_images(run, "saliency.npz", ["maps", "randomised"], problems, why("saliency")),
        validation=rows(tables.PREDICTIONS_VAL),
        thumbnails=_images(run, run.thumbnails.name, ["splits", "names"], problems, why("thumbnails")),
    )


def _sealed(run: RunDir, openings: int) -> str:
    command = typed("evaluate", run.name, *in_output(run.path.parent))
    if openings:
        return f"{opened_in_vain(openings)}; evaluate the present models with “{command}”"
    return f"the test split is still sealed; once every choice is made, open it with “{command}”"


def opened_in_vain(openings: int) -> str:
    """That the test split was opened, although no evaluation is there."""
    times = "once" if openings == 1 else f"{openings} times"
    return (
        f"the test split has been opened {times}, but there is no evaluation of the present models: it was "
        "interrupted, or they were trained anew"
    )


def _images(run: RunDir, name: str, more: Sequence[str], problems: Problems, why: str) -> Images | None:
    return arrays(run.path / name, problems, ["images", *more], why, partial(_images_of, more))


def _images_of(more: Sequence[str], found: Arrays) -> Images:
    """The images of an .npz file with what it has of each, arrays called ``more``."""
    images = _pictures(found["images"], 4, "(n, H, W, 1 or 3)")
    if uneven := [key for key in more if found[key].shape[:1] != images.shape[:1]]:
        there = f"holds {len(found[uneven[0]])}" if found[uneven[0]].ndim else "holds no list of them"
        raise ValueError(f"it must hold as many {uneven[0]} as images ({len(images)}), but {there}")
    for key in more:
        wanted = images.shape[:3] if key in MAPS else images.shape[:1]
        kind = "f" if key in MAPS else "U" if key in TEXTS else "iu"
        if found[key].shape != wanted or found[key].dtype.kind not in kind:
            raise ValueError(f"{key} must be {KINDS[kind]} of shape {wanted}, but got {_told(found[key])}")
    ranks = tuple(int(rank) for rank in found.get("ranks", ()))
    names = zip(*(found[key].tolist() if key in found else [] for key in TEXTS), strict=True)
    return Images(images, ranks, found.get("maps"), found.get("randomised"), tuple(names))


def _pictures(found: npt.NDArray[Any], dimensions: int, shape: str) -> npt.NDArray[np.uint8]:
    """An array of images; ValueError unless it has so many ``dimensions``, called ``shape``, and bytes for pixels."""
    if found.ndim != dimensions or found.shape[-1] not in (1, 3) or found.dtype != np.uint8:
        raise ValueError(f"images must be bytes of shape {shape}, but got {_told(found)}")
    return found


def _told(found: npt.NDArray[Any]) -> str:
    return f"{found.dtype} of shape {found.shape}"


def _gallery(run: RunDir, problems: Problems) -> Gallery | None:
    why = "no augmented images were drawn"
    return arrays(run.augmentation, problems, ["policies", "images"], why, _gallery_of)


def _gallery_of(found: Arrays) -> Gallery:
    policies = found["policies"]
    images = _pictures(found["images"], 5, "(n_policies, n_columns, H, W, 1 or 3)")
    if policies.shape != images.shape[:1] or policies.dtype.kind != "U":
        raise ValueError(f"policies must be {KINDS['U']} of shape {images.shape[:1]}, but got {_told(policies)}")
    return Gallery(policies.tolist(), images)
