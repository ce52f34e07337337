"""Several runs -> one page that sets them side by side: what differs, what each chose, and whether they compare."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import pandas as pd

from bench import __version__, numbers
from bench.errors import ConfigError
from bench.numbers import DASH, counted
from bench.report import cautions, pictures, summary
from bench.report.blocks import Block, Code, Column, Heading, Missing, Paragraph, Points, Section, guarded, table
from bench.report.figures import comparison as figures_comparison
from bench.report.names import backbone, joined, metric_words
from bench.report.read.files import read
from bench.report.side_by_side import sides
from bench.report.side_by_side.sides import Fact, Frame, Side
from bench.report.side_by_side.tested import Pair, in_pairs
from bench.report.summary import Banner, Tile
from bench.report.templating import Sentences, filled
from bench.run.folder import RunDir, write_text
from bench.stats.metrics import METRICS, Metric

logger = logging.getLogger(__name__)

MOST_RUNS = 8
"""Runs on one page: more columns than that cannot be read."""

MOST_NAME = 150
"""Characters of the page's name that the runs' names may take."""

MATTER = ("run.json", "trials.csv", "finalists.csv", "splits.csv", "evaluation.json")
"""Files whose absence is said among a run's caveats."""

SAY = Sentences("side_by_side.txt.j2")

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
        return sides.comparability(self.facts, split, f"{split.capitalize()} scores")

    @property
    def caveats(self) -> list[str]:
        """The same of both."""
        return [sentence for split in ("validation", "test") if (sentence := self.caveat(split))]

    def runs(self, numeric: bool = False) -> list[Column]:
        """One column per run."""
        return [Column(f"run{position}", label, numeric=numeric) for position, label in enumerate(self.labels)]


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
    write_text(folder / f"{name}.html", _html(Compared(found, folder / f"{name}-figures")))
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
    return filled(
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


def _section(page: Compared, anchor: str, title: str, build: Callable[[Compared], Sequence[Block]]) -> Section:
    return guarded(anchor, title, lambda: Section(anchor, title, build(page)))


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Around something that a damaged run may defeat: one damaged run must not cost the reader the others."""
    try:
        yield
    except Exception:
        logger.warning("%s could not be written.", what, exc_info=True)


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
        with _logged(f"The warnings of {side.label}"):
            found += [replace(one, title=f"{side.label}: {one.title}") for one in summary.banners(side.files)]
    return found


def _tile(page: Compared, side: Side) -> Tile:
    """What a run reached: its winner's test AUC, else its best validation score so far."""
    with _logged(f"What {side.label} reached"):
        row = sides.winners([side], page.metric).iloc[0]
        if numbers.number(row["test_auc"]) is not None:
            bounds = numbers.interval(row["test_auc_low"], row["test_auc_high"]) or "no interval"
            return Tile(side.label, numbers.score(row["test_auc"]), f"test ROC AUC of {row['winner']}, {bounds}")
        best = sides.best_so_far(side, page.metric, by_time=False)["best"]
        if len(best):
            return Tile(side.label, numbers.score(best.iloc[-1]), f"best {page.words} in the search; {row['state']}")
        return Tile(side.label, DASH, str(row["state"]))
    return Tile(side.label, DASH, "its files do not fit together")


def _story(page: Compared) -> list[str]:
    with _logged("The summary"):
        rows = sides.winners(page.sides, page.metric)
        return [*(SAY("line", row) for _, row in rows.iterrows()), " ".join(pair.sentence for pair in page.pairs)]
    return ["The summary could not be written: the files of a run do not fit together."]


def _comparable(page: Compared) -> list[Block]:
    """What the runs must share, and whether they do."""
    said = page.caveats or ["These runs share their data, splits and rules: their scores compare."]
    answer = {True: "yes", False: "no", None: sides.UNKNOWN}
    rows = [
        {"fact": fact.title, "same": answer[fact.same]}
        | {f"run{position}": value or sides.UNKNOWN for position, value in enumerate(fact.values)}
        for fact in page.facts
    ]
    columns = [
        Column("fact", "What must be the same", numeric=False),
        Column("same", "Is it?", numeric=False),
        *page.runs(),
    ]
    marked = [position for position, fact in enumerate(page.facts) if not fact.same]
    shown = table(pd.DataFrame(rows, dtype="object"), SAY("comparable"), columns, marked=marked)
    return [*map(Paragraph, said), shown]


def _winners(page: Compared) -> list[Block]:
    """What each run chose, on validation and on the internal test, and in pairs on the same images."""
    rows = sides.winners(page.sides, page.metric)
    rows["over_seeds"] = [numbers.with_spread(*pair) for pair in zip(rows["mean"], rows["sd"], strict=True)]
    rows["of_seeds"] = [counted(seeds, "seed") if seeds else "" for seeds in rows["seeds"]]
    rows["of_patients"] = [counted(patients, "patient") if patients > 0 else "" for patients in rows["patients"]]
    metrics = [METRICS[name] for name in sides.TESTED]
    columns = [
        Column("label", "Run", numeric=False, below="state"),
        Column("winner", "Chosen", numeric=False, below="verdict"),
        Column("over_seeds", numbers.capital(f"{page.words}, mean ± SD over the seeds"), below="of_seeds"),
        _bounded("validation", f"Validation {metric_words(page.metric)} of the exported seed"),
        *(_bounded(f"test_{metric.name}", f"Test {metric_words(metric)}") for metric in metrics),
        Column("test_seeds", "Test ROC AUC, mean ± SD over the seeds"),
        Column("images", "Test images", numbers.count, below="of_patients"),
        Column("opened", "Test split opened", numbers.count),
    ]
    blocks: list[Block] = [Paragraph(page.ranked)] if page.ranked else []
    blocks.append(table(rows, SAY("winners"), columns))
    tested = rows[rows["test_auc"].notna()]
    if not len(tested):
        return [*blocks, Missing("No run has scores on the internal test, so there is nothing to draw.")]
    drawn = pictures.picture(
        page.figures,
        "winners",
        lambda: figures_comparison.winners(tested, metrics),
        SAY("winners_alt", tested.to_dict("records")),
        SAY("winners_figure", page.caveat("test")),
    )
    return [*blocks, drawn, *_pairs(page)]


def _bounded(name: str, title: str) -> Column:
    return Column(name, title, numbers.score, low=f"{name}_low", high=f"{name}_high")


def _pairs(page: Compared) -> list[Block]:
    """The models in pairs on the images that they share."""
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
    columns = [
        Column("pair", "Pair", numeric=False),
        Column("images", "Test images", numbers.count),
        Column("difference", "Difference in ROC AUC, 95 % interval", numbers.signed, below="bounds"),
        Column("p_holm", "p, Holm-corrected", numbers.probability),
        Column("verdict", "Verdict", numeric=False),
    ]
    said: list[Block] = [Heading("Compared in pairs"), Points([one.sentence for one in page.pairs])]
    return [*said, table(rows, SAY("pairs"), columns)] if len(rows) else said


def _backbones(page: Compared) -> list[Block]:
    """The best trial and the finalist of each backbone in each run."""
    rows = sides.backbones(page.sides, page.metric)
    if not len(rows):
        return [Missing("No run has a trial yet.")]
    won = [one is True for one in rows["won"]] if "won" in rows else [False] * len(rows)
    runs = [f"{label}, chosen" if chosen else label for label, chosen in zip(rows["label"], won, strict=True)]
    words = page.metric.title
    columns = [
        Column("model", "Backbone", numeric=False),
        Column("run", "Run", numeric=False),
        Column("trials", "Trials", numbers.count),
        Column("best", f"{words} of the best trial", numbers.score),
        Column("trial", "Which", numbers.count),
        Column("finalist", f"{words} retrained, mean ± SD"),
        Column("seeds", "Seeds", numbers.count),
        _bounded("test_auc", "Test ROC AUC"),
    ]
    shown = rows.assign(run=runs, model=rows["backbone"].map(backbone))
    marked = [place for place, chosen in enumerate(won) if chosen]
    return [table(shown, SAY("backbones", page.metric), columns, marked=marked, sortable=True)]


def _searches(page: Compared) -> list[Block]:
    """How fast each search got how far."""
    columns = [
        Column("label", "Run", numeric=False),
        Column("planned", "Budget", numbers.count),
        Column("completed", "Completed", numbers.count),
        Column("pruned", "Stopped early", numbers.count),
        Column("failed", "Failed", numbers.count),
        Column("best", f"Best {page.words}", numbers.score),
        Column("after", "Found by trial", numbers.count),
        Column("reached", "After", numbers.seconds),
        Column("ended", "Ended by", numeric=False),
    ]
    shown = table(sides.searches(page.sides, page.metric), SAY("searches"), columns)
    return [_history(page, by_time=False), _history(page, by_time=True), shown]


def _history(page: Compared, by_time: bool) -> Block:
    found = {side.label: sides.best_so_far(side, page.metric, by_time) for side in page.sides}
    best = {label: rows for label, rows in found.items() if len(rows)}
    what = "time" if by_time else "trials"
    if not best:
        return Missing(f"No run says how its best score went by {what}.")
    left_out = [label for label in page.labels if label not in best]
    reached = {label: rows["best"].iloc[-1] for label, rows in best.items()}
    return pictures.picture(
        page.figures,
        "history_by_time" if by_time else "history",
        lambda: figures_comparison.histories(best, page.labels, page.metric, by_time),
        SAY("history_alt", page.words, what, reached),
        SAY("history", what, page.caveat("validation"), left_out),
    )


def _time(page: Compared) -> list[Block]:
    """Where the time of each went."""
    columns = [Column("what", "Stage", numeric=False), *page.runs(numeric=True)]
    names = sides.settings_table(page.sides, differing=True)["setting"]
    machine = [str(name).removeprefix("machine: ") for name in names if str(name).startswith("machine: ")]
    said: list[Block] = [Missing(SAY("machines", machine))] if machine else []
    return [*said, table(sides.time(page.sides), SAY("time"), columns)]


def _settings(page: Compared) -> list[Block]:
    """The settings that differ, those that do not, and the commands."""

    def shown(rows: Frame, how: str, folded: bool = False) -> list[Block]:
        columns = [Column("setting", "Setting", numeric=False), *page.runs()]
        return (
            [table(rows, f"Settings, versions and hardware that {how}.", columns, folded=folded)] if len(rows) else []
        )

    differing = shown(sides.settings_table(page.sides, differing=True), "differ")
    return [
        *(differing or [Paragraph("The runs have the same settings, versions and hardware.")]),
        *shown(sides.settings_table(page.sides, differing=False), "are the same", folded=True),
        *(
            Code(f"The command that made {side.label}", side.files.record.command)
            for side in page.sides
            if side.files.record.command
        ),
    ]


def _caveats(page: Compared) -> list[Block]:
    """What each run's own report warns of."""
    blocks: list[Block] = []
    for side in page.sides:
        blocks.append(Heading(side.label))
        blocks += [Missing(side.files.problems[name]) for name in MATTER if name in side.files.problems]
        try:
            found = cautions.cautions(side.files)
        except Exception as error:  # a damaged run must not cost the reader those of the others
            blocks.append(Missing(f"Its caveats could not be written: {type(error).__name__}: {error}"))
            continue
        blocks.append(Points(found) if found else Paragraph("Nothing more than what the data and the design entail."))
    return blocks
