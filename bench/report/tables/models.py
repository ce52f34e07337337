"""Finalists and baselines -> DataFrames that set them side by side; reads no files."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from bench import numbers
from bench.numbers import present
from bench.report.names import BASELINES
from bench.report.tables.search import column
from bench.run.documents import ClassScores, Estimate, EvaluationRecord, ModelScores, Retrained, SeedSpread
from bench.stats.bootstrap import WIDEST
from bench.stats.metrics import METRICS, Metric
from bench.stats.pareto import on_front

Frame = pd.DataFrame
BETTER = {"a better": "a", "b better": "b"}
"""Verdict of comparisons.csv -> the column of the model that is better; other verdicts name none."""


def finalists(rows: Frame, evaluation: EvaluationRecord | None, metric: Metric) -> Frame:
    """One row per finalist, the winning order first: its trial's score beside its retrained score, then test metrics.

    The order is that by the mean over the folds, where there were folds, else that by the retrained score.

    Args:
        rows: one row per backbone and seed, as in finalists.csv.
        evaluation: the content of evaluation.json, or None while the test split is sealed.
        metric: the metric that the search ranked by.

    Returns:
        ``backbone``, ``winner``, the ``config_*`` columns, ``trial``, ``trial_score``, ``seeds`` and ``failed``
        (counts), ``score`` (mean over the completed seeds), ``sd``, ``lowest`` and ``highest`` (of several),
        ``change`` (score minus trial score), ``seconds`` (sum), ``folds`` (completed), ``fold_mean`` and ``fold_sd``,
        and for every metric of evaluation.json ``test_NAME``, ``test_NAME_low``, ``test_NAME_high``.
    """
    summary = []
    for name, part in rows.groupby("backbone", sort=True):
        told, first, scores = _over_seeds(part, metric)
        summary.append(
            {"backbone": name, "winner": bool(part["winner"].any()), "trial": first["trial"]}
            | told
            | {
                "trial_score": first["trial_score"],
                "lowest": scores.min() if len(scores) > 1 else None,
                "highest": scores.max() if len(scores) > 1 else None,
                "change": told["score"] - first["trial_score"],
                **{key: part[key].max() for key in ("folds", "fold_mean", "fold_sd")},
            }
        )
    table = Frame(summary)
    if not len(table):
        return table
    by = "fold_mean" if table["fold_mean"].notna().any() else "score"
    table = table.sort_values(by, ascending=not metric.higher_is_better, na_position="last", kind="stable")
    if evaluation is not None:
        table = table.merge(scores_on_test(evaluation).rename(columns={"model": "backbone"}), on="backbone", how="left")
    return table.reset_index(drop=True)


def by_time(finalists: Frame, milliseconds: Mapping[str, float], metric: Metric) -> Frame:
    """The finalists that have a score and a time, in their order, and which of them are on the Pareto front of the two.

    The score is that by which finalists are chosen, of validation alone: the mean over the folds, where there were
    folds, else that over the seeds.

    Args:
        finalists: as ``finalists`` returns it.
        milliseconds: of an image in each backbone.
        metric: the metric that the search ranked by.

    Returns:
        the columns of ``finalists``, ``decided`` (that score), ``milliseconds`` and ``on_front``.
    """
    by = "fold_mean" if finalists["fold_mean"].notna().any() else "score"
    table = finalists.assign(
        decided=finalists[by].astype(float), milliseconds=finalists["backbone"].map(milliseconds).astype(float)
    )
    table = table.dropna(subset=["decided", "milliseconds"]).reset_index(drop=True)
    scores, times = table["decided"].tolist(), table["milliseconds"].tolist()
    return table.assign(on_front=on_front(scores, times, metric.higher_is_better))


def under_time(table: Frame, titles: Mapping[str, str]) -> str:
    """The front of ``by_time`` in words, from the best to the fastest: ``Best: A (0.981, 24 ms). Under 24 ms: B …``."""

    def told(rows: Frame) -> str:
        (score, time), names = rows.iloc[0][["decided", "milliseconds"]], rows["backbone"].map(titles)
        return f"{numbers.joined(names, 'or')} ({numbers.score(score)}, {numbers.plain(time)} ms)"

    front = table[table["on_front"]].sort_values("milliseconds", ascending=False, kind="stable")
    steps = [rows for _, rows in front.groupby("milliseconds", sort=False)]
    if not steps:
        return "No finalist has both a score and a time."
    limits = ["Best", *(f"Under {numbers.plain(one['milliseconds'].iloc[0])} ms" for one in steps)]
    said = [f"{limit}: {told(rows)}." for limit, rows in zip(limits, steps, strict=False)]
    if len(steps) == 1:
        said.append("No other finalist with a score is faster.")
    for _, winner in table[table["winner"].astype(bool) & ~table["on_front"]].iterrows():
        said.append(f"The winner, {told(winner.to_frame().T)}, is not on the front: another is as good and faster.")
    return " ".join(said)


def _over_seeds(part: Frame, metric: Metric) -> tuple[dict[str, Any], "pd.Series[Any]", "pd.Series[float]"]:
    """What the trainings of one model have in common, the row that stands for them, and the completed scores."""
    completed = part[part["state"] == "completed"]
    first, scores = (completed if len(completed) else part).iloc[0], completed[column(metric)]
    told = {
        "score": scores.mean(),
        "sd": scores.std() if len(scores) > 1 else None,
        "seeds": len(completed),
        "failed": int((part["state"] == "failed").sum()),
        "reason": " · ".join(part["reason"].dropna().unique()),
        "seconds": part["seconds"].sum(),
        **{key: first[key] for key in part.columns if str(key).startswith("config_")},
    }
    return told, first, scores


def fold_scores(folds: Frame, finalists: Frame) -> Frame:
    """The rows of folds.csv whose configuration is that of a finalist; those of an earlier choice are left out."""
    config = [name for name in finalists.columns if str(name).startswith("config_")]
    current = set(_keys(finalists, ["backbone", *config]))
    kept = [key in current for key in _keys(folds, ["backbone", *config])]
    return folds[kept].sort_values(["backbone", "fold"], kind="stable").reset_index(drop=True)


def _keys(table: Frame, names: list[str]) -> list[tuple[str, ...]]:
    """The values of ``names`` in each row as texts, numbers to nine digits, so that rows can be compared."""
    rows = table.reindex(columns=names).itertuples(index=False, name=None)
    return [tuple(f"{value:.9g}" if isinstance(value, float) else str(value) for value in row) for row in rows]


def bounded(name: str, one: Estimate) -> dict[str, float | None]:
    """An estimate as the columns ``name``, ``name_low`` and ``name_high``."""
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def scores_on_test(evaluation: EvaluationRecord) -> Frame:
    """One row per model of evaluation.json: ``model``, then ``test_NAME``, ``test_NAME_low``, ``test_NAME_high``."""
    rows = []
    for model, content in evaluation.models.items():
        row: dict[str, Any] = {"model": model}
        for name, one in content.metrics.items():
            row |= bounded(f"test_{name}", one)
        rows.append(row)
    table = Frame(rows if rows else {"model": []})
    return table.astype({name: "float64" for name in table.columns if name != "model"})


def on_validation(
    finalists: Frame, baselines: Frame | None, evaluation: EvaluationRecord | None, metric: Metric
) -> Frame:
    """One row per model, finalists before baselines, each with its mean over the seeds.

    Args:
        finalists: as ``tables.finalists`` returns it.
        baselines: the rows of baselines.csv, None where there are none.
        evaluation: the content of evaluation.json, None where there is none.
        metric: the metric that the search ranked by.

    Returns:
        ``backbone`` (or the baseline's name), ``winner``, ``trial``, ``trial_score``, ``score`` and ``sd`` (over the
        seeds), ``change``, ``low`` and ``high`` (of patients: the sampling interval), ``flagged``, ``verdict``,
        ``seeds``, ``failed``, ``reason``, ``note``, ``seconds``, the ``config_*`` columns, and of folds
        ``folds``, ``fold_mean``, ``fold_sd``.
    """
    known = {one.backbone: one for one in (evaluation.retrained if evaluation else ())}
    rows: list[dict[str, Any]] = []
    for _, row in finalists.iterrows():
        one = known.get(str(row["backbone"]), Retrained())
        told = {"low": one.low, "high": one.high, "flagged": one.flagged, "verdict": _within(one), "note": ""}
        rows.append({**row, **told})
    rows += _baselines(baselines, metric) if baselines is not None else []
    return Frame(rows)


def _within(one: Retrained) -> str:
    """Where a trial's score lies beside what one more seed may score; empty where one of the two is not known."""
    if one.reach is None or one.mean is None or one.trial_score is None:
        return ""
    if abs(one.trial_score - one.mean) > one.reach:
        return "more than seeds explain"
    return "too few seeds to tell" if one.reach > WIDEST else "within the spread of the seeds"


def _baselines(baselines: Frame, metric: Metric) -> list[dict[str, Any]]:
    rows = []
    order = {baseline: place for place, baseline in enumerate(BASELINES)}
    for baseline, part in sorted(baselines.groupby("baseline"), key=lambda one: order.get(str(one[0]), len(order))):
        told, first, _ = _over_seeds(part, metric)
        note = first["note"] if present(first["note"]) else ""
        rows.append({"backbone": baseline, "winner": False, "note": note, **told})
    return rows


def on_test(evaluation: EvaluationRecord, finalists: list[str]) -> Frame:
    """One row per model of evaluation.json: the finalists in the order given, then the baselines.

    Returns:
        ``backbone`` (or the baseline's name), ``baseline`` (bool), and ``test_NAME`` with its bounds by metric.
    """
    table = scores_on_test(evaluation).rename(columns={"model": "backbone"})
    kinds = [evaluation.models[str(name)].kind not in ("", "finalist") for name in table["backbone"]]
    order = {name: place for place, name in enumerate([*finalists, *BASELINES])}
    place = table["backbone"].map(order).fillna(len(order))
    table = table.assign(baseline=kinds, place=place).sort_values(["baseline", "place"], kind="stable")
    return table.drop(columns="place").reset_index(drop=True)


def seed_spread(evaluation: EvaluationRecord, order: list[str]) -> Frame:
    """One row per model of several seeds: ``backbone``, ``seeds``, by metric the mean ``NAME``, and ``NAME sd``."""
    rows = []
    for name in order:
        repeats = evaluation.models.get(name, ModelScores()).repeats
        if repeats is None or (repeats.n or 0) < 2:
            continue
        row: dict[str, Any] = {"backbone": name, "seeds": repeats.n}
        for metric in (known for known in METRICS if known in repeats.mean):
            row[metric], deviation = repeats.mean.get(metric), repeats.sd.get(metric)
            row[f"{metric} sd"] = "" if deviation is None else f"± {numbers.spread(deviation)}"
        rows.append(row)
    return Frame(rows)


def each_seed(evaluation: EvaluationRecord, order: list[str]) -> Frame:
    """One row per model and seed: ``backbone``, ``seed``, ``chosen`` (whether it stands for the others), metrics."""
    rows = []
    for name in order:
        found = evaluation.models.get(name, ModelScores()).repeats or SeedSpread()
        for place, repeat in enumerate(found.repeats if len(found.repeats) > 1 else ()):
            row = {"backbone": name, "seed": repeat, "chosen": repeat == found.representative}
            rows.append(row | {metric: each[place] for metric, each in found.values.items()})
    return Frame(rows)


def by_class(evaluation: EvaluationRecord, order: list[str], classes: list[str]) -> Frame:
    """One row per model: ``backbone``, and the one-vs-rest AUC of class number N as ``auc N``, with its bounds."""
    rows = []
    for name in order:
        scores = evaluation.models.get(name, ModelScores()).per_class
        row: dict[str, Any] = {"backbone": name}
        for place, label in enumerate(classes):
            one = scores.get(label, ClassScores())
            row |= {f"auc {place}": one.auc, f"auc {place}_low": one.auc_low, f"auc {place}_high": one.auc_high}
        rows.append(row)
    return Frame(rows)


def pairs(comparisons: Frame, family: str, title: Callable[[str], str]) -> Frame:
    """The rows of comparisons.csv of one ``family``, in words, with the ``title`` of each model.

    Returns:
        ``pair``, ``each_seed`` (scores of the first and of the second), ``difference``, ``bounds`` (its interval),
        ``p``, ``p_holm``, ``discordant`` (images that only the first, and only the second, got right), ``mcnemar_p``,
        ``mcnemar_p_holm``, ``verdict``, ``told_apart`` (whether it names the better one) and ``low``, ``high``.
    """
    part = comparisons[comparisons["family"] == family].reset_index(drop=True)
    said = [
        _verdict(row["verdict"], title(row["a"]), title(row["b"]), row["reason"])
        for row in part[["verdict", "a", "b", "reason"]].to_dict("records")
    ]
    return part.assign(
        pair=[f"{title(a)} − {title(b)}" for a, b in zip(part["a"], part["b"], strict=True)],
        each_seed=[_each_seed(row) for row in part.to_dict("records")],
        bounds=[numbers.signed_interval(low, high) for low, high in zip(part["low"], part["high"], strict=True)],
        discordant=[
            f"{numbers.count(a)} / {numbers.count(b)}"
            for a, b in zip(part["only_a_right"], part["only_b_right"], strict=True)
        ],
        verdict=said,
        told_apart=part["verdict"].isin(list(BETTER)),
    )


def primary(comparisons: Frame, title: Callable[[str], str]) -> dict[str, str]:
    """The contrast that was fixed beforehand, in words by what they are; empty where there is none."""
    rows = comparisons[comparisons["family"] == "primary"].to_dict("records")
    if not rows:
        return {}
    (row,) = rows[:1]
    metric = METRICS[row["metric"]].words
    told = {
        "Contrast": f"{title(row['a'])} − {title(row['b'])}, mean {metric} over the seeds",
        "Verdict": _verdict(row["verdict"], title(row["a"]), title(row["b"]), row["reason"]),
        "Each seed": _each_seed(row),
        "SD between the seeds": " / ".join(numbers.spread(pd.Series(side).std()) for side in _sides(row)),
        "Difference": f"{numbers.signed(row['difference'])} ({numbers.signed_interval(row['low'], row['high'])})",
        "p of no difference": numbers.probability(row["p"]),
        "Margin": f"±{numbers.short(row['margin'])}",
        "p of a difference beyond the margin": numbers.probability(row["p_equivalent"]),
        "Found with 80 % power": numbers.spread(row["detectable"]),
        "Standard error": f"{numbers.score(row['standard_error'], 4)}, {numbers.short(row['df'])} degrees of freedom",
        "Share of the variance from the seeds": numbers.percent(row["seed_share"]),
    }
    known = ("Contrast", "Verdict", "Each seed", "Margin") if not present(row["difference"]) else tuple(told)
    return {name: told[name] for name in known}


def _each_seed(row: dict[Any, Any]) -> str:
    """The score of every seed of a pair, a line for each of the two; empty in tables from before they were kept."""
    return ";\n".join(", ".join(map(numbers.spread, side)) for side in _sides(row))


def _sides(row: dict[Any, Any]) -> list[list[float]]:
    """The scores of every seed of the first of a pair, and of the second; empty where they were not kept."""
    sides = [row[f"scores_{end}"] for end in "ab"]
    return [[float(value) for value in str(side).split()] for side in sides] if all(map(present, sides)) else []


def _verdict(verdict: Any, a: Any, b: Any, reason: Any) -> str:
    better = {"a": a, "b": b}.get(BETTER.get(str(verdict), ""))
    words = numbers.text(verdict) if better is None else f"{better} is better"
    return f"{words}: {reason}" if present(reason) else words
