"""compare.csv -> compare.html, one self-contained page; compare.json says how the numbers were made."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench.compare import figures, summary
from bench.compare.lower_bound import limit_table
from bench.compare.made import how_it_was_made
from bench.compare.methods.methods import title
from bench.report import pictures, templating, wording
from bench.report.blocks import Block, Column, Missing, Section, Table, table
from bench.report.names import DASH
from bench.run.folder import write_text
from bench.run.results import TEXT_COLUMNS

TEMPLATES = Path(__file__).parent / "templates"
TARGET = 0.97


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of compare.json; empty if there is none."""
    try:
        content: dict[str, Any] = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return content


def read_trials(folder: Path) -> pd.DataFrame:
    """The rows of compare.csv; empty cells are missing, and names that look like numbers stay names."""
    names = ("method", *TEXT_COLUMNS)
    return pd.read_csv(folder / "compare.csv", dtype=dict.fromkeys(names, str), keep_default_na=False, na_values=[""])


def render(folder: Path) -> Path:
    """Write compare.html, and every figure to figures/, from the files of ``folder``; return the page's path."""
    facts = read_facts(folder)
    ends = facts.get("runs", [])
    trials = summary.of_whole_runs(read_trials(folder), ends)
    target = float(facts.get("target", TARGET))
    found = summary.runs(trials, target, ends)
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, templating.TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context = {
        "name": folder.name,
        "headline": _headline(found),
        "created": wording.moment(facts.get("created")),
        "suite": wording.text(facts.get("suite_version")),
        "banners": _banners(facts),
        "sections": [
            Section("results", "Results", _results(folder, trials, found, target, facts)),
            Section("levers", "Each lever switched off", _levers(folder, found)),
            Section("made", "How it was made", how_it_was_made(facts)),
        ],
    }
    page = folder / "compare.html"
    write_text(page, environment.get_template("compare.html.j2").render(**context))
    return page


def _headline(found: pd.DataFrame) -> str:
    methods, seeds = found["method"].nunique(), found["seed"].nunique()
    return f"{wording.counted(methods, 'method')} over {wording.counted(seeds, 'seed')}, side by side"


def _banners(facts: dict[str, Any]) -> list[str]:
    banners = []
    if facts.get("data", {}).get("synthetic"):
        banners.append("The images are synthetic: these scores say nothing about medicine.")
    if facts.get("weights", {}).get("kind") == "random":
        banners.append(
            "Random weights: this is not transfer learning, and pretrained weights may rank methods otherwise."
        )
    return banners


def _results(
    folder: Path, trials: pd.DataFrame, found: pd.DataFrame, target: float, facts: dict[str, Any]
) -> list[Block]:
    blocks: list[Block] = [Missing(sentence) for sentence in _unfinished(facts)]
    if not len(found):
        return [*blocks, Missing("No method has ended a trial yet.")]
    rows = summary.by_method(found)
    told = "; ".join(f"{title(row['method'])} {wording.seconds(row['wall'])}" for _, row in rows.iterrows())
    blocks += [_table(rows, target)]
    for x, name in (("ended", "wall-clock"), ("core_seconds", "core-seconds")):
        blocks.append(
            pictures.picture(
                folder / "figures",
                f"best_by_{x}",
                lambda x=x: figures.best_so_far(trials, x, target),  # type: ignore[misc]
                f"Best validation AUC so far against {name}, a line a method. Time to the last trial: {told}.",
                f"Best validation AUC so far against {name}: median over the seeds, and their range as a band. A dot "
                "marks the last trial.",
            )
        )
    return [*blocks, *_same(trials), *limit_table.blocks(folder, trials, facts)]


def _table(rows: pd.DataFrame, target: float) -> Table:
    seconds, times = wording.seconds, _times
    shown = rows.assign(
        title=rows["method"].map(title),
        wall_range=[_range(row, "wall", seconds) for _, row in rows.iterrows()],
        cores_range=[_range(row, "cores", wording.count) for _, row in rows.iterrows()],
        ratio_range=[_range(row, "ratio", times) for _, row in rows.iterrows()],
        best_range=[_range(row, "best", _fine) for _, row in rows.iterrows()],
        reached_in=[_reached(row) for _, row in rows.iterrows()],
        failures=[f"{row['failed']} failed" if row["failed"] else "" for _, row in rows.iterrows()],
    )
    columns = [
        Column("title", "Method", numeric=False),
        Column("seeds", "Seeds", wording.count),
        Column("trials", "Trials", wording.count, below="failures"),
        Column("wall", "Wall-clock", seconds, below="wall_range"),
        Column("ratio", "Against this suite", times, below="ratio_range"),
        Column("cores", "Core-seconds", wording.count, below="cores_range"),
        Column("best", "Best AUC", _fine, below="best_range"),
        Column("to_target", f"Time to {target:g}", seconds, below="reached_in"),
        Column("cores_to_target", f"Core-seconds to {target:g}", wording.count),
        Column("trials_an_hour", "Trials an hour", wording.count),
        Column("epochs_a_trial", "Epochs a trial", wording.short),
    ]
    caption = (
        "Means over the seeds, with the range below; best AUC with its interval (Student's at 95 % from "
        f"{summary.FEWEST_FOR_T} seeds on, else the range). Against this suite: the median, over the seeds that both "
        "ran with as many trials, of how many times as long it took. Time to the target: the median over the seeds "
        "that reached it. Trials an hour: those that did not fail; a run that the time limit ended took as long as the "
        "limit."
    )
    return table(shown, caption, columns)


def _same(trials: pd.DataFrame) -> list[Block]:
    rows = summary.same_configurations(trials)
    if not len(rows):
        return []
    rows = rows.assign(
        title=rows["method"].map(title), between=[_range(row, "difference", _signed) for _, row in rows.iterrows()]
    )
    columns = [
        Column("title", "Method", numeric=False),
        Column("pairs", "Pairs of trials", wording.count),
        Column("difference", "AUC minus this suite's", _signed, below="between"),
        Column("largest", "Largest difference", _fine),
    ]
    return [table(rows, "The same configurations, trained by both: mean difference with its interval.", columns)]


def _levers(folder: Path, found: pd.DataFrame) -> list[Block]:
    rows = summary.levers(found)
    if not len(rows):
        return [Missing("No run of this suite with a lever switched off stands beside a whole one of the same seed.")]
    rows = rows.assign(
        ratio_range=[_range(row, "ratio", _times) for _, row in rows.iterrows()],
        difference_range=[_range(row, "difference", _signed) for _, row in rows.iterrows()],
    )
    columns = [
        Column("off", "Switched off", numeric=False),
        Column("pairs", "Seeds", wording.count),
        Column("ratio", "Wall-clock without it / with it", _times, below="ratio_range"),
        Column("difference", "Best AUC with it − without it", _signed, below="difference_range"),
        Column("verdict", f"With it, against a margin of {summary.MARGIN}", numeric=False),
    ]
    caption = (
        f"Not inferior: the interval of the difference lies above −{summary.MARGIN}. Open: it does not yet, or there "
        f"are fewer than {summary.FEWEST_FOR_T} seeds. A seed counts if both runs ended with as many trials."
    )
    drawn = rows[rows["pairs"] > 0]
    if not len(drawn):
        return [table(rows, caption, columns)]
    told = "; ".join(f"{row['off']} {_times(row['ratio'])}" for _, row in drawn.iterrows())
    drawing = pictures.picture(
        folder / "figures",
        "levers",
        lambda: figures.levers(drawn),
        f"Bars of wall-clock without each lever over with it: {told}; beside them the difference of the best AUC.",
        "What each lever gains in time, and what it does to the best score.",
    )
    return [table(rows, caption, columns), drawing]


def _unfinished(facts: dict[str, Any]) -> list[str]:
    """A sentence for each run that did not end by itself."""
    told = {"time limit": "was ended by the time limit; its trials so far count", "failed": "failed"}
    sentences = []
    for run in (one for one in facts.get("runs", []) if one["state"] in told):
        reason = f": {run['reason']}" if run["reason"] else ""
        sentences.append(f"{title(run['method'])}, seed {run['seed']}, {told[run['state']]}{reason}.")
    return sentences


def _reached(row: "pd.Series[Any]") -> str:
    missed = row["seeds"] - row["reached"]
    return f"not reached in {missed} of {row['seeds']}" if missed else ""


def _range(row: "pd.Series[Any]", name: str, show: Any) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if wording.number(low) is None or low == high else f"{show(low)} to {show(high)}"


def _times(value: Any) -> str:
    amount = wording.number(value)
    return DASH if amount is None else f"× {amount:.2f}"


def _fine(value: Any) -> str:
    amount = wording.number(value)
    return DASH if amount is None else f"{amount:.4f}"


def _signed(value: Any) -> str:
    amount = wording.number(value)
    return DASH if amount is None else f"{amount:+.4f}".replace("-", "−")
