"""Made-up files of an evaluation, beside evaluation.json, for the tests of the report."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from bench.run import tables
from bench.run.folder import RunDir, write_json
from bench.stats.metrics import METRICS, evaluate

Floats = npt.NDArray[np.float64]

CONTROLS = {"recipe": 1.9, "small_cnn": 1.2, "majority": 0.0, "metadata": 0.6}
"""How far each control tells the classes apart."""

TITLES = {"recipe": "Default recipe", "small_cnn": "Small CNN from scratch"}
TITLES |= {"majority": "Majority class", "metadata": "Metadata only"}
GROUPS = {"image size": ("small", "middle", "large"), "aspect ratio": ("tall", "square"), "sex": ("F", "M", "$ <b>")}


def softmax(random: np.random.Generator, truth: Any, n_classes: int, apart: float) -> Floats:
    """Probabilities that tell the classes apart by ``apart``."""
    logits = random.normal(0, 1, (len(truth), n_classes))
    logits[np.arange(len(truth)), truth] += apart
    return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def repeats(random: np.random.Generator, truth: Any, scores: Floats, n: int) -> dict[str, Any]:
    """Mean and spread over ``n`` seeds around the metrics of ``scores``, and each of them."""
    mean = evaluate(truth, scores)
    spread = {name: 0.003 + 0.002 * float(random.random()) for name in mean if n > 1}
    values = {name: [mean[name] + spread.get(name, 0.0) * (place - 1) for place in range(n)] for name in mean}
    about = {"n": n, "repeats": list(range(1, n + 1)), "representative": min(n, 2), "values": values}
    return about | {"mean": mean, "sd": spread}


def controls(random: np.random.Generator, run: RunDir, finalists: pd.DataFrame, winner: str) -> None:
    """baselines.csv: two that are trained with three seeds, two that are not."""
    won = finalists[finalists["backbone"] == winner].iloc[0]
    config = {key: won[key] for key in finalists.columns if key.startswith("config_")}
    rows = []
    for name, apart in CONTROLS.items():
        for repeat in range(1, 4 if name in ("recipe", "small_cnn") else 2):
            auc = 0.5 + 0.24 * apart + 0.004 * float(random.normal())
            metrics = dict.fromkeys(METRICS, auc) | {"log_loss": 1 - auc, "brier": 0.8 * (1 - auc)}
            row: dict[str, Any] = {"baseline": name, "repeat": repeat, "seed": repeat, "state": "completed"}
            row |= {
                "reason": None,
                "note": "93k parameters" if name == "small_cnn" else "",
                "representative": repeat == 1,
            }
            row |= {key: value if name == "recipe" else None for key, value in config.items()}
            row |= {f"metric_{key}": value for key, value in metrics.items()}
            rows.append({**row, "parameters": 1000, "best_epoch": 5, "epochs": 12, "seconds": 31.0})
    tables.BASELINES.write(run.path, rows)


def comparisons(models: dict[str, Floats], truth: Any, winner: str, finalists: list[str]) -> pd.DataFrame:
    """comparisons.csv: the primary contrast, every pair of finalists, and the winner with the other controls."""
    auc = METRICS["auc"].compute
    pairs = [("finalists", a, b) for place, a in enumerate(finalists) for b in finalists[place + 1 :]]
    families = {"recipe": "primary", "majority": "chance"}
    pairs += [(families.get(name, "controls"), winner, name) for name in models if name in CONTROLS]
    pairs.sort(key=lambda pair: ("primary", "finalists", "controls", "chance").index(pair[0]))
    rows = []
    for family, a, b in pairs:
        difference = auc(truth, models[a]) - auc(truth, models[b])
        right = [models[name].argmax(axis=1) == truth for name in (a, b)]
        told = "cannot be told apart" if abs(difference) < 0.015 else "a better" if difference > 0 else "b better"
        told = "undecided" if family == "primary" and told == "cannot be told apart" else told
        each = {f"scores_{end}": f"{auc(truth, models[name]):.6f} 0.910000" for end, name in (("a", a), ("b", b))}
        each |= {"metric": "auc", "seeds_a": 2, "seeds_b": 2, "standard_error": 0.0071, "df": 9.4, "seed_share": 0.6}
        each |= {"margin": 0.01, "p_equivalent": 0.4, "detectable": 0.023} if family == "primary" else {}
        rows.append(
            each
            | {"family": family, "a": a, "b": b, "score_a": auc(truth, models[a]), "score_b": auc(truth, models[b])}
            | {"difference": difference, "low": difference - 0.015, "high": difference + 0.015, "p": 0.012}
            | {"p_holm": 0.024 if told == "cannot be told apart" else 0.0004, "verdict": told, "reason": None}
            | {"only_a_right": int((right[0] & ~right[1]).sum()), "only_b_right": int((right[1] & ~right[0]).sum())}
            | {"mcnemar_p": 0.03, "mcnemar_p_holm": 0.06, "sentence": f"{a} and {b}: {told} on these images."}
        )
    return pd.DataFrame(rows)


def write_tables(
    random: np.random.Generator,
    run: RunDir,
    test: pd.DataFrame,
    truth: Any,
    models: dict[str, Floats],
    winner: str,
    finalists: list[str],
    classes: tuple[str, ...],
) -> None:
    """Every file of an evaluation but evaluation.json, predictions_test.csv and baselines.csv."""
    scores = models[winner]
    shown = {label: index for index, label in enumerate(classes) if index or len(classes) > 2}
    tables.COMPARISONS.write(run.path, comparisons(models, truth, winner, finalists))
    points: list[dict[str, Any]] = []
    rates: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for label, index in shown.items():
        positive, probability = truth == index, scores[:, index]
        for point, threshold in (("0.5", 0.5), ("frozen", 0.43)):
            points += _points(label, point, threshold, positive, probability >= threshold)
            rates += _prevalences(label, point, threshold, positive, probability >= threshold)
        decisions += _decisions(label, positive, probability)
        for name in finalists:
            curves += _curves(name, label, positive, models[name][:, index])
    tables.OPERATING_POINTS.write(run.path, points)
    tables.PREVALENCES.write(run.path, rates)
    tables.DECISION_CURVE.write(run.path, decisions)
    tables.CURVES.write(run.path, curves)
    write_json(run.path / "calibration.json", _calibration(truth, scores, shown))
    tables.SUBGROUPS.write(run.path, _subgroups(random, len(classes)))
    _failures(random, run, test.reset_index(drop=True), truth, scores, classes)
    tables.ROBUSTNESS.write(run.path, _robustness(METRICS["auc"].compute(truth, scores), len(test)))
    _saliency(random, run, classes)


def write_validation(run: RunDir, splits: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """predictions_val.csv, and thumbnails.npz of validation and test images."""
    random = np.random.default_rng(3)
    val, test = (splits[splits["split"] == split].reset_index(drop=True) for split in ("val", "test"))
    truth = val["label"].map({name: index for index, name in enumerate(classes)}).to_numpy()
    scores = softmax(random, truth, len(classes), 2.8)
    columns = {f"{kind}_{name}": scores[:, at] for kind in ("prob", "calibrated") for at, name in enumerate(classes)}
    tables.PREDICTIONS_VAL.write(run.path, val[["image", "label", "patient"]].assign(**columns))
    names = [*val["image"][:30], *test["image"][:200]]
    splits_of = ["val"] * 30 + ["test"] * (len(names) - 30)
    np.savez_compressed(run.thumbnails, images=_phantoms(random, len(names), 32), names=names, splits=splits_of)


def _points(label: str, point: str, threshold: float, positive: Any, called: Any) -> list[dict[str, Any]]:
    counts = {
        "sensitivity": (called & positive, positive),
        "specificity": (~called & ~positive, ~positive),
        "ppv": (called & positive, called),
        "npv": (~called & ~positive, ~called),
        "accuracy": (called == positive, np.ones_like(positive)),
    }
    rule = "usual" if point == "0.5" else "Youden index on validation"
    rows = []
    for measure, (hits, of) in counts.items():
        value = float(hits.sum() / max(of.sum(), 1))
        row = {"class": label, "point": point, "rule": rule, "threshold": threshold, "measure": measure}
        row |= {"hits": int(hits.sum()), "of": int(of.sum()), "value": value, "reason": None}
        row |= {"wilson_low": value - 0.02, "wilson_high": min(value + 0.02, 1)}
        if point == "frozen" and measure in ("sensitivity", "specificity"):
            row |= {"validation": value, "expected_low": value - 0.05, "expected_high": min(value + 0.05, 1)}
        rows.append({**row, "low": value - 0.027, "high": min(value + 0.026, 1)})
    return rows


def _prevalences(label: str, point: str, threshold: float, positive: Any, called: Any) -> list[dict[str, Any]]:
    sensitivity, false_rate = called[positive].mean(), called[~positive].mean()
    observed, rows = float(positive.mean()), []
    for prevalence in sorted([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, observed]):
        ppv = sensitivity * prevalence / max(sensitivity * prevalence + false_rate * (1 - prevalence), 1e-9)
        right = (1 - false_rate) * (1 - prevalence)
        npv = right / (right + (1 - sensitivity) * prevalence)
        row = {"class": label, "point": point, "threshold": threshold, "prevalence": prevalence}
        row |= {"ppv": ppv, "ppv_low": 0.9 * ppv, "ppv_high": min(1.1 * ppv, 1), "npv": npv}
        rows.append({**row, "npv_low": npv - 0.01, "npv_high": min(npv + 0.01, 1), "observed": prevalence == observed})
    return rows


def _decisions(label: str, positive: Any, probability: Any) -> list[dict[str, Any]]:
    rows = []
    for threshold in np.arange(0.01, 1, 0.01):
        odds, called = threshold / (1 - threshold), probability >= threshold
        benefit = float((called & positive).mean() - odds * (called & ~positive).mean())
        everyone = float(positive.mean() - odds * (1 - positive.mean()))
        row = {"class": label, "threshold": threshold, "model": benefit, "treat_all": everyone, "treat_none": 0}
        rows.append({**row, "low": benefit - 0.02, "high": benefit + 0.02})
    return rows


def _curves(model: str, label: str, positive: Any, probability: Any) -> list[dict[str, Any]]:
    grid = np.linspace(0, 1, 101)
    fpr, tpr, _ = sk.roc_curve(positive, probability)
    precision, recall, _ = sk.precision_recall_curve(positive, probability)
    found = {"roc": np.interp(grid, fpr, tpr), "pr": np.interp(grid, recall[::-1], precision[::-1])}
    return [
        {
            "model": model,
            "class": label,
            "curve": curve,
            "x": x,
            "y": y,
            "low": max(y - 0.03, 0),
            "high": min(y + 0.03, 1),
        }
        for curve, values in found.items()
        for x, y in zip(grid, values, strict=True)
    ]


def _calibration(truth: Any, scores: Floats, shown: dict[str, int]) -> dict[str, Any]:
    def step(power: float) -> dict[str, Any]:
        bins: dict[str, list[dict[str, Any]]] = {}
        for label, index in shown.items():
            probability, positive = scores[:, index] ** power, truth == index
            bins[label] = []
            for start in np.linspace(0, 1, 16)[:-1]:
                inside = (probability >= start) & (probability < start + 1 / 15)
                one: dict[str, Any] = {"from": start, "to": start + 1 / 15, "images": int(inside.sum())}
                known = inside.any()
                share = float(positive[inside].mean()) if known else None
                one |= {"predicted": float(probability[inside].mean()) if known else None, "observed": share}
                one |= {"low": share and max(share - 0.1, 0), "high": share and min(share + 0.1, 1)}
                bins[label].append(one)
        estimate = {"value": 0.12 * power, "low": -0.21, "high": 0.45}
        one_class = {"predicted": 0.631, "observed": 0.625, "difference": estimate, "intercept": estimate}
        one_class |= {"slope": {"value": 0.93, "low": 0.81, "high": 1.06}, "apart": []}
        one_class |= {"widened": {"slope": {"value": 0.93, "low": 0.78, "high": 1.11}}}
        measured = {"ece": 0.031 * power, "brier": 0.091 * power, "log_loss": 0.18 * power, "reliability": bins}
        measured["ece_if_perfect"] = {"mean": 0.0213, "high": 0.0354, "reached": 0.2}
        return measured | {"agreement": dict.fromkeys(shown, one_class)}

    splits = {split: {"before": step(1.3), "after": step(1.0)} for split in ("val", "test")}
    fitted = {"split": "val", "images": 692}
    candidates = [{"method": "none", "log_loss": 0.25}, {"method": "temperature", "log_loss": 0.2}]
    found = {"method": "temperature", "class_weights": [1.0 + index for index in range(max(2, len(shown)))]}
    return {
        "calibration": found | {"slopes": [1 / 1.31]},
        "candidates": candidates,
        "fitted_on": fitted,
        "bins": 15,
        "splits": splits,
        "verdict": "agrees",
        "sentence": "The map lowered the log loss; calibrated as far as these images can tell.",
    }


def _subgroups(random: np.random.Generator, n_classes: int) -> list[dict[str, Any]]:
    rows = []
    for group, values in GROUPS.items():
        for place, value in enumerate(values):
            images = 18 if place == 2 and group == "sex" else 120 + 40 * place
            row: dict[str, Any] = {"group": group, "value": value, "images": images, "patients": images // 2}
            row |= {"small": images < 30, "reason": None}
            for name in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"):
                empty = n_classes > 2 and name in ("sensitivity", "specificity")
                score = 0.93 + 0.02 * float(random.normal())
                row |= {name: None if empty else score, f"{name}_low": None if empty else score - 3 / images}
                row |= {f"{name}_high": None if empty else min(score + 3 / images, 1)}
            rows.append(row)
    return rows


def _failures(
    random: np.random.Generator, run: RunDir, test: pd.DataFrame, truth: Any, scores: Floats, classes: tuple[str, ...]
) -> None:
    predicted = scores.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-scores[wrong].max(axis=1))]
    table = test.loc[wrong, ["image", "label", "patient"]].reset_index(drop=True)
    table.insert(0, "rank", range(1, len(wrong) + 1))
    table["predicted"] = [classes[index] for index in predicted[wrong]]
    table["confidence"] = scores[wrong].max(axis=1)
    table["probability_of_label"] = scores[wrong, truth[wrong]]
    table["shown"] = table["rank"] <= 12
    tables.FAILURES.write(run.path, table)
    number = int(table["shown"].sum())
    np.savez_compressed(run.path / "failures.npz", images=_phantoms(random, number), ranks=np.arange(1, number + 1))


def _phantoms(random: np.random.Generator, number: int, side: int = 48) -> npt.NDArray[np.uint8]:
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
    lungs = np.exp(-(((np.abs(x) - 0.42) / 0.25) ** 2) - (y / 0.6) ** 2)
    images = 205 - 150 * lungs + random.normal(0, 8, (number, side, side))
    return np.asarray(images.clip(0, 255).astype(np.uint8)[..., None])


LEVELS = {"recompression": ("JPEG quality", (90, 70, 50, 30)), "noise": ("grey levels SD", (5, 10, 20))}
LEVELS |= {"brightness": ("% brightness", (-20, -10, 10, 20)), "rotation": ("degrees", (-10, -5, 5, 10))}


def _robustness(auc: float, images: int) -> list[dict[str, Any]]:
    rows: list[tuple[str, int | None, str | None, float]] = [("none", None, None, 0.0)]
    for kind, (unit, levels) in LEVELS.items():
        worst = max(abs(level) for level in levels)
        rows += [
            (kind, level, unit, 0.03 * (abs(level) if kind != "recompression" else 100 - level) / worst)
            for level in levels
        ]
    return [
        {"corruption": kind, "level": level, "unit": unit, "images": images, "auc": auc - loss}
        | {"auc_low": auc - loss - 0.014, "auc_high": min(auc - loss + 0.012, 1), "accuracy": auc - 0.05 - loss}
        | {"accuracy_low": auc - 0.08 - loss, "accuracy_high": auc - 0.02 - loss}
        | {"auc_change": -loss if unit else None, "auc_change_low": -loss - 0.01 if unit else None}
        | {"auc_change_high": -loss + 0.01 if unit else None}
        for kind, level, unit, loss in rows
    ]


def _saliency(random: np.random.Generator, run: RunDir, classes: tuple[str, ...]) -> None:
    items = [
        {
            "image": f"test/{label}/{place}.jpeg",
            "label": label,
            "predicted": classes[(index + place % 2) % len(classes)],
        }
        | {"probability": 0.97 - 0.02 * place, "correct": place % 2 == 0, "correlation": 0.08}
        for index, label in enumerate(classes)
        for place in range(3)
    ]
    x, y = np.meshgrid(np.linspace(-1, 1, 48), np.linspace(-1, 1, 48))
    maps = np.stack([np.exp(-((x - c) ** 2 + y**2) * 4) for c in random.uniform(-0.6, 0.6, len(items))])
    randomised = random.random(maps.shape) * 0.5
    arrays = {"images": _phantoms(random, len(items)), "maps": maps, "randomised": randomised}
    np.savez_compressed(
        run.path / "saliency.npz",
        **{  # type: ignore[arg-type]
            name: values if name == "images" else values.astype(np.float32) for name, values in arrays.items()
        },
    )
    content = {
        "method": "class activation map",
        "why": "The head is linear over pooled features, so the map is exact.",
        "sentence": "A saliency map explains nothing by itself.",
        "randomisation": {"mean_correlation": 0.08, "sentence": "Randomising the weights changes the maps."},
        "items": items,
    }
    write_json(run.path / "saliency.json", content)
