"""Whether report.html shows the numbers of the run folder: its tables are read as a reader reads them.

A table is known by its column titles. Each number in a cell must be the one of the folder, as far as it is printed.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t

from bench.verify.reading import SMALLER_IS_BETTER, Folder, Tally
from bench.verify.resampled import ERRORS

PAGE = "report.html"
METRICS = {
    "ROC AUC": "auc",
    "PR AUC": "pr_auc",
    "Specificity at 95 % sensitivity": "specificity_at_95_sensitivity",
    "Quadratic weighted kappa": "quadratic_kappa",
    "Accuracy": "accuracy",
    "Balanced accuracy": "balanced_accuracy",
    "F1 (macro)": "f1",
    "Log loss": "log_loss",
    "Brier score": "brier",
}
STEPS = {"the model’s own": "before", "without the weights of the loss": "weights", "after the map": "after"}
SPLITS = {"validation": "val", "internal test": "test"}
UNSCORED = {"recipe": "Default recipe"}
"""Baselines that are on the page although they were not scored: the winner may be one of them."""
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
Row = dict[str, Any]
Expected = dict[str, list[Any]]
"""Column title -> the numbers that its cell shows, in their order; what is missing is not shown."""
EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Of the power law, as `bench.stats.power_law` tries them."""
LAWS = 1000


@dataclass
class Table:
    """Of the page: titles of its columns, and its rows by title."""

    titles: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


class _Reader(HTMLParser):
    """The tables of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.text: list[str] = []
        self._cells: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self._cells = []
        elif tag in ("td", "th") and self._cells is not None:
            self._cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag != "tr" or not self._cells:
            return
        cells, self._cells, table = [" ".join(cell.split()) for cell in self._cells], None, self.tables[-1]
        if table.titles:
            table.rows.append(dict(zip(table.titles, cells, strict=False)))
        else:
            table.titles = cells

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._cells:
            self._cells[-1] += data


def _same(cell: str, wanted: Sequence[Any]) -> bool:
    """Whether a cell shows these numbers, each to the digits that it has; ``< 0.001`` is any number below."""
    text = cell.replace("−", "-").replace("\xa0", " ")
    shown, known = NUMBER.findall(text), [one for one in wanted if one is not None and one == one]
    if len(shown) != len(known):
        return False
    for printed, value in zip(shown, known, strict=True):
        share = "%" in text
        digits = len(printed.partition(".")[2])
        number, told = float(printed.replace(",", "")), float(value) * (100 if share else 1)
        if not (told < number if "<" in text else abs(number - told) <= 0.5 * 10**-digits + 1e-9):
            return False
    return True


def page(run: Folder, tally: Tally) -> None:
    """Scores, comparisons, operating points, calibration, subgroups, altered images and trials as the page has them."""
    reader = _Reader()
    reader.feed(run.file(PAGE).read_text(encoding="utf-8"))
    if not run.has("evaluation.json"):
        tally.skipped = "there is no evaluation that it could show"
        return
    missing = []
    for name, needed, without, rows in KINDS:
        found = [one for one in reader.tables if needed <= set(one.titles) and not without & set(one.titles)]
        wanted = list(rows(run))
        if wanted and not found:
            missing.append(name)
        for table in found:
            _table(name, table, wanted, tally)
    _growth(run, " ".join("".join(reader.text).split()), tally)
    if missing:
        tally.skipped = f"no table is known on the page of {', '.join(missing)}"


def _table(name: str, table: Table, wanted: list[tuple[Row, Expected]], tally: Tally) -> None:
    """Each row of the page against the one that has its keys."""
    for row in table.rows:
        held = [
            numbers
            for keys, numbers in wanted
            if all(_starts(row.get(key) or text, text) for key, text in keys.items())
        ]
        words = ", ".join(list(row.values())[:3])
        tally.check(len(held) >= 1, f"{name}, row {words}: the run folder holds no such row")
        for title, numbers in held[0].items() if held else ():
            if title in row:
                shown = [f"{one:.6g}" for one in numbers if one is not None and one == one]
                tally.check(
                    _same(row[title], numbers), f"{name}, {words}: {title} is {row[title]}, not {' '.join(shown)}"
                )


def _starts(cell: str, text: str) -> bool:
    """Whether a cell is a text, or begins with it as a name that is marked: 'VGG16, winner'."""
    cell, text = cell.lower(), text.lower()
    return cell == text or cell.startswith((f"{text}, ", f"{text} "))


def _ends(one: dict[str, Any], name: str = "") -> list[Any]:
    return [
        one.get(name or "value"),
        one.get(f"{name}_low" if name else "low"),
        one.get(f"{name}_high" if name else "high"),
    ]


Rows = Iterator[tuple[Row, Expected]]


def _models(run: Folder) -> Rows:
    for model, one in run.evaluation["models"].items():
        yield (
            {"Model": one.get("title") or model},
            {title: _ends(one["metrics"].get(name, {})) for title, name in METRICS.items()},
        )


def _spreads(run: Folder) -> Rows:
    for model, one in run.evaluation["models"].items():
        told = one["repeats"]
        if told:
            yield (
                {"Model": one.get("title") or model},
                {title: [told["mean"].get(name), told["sd"].get(name)] for title, name in METRICS.items()},
            )


def _retrained(run: Folder) -> Rows:
    """Finalists and baselines on validation."""
    name, titles = (
        METRICS_TITLES[run.metric],
        {key: one.get("title") or key for key, one in run.evaluation["models"].items()},
    )
    again, limits = f"{name} retrained, mean ± SD over the seeds", {}
    for one in run.evaluation.get("retrained", []):
        limits[one["backbone"]] = [one["low"], one["high"]]
    for kind, (file, column) in enumerate((("finalists.csv", "backbone"), ("baselines.csv", "baseline"))):
        for key, part in ((str(key), part) for _, table in run.tables_of(file) for key, part in table.groupby(column)):
            values = part[part["state"] == "completed"][f"metric_{run.metric}"].dropna()
            told: Expected = {again: [values.mean(), values.std(ddof=1)], "Seeds": [len(values)]}
            if not kind:
                told |= {f"{name} in the search": [part["trial_score"].iloc[0]]}
                told |= {"Interval, by patients": limits.get(key, [])}
            yield {"Model": titles.get(key) or UNSCORED.get(key, key)}, told


def _under_time(run: Folder) -> Rows:
    """Finalists by the score that chooses and by time, and whether another is as good in both and better in one."""
    inference = (run.run.get("inference") or {}) if run.has("run.json") else {}
    if not inference or run.run.get("settings", {}).get("also") != "seconds":
        return
    times, sizes = inference["milliseconds"], inference.get("sizes", {})
    for _, table in run.tables_of("finalists.csv"):
        over = "folds" if "fold_mean" in table and table["fold_mean"].notna().any() else "seeds"
        scores = {}
        for name, part in table.groupby("backbone"):
            seeds = part[part["state"] == "completed"][f"metric_{run.metric}"]
            scores[str(name)] = part["fold_mean"].max() if over == "folds" else seeds.mean()
        sign = 1 if run.metric in SMALLER_IS_BETTER else -1
        points = {name: (sign * score, times[name]) for name, score in scores.items() if score == score}
        title = METRICS_TITLES[run.metric]
        for name, (score, time) in points.items():
            beaten = any(
                score_2 <= score and time_2 <= time and (score_2, time_2) != (score, time)
                for score_2, time_2 in points.values()
            )
            told = run.evaluation["models"].get(name, {})
            yield (
                {"Model": run.run["titles"].get(name, name), "On the Pareto front": "no" if beaten else "yes"},
                {
                    "Image side, pixels": [sizes.get(name)],
                    "Milliseconds per image": [time],
                    f"{title} on validation, mean over the {over}": [scores[name]],
                    f"{title} on the internal test": _ends(told.get("metrics", {}).get(run.metric, {})),
                },
            )


def _seeds(run: Folder) -> Rows:
    for model, one in run.evaluation["models"].items():
        told = one["repeats"] or {}
        for place, number in enumerate(told.get("repeats", [])):
            keys = {"Model": one.get("title") or model, "Seed": str(number)}
            yield (
                keys,
                {title: [told["values"][name][place]] for title, name in METRICS.items() if name in told["values"]},
            )


def _splits(run: Folder) -> Rows:
    before = run.evaluation.get("validation", {}).get("metrics", {})
    for title, name in METRICS.items():
        after = run.evaluation["models"][run.winner]["metrics"].get(name, {})
        yield {"Metric": title}, {"Validation": _ends(before.get(name, {})), "Internal test": _ends(after)}


def _pairs(run: Folder) -> Rows:
    titles = {name: one.get("title") or name for name, one in run.evaluation["models"].items()}
    for row in _records(run, "comparisons.csv"):
        name = METRICS_TITLES.get(str(row.get("metric")), "ROC AUC")
        each = [row.get(f"scores_{end}") for end in ("a", "b")]  # one score of 0 is a number, and not nothing
        seeds = [float(one) for side in each if side is not None for one in str(side).split()]
        yield (
            {"Pair": f"{titles[row['a']]} − {titles[row['b']]}"},
            {
                f"Difference in {name}, 95 % interval": [row["difference"], row["low"], row["high"]],
                f"{name} of each seed, first / second": seeds,
                "p, Holm-corrected": [row["p_holm"]],
                "Images that only one gets right": [row["only_a_right"], row["only_b_right"]],
                "p of McNemar by patients, one seed each, Holm-corrected": [row["mcnemar_p_holm"]],
            },
        )


METRICS_TITLES = {name: title for title, name in METRICS.items()}


def _records(run: Folder, name: str) -> Iterable[dict[str, Any]]:
    for _, table in run.tables_of(name):
        for row in table.to_dict("records"):
            yield {
                str(key): None if isinstance(value, float) and value != value else value for key, value in row.items()
            }


def _classes(run: Folder) -> Rows:
    told = run.evaluation["models"][run.winner]
    for label, one in told["per_class"].items():
        yield (
            {"Class": label},
            {"Precision": [one["precision"]], "Recall": [one["recall"]], "F1": [one["f1"]], "Images": [one["support"]]}
            | {"ROC AUC (one-vs-rest)": _ends(one, "auc")},
        )
    for kind, one in told.get("averages", {}).items():
        titles = {"Precision": "precision", "Recall": "recall", "F1": "f1"}
        yield {"Class": f"Average ({kind})"}, {title: [one[name]] for title, name in titles.items()}


NAMES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV", "accuracy": "Accuracy"}


def _points(run: Folder) -> Rows:
    for row in _records(run, "operating_points.csv"):
        keys = {"Class": row["class"], "Operating point": row["point"], "Measure": NAMES[row["measure"]]}
        yield (
            keys,
            {
                "Images": [row["hits"], row["of"]],
                "Value, 95 % interval by patients": _ends(row),
                "95 % Wilson interval (ignores that images share patients)": [row["wilson_low"], row["wilson_high"]],
            },
        )


def _expected(run: Folder) -> Rows:
    for row in _records(run, "operating_points.csv"):
        if row.get("validation") is not None:
            keys = {"Class": row["class"], "Measure": NAMES[row["measure"]]}
            limits = [row["expected_low"], row["expected_high"]]
            told = {"On validation": [row["validation"]], "To be expected on test": limits, "On test": [row["value"]]}
            yield keys, told


def _prevalences(run: Folder) -> Rows:
    for row in _records(run, "prevalences.csv"):
        keys = {"Class": row["class"], "Operating point": row["point"]}
        keys["Prevalence"] = f"{100 * row['prevalence']:.1f} %"
        yield keys, {"PPV": _ends(row, "ppv"), "NPV": _ends(row, "npv")}


def _steps(run: Folder) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if run.has("calibration.json"):
        for split, steps in run.json("calibration.json")["splits"].items():
            for step, one in steps.items():
                yield split, step, one


def _calibration(run: Folder) -> Rows:
    for split, step, one in _steps(run):
        (words,) = [text for text, name in STEPS.items() if name == step]
        (where,) = [text for text, name in SPLITS.items() if name == split]
        perfect = one.get("ece_if_perfect") or {}
        yield (
            {"Split": where, "Probabilities": words},
            {
                "ECE (15 bins)": [one["ece"], perfect.get("mean"), perfect.get("high")],
                "Brier score": [one["brier"]],
                "Log loss": [one["log_loss"]],
            },
        )


def _agreement(run: Folder) -> Rows:
    for split, step, one in _steps(run):
        (words,) = [text for text, name in STEPS.items() if name == step]
        for label, told in one.get("agreement", {}).items() if split == "test" else ():
            yield (
                {"Class": label, "Probabilities": words},
                {
                    "Predicted on average": [told["predicted"]],
                    "Observed": [told["observed"]],
                    "Predicted − observed": _ends(told["difference"]),
                    "Intercept (perfect: 0)": _ends(told["intercept"]),
                    "Slope (perfect: 1)": _ends(told["slope"]),
                },
            )


PREDICTION_SETS = {
    "Patients of whom every image’s set holds its class": "patients_covered",
    "Images whose set holds their class": "covered",
    "Images whose set is one class": "single",
    "Of these, images of that class": "right",
}


def _prediction_sets(run: Folder) -> Rows:
    for title, name in PREDICTION_SETS.items() if run.evaluation.get("conformal") else ():
        one = run.evaluation["conformal"][name]
        yield {"Prediction sets": title}, {"Number": [one["hits"], one["of"]], "Share": _ends(one)}


def _subgroups(run: Folder) -> Rows:
    titles = {"ROC AUC": "auc", "Accuracy": "accuracy", "Balanced accuracy": "balanced_accuracy"}
    titles |= {"Sensitivity": "sensitivity", "Specificity": "specificity"}
    for row in _records(run, "subgroups.csv"):
        counts = {"Images": [row["images"]], "Patients": [row["patients"]]}
        yield (
            {"Group": row["group"], "Value": str(row["value"])},
            counts | {title: _ends(row, name) for title, name in titles.items()},
        )


def _altered(run: Folder) -> Rows:
    for row in _records(run, "robustness.csv"):
        name = "Clean images" if row["corruption"] == "none" else str(row["corruption"]).capitalize().replace("_", " ")
        keys = {"Alteration": name}
        if row["level"] is not None:
            keys["Level"] = f"{row['level']:g}".replace("-", "−")
        scores = {"ROC AUC": _ends(row, "auc"), "Accuracy": _ends(row, "accuracy")}
        yield keys, {"Images": [row["images"]], "Change in ROC AUC": _ends(row, "auc_change")} | scores


def _trials(run: Folder) -> Rows:
    for row in _records(run, "trials.csv"):
        titles = {title: [row.get(f"metric_{name}")] for title, name in METRICS.items()}
        yield {"Trial": f"{row['trial']:.0f}"}, titles


def _sizes(run: Folder) -> Rows:
    for one in _by_size(run):
        yield (
            {"Training patients": f"{one['patients']:,.0f}"},
            {"Training images": [one["images"]], f"Mean {METRICS_TITLES[run.metric]}": [one["score"].mean()]}
            | {"SD": [one["score"].std(ddof=1)] if len(one["score"]) > 1 else [], "Trainings": [len(one["score"])]},
        )


def _by_patient(run: Folder) -> Rows:
    told, winner = run.evaluation.get("by_patient"), run.evaluation["models"][run.winner]
    for by, number, one in (
        (("image", run.evaluation["images"], winner), ("patient", told["patients"], told["scores"])) if told else ()
    ):
        scores = {title: _ends(one["metrics"].get(name, {})) for title, name in METRICS.items()}
        yield {"By": by}, {"Number": [number]} | scores


def _points_by_patient(run: Folder) -> Rows:
    told = run.evaluation.get("by_patient")
    for one in told["points"] if told else ():
        shown: Expected = {title: _ends(one[title.lower()]) for title in ("Sensitivity", "Specificity")}
        yield {"Class": one["class"], "By": "patient"}, {"Frozen threshold": [one["threshold"]]} | shown
    measured: dict[str, Expected] = {}
    for row in _records(run, "operating_points.csv") if told else ():
        if row["point"] == "frozen" and row["measure"] in ("sensitivity", "specificity"):
            shown = measured.setdefault(row["class"], {"Frozen threshold": [row["threshold"]]})
            shown[NAMES[row["measure"]]] = _ends(row)
    for label, shown in measured.items():
        yield {"Class": label, "By": "image"}, shown


def _secondary(run: Folder) -> Rows:
    title = METRICS_TITLES[run.metric]
    for one in run.evaluation.get("secondary", []):
        if one.get("scores"):
            cost, points = one.get("cost") or {}, one["points"]
            told: Expected = {
                title: _ends(one["scores"]["metrics"].get(run.metric, {})),
                f"{title} of the winner": [one["winner"]],
                "Difference, with interval": _ends(one["difference"]),
                "Milliseconds an image": [cost.get("milliseconds")],
                "Time": [cost.get("time")],
                "Megabytes": [cost.get("megabytes")],
                "Size": [cost.get("size")],
            }
            for name in ("Sensitivity", "Specificity") if len(points) == 1 else ():
                told[name] = _ends(points[0][name.lower()])
            yield {"Beside the winner": one["title"]}, told


KINDS: tuple[tuple[str, set[str], set[str], Callable[[Folder], Rows]], ...] = (
    ("finalists on validation", {"Model", "From trial", "Interval, by patients"}, set(), _retrained),
    ("scores of models", {"Model", "ROC AUC", "Brier score"}, {"Seed", "Seeds"}, _models),
    ("means over seeds", {"Model", "Seeds", "ROC AUC", "Brier score"}, set(), _spreads),
    ("finalists by time", {"Model", "Milliseconds per image", "On the Pareto front"}, set(), _under_time),
    ("every seed", {"Model", "Seed", "ROC AUC", "Brier score"}, set(), _seeds),
    ("validation and test", {"Metric", "Validation", "Internal test"}, set(), _splits),
    ("pairs", {"Pair", "p, Holm-corrected"}, set(), _pairs),
    ("classes", {"Class", "Precision", "Recall", "F1"}, set(), _classes),
    ("operating points", {"Operating point", "Measure", "Value, 95 % interval by patients"}, set(), _points),
    ("expected by validation", {"Measure", "On validation", "To be expected on test"}, set(), _expected),
    ("prevalences", {"Operating point", "Prevalence", "PPV", "NPV"}, set(), _prevalences),
    ("calibration", {"Split", "Probabilities", "ECE (15 bins)"}, set(), _calibration),
    ("agreement", {"Class", "Probabilities", "Slope (perfect: 1)"}, set(), _agreement),
    ("prediction sets", {"Prediction sets", "Number", "Share"}, set(), _prediction_sets),
    ("scores by patient", {"By", "Number"}, set(), _by_patient),
    ("operating points by patient", {"By", "Frozen threshold"}, set(), _points_by_patient),
    ("beside the winner", {"Beside the winner", "Time"}, set(), _secondary),
    ("subgroups", {"Group", "Value", "Images", "Accuracy"}, set(), _subgroups),
    ("altered images", {"Alteration", "Level", "Change in ROC AUC"}, set(), _altered),
    ("trials", {"Rank", "Trial", "Backbone"}, set(), _trials),
    ("learning curve", {"Training patients", "Trainings"}, set(), _sizes),
)
"""What is on the page: its name, titles that its table has and has not, and the rows of the folder that it shows."""


def _by_size(run: Folder) -> list[dict[str, Any]]:
    """Completed trainings of learning_curve.csv by the share of patients."""
    found = []
    for _, table in run.tables_of("learning_curve.csv"):
        column = f"metric_{run.metric}"
        done = table[(table["state"] == "completed") & table[column].notna()]
        for _, part in done.groupby("share"):
            about = {name: part[name].mean() for name in ("patients", "images")}
            found.append({**about, "score": part[column].to_numpy(dtype=float)})
    return found


def _growth(run: Folder, text: str, tally: Tally) -> None:
    """What a power law expects of twice as many patients: fitted anew, its interval within what chance makes."""
    said = re.search(r"twice as many patients to (raise|lower) .*? by (\S+) \((\S+) to (\S+?),", text)
    sizes = _by_size(run)
    if said is None:
        return
    told = [float(one.replace("−", "-")) for one in said.groups()[1:]]
    best = {"log_loss": 0.0, "brier": 0.0}.get(run.metric, 1.0)
    n, errors = np.array([one["patients"] for one in sizes]), [abs(best - one["score"]) for one in sizes]
    several = np.array([len(one) for one in errors])
    pooled = sum(n_one * one.var(ddof=1) * (len(one) - 1) for n_one, one in zip(n, errors, strict=True) if len(one) > 1)
    spread = np.sqrt(pooled / (several - 1).sum() / n)
    error = np.maximum(spread / np.sqrt(several), 1e-6)
    means = np.array([one.mean() for one in errors])
    fitted = _law(n, means, error)
    line = fitted[0] + fitted[1] * n ** -fitted[2]
    missed = max(1.0, (((means - line) / error) ** 2).sum() / max(1, len(n) - 3)) ** 0.5
    noise = t.rvs((several - 1).sum(), size=(LAWS, len(n)), random_state=np.random.default_rng(50_000))
    gains = np.array([_gain(_law(n, row, error), n.max()) for row in line + missed * error * noise])
    digits = 6e-4
    tally.close("twice as many patients", told[0], _gain(fitted, n.max()), digits)
    for end, at, value in zip(("lower", "upper"), ((1 - run.level) / 2, (1 + run.level) / 2), told[1:], strict=True):
        off = ERRORS * np.sqrt(at * (1 - at) * 2 / LAWS)
        least, largest = np.quantile(gains, np.clip([at - off, at + off], 0, 1))
        tally.check(
            least - digits <= value <= largest + digits,
            f"twice as many patients, {end} end: {value:g} is told, {least:.4g} to {largest:.4g} is found",
        )


def _law(n: Any, means: Any, error: Any) -> tuple[float, float, float]:
    """Floor, scale and exponent of the best law, floor and scale at least 0 (non-negative least squares)."""
    fits = [(*nnls(np.column_stack([1 / error, n**-one / error]), means / error), one) for one in EXPONENTS]
    (floor, scale), _, exponent = min(fits, key=lambda fit: fit[1])
    return float(floor), float(scale), float(exponent)


def _gain(law: tuple[float, float, float], n: float) -> float:
    return float(law[1] * (n ** -law[2] - (2 * n) ** -law[2]))
