"""The tables of report.html about the winner on test, from the files of a run."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from bench.texts import visible
from bench.verify.printed import Shown, count, known, score, text
from bench.verify.reading import Folder
from bench.verify.shown import TITLES as METRIC_TITLES
from bench.verify.shown import Kind, Line, Lines, by_metric, ends, level, records, several_images

NAMES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV", "accuracy": "Accuracy"}
STEPS = {"before": "the model’s own", "weights": "without the weights of the loss", "after": "after the map"}
SPLITS = {"val": "validation", "test": "internal test"}
PANEL = {"val": "Validation", "test": "Internal test"}
MOST_SCORES = 120_000
"""On the page, for the threshold panel: of so many classes as fit."""
MOST_ERRORS, MOST_OF_CARD = 50, 30
"""Rows of the table of errors, and of those of the model card."""


def _splits(run: Folder) -> Lines:
    """Each metric on validation and on test; one that is known of validation alone is not in the model card."""
    before, after = run.evaluation.get("validation", {}).get("metrics", {}), _scores(run)
    for name, title in METRIC_TITLES.items():
        if name in before or name in after:
            both = [known([one.get(name, {}).get("value")]) for one in (before, after)]
            gap = [both[0][0] - both[1][0]] if all(both) else []
            told: dict[str, Shown] = {"Validation": ends(before.get(name, {})), "Validation − test": gap}
            yield Line({"Metric": title}, told | {"Internal test": ends(after.get(name, {}))}, name in after)


def _scores(run: Folder) -> dict[str, Any]:
    found: dict[str, Any] = run.evaluation["models"][run.winner]["metrics"]
    return found


def _classes(run: Folder) -> Lines:
    told, total = run.evaluation["models"][run.winner], 0
    for label, one in told.get("per_class", {}).items():
        shown = _called_right(one) | {"ROC AUC (one-vs-rest)": ends(one, "auc"), "Images": [one["support"]]}
        total += one["support"] or 0
        yield Line({"Class": label}, shown)
    for kind, one in told.get("averages", {}).items():
        area = ends(_scores(run).get("auc", {})) if kind == "macro" else []
        more: dict[str, Shown] = {"ROC AUC (one-vs-rest)": area, "Images": [total or None]}
        yield Line({"Class": f"Average ({kind})"}, _called_right(one) | more)


def _called_right(one: dict[str, Any]) -> dict[str, Shown]:
    return {title: [one[title.lower()]] for title in ("Precision", "Recall", "F1")}


def _at(row: dict[str, Any]) -> str:
    """An operating point in words, with its threshold where that was frozen."""
    return f"frozen, {score(row['threshold'])}" if row["point"] == "frozen" else text(row["point"])


def _intervals(row: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """By patients, and Wilson's."""
    return [row["low"], row["high"]], [row["wilson_low"], row["wilson_high"]]


def _points(run: Folder) -> Lines:
    shown = level(run)
    for row in records(run, "operating_points.csv"):
        by_patients, wilson = _intervals(row)
        keys = {"Class": text(row["class"]), "Operating point": _at(row)}
        told: dict[str, Shown] = {"Images": [row["hits"], row["of"]]}
        for title, interval in (
            (f"{shown} interval by patients", by_patients),
            (f"{shown} Wilson interval", wilson),
            (f"{shown} Wilson interval (ignores that images share patients)", wilson),
        ):
            told |= {title: interval, f"Value, {title}": [row["value"], *interval]}
        yield Line({**keys, "Measure": NAMES.get(row["measure"], row["measure"])}, told)


def _points_by_class(run: Folder) -> Lines:
    found: dict[tuple[str, str], dict[str, Shown]] = {}
    for row in records(run, "operating_points.csv"):
        by_patients, wilson = _intervals(row)
        told = found.setdefault((text(row["class"]), _at(row)), {})
        title = NAMES.get(row["measure"], row["measure"])
        told[title] = [row["value"], *(by_patients if several_images(run) else wilson)]
    for (label, point), told in found.items() if len({label for label, _ in found}) > 1 else ():
        yield Line({"Class": label, "Operating point": point}, told)


def _expected(run: Folder) -> Lines:
    for row in records(run, "operating_points.csv"):
        limits = [row.get("expected_low"), row.get("expected_high")]
        if row["point"] == "frozen" and None not in (row["value"], row.get("validation"), *limits):
            keys = {"Class": text(row["class"]), "Measure": NAMES[row["measure"]]}
            told: dict[str, Shown] = {"On validation": [row["validation"]], "On test": [row["value"]]}
            flagged = "outside" if str(row["flagged"]) == "True" else "within"
            yield Line(keys, told | {"To be expected on test": limits, "Compared with that": flagged})


def _prevalences(run: Folder) -> Lines:
    for row in records(run, "prevalences.csv"):
        keys = {"Class": text(row["class"]), "Operating point": _at(row)}
        keys["Prevalence"] = f"{100 * row['prevalence']:.1f} %"
        yield Line(keys, {"PPV": ends(row, "ppv"), "NPV": ends(row, "npv")})


def _frozen(run: Folder) -> dict[str, float]:
    """Class -> threshold."""
    found = {one["class"]: one["value"] for one in run.evaluation.get("thresholds") or []}
    rows = [row for row in records(run, "operating_points.csv") if row["point"] == "frozen"]
    return found | {row["class"]: row["threshold"] for row in rows if row["threshold"] is not None}


def _panel(run: Folder) -> Lines:
    """What the frozen threshold, or 0.5, decides on validation and on test, with the intervals that lead there."""
    splits = [split for split in PANEL if run.has(f"predictions_{split}.csv")]
    images = sum(len(run.winners(split).labels) for split in splits)
    numbers = [1] if len(run.classes) == 2 else range(len(run.classes))
    numbers = numbers[: max(1, MOST_SCORES // max(1, images))]
    frozen = _frozen(run)
    for number in numbers:
        label = run.classes[number]
        point = "frozen" if label in frozen else "0.5"
        threshold = frozen.get(label, 0.5)
        found = {split: _decided(run, split, number, threshold, point) for split in splits}
        for measure, title in NAMES.items():
            key = f"{title} {visible(label)}, from {score(threshold)}" if len(numbers) > 1 else title
            yield Line({"Measure": key}, {PANEL[split]: found[split][measure] for split in splits})


def _decided(run: Folder, split: str, number: int, threshold: float, point: str) -> dict[str, list[Any]]:
    """Of each measure its value, hits, images and interval; nothing of no images."""
    one = run.winners(split)
    positive = one.labels == number
    called_so = one.scores[:, number].astype(np.float32) >= np.float32(threshold)  # as they were compared
    tp, fn, fp, tn = (
        int((positive == side).__and__(called_so == call).sum())
        for side, call in ((True, True), (True, False), (False, True), (False, False))
    )
    counts = {"sensitivity": (tp, tp + fn), "specificity": (tn, tn + fp), "ppv": (tp, tp + fp)}
    counts |= {"npv": (tn, tn + fn), "accuracy": (tp + tn, tp + fn + fp + tn)}
    own = _by_patients(run, run.classes[number], point) if split == "test" and several_images(run) else {}
    found = {}
    for measure, (hits, of) in counts.items():
        wilson = proportion_confint(hits, of, alpha=1 - run.level, method="wilson") if of else ()
        found[measure] = [hits / of, hits, of, *(own.get(measure, []) if own else wilson)] if of else []
    return found


def _by_patients(run: Folder, label: str, point: str) -> dict[str, list[float]]:
    """Measure -> interval by patients at a point, where there is one; empty where the point is not on record."""
    rows = [row for row in records(run, "operating_points.csv") if (row["class"], row["point"]) == (label, point)]
    both = {row["measure"]: known(_intervals(row)[0]) for row in rows}
    return {measure: interval if len(interval) == 2 else [] for measure, interval in both.items()}


def _steps(run: Folder) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if run.has("calibration.json"):
        for split, steps in run.json("calibration.json")["splits"].items():
            for step, one in steps.items():
                yield split, step, one


def _calibration(run: Folder) -> Lines:
    bins = run.json("calibration.json").get("bins") if run.has("calibration.json") else None
    there = {(split, step) for split, step, _ in _steps(run)}
    for split, step in product(SPLITS, ("before", "after")) if there else ():
        if (split, step) not in there:
            yield Line({"Split": SPLITS[split], "Probabilities": STEPS[step]}, {}, False)
    for split, step, one in _steps(run):
        perfect = one.get("ece_if_perfect") or {}
        yield Line(
            {"Split": SPLITS[split], "Probabilities": STEPS[step]},
            {
                f"ECE ({bins} bins)" if bins else "ECE": [one["ece"], perfect.get("mean"), perfect.get("high")],
                "Brier score": [one["brier"]],
                "Log loss": [one["log_loss"]],
            },
        )


def _agreement(run: Folder) -> Lines:
    for split, step, one in _steps(run):
        for label, told in one.get("agreement", {}).items() if split == "test" else ():
            yield Line(
                {"Class": label, "Probabilities": STEPS[step]},
                {
                    "Predicted on average": [told["predicted"]],
                    "Observed": [told["observed"]],
                    "Predicted − observed": ends(told["difference"]),
                    "Intercept (perfect: 0)": _with_wider(told, "intercept"),
                    "Slope (perfect: 1)": _with_wider(told, "slope"),
                },
            )


def _with_wider(told: dict[str, Any], name: str) -> list[Any]:
    """A value, the ends of its interval, and those of the widened one, which earlier versions have not."""
    wide = told.get("widened", {}).get(name, {})
    return [*ends(told[name]), wide.get("low"), wide.get("high")]


PREDICTION_SETS = {
    "Patients of whom every image’s set holds its class": "patients_covered",
    "Images whose set holds their class": "covered",
    "Images whose set is one class": "single",
    "Of these, images of that class": "right",
}


def _prediction_sets(run: Folder) -> Lines:
    for title, name in PREDICTION_SETS.items() if run.evaluation.get("conformal") else ():
        one = run.evaluation["conformal"][name]
        yield Line({"Prediction sets": title}, {"Number": [one["hits"], one["of"]], "Share": ends(one)})


def _by_patient(run: Folder) -> Lines:
    told = run.evaluation.get("by_patient") or {}
    if told.get("scores"):
        winner = run.evaluation["models"][run.winner]
        for by, number, one in (
            ("image", run.evaluation["images"], winner),
            ("patient", told["patients"], told["scores"]),
        ):
            yield Line({"By": by}, {"Number": [number], **by_metric(one["metrics"])})


def _points_by_patient(run: Folder) -> Lines:
    points = (run.evaluation.get("by_patient") or {}).get("points") or []
    for one in points:
        shown: dict[str, Shown] = {title: ends(one[title.lower()]) for title in ("Sensitivity", "Specificity")}
        yield Line({"Class": one["class"], "By": "patient"}, shown | {"Frozen threshold": [one["threshold"]]})
    measured: dict[str, dict[str, Shown]] = {}
    for row in records(run, "operating_points.csv") if points else ():
        if row["point"] == "frozen":
            told = measured.setdefault(text(row["class"]), {"Frozen threshold": [row["threshold"]]})
            told[NAMES[row["measure"]]] = ends(row)
    for label, told in measured.items():
        yield Line({"Class": label, "By": "image"}, told)


def _secondary(run: Folder) -> Lines:
    title = METRIC_TITLES[run.metric]
    for one in run.evaluation.get("secondary", []):
        if one.get("scores"):
            cost, points = one.get("cost") or {}, one["points"]
            told: dict[str, Shown] = {
                title: ends(one["scores"]["metrics"].get(run.metric, {})),
                f"{title} of the winner": [one["winner"]],
                "Difference, with interval": ends(one["difference"]),
                "Milliseconds an image": [cost.get("milliseconds")],
                "Time": [cost.get("time")],
                "Megabytes": [cost.get("megabytes")],
                "Size": [cost.get("size")],
            }
            for name in ("Sensitivity", "Specificity") if len(points) == 1 else ():
                told[name] = ends(points[0][name.lower()])
            yield Line({"Beside the winner": one["title"]}, told)


GROUPED = {"ROC AUC": "auc", "Accuracy": "accuracy", "Balanced accuracy": "balanced_accuracy"}
GROUPED |= {"Sensitivity": "sensitivity", "Specificity": "specificity"}


def _subgroups(run: Folder) -> Lines:
    for row in records(run, "subgroups.csv"):
        told: dict[str, Shown] = {title: ends(row, name) for title, name in GROUPED.items()}
        told |= {"Images": [row["images"]], "Patients": [row["patients"]]}
        yield Line({"Group": text(row["group"]), "Value": text(row["value"])}, told)


def _card_subgroups(run: Folder) -> Lines:
    for place, row in enumerate(records(run, "subgroups.csv")):
        told: dict[str, Shown] = {title: ends(row, name) for title, name in GROUPED.items()}
        told |= {"Images": [row["images"]]}
        yield Line({"Subgroup": f"{row['group']}: {row['value']}"}, told, place < MOST_OF_CARD)


def _card_points(run: Folder) -> Lines:
    """At frozen thresholds, else at 0.5, with the interval that leads, or the other where that is not known."""
    rows = list(records(run, "operating_points.csv"))
    frozen = [row for row in rows if row["point"] == "frozen"]
    for place, row in enumerate(frozen or [row for row in rows if row["point"] == "0.5"]):
        intervals = _intervals(row)[:: 1 if several_images(run) else -1]
        whole = [one for one in intervals if len(known(one)) == 2]
        name = NAMES[row["measure"]] if row["measure"] in ("ppv", "npv") else row["measure"]
        told: dict[str, Shown] = {"Threshold": [row["threshold"]], "Images": [row["hits"], row["of"]]}
        told |= {"Value": [row["value"], *(whole[0] if whole else [])]}
        yield Line({"Class": text(row["class"]), "Measure": name}, told, place < MOST_OF_CARD)


def _altered(run: Folder) -> Lines:
    for row in records(run, "robustness.csv"):
        name = "Clean images" if row["corruption"] == "none" else str(row["corruption"]).capitalize().replace("_", " ")
        rung = known([row["level"]])
        keys = {"Alteration": name, "Level": f"{rung[0]:.3g}".replace("-", "−") if rung else text(None)}
        scores: dict[str, Shown] = {"ROC AUC": ends(row, "auc"), "Accuracy": ends(row, "accuracy")}
        yield Line(keys, scores | {"Images": [row["images"]], "Change in ROC AUC": ends(row, "auc_change")})


def _errors(run: Folder) -> Lines:
    rows = sorted(records(run, "failures.csv"), key=lambda row: row["rank"])
    for place, row in enumerate(rows):
        names = {"Patient": "patient", "Reference standard": "label", "Predicted": "predicted"}
        told: dict[str, Shown] = {title: text(row.get(name)) for title, name in names.items()}
        told |= {"Probability of that": [row["confidence"]], "Of the reference": [row["probability_of_label"]]}
        yield Line({"Rank": count(row["rank"]), "Image": text(row["image"])}, told, place < MOST_ERRORS)


KINDS = (
    Kind("headline", {"Measure", "Internal test"}, {"External"}, _panel),
    Kind("validation and test", {"Metric", "Internal test"}, set(), _splits),
    Kind("classes", {"Class", "Precision", "Recall", "F1"}, set(), _classes),
    Kind("operating points", {"Operating point", "Measure", "Images"}, set(), _points),
    Kind("operating points by class", {"Class", "Operating point", "Sensitivity"}, set(), _points_by_class),
    Kind("expected by validation", {"Measure", "On validation", "To be expected on test"}, set(), _expected),
    Kind("prevalences", {"Operating point", "Prevalence", "PPV", "NPV"}, set(), _prevalences),
    Kind("calibration", {"Split", "Probabilities", "Log loss"}, set(), _calibration),
    Kind("agreement", {"Class", "Probabilities", "Slope (perfect: 1)"}, set(), _agreement),
    Kind("prediction sets", {"Prediction sets", "Number", "Share"}, set(), _prediction_sets),
    Kind("scores by patient", {"By", "Number"}, set(), _by_patient),
    Kind("operating points by patient", {"By", "Frozen threshold"}, set(), _points_by_patient),
    Kind("beside the winner", {"Beside the winner", "Time"}, set(), _secondary),
    Kind("subgroups", {"Group", "Value", "Images"}, set(), _subgroups),
    Kind("subgroups of the card", {"Subgroup", "Images"}, set(), _card_subgroups),
    Kind("operating points of the card", {"Threshold", "Measure", "Images", "Value"}, set(), _card_points),
    Kind("altered images", {"Alteration", "Level", "Change in ROC AUC"}, set(), _altered),
    Kind("errors", {"Rank", "Image", "Of the reference"}, set(), _errors),
)
