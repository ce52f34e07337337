"""Models in pairs on the same test images: the contrast of their means over the seeds, and McNemar's test by patients.

One contrast was fixed before the test split was opened: the winner against its own default recipe. It is tested alone,
at the full level, and against the margin of `--margin`. The other pairs are Holm-corrected within their family.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from bench.evaluation.inputs import ScoredModel
from bench.numbers import counted, joined, magnitude, p_value, percent, spread
from bench.run.tables import COMPARISONS, Row, records
from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.contrast import Seeds, contrast
from bench.stats.metrics import Metric, Scores, get_metric
from bench.stats.proportions import clustered_mcnemar, holm

A_BETTER, B_BETTER, SAME, NOT_COMPUTED = "a better", "b better", "cannot be told apart", "not computed"
EQUIVALENT, UNDECIDED = "equivalent", "undecided"
"""Verdicts on the primary contrast instead of `SAME`."""
PRIMARY, FINALISTS, CONTROLS, CHANCE = "primary", "finalists", "controls", "chance"
"""Families, each Holm-corrected by itself; the first and the last hold one pair, which that leaves as it is."""
FAMILY_OF = {"recipe": PRIMARY, "majority": CHANCE}
CALLS_DIFFER = 0.05
"""Holm-corrected p of McNemar's test below which a sentence says that calls favour the model with the worse mean."""


@dataclass(frozen=True)
class Rules:
    """What was fixed before the test split was opened.

    Attributes:
        winner: name of the winning finalist; it stands first in its pairs.
        metric: of the run; all pairs are compared by it.
        margin: difference that would not matter, in its unit.
        bootstrap: draws, level of the intervals, seed.
    """

    winner: str
    metric: Metric
    margin: float
    bootstrap: Bootstrap

    @property
    def error(self) -> float:
        """Below which a p decides."""
        return 1 - self.bootstrap.level


def comparisons(models: Mapping[str, ScoredModel], rules: Rules) -> pd.DataFrame:
    """The winner against its default recipe, every pair of finalists, the winner against other baselines.

    Means over the seeds are compared, with patients and seeds as sources of variance (`bench.stats.contrast`); all
    trainings are scored in the same draws of patients. With a single seed the difference and an interval by patients
    are given, and no verdict. McNemar's test compares who is right at the most probable class, of the repeats that
    represent their models.

    Args:
        models: name -> what it says of the same images.
        rules: what was fixed before.

    Returns:
        comparisons.csv, one row per pair; what cannot be computed is empty, with the reason.
    """
    pairs = _pairs(models, rules.winner)
    if rules.winner not in models or not pairs or not len(models[rules.winner].predictions):
        return COMPARISONS.frame([])
    drawn = _Drawn.of({name: models[name] for name in dict.fromkeys(name for _, *ab in pairs for name in ab)}, rules)
    table = COMPARISONS.frame([drawn.row(*pair) for pair in pairs])
    for family in table["family"].unique():
        chosen = table["family"] == family
        for p in ("p", "mcnemar_p"):
            values = [None if pd.isna(value) else value for value in table.loc[chosen, p]]
            table.loc[chosen, f"{p}_holm"] = pd.Series(holm(values), index=table.index[chosen], dtype="float64")
    table["verdict"] = [_verdict(row, rules) for row in records(table)]
    titles = {name: model.title for name, model in models.items()}
    table["sentence"] = [_sentence(row, titles) for row in records(table)]
    return table


def _pairs(models: Mapping[str, ScoredModel], winner: str) -> list[tuple[str, str, str]]:
    """Family, a and b of each pair, the primary one first."""
    others = [name for name, model in models.items() if model.kind == "finalist" and name != winner]
    pairs = [(FINALISTS, a, b) for a, b in combinations([winner, *others], 2)]
    controls = [name for name, model in models.items() if model.kind == "control"]
    pairs += [(FAMILY_OF.get(name, CONTROLS), winner, name) for name in controls]
    order = (PRIMARY, FINALISTS, CONTROLS, CHANCE)
    return sorted(pairs, key=lambda pair: order.index(pair[0]))


@dataclass(frozen=True)
class _Drawn:
    """All trainings of some models, scored in the same draws of patients.

    Attributes:
        models: name -> what it says of the same images.
        rules: what was fixed before.
        trainings: name -> places of its trainings in ``found``.
        found: None where the metric cannot be computed.
        why: why there is nothing, or no interval; empty where nothing is amiss.
    """

    models: Mapping[str, ScoredModel]
    rules: Rules
    trainings: Mapping[str, Seeds]
    found: Resampled | None
    why: str

    @classmethod
    def of(cls, models: Mapping[str, ScoredModel], rules: Rules) -> "_Drawn":
        images, metric, trainings = models[rules.winner].predictions, rules.metric, {}
        scores: list[Scores] = []
        for name, model in models.items():
            each = [model.repeats[repeat].scores for repeat in sorted(model.repeats)]
            trainings[name] = Seeds(range(len(scores), len(scores) + len(each)), model.seeded)
            scores += each
        if metric.needs_all_classes and images.missing_classes:
            return cls(models, rules, trainings, None, f"{metric.title} cannot be computed: {images.missing_classes}")
        few = images.few_for(metric)
        found = rules.bootstrap.unless(few).of_models(metric.name, images, scores, jackknife=False)
        return cls(models, rules, trainings, found, few or "a class is missing from more than half of the draws")

    def row(self, family: str, a: str, b: str) -> Row:
        """A pair, but what is corrected and what is said of it."""
        about = {"family": family, "a": a, "b": b, "metric": self.rules.metric.name}
        return about | self._seeds(a, "a") | self._seeds(b, "b") | self._contrast(family, a, b) | self._calls(a, b)

    def _seeds(self, name: str, end: str) -> Row:
        """Every seed of a model, and their mean, in the columns of ``a`` or ``b``."""
        columns = list(self.trainings[name].columns)
        about: Row = {f"seeds_{end}": len(columns), f"repeat_{end}": self.models[name].representative}
        if self.found is None:
            return about
        values = self.found.value[columns]
        each = " ".join(f"{value:.6f}" for value in values)
        return about | {f"score_{end}": float(values.mean()), f"scores_{end}": each}

    def _contrast(self, family: str, a: str, b: str) -> Row:
        """Model ``a`` less model ``b``; with a single seed no p, and so no verdict."""
        if self.found is None:
            return {"reason": self.why}
        single = next((self.models[name].title for name in (a, b) if not self.trainings[name].enough), "")
        one = contrast(self.found, self.trainings[a], self.trainings[b])
        low, high = one.ends
        found = {"difference": one.value, "low": low, "high": high, "standard_error": one.error, "df": one.df}
        if one.p is None:
            return found | {"reason": f"no interval: {self.why}"}
        if single:
            return found | {"reason": f"{single} has one seed, so how far another would lie is unknown (--repeats)"}
        found |= {"p": one.p, "seed_share": one.seed_share, "detectable": one.detectable}
        if family == PRIMARY:
            found |= {"margin": self.rules.margin, "p_equivalent": one.p_equivalent(self.rules.margin)}
        return found | {
            "reason": None if one.varies else "no interval: all draws and all seeds give the same difference"
        }

    def _calls(self, a: str, b: str) -> Row:
        """McNemar's test of the repeats that represent the two."""
        first, second = self.models[a].predictions, self.models[b].predictions
        counts = clustered_mcnemar(first.right, second.right, first.patients)
        return {"only_a_right": counts.only_a, "only_b_right": counts.only_b, "mcnemar_p": counts.p}


def _verdict(row: Row, rules: Rules) -> str:
    if row["p_holm"] is None:
        return NOT_COMPUTED
    if row["p_equivalent"] is not None and row["p_equivalent"] < rules.error:
        return EQUIVALENT
    if row["p_holm"] >= rules.error:
        return UNDECIDED if row["family"] == PRIMARY else SAME
    return A_BETTER if rules.metric.better(row["score_a"], row["score_b"]) else B_BETTER


def sentences(table: pd.DataFrame, titles: Mapping[str, str], n_images: int) -> list[str]:
    """The comparisons in words, the primary contrast first, then the winner's: 'A and B cannot be told apart …'."""
    words = [row["sentence"] for row in records(table[table["family"] == PRIMARY])]
    finalists = table[table["family"] == FINALISTS]
    if len(finalists):
        winner = finalists.iloc[0]["a"]
        words += _against(finalists[finalists["a"] == winner], titles, n_images)
        for row in records(finalists[finalists["a"] != winner]):
            if row["verdict"] in (A_BETTER, B_BETTER):
                words.append(f"{_apart(row, titles)}{_though(row, titles)}.")
    return words + _against(table[table["family"].isin([CONTROLS, CHANCE])], titles, n_images)


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
        f"{magnitude(row['difference'], row['low'], row['high'])}{_though(row, titles)}"
        for row in pairs
        if row["verdict"] in (A_BETTER, B_BETTER)
    ]
    if parts and not same:
        parts[0] = f"Beside {titles[pairs[0]['a']]}, on these {counted(n_images, 'image')}, {parts[0]}"
    left = [row for row in pairs if row["verdict"] == NOT_COMPUTED]
    for reason in dict.fromkeys(row["reason"] for row in left):
        those = [titles[row["b"]] for row in left if row["reason"] == reason]
        parts.append(f"{titles[pairs[0]['a']]} was not compared with {joined(those, 'or')}: {reason}")
    return ["; ".join(parts) + "."] if parts else []


def _sentence(row: Row, titles: Mapping[str, str]) -> str:
    """What a pair says; the primary one as whether the search was worth it."""
    a, b, metric = titles[row["a"]], titles[row["b"]], get_metric(row["metric"]).words
    corrected = "" if row["family"] == CHANCE else "Holm-corrected "
    if row["family"] == PRIMARY:
        return _tuning(row, a, metric) + _calls_at_odds(row, titles)
    if row["verdict"] == NOT_COMPUTED:
        known = "" if row["score_a"] is None else f" ({metric} {spread(row['score_a'])} and {spread(row['score_b'])})"
        first = f"{a} and {b}{known} cannot be compared by {metric}, {row['reason']}"
    elif row["verdict"] == SAME:
        between = magnitude(row["difference"], row["low"], row["high"])
        p = f"{corrected}{p_value(row['p_holm'])}"
        first = f"{a} and {b} cannot be told apart (mean {metric} {_over(row)} differs by {between}, {p})"
    else:
        first = f"{_apart(row, titles)} (mean {metric} {_over(row)}, {corrected}{p_value(row['p_holm'])})"
    return (
        f"{first}; of their representative seeds, only {a} is right on {counted(row['only_a_right'], 'image')}, only "
        f"{b} on {row['only_b_right']:,} (exact McNemar by patients: {p_value(row['mcnemar_p_holm'])})"
        f"{_though(row, titles)}."
    )


def _favoured(row: Row) -> str:
    """The model that McNemar's test favours though its mean is the worse one: ``a``, ``b``, or empty."""
    if row["difference"] is None or row["mcnemar_p_holm"] is None or row["mcnemar_p_holm"] >= CALLS_DIFFER:
        return ""
    called = "a" if row["only_a_right"] > row["only_b_right"] else "b"
    ahead = "a" if get_metric(row["metric"]).better(row["score_a"], row["score_b"]) else "b"
    return called if row["score_a"] != row["score_b"] and called != ahead else ""


def _though(row: Row, titles: Mapping[str, str]) -> str:
    """The end of a sentence on a pair whose calls point the other way; empty where they do not."""
    favoured = _favoured(row)
    return f", though calls at the most probable class favour {titles[row[favoured]]}" if favoured else ""


def _calls_at_odds(row: Row, titles: Mapping[str, str]) -> str:
    """The same of the primary contrast, as a sentence of its own with the counts, which that does not tell."""
    favoured = _favoured(row)
    if not favoured:
        return ""
    return (
        f" Calls at the most probable class favour {titles[row[favoured]]}, though: of the representative seeds, only "
        f"{titles[row['a']]} is right on {counted(row['only_a_right'], 'image')}, only {titles[row['b']]} on "
        f"{row['only_b_right']:,} (exact McNemar by patients: {p_value(row['mcnemar_p_holm'])})."
    )


def _tuning(row: Row, winner: str, metric: str) -> str:
    """Whether the search was worth it: better, worse, equivalent or undecided."""
    recipe = f"the default recipe of {winner}"
    if row["verdict"] == NOT_COMPUTED:
        return f"Whether tuning was worth it cannot be said: {row['reason']}."
    side = "above" if row["difference"] >= 0 else "below"
    by = magnitude(row["difference"], row["low"], row["high"])
    gained = f"{_over(row)}, the winner's mean {metric} is {by} {side} that of {recipe} ({p_value(row['p'])})"
    power = (
        ""
        if row["detectable"] is None
        else (
            f" A true difference of {spread(row['detectable'])} would have been found with 80 % power; "
            f"{percent(row['seed_share'])} of the variance comes from the seeds, the rest from the patients."
        )
    )
    if row["verdict"] == EQUIVALENT:
        within = f"within the margin of ±{spread(row['margin'])} (equivalence test {p_value(row['p_equivalent'])})"
        return f"Tuned and default are equivalent: {gained}, {within}.{power}"
    if row["verdict"] == UNDECIDED:
        margin = ""
        if row["p_equivalent"] is not None:
            margin = f", nor is a difference below {spread(row['margin'])} shown ({p_value(row['p_equivalent'])})"
        return f"Whether tuning was worth it is undecided: {gained}{margin}.{power}"
    return f"{'Tuning was worth it' if row['verdict'] == A_BETTER else 'Tuning did harm'}: {gained}.{power}"


def _over(row: Row) -> str:
    """Over how many seeds the means are; a model that has but one is the same with each."""
    a, b = row["seeds_a"], row["seeds_b"]
    if 1 in (a, b):
        return f"over {counted(max(a, b), 'seed')}"
    return f"over {a} seeds each" if a == b else f"over {a} and {b} seeds"


def _apart(row: Row, titles: Mapping[str, str]) -> str:
    better = "better" if row["verdict"] == A_BETTER else "worse"
    by = magnitude(row["difference"], row["low"], row["high"])
    return f"{titles[row['a']]} is {better} than {titles[row['b']]} by {by}"
