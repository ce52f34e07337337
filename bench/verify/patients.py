"""Predictions by patient, aggregated again from those of images, and what is said of them."""

from typing import Any

import numpy as np
import pandas as pd

from bench.verify import beside
from bench.verify.calibrated import mapped, threshold
from bench.verify.reading import SMALLER_IS_BETTER, Folder, Json, NotThere, Place, Predicted, Tally
from bench.verify.scores import score
from bench.verify.weighted import Floats

FILE = "predictions_patients.csv"


def _together(values: Floats, rule: str, top: int) -> Floats:
    """The images of one patient, shape (n_images, n_classes), as one row."""
    wanted = values[:, -1:] if values.shape[1] == 2 else values
    if rule == "noisy-or":
        found = 1 - np.exp(np.log1p(-np.minimum(wanted, 1 - 1e-16)).sum(axis=0))
    else:
        largest = {"mean": len(wanted), "maximum": 1, "top": top}[rule]
        found = -np.sort(-wanted, axis=0)[:largest].mean(axis=0)
    return np.append(1 - found, found) if values.shape[1] == 2 else found / found.sum()


def grouped(run: Folder, split: str, rule: str, top: int) -> tuple[pd.DataFrame, int, int]:
    """One row per patient whose images have one label, in the order of names; and patients and images left out.

    Columns: ``patient``, ``label``, ``images``, ``unit`` (what the bootstrap draws) and ``scores``.
    """
    known = run.table("splits.csv").set_index("image")["patient"]
    images = run.winners(split, "calibrated_")
    table = pd.DataFrame({"label": images.labels, "unit": images.patients, "row": range(len(images.labels))})
    rows: list[dict[str, Any]] = []
    left_out = left_out_images = 0
    for patient, part in table.groupby(known[list(images.images)].astype(str).to_numpy(), sort=True):
        if part["label"].nunique() > 1:
            left_out, left_out_images = left_out + 1, left_out_images + len(part)
            continue
        about = {"patient": patient, "label": part["label"].iloc[0], "unit": part["unit"].iloc[0]}
        rows.append(about | {"images": len(part), "scores": _together(images.scores[part["row"]], rule, top)})
    return pd.DataFrame(rows), left_out, left_out_images


def _predicted(table: pd.DataFrame) -> Predicted:
    scores = np.stack(table["scores"].to_list())
    return Predicted(tuple(table["patient"]), table["label"].to_numpy(np.int64), scores, table["unit"].to_numpy())


def patients(run: Folder, tally: Tally) -> None:
    """The rule, its candidates on validation, the map, the threshold, and every score on test with its interval.

    Raises:
        NotThere: if nothing is said by patient.
    """
    told = run.evaluation.get("by_patient")
    if not told:
        raise NotThere("no test patient has several images, or the run is of an earlier version")
    level = told["decided"]
    tally.same("by patient, best_model.json", run.json("best_model.json").get("by_patient"), level)
    found = {split: grouped(run, split, level["rule"], level["top"]) for split in ("val", "test")}
    for split, (table, *_) in found.items():
        _rows(run, split, table, level, tally)
    validation, test = _predicted(found["val"][0]), _predicted(found["test"][0])
    _candidates(run, level, tally)
    for split, of, one in (("validation", level, found["val"]), ("test", told, found["test"])):
        tally.same(f"{split} patients", of["patients"], len(one[0]))
        tally.same(f"{split} patients with several images", of["several"], int((one[0]["images"] > 1).sum()))
        tally.same(f"{split} patients of several labels", of["left_out"], one[1])
    tally.same("test images by patient", told["images"], int(found["test"][0]["images"].sum()))
    tally.same("test images left out", told["left_out_images"], found["test"][2])
    for one in level.get("thresholds", []):
        threshold(run, one, validation, level.get("calibration"), tally, "by patient, ")
    place = Place(run, "by patient", tally)
    beside.scores(place, told["scores"], test)
    beside.points(place, told["points"], test)
    for one, frozen in zip(told["points"], level.get("thresholds", []), strict=True):
        tally.close(f"by patient, {one['class']}: threshold", one["threshold"], frozen["value"])
    after = Predicted(test.images, test.labels, mapped(test.scores, level["calibration"]), test.patients)
    for name, value in told.get("after", {}).items():
        tally.close(f"by patient, after the map: {name}", value, score(name, after))


def _rows(run: Folder, split: str, table: pd.DataFrame, level: Json, tally: Tally) -> None:
    written = run.table(FILE)
    written = written[written["split"] == split]
    same = list(written["patient"].astype(str)) == list(table["patient"])
    tally.check(same, f"{FILE}: other {split} patients than splits.csv and predictions_{split}.csv give")
    if not same:
        return
    tally.same(f"{FILE}, {split}: labels", list(written["label"]), [run.classes[one] for one in table["label"]])
    tally.same(f"{FILE}, {split}: images", [int(one) for one in written["images"]], list(table["images"]))
    own = np.stack(table["scores"].to_list())
    for kind, scores in (("prob_", own), ("calibrated_", mapped(own, level["calibration"]))):
        columns = written[[f"{kind}{name}" for name in run.classes]].to_numpy(dtype=float)
        tally.close(f"{FILE}, {split}: distance of {kind}*", 0.0, float(abs(columns - scores).max()))


def _candidates(run: Folder, level: Json, tally: Tally) -> None:
    """What each rule reaches on validation, and that the chosen one is the best, ties by log loss."""
    keys = []
    for one in level.get("candidates", []):
        validation = _predicted(grouped(run, "val", one["rule"], level["top"])[0])
        value, loss = score(level["metric"], validation), score("log_loss", validation)
        tally.close(f"{one['rule']} on validation: {level['metric']}", one["score"], value)
        tally.close(f"{one['rule']} on validation: log loss", one["log_loss"], loss)
        sign = 1 if level["metric"] in SMALLER_IS_BETTER else -1
        keys.append((sign * round(one["score"], 12), one["log_loss"], one["rule"]))
    if keys:
        best = min(key[:2] for key in keys)
        chosen = next(key[:2] for key in keys if key[2] == level["rule"])
        tally.check(chosen <= best, f"{level['rule']} was chosen, and is not the best on validation")
