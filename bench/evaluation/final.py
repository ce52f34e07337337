"""The last stage: the test split is opened, once, and everything that is to be said of it is computed and written down.

Training never receives its row numbers; what was decided before lies in best_model.json and is not changed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.groups import PREFIX
from bench.data.splits import labels_of, units_of
from bench.evaluation import in_worker, ledger
from bench.evaluation.calibration import calibration
from bench.evaluation.comparisons import comparisons, sentences
from bench.evaluation.curves import curves
from bench.evaluation.decide import Decisions, Scene, predictions
from bench.evaluation.decision import decision_curve
from bench.evaluation.failures import failures
from bench.evaluation.operating_points import operating_points
from bench.evaluation.retrained import gap, retrained
from bench.evaluation.saliency import choose_cases
from bench.evaluation.scoring import LEVEL, missing_classes, score_model, spread
from bench.evaluation.subgroups import image_groups, subgroups
from bench.evaluation.test_access import OpenTest, SealedTest
from bench.finalists import baselines
from bench.finalists.seeds import model_files
from bench.models.backbones import get_backbone
from bench.models.export import as_json
from bench.run.folder import RunDir, atomic_path, write_json, write_table
from bench.stats.enough import by_class, too_few
from bench.stats.metrics import brier_definition

Call = Callable[..., Any]
"""``call(function, *arguments)`` calls a function in a worker."""


@dataclass(frozen=True)
class Scored:
    """What one model, finalist or control, says of the test images.

    Attributes:
        title: for people.
        kind: ``finalist`` or ``control``.
        repeats: repeat -> probabilities, shape (n_images, n_classes).
        representative: the repeat that is compared.
    """

    title: str
    kind: str
    repeats: Mapping[int, npt.NDArray[np.float32]]
    representative: int

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """Probabilities of the representative."""
        return self.repeats[self.representative]


def open_test(
    scene: Scene,
    sealed: SealedTest,
    finalists: pd.DataFrame,
    controls: pd.DataFrame,
    run: RunDir,
    decisions: Decisions,
    call: Call,
) -> dict[str, Any]:
    """Open the test split, score every finalist and control on it, and write all files of the evaluation.

    Args:
        scene: the data as they were known before.
        sealed: the test split.
        finalists: finalists.csv.
        controls: baselines.csv.
        run: the run folder.
        decisions: what `bench.evaluation.decide.decide` returned.
        call: calls a function in a worker.

    Returns:
        the content of evaluation.json, which is written last.

    Raises:
        TestSealed: if it may not be opened.
    """
    test = sealed.open()
    return _Evaluation(scene, test, finalists, controls, run, decisions, call).write()


class _Evaluation:
    def __init__(
        self,
        scene: Scene,
        test: OpenTest,
        finalists: pd.DataFrame,
        controls: pd.DataFrame,
        run: RunDir,
        decisions: Decisions,
        call: Call,
    ) -> None:
        self.scene, self.test, self.run, self.decisions, self.call = scene, test, run, decisions, call
        self.finalists, self.controls = finalists, controls
        self.classes = list(scene.classes)
        self.labels = labels_of(test.table.reset_index(drop=True), np.arange(len(test.rows)), scene.classes)
        self.patients = np.asarray(units_of(test.table))
        self.n_patients = len(np.unique(self.patients))
        self.refusals: list[dict[str, str]] = []
        self.draws = scene.draws
        if few := too_few(self.patients):
            self.draws = 0
            self._refuse("intervals and tests by patients", few)
        if reason := missing_classes(self.labels, self.classes):
            self._refuse("ROC AUC and what else compares classes", reason)
        elif self.draws and (few := too_few(self.patients, by_class(self.labels, self.classes))):
            self._refuse("intervals and tests of what looks at each class by itself, such as ROC AUC", few)
        self.models = self._score_all()

    def _refuse(self, what: str, reason: str) -> None:
        self.refusals.append({"what": what, "reason": reason})

    @property
    def winner(self) -> Scored:
        return self.models[self.decisions.winner]

    def _score_all(self) -> dict[str, Scored]:
        found = {}
        done = self.finalists[self.finalists["state"] == "completed"]
        for name, rows in done.groupby("backbone", sort=False):
            found[str(name)] = self._trained(get_backbone(str(name)).title, "finalist", rows, str(name))
        done = self.controls[self.controls["state"] == "completed"] if len(self.controls) else self.controls
        for name, rows in done.groupby("baseline", sort=False) if len(done) else ():
            title = baselines.TITLES[str(name)]
            if str(name) in ("majority", "metadata"):
                found[str(name)] = Scored(title, "control", {1: self._untrained(str(name))}, 1)
            else:
                found[str(name)] = self._trained(title, "control", rows, self.decisions.winner)
        return found

    def _trained(self, title: str, kind: str, rows: pd.DataFrame, backbone: str) -> Scored:
        """Predictions of all repeats, by the files that they left; images as ``backbone`` takes them."""
        repeats = {
            int(row["repeat"]): self.call(
                in_worker.predict, (self.run.path / row["model"]).absolute(), self.test.images[backbone], self.test.rows
            )
            for row in rows.to_dict("records")
        }
        chosen = rows.loc[rows["representative"], "repeat"]
        return Scored(title, kind, repeats, int(chosen.iloc[0]) if len(chosen) else min(repeats))

    def _untrained(self, control: str) -> npt.NDArray[np.float32]:
        train = self.scene.rows("train")
        labels = self.scene.labels(train)
        predict = baselines.fit_untrained(control, self.scene.facts.iloc[train], labels, len(self.classes))
        return predict(self.test.facts)

    def write(self) -> dict[str, Any]:
        """Compute and write everything, evaluation.json last."""
        run = self.run
        temperature = self.decisions.temperature
        winners = predictions(self.test.table, self.classes, self.winner.scores, temperature)
        winners.insert(3, "pixels", self.test.facts["pixels"].astype(str).to_numpy())  # what `report A B` matches by
        write_table(run.predictions_test, winners)
        write_table(run.predictions_models, self._all_predictions())
        told = self._comparisons()
        self._winner_tables()
        self._where_it_fails()
        self._pictures()
        several = bool(pd.Series(self.patients).duplicated().any())
        content: dict[str, Any] = as_json(
            {
                "opened": [one["time"] for one in run.read_run()["test"]["openings"]],
                "images": len(self.test.rows),
                "patients": self.n_patients,
                "several_images_a_patient": several,
                "classes": self.classes,
                "winner": self.decisions.winner,
                "temperature": temperature,
                "threshold": self.decisions.card["threshold"],
                "thresholds": self.decisions.card["thresholds"],
                "definitions": {"brier": brier_definition(self.classes)},
                "bootstrap": {"draws": self.draws, "level": LEVEL, "unit": "patient"},
                "files": model_files(self.finalists, self.controls),
                "models": self._models(),
                **self._validation(),
                "sentences": told,
                "ledger": ledger.summary(self.test.openings, self.test.opening),
                "refusals": self.refusals,
            }
        )
        write_json(run.evaluation, content)
        return content

    def _all_predictions(self) -> pd.DataFrame:
        parts = []
        val = self.scene.table.iloc[self.scene.rows("val")]
        for name, scores in self.decisions.validation.items():
            part = predictions(val, self.classes, scores)
            parts.append(part.assign(model=name, repeat=self.models[name].representative, split="val"))
        for name, model in self.models.items():
            for repeat, scores in model.repeats.items():
                part = predictions(self.test.table, self.classes, scores)
                parts.append(part.assign(model=name, repeat=repeat, split="test"))
        table = pd.concat(parts, ignore_index=True)
        first = ["model", "repeat", "split"]
        return table[first + [name for name in table if name not in first]]

    def _models(self) -> dict[str, Any]:
        return {
            name: {
                "kind": model.kind,
                "title": model.title,
                **score_model(self.labels, model.scores, self.patients, self.classes, self.scene.seed, self.draws),
                "repeats": spread(self.labels, list(model.repeats.values()), self.classes),
            }
            for name, model in self.models.items()
        }

    def _comparisons(self) -> list[str]:
        titles = {name: model.title for name, model in self.models.items()}
        table = comparisons(
            {name: model.scores for name, model in self.models.items()},
            self.labels,
            self.patients,
            winner=self.decisions.winner,
            finalists=[name for name, model in self.models.items() if model.kind == "finalist"],
            controls=[name for name, model in self.models.items() if model.kind == "control"],
            titles=titles,
            classes=self.classes,
            draws=self.draws,
            level=LEVEL,
            seed=self.scene.seed,
        )
        write_table(self.run.comparisons, table)
        return sentences(table, titles, len(self.labels))

    def _winner_tables(self) -> None:
        """Calibration, operating points, prevalences, decision curve, ROC and PR curves."""
        scene, run, scores = self.scene, self.run, self.winner.scores
        rows = scene.rows("val")
        validation = self.decisions.validation[self.decisions.winner]
        temperature = self.decisions.temperature
        found = calibration(scene.labels(rows), validation, self.labels, scores, temperature, self.classes)
        write_json(run.calibration, as_json(found))
        calibrated = np.asarray(pd.read_csv(run.predictions_test)[[f"calibrated_{name}" for name in self.classes]])
        how = (self.draws, LEVEL, scene.seed)
        points, prevalences = operating_points(
            self.labels, scores, self.patients, self.decisions.thresholds, self.classes, *how
        )
        write_table(run.operating_points, points)
        write_table(run.prevalences, prevalences)
        write_table(run.decision_curve, decision_curve(self.labels, calibrated, self.patients, self.classes, *how))
        drawn = {name: model.scores for name, model in self.models.items() if model.kind == "finalist"}
        write_table(run.curves, curves(drawn, self.labels, self.patients, self.classes, *how))

    def _where_it_fails(self) -> None:
        """Errors with their images, and subgroups."""
        scene, run, scores = self.scene, self.run, self.winner.scores
        pixels = self.test.facts["pixels"].to_numpy()
        table = self.test.table.assign(patient=self.patients, pixels=pixels).reset_index(drop=True)
        errors = failures(table, self.labels, scores, self.classes)
        write_table(run.failures, errors.table)
        stored = self.test.images[self.decisions.winner].open()
        with atomic_path(run.failures_images) as temporary:
            np.savez_compressed(temporary, images=stored[self.test.rows[errors.positions]], ranks=errors.ranks)
        groups = {
            str(name).removeprefix(PREFIX): table[name].astype(str).tolist()
            for name in table
            if str(name).startswith(PREFIX)
        }
        groups |= image_groups(self.test.facts)
        threshold = self.decisions.card["threshold"]
        write_table(
            run.subgroups,
            subgroups(
                self.labels,
                scores,
                self.patients,
                groups,
                self.classes,
                threshold["value"] if threshold else None,
                self.draws,
                LEVEL,
                scene.seed,
            ),
        )

    def _pictures(self) -> None:
        """Robustness and saliency, which need the model; what goes wrong in them costs nothing else."""
        run, name = self.run, self.decisions.winner
        for outdated in (run.robustness, run.saliency, run.saliency_images):
            outdated.unlink(missing_ok=True)
        model, stored = run.best_model.absolute(), self.test.images[name]
        how = (self.draws, LEVEL, self.scene.seed)
        try:
            table = self.call(
                in_worker.robustness, model, stored, self.test.rows, self.labels, self.patients, self.classes, *how
            )
            write_table(run.robustness, table)
        except Exception as error:
            self._refuse("robustness under altered images", _reason(error))
        try:
            pixels = self.test.facts["pixels"].to_numpy()
            cases = choose_cases(self.labels, self.winner.scores, same=pixels)
            found, arrays = self.call(
                in_worker.saliency,
                model,
                stored,
                self.test.rows[cases],
                self.winner.scores[cases],
                self.labels[cases],
                self.test.table["image"].iloc[cases].tolist(),
                self.classes,
                self.scene.seed,
            )
            for item, case in zip(found["items"], cases, strict=True):
                item["copies"] = int((pixels == pixels[case]).sum())
            with atomic_path(run.saliency_images) as temporary:
                np.savez_compressed(temporary, **arrays)
            write_json(run.saliency, as_json(found))
        except Exception as error:
            self._refuse("saliency maps", _reason(error))

    def _validation(self) -> dict[str, Any]:
        """What validation said, and how the test split differs from it."""
        scene, decisions = self.scene, self.decisions
        rows = scene.rows("val")
        labels, patients = scene.labels(rows), scene.patients(rows)
        scores = decisions.validation[decisions.winner]
        entries = retrained(
            self.finalists, decisions.validation, labels, patients, scene.metric, scene.draws, LEVEL, scene.seed
        )
        found = score_model(labels, scores, patients, self.classes, scene.seed, scene.draws)
        return {
            "validation": {"metrics": found["metrics"], "images": len(rows), "patients": len(np.unique(patients))},
            "retrained": entries,
            "gap": gap(
                (labels, scores, patients),
                (self.labels, self.winner.scores, self.patients),
                scene.metric,
                self.draws,
                LEVEL,
                scene.seed,
            ),
        }


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
