"""What to beware of in a run: each caution is a check of the files that leaves one sentence where it applies."""

import math
from collections.abc import Callable, Sequence

from bench.failures import EXPLODED
from bench.report import wording
from bench.report.names import backbone, joined, metric_words, present
from bench.report.read import results
from bench.report.read.chosen import winner_model, winner_name
from bench.report.read.files import RunFiles, listed, mapping
from bench.report.summary import FEW_IMAGES, FEW_TRIALS, counts
from bench.report.tables import base as tables
from bench.report.verdict import verdict
from bench.report.wording import counted

TINY = 100
"""Test images below which the report warns that the split is tiny."""


def cautions(files: RunFiles) -> list[str]:
    """The sentences that apply to this run, the most important first."""
    first = (_failed, _exploded, _unfinished, _close, _beaten, _small_cnn, _opened_again, _gap)
    then = (_tiny, _few_images, _few_trials, _uneven, _selection, _internal)
    return [*_said(first, files), *_lucky(files), *_refused(files), *audited(files), *_said(then, files)]


def _said(checks: Sequence[Callable[[RunFiles], str]], files: RunFiles) -> list[str]:
    return [sentence for check in checks if (sentence := check(files))]


def audited(files: RunFiles) -> list[str]:
    """What the audit warns of, in its own words: shortcuts, patients, copies, labels, images left out."""
    findings = listed(mapping(files.audit).get("findings"))
    grave = [entry for entry in findings if entry.get("severity") in ("stop", "warning")]
    return [str(entry["text"]) for entry in grave if present(entry.get("text"))]


def _failed(files: RunFiles) -> str:
    failed = counts(files)["failed"]
    if not failed:
        return ""
    return f"{counted(failed, 'trial')} failed and took no part in the comparison; the leaderboard gives the reasons."


def _exploded(files: RunFiles) -> str:
    """Backbones whose loss was many times that of a constant guess after an epoch of the search or of retraining."""
    if files.epochs is None or len(files.classes) < 2:
        return ""
    guess = math.log(len(files.classes))
    epochs = files.epochs[files.epochs["kind"].isin(["trial", "finalist"])]
    far = epochs.assign(worst=epochs[["loss", "metric_log_loss"]].max(axis=1))
    if files.trials is not None:
        known = dict(zip(files.trials["trial"].map("{:.0f}".format), files.trials["config_backbone"], strict=True))
        far["name"] = far["name"].map(known).where(far["kind"] == "trial", far["name"])
    worst = far[far["worst"] > EXPLODED * guess].groupby("name", sort=False)["worst"].max()
    if not len(worst):
        return ""
    told = joined(f"{backbone(str(name))} ({wording.plain(value / guess)} times)" for name, value in worst.items())
    return (
        f"After an epoch the training or validation loss was more than {EXPLODED:.0f} times that of a constant guess: "
        f"{told}. The scores there may be too low."
    )


def _unfinished(files: RunFiles) -> str:
    search = mapping(files.run.get("search"))
    if search.get("stopped_by") == "time limit":
        return "The search was stopped by its time limit, before every planned trial could run."
    if files.trials is not None and (files.finalists is None or files.unfinished):
        return "The run is unfinished: what follows may change when it goes on."
    return ""


def _close(files: RunFiles) -> str:
    """Whether the test intervals of the two best finalists overlap."""
    if files.finalists is None or files.evaluation is None or files.evaluated.comparisons is not None:
        return ""  # what can be told apart is said by comparing in pairs, which intervals of their own cannot do
    table = tables.finalists(files.finalists, files.evaluation, files.metric)
    name = f"test_{files.metric.name}"
    if f"{name}_low" not in table:
        return ""
    table = table.dropna(subset=[f"{name}_low", f"{name}_high"])
    won, others = table[table["winner"]], table[~table["winner"]]
    if not len(won):
        return ""
    low, high = won.iloc[0][[f"{name}_low", f"{name}_high"]]
    near = others[(others[f"{name}_high"] >= low) & (others[f"{name}_low"] <= high)]
    if not len(near):
        return ""
    rivals = joined(map(backbone, near["backbone"]))
    return (
        f"On test the winner's interval of {metric_words(files.metric)} overlaps with that of {rivals}: "
        "another sample of patients, or another seed, might have put them in another order."
    )


def _beaten(files: RunFiles) -> str:
    """Controls that should lose and did not: they score on test at least as well as the winner.

    Those that a banner names already are left out.
    """
    models, metric = mapping(mapping(files.evaluation).get("models")), files.metric
    scores = {
        name: wording.number(mapping(mapping(mapping(model).get("metrics")).get(metric.name)).get("value"))
        for name, model in models.items()
        if name == winner_name(files) or mapping(model).get("kind") != "finalist"
    }
    won = scores.pop(winner_name(files), None)
    scores.pop("recipe", None)  # the winner's own backbone; whether tuning paid is said elsewhere
    found = verdict(files)
    for one in (*found.beaten_by, *found.tied_with):
        scores.pop(one.name, None)
    if won is None:
        return ""
    better = [
        f"{mapping(models[name]).get('title') or name} ({wording.score(score)})"
        for name, score in scores.items()
        if score is not None and not metric.better(won, score)
    ]
    if not better:
        return ""
    return (
        f"A control that should lose did not: on test the winner's {metric_words(metric)} is {wording.score(won)}, and "
        f"{joined(better)} did as well or better."
    )


def _small_cnn(files: RunFiles) -> str:
    """A network that was never pretrained, from which the winner cannot be told apart."""
    tied = [one for one in verdict(files).baselines if one.name == "small_cnn" and one.ties]
    if not tied:
        return ""
    return (
        f"That pretraining helps is not shown: {backbone(winner_name(files))} and a small CNN from scratch differ by "
        f"{wording.signed(tied[0].difference)} ROC AUC on test, {tied[0].why_tied}."
    )


def _opened_again(files: RunFiles) -> str:
    ledger = mapping(mapping(files.evaluation).get("ledger"))
    times, others = (wording.number(ledger.get(name)) or 0 for name in ("this_split", "overlapping"))
    if present(ledger.get("sentence")):
        return str(ledger["sentence"]) if times > 1 or others else ""
    opened = files.tested.opened
    if len(opened) < 2:
        return ""
    return f"The test split was opened {len(opened)} times; a choice made after seeing it makes its numbers too good."


def _gap(files: RunFiles) -> str:
    """A gap between validation and test that chance does not explain."""
    gap = mapping(mapping(files.evaluation).get("gap"))
    return str(gap["sentence"]) if gap.get("flagged") is True and present(gap.get("sentence")) else ""


def _lucky(files: RunFiles) -> list[str]:
    """A sentence for each finalist whose trial's score lies beyond what retraining found."""
    entries = [mapping(entry) for entry in listed(mapping(files.evaluation).get("retrained"))]
    return [str(one["sentence"]) for one in entries if one.get("flagged") is True and present(one.get("sentence"))]


def _refused(files: RunFiles) -> list[str]:
    """What could not be computed on test, and why."""
    entries = [mapping(entry) for entry in listed(mapping(files.evaluation).get("refusals"))]
    return [
        f"Not computed: {one['what']}, because {wording.text(one.get('reason')).rstrip('.')}."
        for one in entries
        if present(one.get("what"))
    ]


def _tiny(files: RunFiles) -> str:
    images = wording.number(mapping(files.evaluation).get("images"))
    if images is None or images >= TINY:
        return ""
    if not images:
        return "The test split holds no image: nothing on this page says how the winner does on images unseen."
    return (
        f"The test split is tiny: {counted(images, 'image')}. A single image more or less right moves accuracy by "
        f"{100 / images:.1f} points."
    )


def _few_images(files: RunFiles) -> str:
    model = winner_model(files)
    if model is None or not model.confusion:
        return ""
    totals = results.confusion(model, files.classes)[0].sum(axis=1)
    few = [f"{label} ({total:.0f})" for label, total in totals.items() if total < FEW_IMAGES]
    return f"Few test images of {joined(few)}: recall there is uncertain by many points." if few else ""


def _few_trials(files: RunFiles) -> str:
    completed = counts(files)["completed"]
    if not 0 < completed < FEW_TRIALS:
        return ""
    return f"Only {counted(completed, 'trial')} completed: the best configuration may well lie elsewhere."


def _uneven(files: RunFiles) -> str:
    """Whether one backbone had less than half of another's chances."""
    if files.trials is None:
        return ""
    started = files.trials[files.trials["state"] != "failed"]["config_backbone"].value_counts()
    tried = {name: int(started.get(name, 0)) for name in files.backbones}
    if not tried or max(tried.values()) < 2 * min(tried.values()) or max(tried.values()) < FEW_TRIALS:
        return ""
    shares = joined(f"{backbone(name)} {number}" for name, number in tried.items())
    return f"The backbones had unequal chances, in trials that did not fail: {shares}."


def _selection(files: RunFiles) -> str:
    completed = counts(files)["completed"]
    if completed < 2:
        return ""
    return (
        f"The validation score of the best of {wording.count(completed)} trials flatters: it was chosen for being the "
        "best. The test split had no part in that choice."
    )


def _internal(files: RunFiles) -> str:
    if files.evaluation is None:
        return ""
    return (
        "The test images come from the same source as the training images. An internal test does not show how the "
        "model does in another hospital, on another device or at another prevalence."
    )
