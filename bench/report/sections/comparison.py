"""The section that sets finalists and baselines side by side: on validation, on test, and while they were trained."""

import pandas as pd

from bench import numbers
from bench.report import names
from bench.report.blocks import Section, Table, pairs, table
from bench.report.figures import comparison as figures_comparison
from bench.report.figures import training as figures_training
from bench.report.names import state
from bench.report.page import Page
from bench.report.read.files import RunFiles
from bench.report.sections.outer import nested
from bench.report.sections.search import titled
from bench.report.tables import models as tables_models
from bench.report.tables import search as tables_search
from bench.report.tables.learning_curve import growth
from bench.report.templating import Values
from bench.report.verdict import compared_by, verdict
from bench.search.parameters import PARAMETERS
from bench.stats.metrics import METRICS, Metric

TITLE = "Backbones"

UNDRAWN = "majority"
"""The baseline that the figure of the pairs leaves out: it gives every image the same, so its AUC is 0.5 anyway."""


def comparison(page: Page) -> Section:
    """The finalists side by side, with the baselines in the same tables."""
    files = page.files
    if files.finalists is None or not len(files.finalists):
        return page.section("comparison", TITLE, finalists=None)
    finalists = tables_models.finalists(files.finalists, files.evaluation, page.metric)
    rows = tables_models.on_validation(finalists, files.baselines, files.evaluation, page.metric)
    mark = _mark(files)
    models = [
        f"{files.title(name)}, {mark}" if won else files.title(name)
        for name, won in zip(rows["backbone"], rows["winner"], strict=True)
    ]
    rows = rows.assign(model=models)
    return page.section(
        "comparison",
        TITLE,
        finalists=finalists,
        by_name=rows.set_index("backbone").to_dict("index"),
        winner=files.chosen,
        on_validation=_on_validation(page, rows),
        equal_chances=_equal_chances(page),
        judged=_judged(rows),
        failed=rows[rows["failed"] > 0],
        folds=_folds(page, finalists),
        configurations=_configurations(rows),
        tested=_tested,
        pairs=_pairs,
        epochs=None if files.epochs is None else files.epochs[files.epochs["kind"] == "finalist"],
        curves=figures_training.finalist_curves,
        skipped=_recipe_skipped(page),
        with_recipe=_on_test(page, "recipe"),
        start=_start(page),
        growth=_growth(page),
        under_time=_under_time(page, finalists),
        primary=_primary(page),
        nested=nested(page),
    )


def _judged(rows: pd.DataFrame) -> bool:
    """Whether trial scores are set beside what seeds, or other patients, make of the retrained ones."""
    return bool((rows["verdict"].fillna("") != "").any() or rows["low"].notna().any())


def _on_validation(page: Page, rows: pd.DataFrame) -> Table:
    over_seeds = [numbers.with_spread(*pair) for pair in zip(rows["score"], rows["sd"], strict=True)]
    shown = rows.assign(over_seeds=over_seeds, more="")
    if _judged(rows):
        bounds = [numbers.interval(*pair) for pair in zip(rows["low"], rows["high"], strict=True)]
        shown = shown.assign(bounds=bounds, more=rows["verdict"].fillna(""))
    if rows["fold_mean"].notna().any():
        over_folds = [numbers.with_spread(*pair) for pair in zip(rows["fold_mean"], rows["fold_sd"], strict=True)]
        shown = shown.assign(over_folds=over_folds)
    return table("on_validation", shown, marked=rows["winner"], metric=page.metric.title)


def _equal_chances(page: Page) -> Table | None:
    """What each backbone reached in the search, and could be expected to after equally many trials."""
    if page.files.trials is None:
        return None
    found, fewest = tables_search.equal_chances(page.files.trials, page.metric)
    if len(found) < 2:
        return None
    return table("equal_chances", titled(page.files, found), metric=page.metric.title, fewest=fewest)


def _configurations(rows: pd.DataFrame) -> Table:
    """Of the finalists, and of the baseline that has one: the default recipe."""
    known = rows[rows["config_learning_rate"].notna() | rows["trial"].notna()].reset_index(drop=True)
    return table("configurations", known, "Configurations of the finalists.", marked=known["winner"])


def _folds(page: Page, finalists: pd.DataFrame) -> Values:
    """Every fold of every finalist, folded away; empty where the run has no folds."""
    rows = None if page.files.folds is None else tables_models.fold_scores(page.files.folds, finalists)
    if rows is None or not len(rows):
        return {}
    rows = rows.assign(model=rows["backbone"].map(page.files.title), ended=rows["state"].map(state))
    shown = [METRICS[name] for name in dict.fromkeys([page.metric.name, "auc", "accuracy"])]
    metrics = {tables_search.column(metric): metric.title for metric in shown}
    failed = rows.loc[rows["state"] == "failed", "model"].value_counts(sort=False)
    each = table("fold_scores", rows, "The finalists on each fold.", folded=True, metrics=metrics)
    return {"failed": failed, "table": each}


def _recipe_skipped(page: Page) -> bool:
    """Whether the default recipe was not trained because it is what the search chose."""
    rows = page.files.baselines
    return rows is not None and bool((rows["state"][rows["baseline"] == "recipe"] == "skipped").any())


def _growth(page: Page) -> Values | None:
    """What more patients would give; None where the winner was not trained on fewer."""
    rows = page.files.learning_curve
    found = None if rows is None else growth(rows, page.metric, len(page.files.classes) or 2)
    if found is None or len(found.sizes) < 2:
        return None
    doubled = found.doubled(page.files.tested.bootstrap.level or 0.95)
    return {
        "patients": found.patients,
        "doubled": doubled,
        "sizes": found.sizes,
        "table": table("growth", found.sizes, metric=page.metric.title),
        "drawing": page.drawing("learning_curve", figures_training.by_patients, found, page.metric),
        "rises": found.sign == 1,
    }


def _under_time(page: Page, finalists: pd.DataFrame) -> Values | None:
    """The finalists by score and time; None where the search was not for fast ones, or nothing was measured."""
    record, metric = page.files.record, page.metric
    if not record.milliseconds or record.inference is None:
        return None
    rows = tables_models.by_time(finalists, record.milliseconds, metric)
    titles = {name: page.files.title(name) for name in rows["backbone"]}
    mark = _mark(page.files)
    shown = rows.assign(
        model=[
            f"{titles[name]}, {mark}" if won else titles[name]
            for name, won in zip(rows["backbone"], rows["winner"], strict=True)
        ],
        size=rows["backbone"].map(record.inference.sizes),
        front=["yes" if one else "no" for one in rows["on_front"]],
        **{f"tested{end}": rows.get(f"test_{metric.name}{end}") for end in ("", "_low", "_high")},
    )
    over = "folds" if finalists["fold_mean"].notna().any() else "seeds"
    return {
        "sentence": tables_models.under_time(rows, titles),
        "measured": record.inference.measured(),
        "table": table("under_time", shown, marked=rows["winner"], metric=metric.title, over=over),
    }


def _start(page: Page) -> Values | None:
    """The winner's initialisation, and the other that its configuration was trained from; None where there was none."""
    own, others = page.files.finalists, page.files.baselines
    if own is None or others is None:
        return None
    winner, other = own[own["backbone"] == page.files.chosen], others[others["baseline"] == "initialisation"]
    if not len(winner) or not len(other):
        return None
    column = PARAMETERS["initialisation"].column
    return {
        "own": names.initialisation(winner[column].iloc[0]),
        "other": names.initialisation(other[column].iloc[0]),
        "sentences": _on_test(page, "initialisation"),
    }


def _on_test(page: Page, baseline: str) -> list[str]:
    """How the winner and a baseline compare on test, in the evaluation's own words."""
    rows = page.files.evaluated.comparisons
    if rows is None:
        return []
    return list(rows.loc[(rows["a"] == page.files.chosen) & (rows["b"] == baseline), "sentence"].dropna())


def _primary(page: Page) -> Table | None:
    """The contrast that was fixed beforehand, number by number."""
    rows = page.files.evaluated.comparisons
    told = {} if rows is None else tables_models.primary(rows, page.files.title)
    return pairs(told, "", "The primary contrast", "Value") if told else None


def scores_on_test(page: Page) -> pd.DataFrame:
    """The finalists on test in the order of validation, then the baselines; ``seeds_NAME`` has the score of each seed.

    The other columns are those of `tables_models.on_test`, ``title``, and ``model``: the title, marked where it is the
    chosen one's. No row without a result.
    """
    files = page.files
    rows = pd.DataFrame() if files.finalists is None else files.finalists
    finalists = tables_models.finalists(rows, files.evaluation, page.metric) if len(rows) else rows
    scores = tables_models.on_test(files.tested, list(finalists.get("backbone", ())))
    if not len(scores):
        return scores
    order, mark = [str(name) for name in scores["backbone"]], _mark(files)
    titles = {name: _title(files, name) for name in order}
    marks = [f"{titles[name]}, {mark}" if name == files.chosen else titles[name] for name in order]
    scores = scores.assign(model=marks, title=list(titles.values()))
    each_seed = tables_models.each_seed(files.tested, order)
    for name in (name for name in METRICS if name in each_seed):
        by_model = each_seed.groupby("backbone")[name].agg(list)
        scores[f"seeds_{name}"] = [by_model.get(one, []) for one in order]
    return scores


def _mark(files: RunFiles) -> str:
    """What the chosen model is called in tables."""
    return "winner" if verdict(files).won else "chosen"


def _tested(page: Page) -> Values:
    """Every metric on test, baselines below the finalists, and what was not computed."""
    evaluation, scores = page.files.tested, scores_on_test(page)
    if not len(scores):
        return {"scores": scores}
    titles = dict(zip(scores["backbone"], scores["title"], strict=True))
    order, chosen = list(titles), page.files.chosen
    marked = [name == chosen for name in order]
    metrics, by_seed, by_class, every = {name: metric.title for name, metric in METRICS.items()}, None, None, None
    if len(each_seed := tables_models.each_seed(evaluation, order)):
        stands = ["stands for the others" if chosen else "" for chosen in each_seed["chosen"]]
        told = each_seed.assign(model=each_seed["backbone"].map(titles), stands=stands)
        every = table("each_seed", told, "Every seed on the internal test.", folded=True, metrics=metrics)
    if len(spread := tables_models.seed_spread(evaluation, order)):
        by_seed = table("seed_spread", spread.assign(model=spread["backbone"].map(titles)), metrics=metrics)
    if len(classes := page.files.classes) > 2:
        each = tables_models.by_class(evaluation, order, classes).assign(model=list(titles.values()))
        by_class = table("on_test", each, metrics={f"auc {place}": label for place, label in enumerate(classes)})
    return {
        "scores": scores,
        "table": table("on_test", scores, marked=marked, metrics={f"test_{name}": metrics[name] for name in metrics}),
        "not_computed": _not_computed(page.files),
        "spread": by_seed,
        "every_seed": every,
        "by_class": by_class,
    }


def _title(files: RunFiles, name: str) -> str:
    """What a model is called: by its own title, where the report knows no name for it."""
    title, model = files.title(name), files.tested.models.get(name)
    return model.title or name if title == name and model else title


def _not_computed(files: RunFiles) -> list[tuple[list[str], list[str], str]]:
    """Metrics of the test that have no value, the models of which that holds, and the reason."""
    found: dict[str, dict[str, list[str]]] = {}
    models = files.tested.models
    for model, content in models.items():
        for name, one in content.metrics.items():
            if one.reason:
                title = METRICS[name].title if name in METRICS else name
                by_title = found.setdefault(one.reason.rstrip("."), {})
                by_title.setdefault(title, []).append(_title(files, model))
    said = []
    for reason, by_title in found.items():
        together: dict[tuple[str, ...], list[str]] = {}
        for title, those in by_title.items():
            together.setdefault(tuple(those), []).append(title)
        for named, titles in together.items():
            every = 1 < len(named) == len(models)
            said.append((titles, ["every model"] if every else list(named), reason))
    return said


def _pairs(page: Page) -> Values:
    """What can be told apart: a figure of the differences and a table of both tests for each family."""
    comparisons = page.files.evaluated.comparisons
    if comparisons is None:
        return {"every": None}
    families, metric = comparisons["family"].drop_duplicates().tolist(), compared_by(comparisons)
    found = {family: tables_models.pairs(comparisons, family, page.files.title) for family in families}
    every = pd.concat(found.values(), ignore_index=True) if found else comparisons
    meant = every[every["b"] != UNDRAWN]
    drawn = meant.dropna(subset=["difference", "low", "high"]).reset_index(drop=True)
    return {
        "every": every,
        "undrawn": UNDRAWN if len(meant) < len(every) else "",
        "unknown": len(meant) - len(drawn),
        "drawn": drawn,
        "most": figures_comparison.MOST_PAIRS,
        "how_to_read": figures_comparison.HOW_TO_READ,
        "metric": metric,
        "drawing": page.drawing("comparisons", figures_comparison.differences, drawn, metric),
        "tables": {family: _pair_table(page, rows, metric) for family, rows in found.items()},
        "by_patients": _over_seeds(comparisons),
    }


def _over_seeds(comparisons: pd.DataFrame) -> bool:
    """Whether pairs are compared over seeds, and McNemar's test is one by patients; before, neither was so."""
    return bool(comparisons["metric"].map(numbers.present).any())


def _pair_table(page: Page, rows: pd.DataFrame, metric: Metric) -> Table:
    ignoring = " (ignores that images share patients)" if page.several_images else ""
    by = " by patients, one seed each" if _over_seeds(rows) else ignoring
    corrected = ", Holm-corrected" if len(rows) > 1 else ""
    return table("compared", rows, level=page.level, metric=metric.title, by=by, corrected=corrected)
