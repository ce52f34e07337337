"""The last stage: the test split is opened, once, and everything that is to be said of it is computed and written down.

Training never receives its row numbers; what was decided before lies in best_model.json and is not changed here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.images.decode import Pixels
from bench.data.images.store import StoredImages
from bench.data.patients import PREFIX
from bench.disk import pass_on_full_disk
from bench.evaluation import in_worker, openings
from bench.evaluation.by_patient import score_by_patient
from bench.evaluation.calibration import calibration
from bench.evaluation.comparisons import Rules, comparisons, sentences
from bench.evaluation.conformal import conformal
from bench.evaluation.curves import curves
from bench.evaluation.decision_curve import decision_curve
from bench.evaluation.failures import failures
from bench.evaluation.grouping import grouped, image_groups
from bench.evaluation.inputs import CallAll, Decisions, EvaluationInputs, ScoredModel
from bench.evaluation.operating_points import operating_points
from bench.evaluation.predictions import all_predictions, altered_predictions, predictions_table, score_models
from bench.evaluation.retrained import gap, retrained
from bench.evaluation.robustness import ALTERATIONS, NONE, choose_rows, robustness
from bench.evaluation.saliency import Cases, choose_cases
from bench.evaluation.scoring import score_model, spread
from bench.evaluation.secondary import score_secondary
from bench.evaluation.selection import selection
from bench.evaluation.subgroups import subgroups
from bench.evaluation.test_access import OpenTest, SealedTest
from bench.evaluation.thumbnails import thumbnails, worth_seeing
from bench.failures import told
from bench.finalists.seeds import model_files
from bench.run import tables
from bench.run.courses import Course, read_courses
from bench.run.documents import (
    BootstrapRecord,
    EvaluationRecord,
    ModelScores,
    Refusal,
    SelectionRecord,
    ValidationScores,
)
from bench.run.folder import RunDir, atomic_path, write_json
from bench.run.record import read_strictly
from bench.run.tables import records
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import brier_definition
from bench.stats.predictions import Predictions

CHECKED_IMAGES = 32
CLOSE = 0.05
"""A faster precision may move a probability by this much at most."""


def open_test(
    inputs: EvaluationInputs, decisions: Decisions, sealed: SealedTest, run: RunDir, call_all: CallAll
) -> EvaluationRecord:
    """Open the test split, score every finalist and baseline on it, and write all files of the evaluation.

    Returns:
        what evaluation.json, which is written last, says of it.

    Raises:
        TestSealed: if it may not be opened.
    """
    test = sealed.open()
    models = score_models(inputs, decisions.winner, test, run, call_all)
    winner = models[decisions.winner].predictions
    bootstrap = inputs.bootstrap.unless(winner.few)
    _write_predictions(inputs, decisions, test, models, run)
    _write_tables(models, decisions, test, run, bootstrap)
    _write_thumbnails(inputs, decisions, winner, test, run)
    rules = Rules(decisions.winner, inputs.metric, inputs.settings.margin, inputs.bootstrap)
    compared = comparisons(models, rules)
    tables.COMPARISONS.write(run.path, compared)
    pictures = _Pictures(winner, test, decisions.winner, bootstrap, inputs.precision.get(decisions.winner, "float32"))
    refusals = _too_few(winner) + pictures.write(run, call_all)
    beside = _beside(inputs, decisions, models, test, run, call_all)
    found = EvaluationRecord(
        opened=tuple(test.times),
        images=len(winner),
        patients=winner.n_patients,
        several_images_a_patient=winner.n_patients < len(winner),
        classes=tuple(inputs.classes),
        winner=decisions.winner,
        calibration=decisions.calibration.map,
        threshold=decisions.threshold,
        thresholds=decisions.thresholds,
        definitions={"brier": brier_definition(inputs.classes)},
        bootstrap=BootstrapRecord(draws=bootstrap.draws, level=bootstrap.level, unit="patient"),
        files=model_files(inputs.finalists, inputs.baselines),
        models={name: _scores(model, bootstrap) for name, model in models.items()},
        validation=_validation(decisions.validation[decisions.winner], inputs.bootstrap),
        retrained=tuple(retrained(inputs.finalists, decisions.validation, inputs.metric, inputs.bootstrap)),
        selection=_selection(inputs, _courses(inputs, run)),
        gap=gap(decisions.validation[decisions.winner], winner, inputs.metric, bootstrap),
        sentences=tuple(sentences(compared, {name: model.title for name, model in models.items()}, len(winner))),
        ledger=openings.summary(test.known, test.opening),
        conformal=conformal(decisions.conformal, winner.with_scores(decisions.calibration.map(winner.scores))),
        refusals=tuple(refusals),
        **beside,
    )
    _put_on_record(found, sealed, test, run)
    return found


def _put_on_record(found: EvaluationRecord, sealed: SealedTest, test: OpenTest, run: RunDir) -> None:
    """In the ledgers first, before anybody can see what came of it; then evaluation.json."""
    metrics = found.models[found.winner].metrics
    sealed.scored(test.opening, {name: one.value for name, one in metrics.items() if one.value is not None})
    run.opening_evaluated(test.opening)
    write_json(run.evaluation, found)


def _beside(
    inputs: EvaluationInputs,
    decisions: Decisions,
    models: Mapping[str, ScoredModel],
    test: OpenTest,
    run: RunDir,
    call_all: CallAll,
) -> dict[str, Any]:
    """What evaluation.json says by patient, and of what is set beside the winner; nothing of what is not there."""
    by_patient = score_by_patient(inputs, decisions, models[decisions.winner].predictions, test.table, run)
    secondary = score_secondary(inputs, decisions, models, test, run, call_all)
    found = {"by_patient": by_patient, "secondary": secondary}
    return {name: one for name, one in found.items() if one}


def _scores(model: ScoredModel, bootstrap: Bootstrap) -> ModelScores:
    about = {"kind": model.kind, "title": model.title, "repeats": spread(model.repeats, model.representative)}
    return score_model(model.predictions, bootstrap).model_copy(update=about)


def _validation(predictions: Predictions, bootstrap: Bootstrap) -> ValidationScores:
    metrics = score_model(predictions, bootstrap).metrics
    return ValidationScores(metrics=metrics, images=len(predictions), patients=predictions.n_patients)


def renew_selection(inputs: EvaluationInputs, run: RunDir) -> None:
    """Compute again what choosing has cost, if trials have come that changed no finalist; nothing is opened for it."""
    record, courses = read_strictly(EvaluationRecord, run.evaluation), _courses(inputs, run)
    known = record.selection.configurations if record.selection else 0
    if known != sum(course.curve.kind == "trial" for course in courses):
        run.unpin(run.evaluation)
        write_json(run.evaluation, record.model_copy(update={"selection": _selection(inputs, courses)}))
    if run.evaluation.name not in run.read().pinned:  # or it was killed before this
        run.pin(run.evaluation)


def _selection(inputs: EvaluationInputs, courses: Sequence[Course]) -> SelectionRecord:
    """What choosing cost: of the validation images labels and patients count, and what ``courses`` say of them."""
    nobodys = np.full((len(inputs.rows("val")), len(inputs.classes)), np.nan, np.float32)
    return selection(courses, inputs.on_validation(nobodys), inputs.metric, inputs.bootstrap)


def _courses(inputs: EvaluationInputs, run: RunDir) -> list[Course]:
    """Of the trainings that stand in the tables: the file holds those that were replaced, too."""
    done = inputs.finalists[inputs.finalists["state"] == "completed"]
    finalists = {(row["backbone"], row["repeat"]) for row in records(done)}
    trials = {str(row["trial"]) for row in tables.TRIALS.records(run.path, grown=True) if row["state"] != "failed"}
    return [
        course
        for course in read_courses(run)
        if (course.curve.kind == "trial" and course.curve.name in trials)
        or (course.curve.kind == "finalist" and (course.curve.name, course.curve.repeat) in finalists)
    ]


def _write_tables(
    models: Mapping[str, ScoredModel], decisions: Decisions, test: OpenTest, run: RunDir, bootstrap: Bootstrap
) -> None:
    """What is said of the winner alone, from its failures to its subgroups; and all curves."""
    winner, chosen = models[decisions.winner].predictions, decisions.calibration
    _write_failures(winner, test, decisions.winner, run)
    write_json(run.calibration, calibration(decisions.validation[decisions.winner], winner, chosen, bootstrap))
    points, prevalences = operating_points(
        winner, decisions.thresholds, bootstrap, decisions.validation[decisions.winner]
    )
    tables.OPERATING_POINTS.write(run.path, points)
    tables.PREVALENCES.write(run.path, prevalences)
    tables.DECISION_CURVE.write(run.path, decision_curve(winner.with_scores(chosen.map(winner.scores)), bootstrap))
    threshold = decisions.threshold.value if decisions.threshold else None
    tables.SUBGROUPS.write(run.path, subgroups(winner, _groups(test), threshold, bootstrap))
    finalists = {name: model.predictions for name, model in models.items() if model.kind == "finalist"}
    tables.CURVES.write(run.path, curves(finalists, bootstrap))


def _too_few(predictions: Predictions) -> list[Refusal]:
    """What cannot be computed for want of patients or of a class."""
    found = []
    if few := predictions.few:
        found.append(("intervals and tests by patients", few))
    if reason := predictions.missing_classes:
        found.append(("ROC AUC and what else compares classes", reason))
    elif not few and (few := predictions.few_of_a_class):
        found.append(("intervals and tests of what looks at each class by itself, such as ROC AUC", few))
    return [Refusal(what=what, reason=reason) for what, reason in found]


def _write_predictions(
    inputs: EvaluationInputs, decisions: Decisions, test: OpenTest, models: Mapping[str, ScoredModel], run: RunDir
) -> None:
    winners = predictions_table(test.table["image"], models[decisions.winner].predictions, decisions.calibration.map)
    winners.insert(3, "pixels", test.facts["pixels"].astype(str).to_numpy())  # what `report A B` matches by
    groups = {f"{PREFIX}{name}": grouped(values) for name, values in _groups(test).items()}
    tables.PREDICTIONS_TEST.write(run.path, winners.assign(**groups))
    val = inputs.table["image"].iloc[inputs.rows("val")]
    tables.PREDICTIONS_MODELS.write(run.path, all_predictions(models, test.table["image"], decisions.validation, val))


def _groups(test: OpenTest) -> dict[str, list[str]]:
    """Name of a grouping, by the source or by image size and shape -> value of each test image."""
    columns = [str(name) for name in test.table if str(name).startswith(PREFIX)]
    given = {name.removeprefix(PREFIX): test.table[name].astype(str).tolist() for name in columns}
    return given | image_groups(test.facts)


def _write_failures(predictions: Predictions, test: OpenTest, backbone: str, run: RunDir) -> None:
    """failures.csv, and failures.npz with the images that are shown."""
    table = test.table.assign(patient=predictions.patients, pixels=test.facts["pixels"].to_numpy())
    errors = failures(table.reset_index(drop=True), predictions)
    tables.FAILURES.write(run.path, errors.table)
    stored = test.images[backbone].open()
    with atomic_path(run.failures_images) as temporary:
        np.savez_compressed(temporary, images=stored[test.rows[errors.positions]], ranks=errors.ranks)


def _write_thumbnails(
    inputs: EvaluationInputs, decisions: Decisions, tested: Predictions, test: OpenTest, run: RunDir
) -> None:
    """thumbnails.npz: by split and file name, as the report finds them."""
    name, val = decisions.winner, inputs.rows("val")
    pictures: list[Pixels] = []
    names: list[str] = []
    splits: list[str] = []
    for split, predictions, rows, table, stored in (
        ("val", decisions.validation[name], val, inputs.table.iloc[val], inputs.images[name]),
        ("test", tested, test.rows, test.table, test.images[name]),
    ):
        seen = worth_seeing(predictions, decisions.thresholds)
        pictures.append(thumbnails(stored.open()[rows[seen]]))
        names += table["image"].iloc[seen].astype(str).tolist()
        splits += [split] * len(seen)
    with atomic_path(run.thumbnails) as temporary:
        np.savez_compressed(
            temporary, images=np.concatenate(pictures), names=np.array(names, str), splits=np.array(splits, str)
        )


@dataclass(frozen=True)
class _Pictures:
    """Robustness and saliency, which need the winner itself and decide nothing.

    Attributes:
        predictions: of the winner, of the test images.
        test: the test split, opened.
        backbone: the winner.
        bootstrap: draws and seed.
        precision: what the winner is computed in here.
    """

    predictions: Predictions
    test: OpenTest
    backbone: str
    bootstrap: Bootstrap
    precision: str

    def write(self, run: RunDir, call_all: CallAll) -> list[Refusal]:
        """Compute both side by side; what goes wrong in one costs nothing else, and is returned."""
        for outdated in (run.robustness, run.predictions_altered, run.saliency, run.saliency_images):
            outdated.unlink(missing_ok=True)
        model, stored = run.best_model.absolute(), self.test.images[self.backbone]
        chosen = choose_rows(self.predictions, seed=self.bootstrap.seed)
        pixels = self.test.facts["pixels"].to_numpy()
        cases = choose_cases(self.predictions, same=pixels)
        names = self.test.table["image"].iloc[cases].tolist()
        precision = self._trusted(model, stored, call_all)
        of_cases = (Cases(self.test.rows[cases], self.predictions.part(cases), names), self.bootstrap.seed, precision)
        altered, maps = "robustness under altered images", "saliency maps"
        found = _all_or_each(
            [partial(in_worker.attempt, maps, in_worker.saliency, model, stored, *of_cases)]
            + [
                partial(
                    in_worker.attempt,
                    altered,
                    *(in_worker.altered_scores, model, stored, self.test.rows[chosen]),
                    *(alteration, self.bootstrap.seed, precision),
                )
                for alteration in (ALTERATIONS if len(chosen) else ())
            ],
            call_all,
        )
        refused = [
            self._write(altered, lambda: self._write_robustness(chosen, found[1:], precision, run), found[1:]),
            self._write(maps, lambda: self._write_saliency(cases, pixels, found[0], run), found[:1]),
        ]
        return [one for one in refused if one]

    def _trusted(self, model: Path, stored: StoredImages, call_all: CallAll) -> str:
        """The precision, if the first test images are scored in it as in float32; else float32.

        Features that hardly differ between images are magnified by the standardisation, their rounding with them.
        """
        if self.precision == "float32":
            return self.precision
        few = slice(0, CHECKED_IMAGES)
        arguments = (model, stored, self.test.rows[few], NONE, self.bootstrap.seed, self.precision)
        try:
            ((found,),) = call_all([partial(in_worker.altered_scores, *arguments)])
        except Exception as error:
            pass_on_full_disk(error)
            return "float32"
        close = np.abs(found - self.predictions.scores[few]).max() <= CLOSE
        return self.precision if close else "float32"

    @staticmethod
    def _write(what: str, write: Callable[[], None], found: Sequence[Any]) -> Refusal | None:
        for one in found:
            if isinstance(one, Exception):  # the worker itself has died
                return Refusal(what=what, reason=told(one))
            if isinstance(one, Refusal):
                return one
        try:
            write()
        except Exception as error:
            pass_on_full_disk(error)
            return Refusal(what=what, reason=told(error))
        return None

    def _write_robustness(self, chosen: Any, found: Sequence[Any], precision: str, run: RunDir) -> None:
        scores = dict(zip(ALTERATIONS, found, strict=True)) if found else {}
        predictions = self.predictions.part(chosen)
        table = robustness(scores, predictions, self.bootstrap, precision)
        images = self.test.table["image"].iloc[chosen]
        tables.PREDICTIONS_ALTERED.write(run.path, altered_predictions(table, scores, predictions, images))
        tables.ROBUSTNESS.write(run.path, table)

    def _write_saliency(self, cases: Any, pixels: Any, found: Any, run: RunDir) -> None:
        content, arrays = found
        items = [
            item.model_copy(update={"copies": int((pixels == pixels[case]).sum())})
            for item, case in zip(content.items, cases, strict=True)
        ]
        with atomic_path(run.saliency_images) as temporary:
            np.savez_compressed(temporary, **arrays)
        write_json(run.saliency, content.model_copy(update={"items": tuple(items)}))


def _all_or_each(calls: Sequence[Callable[[], Any]], call_all: CallAll) -> list[Any]:
    """What ``calls`` return; if a worker dies of one of them, each by itself, and of that one the exception."""
    try:
        return call_all(calls)
    except Exception as error:
        pass_on_full_disk(error)
        return [_one(call, call_all) for call in calls]


def _one(call: Callable[[], Any], call_all: CallAll) -> Any:
    try:
        return call_all([call])[0]
    except Exception as error:
        pass_on_full_disk(error)
        return error
