"""The numbers at the top of the page."""

from dataclasses import dataclass

from bench.report import wording
from bench.report.names import backbone, metric_words
from bench.report.read.chosen import over_seeds, winner_name, winner_scores
from bench.report.read.files import RunFiles, mapping
from bench.report.summary import counts, interval
from bench.report.wording import counted


@dataclass(frozen=True)
class Tile:
    """A number of the headline with what it is and what stands beside it."""

    label: str
    value: str
    detail: str = ""


def tiles(files: RunFiles) -> list[Tile]:
    """The numbers of the headline."""
    found, scores, chosen = counts(files), winner_scores(files), backbone(winner_name(files))
    shown = []
    for name, title in (("auc", "Test ROC AUC"), ("accuracy", "Test accuracy")):
        if name in scores and wording.number(scores[name][0]) is not None:
            shown.append(Tile(title, wording.score(scores[name][0]), interval(files, name)))
    if not files.opened:
        state = "sealed" if not files.openings else "opened"
        shown.append(Tile("Test split", state, "no result on test yet"))
    elif files.outdated:
        shown.append(Tile("Test split", "opened", "for earlier models, left out here"))
    score, seeds = mapping(files.run.get("winner")).get("score"), over_seeds(files)
    if seeds["n"] > 1:
        detail = f"{chosen}, mean of {counted(seeds['n'], 'seed')} ± {wording.spread(seeds['sd'])} (SD)"
        shown.append(Tile(f"Validation {metric_words(files.metric)}", wording.score(seeds["mean"]), detail))
    elif wording.number(score) is not None:
        shown.append(Tile(f"Validation {metric_words(files.metric)}", wording.score(score), f"{chosen}, retrained"))
    times = wording.number(mapping(mapping(files.evaluation).get("ledger")).get("this_split"))
    if times:
        shown.append(Tile("Test split opened", "once" if times == 1 else f"{times:.0f} times", "on record, all runs"))
    ends = f"{found['completed']} completed, {found['pruned']} stopped early, {found['failed']} failed"
    shown.append(Tile("Trials", str(sum(found.values())), ends))
    spent = [wording.number(value) or 0 for value in mapping(files.run.get("seconds")).values()]
    if spent:
        shown.append(Tile("Time", wording.seconds(sum(spent)), "all stages"))
    return shown
