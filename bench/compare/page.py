"""compare.csv -> compare.html, one self-contained page; its prose is in templates/compare.html.j2.

compare.json says how the numbers were obtained, limit.json (where it is there) what the lower bound is.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench import numbers
from bench.compare import figures, statistics
from bench.compare.methods.experiment import read_rows
from bench.compare.methods.table import title
from bench.report import pictures, templating
from bench.run.folder import write_text

TEMPLATES = Path(__file__).parent / "templates"
LOWER_BOUND_FILE = "limit.json"
TARGET = 0.97


def read_facts(folder: Path) -> dict[str, Any]:
    """The content of compare.json; empty if there is none."""
    return _read_json(folder / "compare.json") or {}


def read_lower_bound(folder: Path) -> dict[str, Any] | None:
    """The content of limit.json; None if no lower bound was computed."""
    return _read_json(folder / LOWER_BOUND_FILE)


def read_trials(folder: Path) -> pd.DataFrame:
    """The rows of compare.csv."""
    return read_rows(folder / "compare.csv")


def render(folder: Path) -> Path:
    """Write compare.html, and every figure to figures/, from the files of ``folder``; return the page's path."""
    facts, bound = read_facts(folder), read_lower_bound(folder)
    trials = statistics.of_whole_runs(read_trials(folder), facts.get("runs", []))
    target = float(facts.get("target", TARGET))
    runs = statistics.runs(trials, target, facts.get("runs", []))
    levers = statistics.levers(runs)
    draw: dict[str, Callable[[], Any]] = {
        "best_by_ended": partial(figures.best_so_far, trials, "ended", target),
        "best_by_core_seconds": partial(figures.best_so_far, trials, "core_seconds", target),
        "levers": lambda: figures.levers(levers[levers["pairs"] > 0]),
    }
    context = {
        "name": folder.name,
        "facts": facts,
        "target": target,
        "n_methods": runs["method"].nunique(),
        "n_seeds": runs["seed"].nunique(),
        "methods": _records(statistics.by_method(runs)),
        "same": _records(statistics.same_configurations(trials)),
        "levers": _records(levers),
        "over_lower_bound": _records(statistics.over_lower_bound(trials, facts, bound)) if bound and facts else [],
        "picture": lambda name, alt, caption: pictures.picture(folder / "figures", name, draw[name], alt, caption),
        "margin": statistics.MARGIN,
        "fewest_for_t": statistics.FEWEST_FOR_T,
    }
    page = folder / "compare.html"
    write_text(page, _environment().get_template("compare.html.j2").render(**context))
    return page


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader([TEMPLATES, templating.TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = (numbers.count, numbers.counted, numbers.moment, numbers.score, numbers.seconds, numbers.short)
    for show in (*formats, numbers.signed, numbers.text, _times, _between, title):
        environment.globals[show.__name__.lstrip("_")] = show
    return environment


def _between(row: Mapping[str, Any], name: str, show: Callable[[Any], str]) -> str:
    """``0.950 to 0.980``: the ends of an interval or range; empty where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if numbers.number(low) is None or low == high else f"{show(low)} to {show(high)}"


def _times(value: Any) -> str:
    """``× 2.50``: how many times as long."""
    return numbers.text(value) if numbers.number(value) is None else f"× {value:.2f}"


def _records(table: pd.DataFrame) -> list[Any]:
    return table.to_dict("records")


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content
