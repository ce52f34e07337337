"""compare.csv -> compare.html, one self-contained page; its prose is in templates/compare.html.j2.

compare.json says how the numbers were obtained, limit.json (where it is there) what the lower bound is.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import FileSystemLoader

from bench import numbers
from bench.compare import figures, statistics
from bench.compare.methods.experiment import COMPARED, read_rows
from bench.compare.methods.table import title
from bench.compare.record import LOWER_BOUND_FILE, TARGET, ListBound, read, read_comparison
from bench.report import pictures, templating
from bench.run.folder import write_page
from bench.run.tables import Row, records

TEMPLATES = Path(__file__).parent / "templates"


def read_trials(folder: Path) -> pd.DataFrame:
    """The rows of compare.csv."""
    return read_rows(COMPARED, folder)


def render(folder: Path) -> Path:
    """Write compare.html, and every figure to figures/, from the files of ``folder``; return the page's path."""
    facts, rows = read_comparison(folder), read_trials(folder)
    ends, target = (facts.runs, facts.target) if facts else ((), TARGET)
    trials = statistics.of_whole_runs(rows, ends)
    runs = statistics.runs(trials, target, ends)
    bound = read(ListBound, folder / LOWER_BOUND_FILE) if facts else None
    levers = statistics.levers(runs)
    draw: dict[str, Callable[[], Any]] = {
        "best_by_ended": partial(figures.best_so_far, trials, "ended", target),
        "best_by_core_seconds": partial(figures.best_so_far, trials, "core_seconds", target),
        "levers": lambda: figures.levers(levers[levers["pairs"] > 0]),
    }
    context = {
        "name": folder.name,
        "facts": facts,
        "ends": ends,
        "target": target,
        "n_methods": runs["method"].nunique(),
        "n_seeds": runs["seed"].nunique(),
        "methods": records(statistics.by_method(runs)),
        "same": records(statistics.same_configurations(trials)),
        "levers": records(levers),
        "over_lower_bound": records(statistics.over_lower_bound(trials, facts, bound)) if facts and bound else [],
        "whole_way": records(statistics.whole_way(ends)),
        "title": title,
        "times": _times,
        "between": _between,
        "picture": lambda name, alt, caption: pictures.picture(folder / "figures", name, draw[name], alt, caption),
        "margin": statistics.MARGIN,
        "fewest_for_t": statistics.FEWEST_FOR_T,
    }
    page, loader = folder / "compare.html", FileSystemLoader([TEMPLATES, templating.TEMPLATES])
    environment = templating.environment("compare.html.j2").overlay(loader=loader)
    write_page(page, environment.get_template("compare.html.j2").render(**context))
    return page


def _between(row: Row, name: str, show: Callable[[Any], str]) -> str:
    """``0.950 to 0.980``: the ends of an interval or range; empty where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if numbers.number(low) is None or low == high else f"{show(low)} to {show(high)}"


def _times(value: Any) -> str:
    """``× 2.50``: how many times as long."""
    return numbers.text(value) if numbers.number(value) is None else f"× {value:.2f}"
