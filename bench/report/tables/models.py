"""Finalists and controls -> DataFrames that set them side by side; reads no files."""

from typing import Any

import pandas as pd

from bench.report import wording
from bench.report.names import CONTROLS, backbone, present
from bench.report.read.files import listed, mapping
from bench.report.tables import base as tables
from bench.stats.bootstrap import WIDEST
from bench.stats.metrics import METRICS, Metric

Frame = pd.DataFrame
BETTER = {"a better": "a", "b better": "b"}
"""Verdict of comparisons.csv -> the column of the model that is better; other verdicts name none."""


def on_validation(finalists: Frame, controls: Frame | None, evaluation: dict[str, Any] | None, metric: Metric) -> Frame:
    """A row a model, finalists before controls, each with its mean over the seeds.

    Args:
        finalists: as ``tables.finalists`` returns it.
        controls: the rows of controls.csv, None where there are none.
        evaluation: the content of evaluation.json, None where there is none.
        metric: the metric that the search ranked by.

    Returns:
        ``backbone`` (or the control's slug), ``winner``, ``trial``, ``trial_score``, ``score`` and ``sd`` (over the
        seeds), ``change``, ``low`` and ``high`` (of patients: the sampling interval), ``flagged``, ``verdict``,
        ``seeds``, ``failed``, ``reason``, ``note``, ``seconds``, the ``config_*`` columns, and of folds
        ``folds``, ``fold_mean``, ``fold_sd``.
    """
    known = {str(one.get("backbone")): one for one in listed(mapping(evaluation).get("retrained")) if mapping(one)}
    rows: list[dict[str, Any]] = []
    for _, row in finalists.iterrows():
        entry = mapping(known.get(str(row["backbone"])))
        flagged = entry.get("flagged") is True
        bounds = {name: wording.number(entry.get(name)) for name in ("low", "high")}
        rows.append({**row, **bounds, "flagged": flagged, "verdict": _within(entry, flagged), "note": ""})
    rows += _controls(controls, metric) if controls is not None else []
    return Frame(rows)


def _within(entry: dict[str, Any], flagged: bool) -> str:
    """Where a trial's score lies beside the interval of the retrained one; empty where one of the two is not known."""
    low, high, score = (wording.number(entry.get(name)) for name in ("low", "high", "trial_score"))
    if low is None or high is None or score is None:
        return ""
    if flagged:
        return "beyond the interval"
    if not low <= score <= high:
        return "short of the interval"
    return "interval too wide to tell" if (high - low) / 2 > WIDEST else "within the interval"


def _controls(controls: Frame, metric: Metric) -> list[dict[str, Any]]:
    name, rows = tables.column(metric), []
    order = {control: place for place, control in enumerate(CONTROLS)}
    for control, part in sorted(controls.groupby("control"), key=lambda one: order.get(str(one[0]), len(order))):
        completed = part[part["state"] == "completed"]
        score = completed[name] if name in completed else pd.Series(dtype="float64")
        first = (completed if len(completed) else part).iloc[0]
        rows.append(
            {
                "backbone": control,
                "winner": False,
                "score": score.mean(),
                "sd": score.std() if len(score) > 1 else None,
                "seeds": len(completed),
                "failed": int((part["state"] == "failed").sum()),
                "reason": " · ".join(part["reason"].dropna().unique()) if "reason" in part else "",
                "note": first["note"] if "note" in part and present(first["note"]) else "",
                "seconds": part["seconds"].sum() if "seconds" in part else None,
                **{key: first[key] for key in part.columns if str(key).startswith("config_")},
            }
        )
    return rows


def on_test(evaluation: dict[str, Any], finalists: list[str]) -> Frame:
    """A row a model of evaluation.json: the finalists in the order given, then the controls.

    Returns:
        ``backbone`` (or the control's slug), ``control`` (bool), and ``test_NAME`` with its bounds by metric.
    """
    table = tables.scores_on_test(evaluation).rename(columns={"model": "backbone"})
    models = mapping(evaluation.get("models"))
    kinds = [mapping(models.get(str(name))).get("kind") == "control" for name in table["backbone"]]
    order = {name: place for place, name in enumerate([*finalists, *CONTROLS])}
    place = table["backbone"].map(order).fillna(len(order))
    table = table.assign(control=kinds, place=place).sort_values(["control", "place"], kind="stable")
    return table.drop(columns="place").reset_index(drop=True)


def seed_spread(evaluation: dict[str, Any], order: list[str]) -> Frame:
    """A row a model of several seeds: ``backbone``, ``seeds``, by metric its mean on test ``NAME``, and ``NAME sd``."""
    models, rows = mapping(evaluation.get("models")), []
    for name in order:
        repeats = mapping(mapping(models.get(name)).get("repeats"))
        means, deviations = mapping(repeats.get("mean")), mapping(repeats.get("sd"))
        if (wording.number(repeats.get("n")) or 0) < 2:
            continue
        row: dict[str, Any] = {"backbone": name, "seeds": repeats["n"]}
        for metric in METRICS:
            row[metric] = wording.number(means.get(metric))
            known = wording.number(deviations.get(metric)) is not None
            row[f"{metric} sd"] = f"± {wording.spread(deviations[metric])}" if known else ""
        rows.append(row)
    return Frame(rows)


def by_class(evaluation: dict[str, Any], order: list[str], classes: list[str]) -> Frame:
    """A row a model: ``backbone``, and the one-vs-rest AUC of class number N as ``auc N``, with its bounds."""
    models, rows = mapping(evaluation.get("models")), []
    for name in order:
        scores = mapping(mapping(models.get(name)).get("per_class"))
        row: dict[str, Any] = {"backbone": name}
        for place, label in enumerate(classes):
            one = mapping(scores.get(label))
            row |= {f"auc {place}": wording.number(one.get("auc"))}
            row |= {f"auc {place} {bound}": wording.number(one.get(f"auc_{bound}")) for bound in ("low", "high")}
        rows.append(row)
    return Frame(rows)


def pairs(comparisons: Frame, family: str) -> Frame:
    """The rows of comparisons.csv of one ``family``, in words.

    Returns:
        ``pair``, ``difference``, ``bounds`` (its interval), ``p``, ``p_holm``, ``discordant`` (images that only the
        first, and only the second, got right), ``mcnemar_p``, ``mcnemar_p_holm``, ``verdict``, ``told_apart`` (whether
        it names the better one) and ``low``, ``high``.
    """
    columns = ["a", "b", "difference", "low", "high", "p", "p_holm", "mcnemar_p", "mcnemar_p_holm", "verdict"]
    more = ["only_a_right", "only_b_right", "reason", "sentence"]
    part = comparisons[comparisons["family"] == family].reindex(columns=columns + more).reset_index(drop=True)
    said = [
        _verdict(row["verdict"], row["a"], row["b"], row["reason"])
        for row in part[["verdict", "a", "b", "reason"]].to_dict("records")
    ]
    return part.assign(
        pair=[f"{backbone(a)} − {backbone(b)}" for a, b in zip(part["a"], part["b"], strict=True)],
        bounds=[wording.signed_interval(low, high) for low, high in zip(part["low"], part["high"], strict=True)],
        discordant=[
            f"{wording.count(a)} / {wording.count(b)}"
            for a, b in zip(part["only_a_right"], part["only_b_right"], strict=True)
        ],
        verdict=said,
        told_apart=part["verdict"].isin(list(BETTER)),
    )


def _verdict(verdict: Any, a: Any, b: Any, reason: Any) -> str:
    better = {"a": a, "b": b}.get(BETTER.get(str(verdict), ""))
    words = wording.text(verdict) if better is None else f"{backbone(better)} is better"
    return f"{words}: {reason}" if present(reason) else words
