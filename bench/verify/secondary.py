"""The ensemble and the mean over augmented copies: averaged again where that can be done, scored and compared again."""

from dataclasses import replace

import numpy as np

from bench.verify import beside
from bench.verify.calibrated import check_reach, mapped, threshold
from bench.verify.chosen import courses, kept
from bench.verify.reading import Folder, Json, NotThere, Place, Predicted, Tally
from bench.verify.resampled import few, redrawn
from bench.verify.scores import NEEDS_ALL_CLASSES, fewest, score
from bench.verify.weighted import Floats, metrics, together

FILE = "predictions_secondary.csv"
CARD = "best_ensemble.json"
CHOICES = {"ensemble": "ensemble", "tta": "averaged_views"}
"""Kind -> what best_model.json calls what was decided of it."""


def secondary(run: Folder, tally: Tally) -> None:
    """Probabilities, scores, thresholds, difference from the winner, and costs.

    Raises:
        NotThere: if nothing was set beside the winner.
    """
    rows = [one for one in run.evaluation.get("secondary", []) if one.get("scores")]
    if not rows:
        raise NotThere("nothing was set beside the winner, or the run is of an earlier version")
    card, table = run.json("best_model.json"), run.table(FILE)
    for one in rows:
        kind, choice = one["kind"], card[CHOICES[one["kind"]]]
        splits = {
            split: run.predicted(table[(table["model"] == kind) & (table["split"] == split)])
            for split in ("val", "test")
        }
        if kind == "ensemble":
            _averaged(run, choice, splits, tally)
            _file(run, one, choice, tally)
        _one(Place(run, kind, tally), one, choice, splits)


def _one(place: Place, told: Json, choice: Json, splits: dict[str, Predicted]) -> None:
    run, metric = place.run, told["metric"]
    test, winner = splits["test"], run.winners("test", "calibrated_")
    same = test.images == winner.images and (test.labels == winner.labels).all()
    place.check(same, "other test images than predictions_test.csv has")
    if not same:
        return
    place.close(f"{metric} on validation", choice["validation"], score(metric, splits["val"]))
    for one in choice.get("thresholds", []):
        threshold(run, one, splits["val"], None, place.tally, f"{place.name}, ")
    beside.scores(place, told["scores"], test)
    beside.points(place, told["points"], test)
    place.close(f"{metric} of the winner", told["winner"], score(metric, winner))
    _difference(place, metric, told["difference"], test, winner)
    cost = told.get("cost") or {}
    for name, own, other in (
        ("time", "milliseconds", "winner_milliseconds"),
        ("size", "megabytes", "winner_megabytes"),
    ):
        if cost.get(own) is not None:
            place.close(f"{name} beside the winner's", cost[name], cost[own] / cost[other])


def _difference(place: Place, metric: str, told: Json, test: Predicted, winner: Predicted) -> None:
    run = place.run
    values = [score(metric, one) for one in (test, winner)]
    if None in values:
        place.check(told.get("value") is None, "a difference is told where a class is missing")
        return
    place.close("difference", told["value"], float(values[0] or 0.0) - float(values[1] or 0.0))
    sides = [test.labels == number for number in range(len(run.classes))]
    lacking = few(test.patients, *(sides if metric in NEEDS_ALL_CLASSES else []))
    drawn = redrawn(test.patients, together([metrics(one, [metric]) for one in (test, winner)]), jackknife=False)
    patients = fewest(metric, test)
    error = drawn.standard_error(np.array([1.0, -1.0]), run.draws_on_validation, patients)
    if told.get("low") is None:
        place.check(lacking or error[0] < 1e-9, "no interval of the difference is told")
    elif lacking:
        place.check(False, "an interval of the difference is told with too few patients")
    else:
        check_reach(run, place.of("difference"), told, error, patients, place.tally)


def _averaged(run: Folder, choice: Json, splits: dict[str, Predicted], tally: Tally) -> None:
    """The mean of calibrated probabilities, from what each member says."""
    images, said = kept(run), courses(run)
    for split, found in splits.items():
        parts: list[Floats] = []
        for one in choice["members"]:
            repeats = run.repeats(one["model"], split)
            key = ("finalist", one["model"], one["repeat"], None)
            if split == "val" and one["repeat"] not in repeats:
                own = said[key].scores[-1]
            elif split == "val":
                whole = repeats[one["repeat"]]
                chosen = np.isin(np.array(whole.images), np.array(images.images))
                own = whole.scores[chosen]
            else:
                own = repeats[one["repeat"]].scores
            parts.append(one["count"] * mapped(own, one["calibration"]))
        mean = np.sum(parts, axis=0) / sum(one["count"] for one in choice["members"])
        tally.close(f"{FILE}, {split}: distance from the mean", 0.0, float(abs(found.scores - mean).max()), 1e-5)
    own = replace(images, scores=mapped(images.scores, run.evaluation["calibration"]))
    tally.close("winner on validation", choice["winner_validation"], score(choice["metric"], own))


def _file(run: Folder, told: Json, choice: Json, tally: Tally) -> None:
    """The file is the one that its card speaks of, and the card says what was chosen."""
    card = run.json(CARD)
    tally.same("members of the ensemble", card["members"], choice["members"])
    if run.has("best_ensemble.h5"):  # one that is gone is told with the file hashes
        tally.same("SHA-256 of best_ensemble.h5", card["sha256"], run.sha256("best_ensemble.h5"))
    tally.same("cost of the ensemble", told["cost"], card["cost"])
    rows = run.table("finalists.csv")
    trained = str(rows.loc[rows["winner"] == "True", "model"].iloc[0])
    for name, file in (("megabytes", card["file"]), ("winner_megabytes", trained)):
        if run.has(file):
            tally.close(f"ensemble: {name}", card["cost"][name], run.file(file).stat().st_size / 1e6)
    for model, repeat in ((one["model"], one["repeat"]) for one in card["members"]):
        rows = run.table("finalists.csv")
        rows = rows[(rows["backbone"] == model) & (rows["repeat"] == repeat)]
        of = [one["sha256"] for one in card["members"] if (one["model"], one["repeat"]) == (model, repeat)]
        tally.same(f"SHA-256 of member {model}, seed {repeat}", of, list(rows["sha256"]))
