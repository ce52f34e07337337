"""What to beware of in a run: each caution is a check of the files, and a sentence where it applies."""

import math

from bench.failures import EXPLODED
from bench.report.names import MEASURES, OTHER_START
from bench.report.read.files import RunFiles
from bench.report.summary import counts
from bench.report.tables import models as tables_models
from bench.report.tables import winner as tables_winner
from bench.report.templating import Values, paragraphs
from bench.report.verdict import verdict
from bench.run.documents import SeedSpread

FEW_TRIALS = 8
FEW_IMAGES = 50
"""Below these numbers of trials a backbone, and of test images a class, the report warns."""

TINY = 100
"""Test images below which the report warns that the split is tiny."""


def cautions(files: RunFiles) -> list[str]:
    """The sentences that apply to this run, the most important first."""
    search = files.record.search
    return paragraphs(
        "cautions.txt.j2",
        titles=files.titles,
        files=files,
        tested=files.tested,
        metric=files.metric,
        winner=files.chosen,
        counts=counts(files),
        missing=verdict(files).missing,
        exploded=_exploded(files),
        limit=EXPLODED,
        timed_out=search is not None and search.stopped_by == "time limit",
        unfinished=files.trials is not None and (files.finalists is None or files.unfinished),
        near=_near(files),
        beaten=_beaten(files),
        compared_by=verdict(files).compared_by,
        small_cnn=next((one for one in verdict(files).baselines if one.name == "small_cnn" and one.ties), None),
        carried=not_carried_over(files),
        audited=audited(files),
        tiny=TINY,
        few=_few_images(files),
        few_trials=FEW_TRIALS,
        uneven=_uneven(files),
    )


def not_carried_over(files: RunFiles) -> list[str]:
    """Where sensitivity or specificity on test is not what validation lets expect, or probabilities disagree."""
    rows = tables_winner.expected(files.evaluated.points)
    flagged = rows[rows["flagged"]].to_dict("records") if len(rows) else []
    return paragraphs("carried.txt.j2", rows=flagged, calibration=files.evaluated.calibration, MEASURES=MEASURES)


def audited(files: RunFiles) -> list[str]:
    """What the audit warns of, in its own words: shortcuts, patients, copies, labels, images left out."""
    findings = files.audit.findings if files.audit else ()
    return [one.text for one in findings if one.severity in ("stop", "warning") and one.text]


def _exploded(files: RunFiles) -> dict[str, float]:
    """Backbones whose loss was many times that of a constant guess after an epoch, and how many times."""
    if files.epochs is None or len(files.classes) < 2:
        return {}
    guess = math.log(len(files.classes))
    epochs = files.epochs[files.epochs["kind"].isin(["trial", "finalist"])]
    far = epochs.assign(worst=epochs[["loss", "metric_log_loss"]].max(axis=1))
    if files.trials is not None:
        known = dict(zip(files.trials["trial"].map("{:.0f}".format), files.trials["config_backbone"], strict=True))
        far["name"] = far["name"].map(known).where(far["kind"] == "trial", far["name"])
    worst = far[far["worst"] > EXPLODED * guess].groupby("name", sort=False)["worst"].max() / guess
    return {str(name): float(times) for name, times in worst.items()}


def _near(files: RunFiles) -> list[str]:
    """Finalists whose test interval overlaps with the winner's, where they were not compared in pairs.

    What can be told apart is said by comparing in pairs, which intervals of their own cannot do.
    """
    if files.finalists is None or files.evaluation is None or files.evaluated.comparisons is not None:
        return []
    table = tables_models.finalists(files.finalists, files.evaluation, files.metric)
    low, high = (f"test_{files.metric.name}_{end}" for end in ("low", "high"))
    if low not in table:
        return []
    table = table.dropna(subset=[low, high])
    won, others = table[table["winner"]], table[~table["winner"]]
    if not len(won):
        return []
    return list(others.loc[(others[high] >= won[low].iloc[0]) & (others[low] <= won[high].iloc[0]), "backbone"])


def _beaten(files: RunFiles) -> Values:
    """Baselines that should lose and did not: on test their mean over the seeds is at least as good as the winner's.

    The default recipe and another initialisation are the winner's own backbone, and whether tuning or the weights paid
    is said elsewhere; those that a banner names already are left out too.
    """
    scores = {
        name: (model.title or name, (model.repeats or SeedSpread()).mean.get(files.metric.name, one.value))
        for name, model in files.tested.models.items()
        if (one := model.metrics.get(files.metric.name))
        and (name == files.chosen or model.kind not in ("", "finalist"))
    }
    _, won = scores.pop(files.chosen, ("", None))
    found = verdict(files)
    said = {"recipe", OTHER_START, *(one.name for one in (*found.beaten_by, *found.tied_with))}
    better = [
        (title, score)
        for name, (title, score) in scores.items()
        if name not in said and won is not None and score is not None and not files.metric.better(won, score)
    ]
    repeats = files.chosen_model.repeats if files.chosen_model else None
    several = repeats is not None and (repeats.n or 1) > 1
    return {"won": won, "by": better, "several": several} if better else {}


def _few_images(files: RunFiles) -> list[tuple[str, float]]:
    """Classes with few test images, and how many these are."""
    model = files.chosen_model
    if model is None or not model.confusion:
        return []
    totals = tables_winner.confusion(model, files.classes)[0].sum(axis=1)
    return [(str(label), total) for label, total in totals.items() if total < FEW_IMAGES]


def _uneven(files: RunFiles) -> dict[str, int]:
    """Trials that did not fail by backbone, where one backbone had less than half of another's chances."""
    if files.trials is None:
        return {}
    started = files.trials[files.trials["state"] != "failed"]["config_backbone"].value_counts()
    tried = {name: int(started.get(name, 0)) for name in files.backbones}
    if not tried or max(tried.values()) < 2 * min(tried.values()) or max(tried.values()) < FEW_TRIALS:
        return {}
    return tried
