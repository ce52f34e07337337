"""The tables of report.html that set models, trials and folds side by side, from the files of a run."""

from math import comb, inf
from typing import Any

import numpy as np
import pandas as pd

from bench.verify.printed import DASH, Shown, count, known, plain, text
from bench.verify.reading import SMALLER_IS_BETTER, Folder
from bench.verify.shown import (
    METRICS,
    STATES,
    TITLES,
    Kind,
    Line,
    Lines,
    by_metric,
    called,
    configuration,
    ends,
    in_sentence,
    level,
    records,
    rows_of,
    word,
)


def _tested(run: Folder) -> Lines:
    for name, one in run.evaluation["models"].items():
        yield Line({"Model": called(run, name)}, by_metric(one["metrics"]))


def _by_class(run: Folder) -> Lines:
    for name, one in run.evaluation["models"].items():
        told: dict[str, Shown] = {
            plain(label): ends(one.get("per_class", {}).get(label, {}), "auc") for label in run.classes
        }
        yield Line({"Model": called(run, name)}, told)


def _spreads(run: Folder) -> Lines:
    for name, one in run.evaluation["models"].items():
        told = one.get("repeats") or {}
        if (told.get("n") or 0) > 1:
            shown: dict[str, Shown] = {
                title: [told["mean"].get(metric), told["sd"].get(metric)] for title, metric in METRICS.items()
            }
            yield Line({"Model": called(run, name)}, shown | {"Seeds": [told["n"]]})


def _seeds(run: Folder) -> Lines:
    for name, one in run.evaluation["models"].items():
        told = one.get("repeats") or {}
        numbers = told.get("repeats") or []
        for place, number in enumerate(numbers if len(numbers) > 1 else ()):
            shown: dict[str, Shown] = {
                title: [told["values"][metric][place]] for title, metric in METRICS.items() if metric in told["values"]
            }
            yield Line({"Model": called(run, name), "Seed": str(number)}, shown)


def _retrained(run: Folder) -> Lines:
    """Finalists and baselines on validation."""
    title, limits = TITLES[run.metric], {}
    for one in run.evaluation.get("retrained", []):
        limits[one["backbone"]] = [one.get("low"), one.get("high")]
    for file, column in (("finalists.csv", "backbone"), ("baselines.csv", "baseline")):
        for name, first, done in _over_seeds(run, file, column):
            values, own = done[f"metric_{run.metric}"].dropna(), file == "finalists.csv"
            found = {key: first.get(key) if own else None for key in ("trial", "trial_score", "folds")}
            folds = [first.get("fold_mean"), first.get("fold_sd")] if own else []
            change = values.mean() - found["trial_score"] if found["trial_score"] is not None else None
            yield Line(
                {"Model": called(run, name)},
                {
                    f"{title} in the search": [found["trial_score"]],
                    f"{title} retrained, mean ± SD over the seeds": [values.mean(), values.std(ddof=1)],
                    "Interval, by patients": limits.get(name, []) if own else [],
                    f"{title} over the folds, mean ± SD": folds,
                    "Folds": [found["folds"]],
                    "Change": [change],
                    "Seeds": [len(done)],
                    "From trial": [found["trial"]],
                },
            )


def _over_seeds(run: Folder, file: str, column: str) -> list[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Of each model of a table its name, the row that tells of all, and the completed ones."""
    found = []
    for _, table in run.tables_of(file):
        for name, part in table.groupby(column):
            done = part[part["state"] == "completed"]
            found.append((str(name), next(rows_of(done if len(done) else part)), done))
    return found


def _configured(run: Folder) -> Lines:
    for file, column in (("finalists.csv", "backbone"), ("baselines.csv", "baseline")):
        for name, first, _ in _over_seeds(run, file, column):
            if first.get("config_learning_rate") is not None or column == "backbone":
                yield Line({"Model": called(run, name)}, configuration(first))


def _under_time(run: Folder) -> Lines:
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
        sign, title = 1 if run.metric in SMALLER_IS_BETTER else -1, TITLES[run.metric]
        points = {name: (sign * score, times[name]) for name, score in scores.items() if score == score}
        for name, own in points.items():
            beaten = any(one != own and one[0] <= own[0] and one[1] <= own[1] for one in points.values())
            told = run.evaluation["models"].get(name, {}).get("metrics", {})
            yield Line(
                {"Model": called(run, name), "On the Pareto front": "no" if beaten else "yes"},
                {
                    "Image side, pixels": [sizes.get(name)],
                    "Milliseconds per image": [own[1]],
                    f"{title} on validation, mean over the {over}": [scores[name]],
                    f"{title} on the internal test": ends(told.get(run.metric, {})),
                },
            )


def _pairs(run: Folder) -> Lines:
    for row in records(run, "comparisons.csv"):
        title, shown = TITLES.get(str(row.get("metric")), "ROC AUC"), level(run)
        told: dict[str, Shown] = {
            f"Difference in {title}, {shown} interval": [row["difference"], row["low"], row["high"]],
            f"{title} of each seed, first / second": [one for side in _sides(row) for one in side],
            "p": [row["p_holm"]],
            "p, Holm-corrected": [row["p_holm"]],
            "Images that only one gets right": [row["only_a_right"], row["only_b_right"]],
            "Verdict": _verdict(run, row),
        }
        for by in (" by patients, one seed each", " (ignores that images share patients)", ""):
            told[f"p of McNemar{by}"] = told[f"p of McNemar{by}, Holm-corrected"] = [row["mcnemar_p_holm"]]
        yield Line({"Pair": _pair(run, row)}, told)


def _pair(run: Folder, row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{a} − {b}" for a in called(run, row["a"]) for b in called(run, row["b"]))


def _sides(row: dict[str, Any]) -> list[list[float]]:
    """The scores of every seed of both; of one seed with a score of 0, that is a number, and not nothing."""
    each = [row.get(f"scores_{end}") for end in "ab"]
    return [[float(one) for one in str(side).split()] for side in each] if None not in each else []


def _verdict(run: Folder, row: dict[str, Any]) -> tuple[str, ...]:
    names = {"a better": called(run, row["a"]), "b better": called(run, row["b"])}.get(str(row["verdict"]), ())
    words = [f"{name} is better" for name in names] or [text(row["verdict"])]
    return tuple(f"{one}: {row['reason']}" if row.get("reason") else one for one in words)


def _primary(run: Folder) -> Lines:
    """The contrast that was fixed beforehand, number by number."""
    for row in [one for one in records(run, "comparisons.csv") if one["family"] == "primary"][:1]:
        sides = _sides(row)
        told: dict[str, Shown] = {
            "Verdict": _verdict(run, row),
            "Each seed": [one for side in sides for one in side],
            "SD between the seeds": [pd.Series(side, dtype=float).std() for side in sides],
            "Difference": [row["difference"], row["low"], row["high"]],
            "p of no difference": [row["p"]],
            "Margin": [row["margin"]],
            "p of a difference beyond the margin": [row["p_equivalent"]],
            "Found with 80 % power": [row["detectable"]],
            "Standard error": [row["standard_error"], row["df"]],
            "Share of the variance from the seeds": [row["seed_share"]],
        }
        always = ("Verdict", "Each seed", "Margin")
        words = f"mean {in_sentence(TITLES.get(str(row['metric']), ''))} over the seeds"
        contrast = tuple(f"{pair}, {words}" for pair in _pair(run, row))
        yield Line({"The primary contrast": "Contrast"}, {"Value": contrast})
        for what, shown in told.items():
            needed = what in always or row["difference"] is not None
            yield Line({"The primary contrast": what}, {"Value": shown}, needed)


def _trials(run: Folder) -> Lines:
    sign = 1 if run.metric in SMALLER_IS_BETTER else -1
    scored = [row for row in _current(run) if _score(run, row) is not None]
    scored.sort(key=lambda row: (sign * _score(run, row), known([row["metric_log_loss"]]) or [inf], row["trial"]))
    order = [row["trial"] for row in scored]
    for row in _current(run):
        told = {title: [row.get(f"metric_{name}")] for title, name in METRICS.items()}
        told[TITLES[run.metric]] = [_score(run, row)]
        about: dict[str, Shown] = {"Ended": STATES[row["state"]], "Epochs": [row.get("epochs")]}
        about["Rank"] = [order.index(row["trial"]) + 1] if row["trial"] in order else []
        if row.get("config_backbone"):
            about["Backbone"] = called(run, row["config_backbone"])
        yield Line({"Trial": count(row["trial"])}, {**told, **about, **configuration(row)})


def _current(run: Folder) -> list[dict[str, Any]]:
    """The trials, those that were tried again by their last alone."""
    rows = records(run, "trials.csv")
    return [row for row in rows if row.get("retried_as") is None and row["state"] in STATES]


def _score(run: Folder, row: dict[str, Any]) -> Any:
    return None if row["state"] == "failed" else row.get(f"metric_{run.metric}")


def _summary(*columns: str) -> Kind:
    """Trials by backbone, augmentation, unfreeze depth, or all three."""
    names = {"Backbone": "config_backbone", "Augmentation": "config_augmentation"}
    names |= {"Unfreeze depth": "config_unfreeze_depth"}

    def lines(run: Folder) -> Lines:
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in _current(run):
            groups.setdefault(tuple(row.get(names[column]) for column in columns), []).append(row)
        for values, rows in groups.items():
            ended = {state: sum(row["state"] == state for row in rows) for state in STATES}
            scores = [one for row in rows if (one := _score(run, row)) is not None]
            best = (min if run.metric in SMALLER_IS_BETTER else max)(scores, default=None)
            stopped = [ended["pruned"], ended["pruned"] / len(rows) if ended["pruned"] else None]
            keys = {title: _named(run, title, value) for title, value in zip(columns, values, strict=True)}
            told: dict[str, Shown] = {"Trials": [len(rows)], "Completed": [ended["completed"]]}
            told |= {"Stopped early": stopped, "Failed": [ended["failed"]]}
            yield Line(keys, told | {f"Best {in_sentence(TITLES[run.metric])}": [best]})

    name = " and ".join(column.lower() for column in columns)
    return Kind(f"trials by {name}", {"Trials", "Failed", *columns}, {*names} - {*columns}, lines)


def _named(run: Folder, title: str, value: Any) -> str | tuple[str, ...]:
    if title == "Backbone":
        return called(run, str(value)) if value else DASH
    return count(value) if title == "Unfreeze depth" else word(value)


def _chances(run: Folder) -> Lines:
    """The best of each backbone's trials, and the mean of the best of so many of them as the fewest have."""
    scores: dict[str, list[float]] = {}
    for row in _current(run):
        if row.get("config_backbone") and (one := _score(run, row)) is not None:
            scores.setdefault(str(row["config_backbone"]), []).append(one)
    fewest = min(map(len, scores.values()), default=0)
    for name, values in scores.items() if len(scores) > 1 else ():
        best_first = sorted(values, reverse=run.metric not in SMALLER_IS_BETTER)
        ways = [comb(len(values) - place - 1, fewest - 1) for place in range(len(values))]
        told: dict[str, Shown] = {"Trials with a score": [len(values)], f"Best {TITLES[run.metric]}": best_first[:1]}
        told[f"Expected best of {fewest} trials"] = [np.average(best_first, weights=ways)]
        yield Line({"Backbone": called(run, name)}, told)


def _sizes(run: Folder) -> Lines:
    for one in by_size(run):
        several = len(one["score"]) > 1
        yield Line(
            {"Training patients": count(one["patients"])},
            {
                "Training images": [one["images"]],
                f"Mean {TITLES[run.metric]}": [one["score"].mean()],
                "SD": [one["score"].std(ddof=1)] if several else [],
                "Trainings": [len(one["score"])],
            },
        )


def by_size(run: Folder) -> list[dict[str, Any]]:
    """Completed trainings of learning_curve.csv by the share of patients."""
    found = []
    for _, table in run.tables_of("learning_curve.csv"):
        column = f"metric_{run.metric}"
        done = table[(table["state"] == "completed") & table[column].notna()]
        for _, part in done.groupby("share"):
            about = {name: part[name].mean() for name in ("patients", "images")}
            found.append({**about, "score": part[column].to_numpy(dtype=float)})
    return found


def _folds(run: Folder) -> Lines:
    """The folds of the configurations that are those of finalists."""
    for _, finalists in run.tables_of("finalists.csv"):
        columns = ["backbone", *(str(name) for name in finalists if str(name).startswith("config_"))]
        chosen = {_key(row, columns) for row in rows_of(finalists)}
        for row in records(run, "folds.csv"):
            if _key(row, columns) not in chosen or row["state"] not in STATES:
                continue
            told: dict[str, Shown] = {title: [row.get(f"metric_{name}")] for title, name in METRICS.items()}
            told |= {"Training images": [row.get("images_train")], "Validation images": [row.get("images_val")]}
            told |= {"Validation patients": [row.get("patients_val")], "Best epoch": [row.get("best_epoch")]}
            told |= {"Epochs": [row.get("epochs")], "State": STATES[row["state"]]}
            yield Line({"Finalist": called(run, row["backbone"]), "Fold": count(row["fold"])}, told)


def _key(row: dict[str, Any], columns: list[str]) -> tuple[str, ...]:
    values = [row.get(column) for column in columns]
    return tuple(f"{value:.9g}" if isinstance(value, float) else str(value) for value in values)


def _outer(run: Folder) -> Lines:
    names = {"On its validation": "validation", "Patients": "patients", "Images": "images", "Threshold": "threshold"}
    names |= {"Sensitivity": "sensitivity", "Specificity": "specificity", "Trainings": "trainings"}
    for row in records(run, "outer.csv"):
        if row["state"] in STATES:
            told: dict[str, Shown] = {title: [row.get(name)] for title, name in names.items()}
            told |= {TITLES[run.metric]: [row.get(f"metric_{run.metric}")], "State": STATES[row["state"]]}
            yield Line({"Repeat": count(row["repeat"]), "Fold": count(row["fold"])}, told)


def _beside_outer(run: Folder) -> Lines:
    """What the nested loop says beside the scores that it might be taken for."""
    found = (run.run.get("outer") or {}) if run.has("run.json") else {}
    if found.get("score") is None:
        return
    selection, tested = run.evaluation.get("selection") or {}, run.evaluation["models"][run.winner]["metrics"]
    seeds = [done for name, _, done in _over_seeds(run, "finalists.csv", "backbone") if name == run.winner]
    said = {
        "The procedure, outer folds": [found["score"], found.get("low"), found.get("high")],
        "The same, all folds pooled": [found.get("pooled")],
        "Its choice in each fold, on validation": [found.get("validation")],
        "The winner, on validation": [done[f"metric_{run.metric}"].mean() for done in seeds],
        "The selection, corrected": [selection.get("corrected"), selection.get("low"), selection.get("high")],
        "The exported model, internal test": ends(tested.get(run.metric, {})),
    }
    for what, shown in said.items():
        if shown and shown[0] is not None and shown[0] == shown[0]:
            yield Line({"What was scored": what}, {TITLES[run.metric]: shown})


KINDS = (
    Kind("finalists on validation", {"Model", "Seeds", "Change", "From trial"}, set(), _retrained),
    Kind("configurations", {"Model", "Learning rate", "Batch size"}, {"Trial"}, _configured),
    Kind("scores of models", {"Model", "ROC AUC", "Brier score"}, {"Seed", "Seeds"}, _tested),
    Kind("means over seeds", {"Model", "Seeds", "ROC AUC", "Brier score"}, set(), _spreads),
    Kind("every seed", {"Model", "Seed", "ROC AUC", "Brier score"}, set(), _seeds),
    Kind("finalists by time", {"Model", "Milliseconds per image", "On the Pareto front"}, set(), _under_time),
    Kind("pairs", {"Pair", "Images that only one gets right"}, set(), _pairs, spread=True),
    Kind("primary contrast", {"The primary contrast", "Value"}, set(), _primary),
    Kind("trials", {"Rank", "Trial", "Backbone"}, set(), _trials),
    *(_summary(one) for one in ("Backbone", "Augmentation", "Unfreeze depth")),
    _summary("Backbone", "Augmentation", "Unfreeze depth"),
    Kind("equal chances", {"Backbone", "Trials with a score"}, set(), _chances),
    Kind("learning curve", {"Training patients", "Trainings"}, set(), _sizes),
    Kind("folds", {"Finalist", "Fold"}, set(), _folds),
    Kind("outer folds", {"Repeat", "Fold", "Chosen"}, set(), _outer),
    Kind("beside the outer folds", {"What was scored"}, set(), _beside_outer),
)


def kinds(run: Folder) -> tuple[Kind, ...]:
    """These, and of several classes the table of models whose columns they are."""
    several = len(run.classes) > 2
    return (
        (*KINDS, Kind("scores by class", {"Model", *map(plain, run.classes)}, set(METRICS), _by_class))
        if several
        else KINDS
    )
