"""Verdicts, flags, and the numbers in sentences, made again from the numbers that they rest on."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from bench.verify.printed import Cell, known, shows
from bench.verify.reading import SMALLER_IS_BETTER, Folder, Json, Tally
from bench.verify.shown import TITLES, called, in_sentence, records

NOTHING = 1e-6
"""A change of the log loss that rounding can make."""
WIDE = 0.05
"""Half an interval of scores that is wider tells nothing."""
FACTOR = 4.0
"""A slope's interval whose upper end is more than so many times its lower one tells nothing."""
ALIKE = 0.5
"""Maps of a randomised network that correlate as much with the others are like them."""
CALIBRATED = {
    "worse": "do not read its probabilities as frequencies",
    "disagrees": "probabilities disagree",
    "unknown": "whether probabilities agree with what was observed is not known",
    "agrees": "calibrated as far as",
}
"""What the sentence on calibration holds, by verdict."""
PERFECT = {"intercept": 0.0, "slope": 1.0}
TUNING = {
    "a better": "Tuning was worth it: ",
    "b better": "Tuning did harm: ",
    "equivalent": "Tuned and default are equivalent: ",
    "undecided": "Whether tuning was worth it is undecided: ",
    "not computed": "Whether tuning was worth it cannot be said: ",
}
"""How the sentence on the primary contrast begins."""
PAIR = {
    "a better": "{a} is better than {b} by ",
    "b better": "{a} is worse than {b} by ",
    "cannot be told apart": "{a} and {b} cannot be told apart ",
    "not computed": "{a} and {b}",
}
"""How those on the others do."""


def pairs(run: Folder, tally: Tally) -> None:
    """Verdicts of comparisons.csv from the corrected p, and its sentences; then those of evaluation.json."""
    run.file("comparisons.csv")
    rows = list(records(run, "comparisons.csv"))
    for row in rows:
        where = f"{row['a']} and {row['b']}"
        tally.same(f"{where}: verdict", row["verdict"], _verdict(run, row))
        if row.get("sentence") and "seeds_a" in row:
            _pair(run, where, row, tally)
        elif row.get("sentence"):
            tally.note("sentences of an earlier version, on one seed each, are not compared")
    for one in run.evaluation.get("sentences", []):
        begins = [row for row in rows if row["family"] == "primary"]
        if any(one.startswith(words) for words in TUNING.values()):
            tally.check(one in [row["sentence"] for row in begins], f"sentence that no row has: {one}")
        else:
            _several(run, one, [row for row in rows if row["family"] != "primary"], tally)


def _verdict(run: Folder, row: Json) -> str:
    error, p = 1 - run.level, row["p_holm"]
    if p is None:
        return "not computed"
    primary, equal = row["family"] == "primary", row.get("p_equivalent")
    if primary and equal is not None and equal < error:
        return "equivalent"
    if p >= error:
        return "undecided" if primary else "cannot be told apart"
    return f"{_ahead(row)} better"


def _ahead(row: Json) -> str:
    """The model of a pair with the better mean."""
    smaller = str(row.get("metric", "auc")) in SMALLER_IS_BETTER
    return "a" if (row["score_a"] < row["score_b"]) == smaller else "b"


def _favoured(row: Json) -> str:
    """The model that more calls are right of, where that is not chance and not the one with the better mean."""
    p = row["mcnemar_p_holm"]
    if row["difference"] in (None, 0.0) or p is None or p >= 0.05:
        return ""
    one = "a" if row["only_a_right"] > row["only_b_right"] else "b"
    return one if one != _ahead(row) else ""


def _pair(run: Folder, where: str, row: Json, tally: Tally) -> None:
    """A sentence begins as the verdict wants, and has the numbers of its row; earlier versions say less of calls."""
    sentence, ends = str(row["sentence"]), {end: called(run, str(row[end])) for end in "ab"}
    primary = row["family"] == "primary"
    begins = (TUNING if primary else PAIR).get(row["verdict"], "")
    agrees = any(sentence.startswith(begins.format(a=a, b=b)) for a in ends["a"] for b in ends["b"])
    tally.check(bool(begins) and agrees, f"{where}: its sentence is not that of the verdict: {sentence}")
    favoured = _favoured(row)
    if "favour" in sentence:
        said = any(f"alls at the most probable class favour {one}" in sentence for one in ends.get(favoured, ()))
        tally.check(said, f"{where}: its sentence says of calls what their counts do not: {sentence}")
    calls = [row["only_a_right"], row["only_b_right"], row["mcnemar_p_holm"]]
    numbers = _of_tuning(row) if primary else [*_of_pair(row), *calls]
    more = [[*numbers, *calls]] if primary and favoured else []
    names = [*ends["a"], *ends["b"], *_metric(row.get("metric", "auc")), row.get("reason") or ""]
    _numbers(where, sentence, names, [numbers, *more], tally)


def _of_pair(row: Json) -> list[Any]:
    if row["verdict"] == "not computed":
        return [row["score_a"], row["score_b"]]
    if row["verdict"] == "cannot be told apart":
        return [*_seeds(row), *_turned(row), row["p_holm"]]
    return [*_turned(row), *_seeds(row), row["p_holm"]]


def _of_tuning(row: Json) -> list[Any]:
    if row["verdict"] == "not computed":
        return []
    margin = [row["margin"], row["p_equivalent"]] if row["verdict"] in ("equivalent", "undecided") else []
    margin = margin if row["p_equivalent"] is not None else []
    power = [] if row["detectable"] is None else [row["detectable"], 0.8, row["seed_share"]]
    return [*_seeds(row), *_turned(row), row["p"], *margin, *power]


def _seeds(row: Json) -> list[Any]:
    """Over how many seeds the means are; a model with one is the same with each."""
    a, b = row["seeds_a"], row["seeds_b"]
    return [max(a, b)] if a == b or 1 in (a, b) else [a, b]


def _turned(one: Json, value: str = "difference") -> list[Any]:
    """A difference without its sign, with its interval."""
    told, low, high = one[value], one.get("low"), one.get("high")
    if low is None or high is None:
        return [abs(told)]
    return [told, low, high] if told >= 0 else [-told, -high, -low]


def _metric(name: Any) -> list[str]:
    title = TITLES[str(name)]
    return [title, in_sentence(title)]


def _numbers(where: str, sentence: str, names: Iterable[str], wanted: Iterable[list[Any]], tally: Tally) -> None:
    """A sentence has just these numbers in their order, or those of another version of it, its names aside."""
    left = sentence
    for name in sorted(filter(None, names), key=len, reverse=True):
        left = left.replace(name, "")
    right = any(shows(Cell(left), known(numbers)) for numbers in wanted)
    tally.check(right, f"{where}: its sentence has other numbers than are found: {sentence}")


def _several(run: Folder, sentence: str, rows: list[Json], tally: Tally) -> None:
    """What evaluation.json says of several pairs: who is named with which difference, part by part."""
    for reason in {str(row["reason"]) for row in rows if row.get("reason")}:
        sentence = sentence.replace(reason, reason.replace("; ", ", "))
    for part in sentence.removesuffix(".").split("; "):
        if "cannot be told apart" in part:
            holds = any(part.startswith(f"{one} cannot be told apart") for one in _ties(run, rows))
        elif " was not compared with " in part:
            holds = any(str(row["reason"]).replace("; ", ", ") in part for row in rows if row["p_holm"] is None)
        else:
            holds = any(_apart(run, row, part) for row in rows if row["verdict"] in ("a better", "b better"))
        tally.check(holds, f"sentences: none of the pairs is as is said: {part}")
    for images in re.findall(r"on these ([\d,]+) images?", sentence):
        tally.same("sentences: images", int(images.replace(",", "")), run.evaluation["images"])


def _ties(run: Folder, rows: list[Json]) -> Iterator[str]:
    """The models that cannot be told apart from the winner, in words: other finalists, then baselines."""
    for families in (("finalists",), ("controls", "chance")):
        those = [row for row in rows if row["family"] in families and row["verdict"] == "cannot be told apart"]
        names = [called(run, str(row["b"]))[0] for row in those if row["a"] == run.winner]
        if names:
            yield f"{', '.join([called(run, run.winner)[0], *names[:-1]])} and {names[-1]}"


def _apart(run: Folder, row: Json, part: str) -> bool:
    """Whether a part of a sentence says of a pair what its row does, either way round."""
    a, b = (called(run, str(row[end]))[0] for end in "ab")
    better, worse = ("better", "worse") if row["verdict"] == "a better" else ("worse", "better")
    for begins in (f"{b} is {worse} by ", f"{a} is {better} than {b} by "):
        _, found, rest = part.partition(begins)
        if found and shows(Cell(rest.partition(", though")[0]), _turned(row)):
            return True
    return False


def calibration(run: Folder, tally: Tally) -> None:
    """What is apart from perfection, by the widened intervals; the verdict, and the numbers of its sentence."""
    told = run.json("calibration.json")
    for step, scores in told["splits"].get("test", {}).items():
        for label, one in scores.get("agreement", {}).items():
            for name, wide in one.get("widened", {}).items():
                if wide.get("low") is not None:
                    outside = not wide["low"] <= PERFECT[name] <= wide["high"]
                    tally.same(f"test, {step}, {label}: {name} is apart", name in one["apart"], outside)
    if not told.get("change"):
        tally.note("the test split is sealed, or the run is of an earlier version, without a verdict")
        return
    before, after = (told["splits"]["test"][step] for step in ("before", "after"))
    verdict, numbers = judged(told["change"]["value"] or 0.0, after["agreement"])
    tally.same("verdict on calibration", told.get("verdict"), verdict)
    loss = [before["log_loss"], after["log_loss"], *_turned(told["change"], "value")]
    loss = loss if told["change"]["value"] else []
    reasons = [one.get("reason", "") for one in after["agreement"].values()]
    sentence = told["sentence"]
    if verdict == "disagrees":  # others name no class, but count comparisons
        sentence = re.sub("|".join(rf"for {re.escape(label)}(?!\w)" for label in after["agreement"]), "", sentence)
    _numbers("calibration", sentence, reasons, ([*loss, *one] for one in numbers), tally)
    said = [verdict for verdict, words in CALIBRATED.items() if words in told["sentence"].lower()]
    tally.same("calibration: the verdict of its sentence", said, [verdict])


def judged(change: float, classes: dict[str, Json]) -> tuple[str, list[list[Any]]]:
    """The verdict, and the numbers that its words have after those of the log loss, as versions differ."""
    if change > NOTHING:
        return "worse", [[]]
    told = [one for one in classes.values() if None not in (one["intercept"]["low"], one["slope"]["low"])]
    apart = [
        value
        for one in told
        for name in PERFECT
        if name in one["apart"]
        for value in (one[name]["value"], one[name]["low"], one[name]["high"], PERFECT[name])
    ]
    if apart:
        return "disagrees", [apart]
    # earlier versions called any interval that holds perfection agreement, and told no widened ones
    slopes = [one["slope"] for one in told if one.get("widened")]
    if len(told) < len(classes) or any(not 0 < one["low"] <= one["high"] <= FACTOR * one["low"] for one in slopes):
        return "unknown", [[]]
    return "agrees", [[2 * len(told)], []]


def on_validation(run: Folder, tally: Tally) -> None:
    """Whether the search was lucky, and whether the test split is harder, each with its flag and its sentence."""
    metric = run.metric
    for one in run.evaluation.get("retrained", []):
        if "reach" in one and one.get("trial_score") is not None:
            verdict = _luck(one["trial_score"] - one["mean"], one["reach"], metric in SMALLER_IS_BETTER)
            tally.same(f"{one['backbone']}: verdict on the search", one.get("verdict", ""), verdict)
            tally.same(f"{one['backbone']}: flag", bool(one.get("flagged")), verdict == "the search was lucky here")
            tally.check(verdict in one["sentence"], f"{one['backbone']}: its sentence is not that of the verdict")
        seeds = [one["repeats"]] if one["repeats"] > 1 else []
        numbers = [one.get("trial_score"), *seeds, one["mean"], one.get("low"), one.get("high")]
        _numbers(one["backbone"], one["sentence"], [*called(run, one["backbone"]), *_metric(metric)], [numbers], tally)
    if gap := run.evaluation.get("gap"):
        _gap(gap, tally)


def _luck(difference: float, reach: float | None, smaller: bool) -> str:
    gained = -difference if smaller else difference
    if reach is None:
        return ""
    if abs(gained) > reach:
        return "the search was lucky here" if gained > 0 else "the search had rated it too low"
    return "too few seeds to tell" if reach > WIDE else "the search was faithful here"


def _gap(gap: Json, tally: Tally) -> None:
    smaller = gap["metric"] in SMALLER_IS_BETTER
    low: Any = gap.get("low")
    high: Any = gap.get("high")
    ended = low is not None and high is not None
    worse = ended and (high < 0 if smaller else low > 0)
    tally.same("gap: flag", bool(gap.get("flagged")), worse)
    if gap.get("difference") is None:
        return
    if not ended:
        words = "no interval can be given"
    elif worse:
        words = "; expect what the internal test says"
    elif low <= 0 <= high:
        words = "too few patients" if (high - low) / 2 > WIDE else "an interval that includes 0"
    else:
        words = "the internal test is the easier one"
    side = "less" if gap["difference"] >= 0 else "more"
    said = words in gap["sentence"] and f" {side}" in gap["sentence"]
    tally.check(said, f"gap: its sentence is not that of its interval: {gap['sentence']}")
    numbers = [gap["validation"], gap["test"], *_turned(gap)]
    _numbers("gap", gap["sentence"], [words, *_metric(gap["metric"])], [numbers], tally)


def beside_winner(run: Folder, tally: Tally) -> None:
    """What is said of ensemble and views, by patient, of saliency maps, and of how often the split was opened."""
    for one in run.evaluation.get("secondary") or []:
        _worth(one, tally)
    if (patients := run.evaluation.get("by_patient")) and patients.get("sentence"):
        metric = patients["decided"]["metric"]
        told = patients["scores"]["metrics"][metric]
        numbers = [patients["patients"], patients["several"], told["value"], told["low"], told["high"]]
        numbers += [patients["left_out"]] if patients.get("left_out") else []
        sentence = re.sub(r"the mean of the \d+ largest", "", patients["sentence"])
        _numbers("by patient", sentence, _metric(metric), [numbers], tally)
    if ledger := run.evaluation.get("ledger"):
        _openings(ledger, run.evaluation.get("opened") or [], tally)
    if run.has("saliency.json") and (told := run.json("saliency.json").get("randomisation")):
        _alike(told, tally)


def _worth(one: Json, tally: Tally) -> None:
    """Better, worse, or not shown to be worth its cost, by the interval of the difference."""
    told, where = one.get("difference") or {}, one.get("title") or one["kind"]
    if one.get("reason") or told.get("value") is None:
        return
    low, high = told.get("low"), told.get("high")
    if low is None or high is None:
        words = "cannot be said"
    elif low <= 0 <= high:
        words = "is not shown to be worth its cost"
    else:
        better = (told["value"] > 0) != (one["metric"] in SMALLER_IS_BETTER)
        words = f"is {'better' if better else 'worse'} than the winner"
    sentence = one["sentence"]
    tally.check(words in sentence, f"{where}: its sentence is not that of its interval: {sentence}")
    first = sentence.partition(", without an interval" if low is None else "; ")[0]
    _numbers(where, first, _metric(one["metric"]), [_turned(told, "value")], tally)


def _openings(ledger: Json, own: list[str], tally: Tally) -> None:
    """How often these images, and any of these data, were opened, among the openings that are told."""
    made = [one for one in ledger.get("openings", []) if one.get("kind", "evaluation") == "evaluation"]
    mine = [one for one in made if one["time"] in own]
    if not mine or ledger.get("this_split") is None:
        return
    present = mine[0]  # openings of the very split come first, then those of the same data
    for name, key in (("this_split", "split"), ("this_data", "data")):
        tally.same(f"ledger: {name}", ledger[name], sum(one[key] == present[key] for one in made))


def _alike(told: Json, tally: Tally) -> None:
    mean = told.get("mean_correlation")
    sentence = told.get("sentence", "")
    if mean is None:
        return
    words = "must not be read" if abs(mean) >= ALIKE else "as they should"
    tally.check(words in sentence, f"saliency: its sentence is not that of the correlation {mean:.2f}")
    said = re.search(r"is (\S+) on average", sentence)
    tally.check(
        bool(said) and shows(Cell(said[1] if said else ""), [mean]),
        f"saliency: its sentence has another mean correlation than {mean:.2f}",
    )
