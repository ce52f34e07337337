"""What is said of the test images, computed again from the tables of predictions; one function a table."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from bench.verify.reading import Folder, Json, NotThere, Predicted, Tally
from bench.verify.scores import SCORES, score
from bench.verify.weighted import GRID

Mask = npt.NDArray[np.bool_]
LISTED = 200
"""Errors in failures.csv, at most."""
MEASURES = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
POINTS = ("0.5", "frozen")
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Beside the one that was observed."""


def predictions(run: Folder, tally: Tally) -> None:
    """Rows sum to 1, and the winner's tables are rows of predictions_models.csv."""
    for name in ("test", "val"):
        for kind in ("prob_", "calibrated_"):
            found = run.winners(name, kind)
            worst = float(abs(found.scores.sum(axis=1) - 1).max()) if len(found.labels) else 0.0
            tally.check(worst < 1e-5, f"predictions_{name}.csv: {kind}* sum to 1 but for {worst:.2g}")
        one, repeats = run.winners(name), run.repeats(run.winner, name)
        other = repeats.get(run.representative(run.winner))
        same = other is not None and one.images == other.images and (one.labels == other.labels).all()
        tally.check(same, f"predictions_{name}.csv: other images than predictions_models.csv has of {run.winner}")
        if same and other is not None:
            distance = float(abs(one.scores - other.scores).max())
            tally.close(f"predictions_{name}.csv: distance from predictions_models.csv", 0.0, distance)


def models(run: Folder, tally: Tally) -> None:
    """Scores, confusion, scores by class and their averages of each model, and its spread over repeats."""
    for name, told in run.evaluation["models"].items():
        repeats = run.repeats(name)
        found = repeats[run.representative(name)]
        for metric, one in told["metrics"].items():
            if metric in SCORES:
                tally.close(f"{name}: {metric}", one["value"], score(metric, found))
        called, n = found.scores.argmax(axis=1), range(len(run.classes))
        counts = sk.confusion_matrix(found.labels, called, labels=n).tolist()
        tally.same(f"{name}: confusion", [list(row) for row in told["confusion"]], counts)
        _by_class(run, name, told, found, tally)
        _over_repeats(name, told.get("repeats"), list(repeats.values()), tally)


def _by_class(run: Folder, name: str, told: Json, found: Predicted, tally: Tally) -> None:
    called, n = found.scores.argmax(axis=1), range(len(run.classes))
    how = {"labels": n, "target_names": run.classes, "output_dict": True, "zero_division": 0.0}
    report = sk.classification_report(found.labels, called, **how)
    for number, label in enumerate(run.classes):
        one = told["per_class"][label]
        for theirs, ours in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            tally.close(f"{name}: {theirs} of {label}", one[theirs], report[label][ours])
        tally.same(f"{name}: images of {label}", one["support"], int((found.labels == number).sum()))
        both = len(np.unique(found.labels == number)) == 2
        auc = sk.roc_auc_score(found.labels == number, found.scores[:, number]) if both else None
        tally.close(f"{name}: ROC AUC of {label}", one.get("auc"), auc)
    for kind, averages in told.get("averages", {}).items():
        for theirs, ours in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            tally.close(f"{name}: {kind} {theirs}", averages[theirs], report[f"{kind} avg"][ours])


def _over_repeats(name: str, told: Json | None, repeats: list[Predicted], tally: Tally) -> None:
    if not told:
        return
    tally.same(f"{name}: repeats", told["n"], len(repeats))
    for metric, mean in told["mean"].items():
        if metric in SCORES:
            values = [score(metric, one) for one in repeats]
            known = np.array([value for value in values if value is not None])
            tally.close(f"{name}: mean {metric} over repeats", mean, known.mean() if len(known) else None)
            deviation = known.std(ddof=1) if len(known) > 1 else None
            tally.close(f"{name}: SD of {metric} over repeats", told["sd"][metric], deviation)


def sizes(run: Folder, tally: Tally) -> None:
    """Images and patients of the test and of the validation split, and the winner's validation scores."""
    test, val = run.winners(), run.winners("val")
    told, validation = run.evaluation, run.evaluation.get("validation", {})
    tally.same("test images", told["images"], len(test.labels))
    tally.same("test patients", told["patients"], len(set(test.patients)))
    tally.same("validation images", validation.get("images"), len(val.labels))
    tally.same("validation patients", validation.get("patients"), len(set(val.patients)))
    for metric, one in validation.get("metrics", {}).items():
        if metric in SCORES:
            tally.close(f"validation {metric}", one["value"], score(metric, val))
    if gap := told.get("gap"):
        before, after = score(gap["metric"], val), score(gap["metric"], test)
        for name, found in (("validation", before), ("test", after)):
            tally.close(f"gap: {name}", gap.get(name), found)
        if before is not None and after is not None:
            tally.close("gap: difference", gap.get("difference"), before - after)


def _told(table: pd.DataFrame, *names: str) -> set[tuple[object, ...]]:
    """What tells the rows of a table from each other, numbers to six decimals."""
    columns = [table[name].round(6) if table[name].dtype.kind == "f" else table[name] for name in names]
    return set(zip(*columns, strict=True))


def _points(table: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    for _, row in table.iterrows():
        yield f"{row['class']} at {row['point']}", row


def _cells(run: Folder, row: pd.Series) -> tuple[int, int, int, int]:
    """True positives, false negatives, false positives and true negatives of an operating point."""
    found = run.winners()
    number = run.classes.index(row["class"])
    called = found.scores[:, number] >= row["threshold"]
    tn, fp, fn, tp = sk.confusion_matrix(found.labels == number, called, labels=[False, True]).ravel().tolist()
    return tp, fn, fp, tn


def operating_points(run: Folder, tally: Tally) -> None:
    """Counts, values and Wilson's intervals at 0.5 and at the frozen thresholds, which best_model.json holds too."""
    frozen = {one["class"]: one["value"] for one in run.evaluation.get("thresholds", [])}
    table = run.table("operating_points.csv")
    wanted = product(frozen, POINTS, MEASURES) if len(run.winners().labels) else ()
    tally.whole("rows", _told(table, "class", "point", "measure"), wanted)
    for where, row in _points(table):
        tally.close(f"{where}: threshold", row["threshold"], frozen[row["class"]] if row["point"] == "frozen" else 0.5)
        tp, fn, fp, tn = _cells(run, row)
        shares = {"sensitivity": (tp, tp + fn), "specificity": (tn, tn + fp), "ppv": (tp, tp + fp)}
        shares |= {"npv": (tn, tn + fn), "accuracy": (tp + tn, tp + fn + fp + tn)}
        if str(row["measure"]) not in shares:
            continue
        hits, of = shares[row["measure"]]
        where = f"{where}: {row['measure']}"
        tally.same(f"{where}, images", (int(row["hits"]), int(row["of"])), (hits, of))
        tally.close(where, row["value"], hits / of if of else None)
        low, high = proportion_confint(hits, of, method="wilson") if of else (None, None)
        tally.close(f"{where}, Wilson's lower end", row["wilson_low"], low)
        tally.close(f"{where}, Wilson's upper end", row["wilson_high"], high)


def prevalences(run: Folder, tally: Tally) -> None:
    """PPV and NPV at each prevalence by Bayes' rule."""
    table, labels = run.table("prevalences.csv"), run.winners().labels
    for one in run.evaluation.get("thresholds", []) if len(labels) else ():
        own = round(float((labels == run.classes.index(one["class"])).mean()), 6)
        wanted = product([one["class"]], POINTS, {*PREVALENCES, own})
        tally.whole("rows", _told(table, "class", "point", "prevalence"), wanted)
    for where, row in _points(table):
        tp, fn, fp, tn = _cells(run, row)
        where, share = f"{where}, prevalence {row['prevalence']:.3g}", float(row["prevalence"])
        if row["observed"] == "True":
            tally.close(f"{where}: observed", share, (tp + fn) / (tp + fn + fp + tn))
        if not (tp + fn and fp + tn):
            continue
        hit, cleared = tp / (tp + fn) * share, tn / (tn + fp) * (1 - share)
        alarm, miss = fp / (tn + fp) * (1 - share), fn / (tp + fn) * share
        tally.close(f"{where}: PPV", row["ppv"], hit / (hit + alarm) if hit + alarm else None)
        tally.close(f"{where}: NPV", row["npv"], cleared / (cleared + miss) if cleared + miss else None)


def decision_curve(run: Folder, tally: Tally) -> None:
    """Net benefit of the calibrated model, of acting on everybody and on nobody, at each threshold."""
    found, table = run.winners(kind="calibrated_"), run.table("decision_curve.csv")
    wanted = product(_drawn(run), (number / 100 for number in range(1, 100)))
    tally.whole("rows", _told(table, "class", "threshold"), wanted)
    for _, row in table.iterrows():
        number, threshold = run.classes.index(row["class"]), float(row["threshold"])
        positive, n = found.labels == number, len(found.labels)
        called = found.scores[:, number] >= threshold
        odds = threshold / (1 - threshold)
        model = ((called & positive).sum() - odds * (called & ~positive).sum()) / n
        everybody = (positive.sum() - odds * (~positive).sum()) / n
        where = f"{row['class']} at {threshold:.2f}"
        for name, value in (("model", model), ("treat_all", everybody), ("treat_none", 0.0)):
            tally.close(f"{where}: {name}", row[name], value)
        tally.close(f"{where}: gain", row["gain"], model - max(everybody, 0.0))


def _drawn(run: Folder) -> list[str]:
    """The classes that have curves: of two the second, and none that no image has, or all have."""
    labels = run.winners().labels.tolist()
    numbers = [1] if len(run.classes) == 2 else range(len(run.classes))
    return [run.classes[number] for number in numbers if 0 < labels.count(number) < len(labels)]


def curves(run: Folder, tally: Tally) -> None:
    """ROC and precision-recall curves of each finalist."""
    table = run.table("curves.csv")
    finalists = [name for name, one in run.evaluation["models"].items() if one.get("kind") == "finalist"]
    wanted = product(finalists, _drawn(run), ("roc", "pr"), GRID.round(6).tolist())
    tally.whole("rows", _told(table, "model", "class", "curve", "x"), wanted)
    for keys, part in table.groupby(["model", "class", "curve"]):
        name, label, kind = map(str, keys if isinstance(keys, tuple) else (keys,))
        found = run.repeats(name)[run.representative(name)]
        number = run.classes.index(label)
        positive, scores, x = found.labels == number, found.scores[:, number], part["x"].to_numpy()
        if kind == "roc":
            false, true, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
            y = np.interp(x, false, true)
        else:
            precision, recall, _ = sk.precision_recall_curve(positive, scores)
            precision, recall = precision[-2::-1], recall[-2::-1]  # from the highest threshold down, without the end
            y = precision[np.searchsorted(recall, x - 1e-9)]
        for place, told, ours in zip(x, part["y"], y, strict=True):
            tally.close(f"{name}, {label}, {kind} at {place:.2f}", told, ours)


def subgroups(run: Folder, tally: Tally) -> None:
    """Counts and scores of each subgroup, by the groups that predictions_test.csv names.

    Raises:
        NotThere: if it names none, as earlier versions wrote it.
    """
    table, images, found = run.table("subgroups.csv"), run.table("predictions_test.csv"), run.winners()
    if len(table) and not any(str(name).startswith("group:") for name in images):
        raise NotThere("predictions_test.csv does not say which image is in which subgroup")
    for column in (str(name) for name in images if str(name).startswith("group:")):
        groups = product([column.removeprefix("group:")], images[column].fillna("(not given)"))
        tally.whole("rows", _told(table, "group", "value"), groups)
    frozen = run.evaluation.get("threshold") or {}
    for _, row in table.iterrows():
        given = images[f"group:{row['group']}"].fillna("(not given)").to_numpy()
        inside = given == row["value"]
        where = f"{row['group']} {row['value']}"
        tally.same(f"{where}: images", int(row["images"]), int(inside.sum()))
        tally.same(f"{where}: patients", int(row["patients"]), len(set(found.patients[inside])))
        for name, value in _of_part(found, inside, frozen.get("value"), not pd.isna(row["auc"])).items():
            tally.close(f"{where}: {name}", row[name], value)


def _of_part(found: Predicted, inside: Mask, threshold: float | None, with_auc: bool) -> dict[str, float | None]:
    """Scores of the images inside; a ROC AUC of one class alone is against all images of the other."""
    binary = found.scores.shape[1] == 2
    called = found.scores.argmax(axis=1)
    if binary and threshold is not None:
        called = (found.scores[:, 1] >= threshold).astype(np.int64)
    right, labels = called == found.labels, found.labels
    whole = len(np.unique(labels[inside])) == found.scores.shape[1]
    compared = inside | (labels != labels[inside][0]) if not whole and binary else inside
    part = Predicted((), labels[compared], found.scores[compared], found.patients[compared])
    shares: dict[str, float | None] = {
        "accuracy": float(right[inside].mean()),
        "balanced_accuracy": float(sk.balanced_accuracy_score(labels[inside], called[inside])) if whole else None,
        "auc": score("auc", part) if with_auc or whole else None,
    }
    for name, number in (("sensitivity", 1), ("specificity", 0)) if binary else ():
        side = inside & (labels == number)
        shares[name] = float(right[side].mean()) if side.any() else None
    return shares


def failures(run: Folder, tally: Tally) -> None:
    """The most confident errors of the winner, in their order, each with what it is called and how surely."""
    found, table = run.winners(), run.table("failures.csv")
    called = found.scores.argmax(axis=1)
    wrong = np.flatnonzero(called != found.labels).tolist()
    order = sorted(wrong, key=lambda row: (-found.scores[row].max(), found.images[row]))[:LISTED]
    listed = [found.images[row] for row in order]
    tally.check(
        list(table["image"]) == listed, f"not the {len(listed)} most confident of {len(wrong)} errors, in order"
    )
    rows = dict(zip(listed, order, strict=True))
    for _, one in table[table["image"].isin(rows)].iterrows():
        row = rows[one["image"]]
        tally.same(f"{one['image']}: called", one["predicted"], run.classes[called[row]])
        tally.close(f"{one['image']}: confidence", one["confidence"], found.scores[row].max())
        tally.close(f"{one['image']}: of its label", one["probability_of_label"], found.scores[row, found.labels[row]])
