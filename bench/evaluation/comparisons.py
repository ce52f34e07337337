"""Pairs of models on the same test images: difference in AUC by patients, exact McNemar, both Holm-corrected."""

from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from bench.evaluation.inputs import ScoredModel
from bench.numbers import counted, joined, magnitude, p_value, spread
from bench.run.tables import COMPARISONS, Row, records
from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.proportions import exact_mcnemar, holm

A_BETTER, B_BETTER, SAME, NOT_COMPUTED = "a better", "b better", "cannot be told apart", "not computed"


def comparisons(models: Mapping[str, ScoredModel], winner: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """Every pair of finalists, and the winner against every baseline: comparisons.csv.

    The AUC (macro one-vs-rest for several classes) is compared by a paired, patient-clustered bootstrap: all models
    are scored in the same draws (`bench.stats.bootstrap.Resampled.difference`). McNemar's test compares who is right at
    the most probable class, and takes images for independent. Each family, and each of the two tests, is
    Holm-corrected by itself; the verdict is the corrected bootstrap p below 1 - level.

    Args:
        models: name -> what it says of the same images.
        winner: name of the winning finalist; it stands first in its pairs.
        bootstrap: draws, level of the intervals, seed.

    Returns:
        one row per pair; what cannot be computed is empty, with the reason.
    """
    others = [name for name, model in models.items() if model.kind == "finalist" and name != winner]
    pairs = [("finalists", a, b) for a, b in combinations([winner, *others], 2)]
    pairs += [("controls", winner, name) for name, model in models.items() if model.kind == "control"]
    if winner not in models or not pairs or not len(models[winner].predictions):
        return COMPARISONS.frame([])
    predictions = {name: models[name].predictions for name in dict.fromkeys(name for _, *ab in pairs for name in ab)}
    images = predictions[winner]
    missing, few = images.missing_classes, images.few_of_a_class
    scores = [one.scores for one in predictions.values()]
    found = None if missing else bootstrap.unless(few).of_models("auc", images, scores)
    places = {name: place for place, name in enumerate(predictions)}
    rows = []
    for family, a, b in pairs:
        counts = exact_mcnemar(predictions[a].right, predictions[b].right)
        by_mcnemar = {"only_a_right": counts.only_a, "only_b_right": counts.only_b, "mcnemar_p": counts.p}
        by_auc = _by_auc(found, (places[a], places[b]), missing, few)
        rows.append({"family": family, "a": a, "b": b} | by_auc | by_mcnemar)
    table = COMPARISONS.frame(rows)
    for family in table["family"].unique():
        chosen = table["family"] == family
        for p in ("p", "mcnemar_p"):
            values = [None if pd.isna(value) else value for value in table.loc[chosen, p]]
            table.loc[chosen, f"{p}_holm"] = pd.Series(holm(values), index=table.index[chosen], dtype="float64")
    table["verdict"] = [_verdict(row, 1 - bootstrap.level) for row in records(table)]
    titles = {name: model.title for name, model in models.items()}
    several = images.n_patients < len(images)
    table["sentence"] = [_sentence(row, titles, several) for row in records(table)]
    return table


def sentences(table: pd.DataFrame, titles: Mapping[str, str], n_images: int) -> list[str]:
    """The comparisons in words, the winner's first: 'A and B cannot be told apart on these 652 images; C is …'."""
    words = []
    finalists = table[table["family"] == "finalists"]
    if len(finalists):
        winner = finalists.iloc[0]["a"]
        words += _against(finalists[finalists["a"] == winner], titles, n_images)
        for row in records(finalists[finalists["a"] != winner]):
            if row["verdict"] in (A_BETTER, B_BETTER):
                words.append(f"{_apart(row, titles)}.")
    baselines = table[table["family"] == "controls"]
    words += [_tuning(row, titles) for row in records(baselines[baselines["b"] == "recipe"])]
    words += _against(baselines[baselines["b"] != "recipe"], titles, n_images)
    return words


def _against(rows: pd.DataFrame, titles: Mapping[str, str], n_images: int) -> list[str]:
    """One sentence of the model ``a`` that all rows share and the models that it is compared with."""
    parts, pairs = [], records(rows)
    same = [titles[row["b"]] for row in pairs if row["verdict"] == SAME]
    if same:
        parts.append(
            f"{joined([titles[pairs[0]['a']], *same])} cannot be told apart on these {counted(n_images, 'image')}"
        )
    parts += [
        f"{titles[row['b']]} is {'worse' if row['verdict'] == A_BETTER else 'better'} by "
        f"{magnitude(row['difference'], row['low'], row['high'])}"
        for row in pairs
        if row["verdict"] in (A_BETTER, B_BETTER)
    ]
    if parts and not same:
        parts[0] = f"Beside {titles[pairs[0]['a']]}, on these {counted(n_images, 'image')}, {parts[0]}"
    left = [titles[row["b"]] for row in pairs if row["verdict"] == NOT_COMPUTED]
    if left:
        parts.append(f"{titles[pairs[0]['a']]} was not compared with {joined(left, 'or')}: {pairs[0]['reason']}")
    return ["; ".join(parts) + "."] if parts else []


def _tuning(row: Row, titles: Mapping[str, str]) -> str:
    """Whether the search was worth it: the winner beside its own default recipe."""
    recipe = f"the default recipe of {titles[row['a']]}"
    if row["verdict"] == NOT_COMPUTED:
        return f"Whether tuning was worth it cannot be said: {row['reason']}."
    gained = f"{magnitude(row['difference'], row['low'], row['high'])} ROC AUC"
    if row["verdict"] == SAME:
        sign = "above" if row["difference"] >= 0 else "below"
        chance = f"which chance may explain (Holm-corrected {p_value(row['p_holm'])})"
        return f"Tuning was not shown to be worth it: the winner is {gained} {sign} {recipe}, {chance}."
    if row["verdict"] == A_BETTER:
        return f"Tuning was worth it: the winner is {gained} above {recipe}."
    return f"Tuning did harm on these images: the winner is {gained} below {recipe}."


def _by_auc(found: Resampled | None, places: tuple[int, int], missing: str, few: str) -> Row:
    if found is None:
        return {"reason": f"ROC AUC cannot be computed: {missing}"}
    difference = found.difference(*places)
    reason = None
    if difference.p is None:
        reason = f"no interval: {few or 'a class is missing from more than half of the bootstrap draws'}"
    elif difference.low is None:
        reason = "no interval: the bootstrap draws all give the same difference"
    return {
        "score_a": float(found.value[places[0]]),
        "score_b": float(found.value[places[1]]),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": difference.p,
        "reason": reason,
    }


def _verdict(row: Row, error: float) -> str:
    if row["p_holm"] is None:
        return NOT_COMPUTED
    if row["p_holm"] >= error:
        return SAME
    return A_BETTER if row["difference"] > 0 else B_BETTER


def _sentence(row: Row, titles: Mapping[str, str], several_per_patient: bool) -> str:
    a, b = titles[row["a"]], titles[row["b"]]
    if row["verdict"] == NOT_COMPUTED:
        known = "" if row["score_a"] is None else f" (ROC AUC {spread(row['score_a'])} and {spread(row['score_b'])})"
        first = f"{a} and {b}{known} cannot be compared by ROC AUC, {row['reason']}"
    elif row["verdict"] == SAME:
        between = magnitude(row["difference"], row["low"], row["high"])
        corrected = f"Holm-corrected {p_value(row['p_holm'])}"
        first = f"{a} and {b} cannot be told apart (ROC AUC differs by {between}, {corrected})"
    else:
        first = f"{_apart(row, titles)} (ROC AUC, Holm-corrected {p_value(row['p_holm'])})"
    caution = ", which takes images of one patient for independent" if several_per_patient else ""
    return (
        f"{first}; only {a} is right on {counted(row['only_a_right'], 'image')}, only {b} on "
        f"{row['only_b_right']:,} (exact McNemar{caution}: {p_value(row['mcnemar_p_holm'])})."
    )


def _apart(row: Row, titles: Mapping[str, str]) -> str:
    better = "better" if row["verdict"] == A_BETTER else "worse"
    by = magnitude(row["difference"], row["low"], row["high"])
    return f"{titles[row['a']]} is {better} than {titles[row['b']]} by {by}"
