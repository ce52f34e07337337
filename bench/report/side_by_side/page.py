"""Several runs -> one page that sets them side by side: what differs, what each chose, and whether they compare."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench import __version__, numbers
from bench.errors import ConfigError
from bench.numbers import DASH, counted
from bench.report import cautions, summary
from bench.report.blocks import Html, Section, Table, section, table
from bench.report.figures import comparison as figures_comparison
from bench.report.finish import finished
from bench.report.guard import guarded
from bench.report.names import joined, metric_words
from bench.report.page import Drawing
from bench.report.read.files import read
from bench.report.side_by_side import sides
from bench.report.side_by_side.sides import Fact, Side
from bench.report.side_by_side.tested import LEVEL, SAY, Pair, in_pairs
from bench.report.summary import Banner, Tile
from bench.report.templating import Values, filled, macro
from bench.run.folder import RunDir, write_page
from bench.stats.metrics import METRICS, Metric

MOST_RUNS = 8
"""Runs on one page: more columns than that cannot be read."""

MOST_NAME = 150
"""Characters of the page's name that the runs' names may take."""

CHOOSING = SAY("choosing")


@dataclass(frozen=True)
class Compared:
    """What the page is made from: the runs in the order in which they were named, and the folder of its figures."""

    sides: Sequence[Side]
    figures: Path

    @cached_property
    def facts(self) -> Sequence[Fact]:
        """What the runs must share for their scores to compare."""
        return sides.facts(self.sides)

    @cached_property
    def pairs(self) -> Sequence[Pair]:
        """The chosen models in pairs on the internal test."""
        return in_pairs([(side.label, side.files) for side in self.sides])

    @cached_property
    def metric(self) -> Metric:
        """The metric by which validation scores are shown."""
        return sides.shared_metric(self.sides)[0]

    @property
    def ranked(self) -> str:
        """A sentence where the searches did not all rank by it."""
        return sides.shared_metric(self.sides)[1]

    @property
    def labels(self) -> list[str]:
        """What the runs are called."""
        return [side.label for side in self.sides]

    @property
    def words(self) -> str:
        """The validation score inside a sentence."""
        return f"validation {metric_words(self.metric)}"

    def caveat(self, split: str) -> str:
        """Why ``validation`` or ``test`` scores do not compare, or may not; empty where they do."""
        return sides.comparability(self.facts, split)

    @property
    def caveats(self) -> list[str]:
        """The same of both."""
        return [sentence for split in ("validation", "test") if (sentence := self.caveat(split))]

    def drawing(self, name: str, draw: Callable[..., Figure], *data: Any) -> Drawing:
        """The figure that ``draw`` makes of ``data``, for a template."""
        return Drawing(self.figures, name, partial(draw, *data))

    @property
    def runs(self) -> dict[str, str]:
        """The columns of tables with one column per run, by what the run is called."""
        return {f"run{position}": label for position, label in enumerate(self.labels)}


def render_side_by_side(runs: Sequence[RunDir], folder: Path) -> Path:
    """Write ``folder/side-by-side-A-B.html`` from the files of ``runs``, and its figures to a folder beside it.

    Args:
        runs: 2 to `MOST_RUNS` different runs, finished or not; what is missing or damaged in one is said on the page.
        folder: where the page goes, usually the folder of run folders.

    Returns:
        the page's path.

    Raises:
        ConfigError: if there are too few or too many runs, or one is named twice.
    """
    paths = [run.path.resolve() for run in runs]
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ConfigError(f"2 to {MOST_RUNS} runs go side by side, but {len(runs)} were given.")
    twice = [path.name for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise ConfigError(f"Runs that go side by side must differ, but {twice[0]!r} was given twice.")
    labels = [path.name for path in paths]
    if len(set(labels)) < len(labels):
        labels = [str(run.path) for run in runs]
    name = _name([path.name for path in paths])
    found = [Side(label, run, read(run)) for label, run in zip(labels, runs, strict=True)]
    titles = {key: title for side in found for key, title in side.files.titles.items()}
    for side in found:
        side.files.titles = titles
    write_page(folder / f"{name}.html", _html(Compared(found, folder / f"{name}-figures")))
    return folder / f"{name}.html"


def _name(names: Sequence[str]) -> str:
    """The page's name without its ending; where the runs' names are too long for a file's, cut, with a digest."""
    given = "-".join(re.sub(r"[^\w.-]+", "_", name) for name in names)
    if len(given) > MOST_NAME:
        given = f"{given[:MOST_NAME]}-{sha256(given.encode()).hexdigest()[:8]}"
    return f"side-by-side-{given}"


def _html(page: Compared) -> str:
    sections = {
        "compare": ("Do they compare?", _comparable),
        "winners": ("What each run chose", _winners),
        "backbones": ("By backbone", _backbones),
        "search": ("The searches", _searches),
        "time": ("Time and cost", _time),
        "settings": ("What differs", _settings),
        "caveats": ("What to beware of in each", _caveats),
    }
    html = filled(
        "side_by_side.html.j2",
        name="side by side",
        headline=f"{joined(page.labels)} side by side",
        count=len(page.sides),
        banners=_banners(page),
        tiles=[_tile(page, side) for side in page.sides],
        story=_story(page),
        cautions=[CHOOSING],
        sections=[_section(page, anchor, *about) for anchor, about in sections.items()],
        suite=__version__,
    )
    return finished(html, [name for side in page.sides for name in (side.label, *side.files.names)])


def _section(page: Compared, anchor: str, title: str, build: Callable[[Compared], Values]) -> Section:
    """The section that the macro ``anchor`` makes of what ``build`` returns."""

    def built() -> Section:
        return Section(anchor, title, [Html(macro("side_by_side", anchor, build(page), page))])

    return section(anchor, title, built)


def _banners(page: Compared) -> list[Banner]:
    """Whether the runs compare at all, then what turns the meaning of every number of one of them."""
    found = []
    if page.caveats:
        differing = {fact.needed_by for fact in page.facts if fact.same is False}
        whole = "all" in differing or differing >= {"validation", "test"}
        title = "These runs do not compare" if whole else "Not all compares" if differing else "Do these compare?"
        found.append(Banner(title, " ".join(page.caveats)))
    if page.ranked:
        found.append(Banner("Not ranked by the same metric", page.ranked))
    for side in page.sides:
        log = f"The warnings of {side.label} could not be written."
        for one in guarded(partial(summary.banners, side.files), lambda _: [], log):
            found.append(replace(one, title=f"{side.label}: {one.title}"))
    return found


def _tile(page: Compared, side: Side) -> Tile:
    """What a run reached: its winner's test AUC, else its best validation score so far."""

    def reached() -> Tile:
        row = sides.winners([side], page.metric).iloc[0]
        if numbers.number(row["test_auc"]) is not None:
            bounds = numbers.interval(row["test_auc_low"], row["test_auc_high"]) or "no interval"
            return Tile(side.label, numbers.score(row["test_auc"]), f"test ROC AUC of {row['winner']}, {bounds}")
        best = sides.best_so_far(side, page.metric, by_time=False)["best"]
        if len(best):
            return Tile(side.label, numbers.score(best.iloc[-1]), f"best {page.words} in the search; {row['state']}")
        return Tile(side.label, DASH, str(row["state"]))

    misfit = Tile(side.label, DASH, "its files do not fit together")
    return guarded(reached, lambda _: misfit, f"What {side.label} reached could not be written.")


def _story(page: Compared) -> list[str]:
    def told() -> list[str]:
        rows = sides.winners(page.sides, page.metric)
        return [*(SAY("line", row) for _, row in rows.iterrows()), " ".join(pair.sentence for pair in page.pairs)]

    misfit = ["The summary could not be written: the files of a run do not fit together."]
    return guarded(told, lambda _: misfit, "The summary could not be written.")


def _comparable(page: Compared) -> Values:
    """What the runs must share, and whether they do."""
    answer = {True: "yes", False: "no", None: sides.UNKNOWN}
    rows = [
        {"fact": fact.title, "same": answer[fact.same]}
        | {f"run{position}": value or sides.UNKNOWN for position, value in enumerate(fact.values)}
        for fact in page.facts
    ]
    marked = [not fact.same for fact in page.facts]
    return {"table": table("facts", pd.DataFrame(rows, dtype="object"), marked=marked, runs=page.runs)}


def _winners(page: Compared) -> Values:
    """What each run chose, on validation and on the internal test, and in pairs on the same images."""
    rows = sides.winners(page.sides, page.metric)
    rows["over_seeds"] = [numbers.with_spread(*pair) for pair in zip(rows["mean"], rows["sd"], strict=True)]
    rows["of_seeds"] = [_how_many(seeds, "seed") for seeds in rows["seeds"]]
    rows["of_patients"] = [_how_many(patients, "patient") for patients in rows["patients"]]
    metrics = [METRICS[name] for name in sides.TESTED]
    of_test = {f"test_{metric.name}": f"Test {metric_words(metric)}" for metric in metrics}
    tested = rows[rows["test_auc"].notna()]
    return {
        "table": table("winners", rows, metric=metric_words(page.metric), metrics=of_test),
        "tested": tested.to_dict("records"),
        "drawing": page.drawing("winners", figures_comparison.winners, tested, metrics),
        "pairs": _pairs(page),
    }


def _how_many(number: float | None, noun: str) -> str:
    """A number in words; empty where a run does not say, which is None or, beside others that do, NaN."""
    return counted(number, noun) if pd.notna(number) and number else ""


def _pairs(page: Compared) -> Table | None:
    """The models in pairs on the images that they share; None where no two can be compared."""
    rows = pd.DataFrame(
        {
            "pair": f"{one.a} − {one.b}",
            "images": one.images,
            "difference": one.difference.value,
            "bounds": numbers.signed_interval(one.difference.low, one.difference.high),
            "p_holm": one.p_holm,
            "verdict": f"{one.better} is better" if one.better else one.why or "cannot be told apart",
        }
        for one in page.pairs
        if one.difference is not None
    )
    if not len(rows):
        return None
    corrected = ", Holm-corrected" if len(rows) > 1 else ""
    return table("compared", rows, level=numbers.level(LEVEL), metric="ROC AUC", by="", corrected=corrected)


def _backbones(page: Compared) -> Values:
    """The best trial and the finalist of each backbone in each run."""
    rows = sides.backbones(page.sides, page.metric)
    if not len(rows):
        return {"table": None}
    won = [one is True for one in rows["won"]] if "won" in rows else [False] * len(rows)
    runs = [f"{label}, chosen" if chosen else label for label, chosen in zip(rows["label"], won, strict=True)]
    shown = rows.assign(run=runs)
    return {"table": table("backbones", shown, marked=won, metric=page.metric.title)}


def _searches(page: Compared) -> Values:
    """How fast each search got how far."""
    histories = {}
    for what, by_time in (("trials", False), ("time", True)):
        found = {side.label: sides.best_so_far(side, page.metric, by_time) for side in page.sides}
        best = {label: rows for label, rows in found.items() if len(rows)}
        name, draw = "history_by_time" if by_time else "history", figures_comparison.histories
        histories[what] = {"best": best, "drawing": page.drawing(name, draw, best, page.labels, page.metric, by_time)}
    rows = sides.searches(page.sides, page.metric)
    return {"histories": histories, "table": table("searches", rows, metric=metric_words(page.metric))}


def _time(page: Compared) -> Values:
    """Where the time of each went, and the parts of the machines that differ."""
    names = sides.settings_table(page.sides, differing=True)["setting"]
    machine = [str(name).removeprefix("machine: ") for name in names if str(name).startswith("machine: ")]
    return {"machine": machine, "table": table("stages", sides.time(page.sides), runs=page.runs)}


def _settings(page: Compared) -> Values:
    """The settings that differ, and those that do not."""
    differing, same = (sides.settings_table(page.sides, differing) for differing in (True, False))
    return {
        "differing": table("settings", differing, runs=page.runs),
        "same": table("settings", same, folded=True, runs=page.runs),
    }


def _caveats(page: Compared) -> Values:
    """What each run's own report warns of; a text where a damaged run defeats that."""
    found: dict[str, list[str] | str] = {}
    for side in page.sides:
        log = f"The caveats of {side.label} could not be written."
        found[side.label] = guarded(partial(cautions.cautions, side.files), lambda why: why, log)
    return {"found": found}
