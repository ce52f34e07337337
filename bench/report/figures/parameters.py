"""Trials -> figures of several parameters at once: learning rate x unfreeze depth, and all of them; reads no files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench import numbers
from bench.report import palette
from bench.report.figures.search import names_of, score_label, scored_trials
from bench.report.names import metric_words
from bench.report.palette import GRID, INK, MUTED, Looks, clipped, entry, legend, new_figure, panels, styled
from bench.report.tables.search import chosen, chosen_values, column
from bench.search.parameters import PARAMETERS, Hyperparameter
from bench.stats.metrics import Metric

LEAST_LINES = 3
"""With fewer trials there is nothing to compare."""

_COMPLETED = entry("completed", marker="o", markersize=8, color=MUTED)
_STOPPED = entry("stopped early", marker="o", markersize=5, color=MUTED, alpha=0.45)
_BEST: dict[str, Any] = {"marker": "o", "markersize": 13, "color": INK, "fillstyle": "none", "markeredgewidth": 1.4}
_WORST_SHOWN = 0.15
"""Scores below this quantile share the colour map's last colour: one bad trial must not wash out the others."""

_NONE_AT = -0.14
"""Where the lines of trials pass that lack a parameter, below its axis."""


@styled
def rate_by_depth(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Learning rate x unfreeze depth, one panel per backbone, coloured by score; trials stopped early are faded."""
    scored = scored_trials(trials, metric).dropna(subset=["config_unfreeze_depth"])
    scored = scored[scored["config_learning_rate"] > 0]
    names = [name for name in looks if name in names_of(scored)]
    if not names:
        raise ValueError("no trial has a score, a learning rate and an unfreeze depth")
    figure, axes = panels(len(names), 3, 9.6, (0.9, 2.7), sharex=True, sharey=True)
    colours = _colours(scored[column(metric)], metric)
    for ax, name in zip(axes, names, strict=True):
        _panel(ax, scored[scored["config_backbone"] == name], name, metric, looks, colours)
    extended: Any = "min" if metric.higher_is_better else "max"
    bar = figure.colorbar(colours, ax=figure.axes, label=score_label(metric), aspect=24, pad=0.015, extend=extended)
    bar.outline.set_visible(False)
    legend(figure, [_COMPLETED, _STOPPED, entry("best of the backbone", **_BEST)])
    return figure


def _panel(ax: Axes, part: pd.DataFrame, name: str, metric: Metric, looks: Looks, colours: Any) -> None:
    """The trials of one backbone, moved up and down a little so that none hides another."""
    score = column(metric)
    part = part.assign(height=part["config_unfreeze_depth"] + palette.apart(part, "config_unfreeze_depth", score))
    ax.set_xscale("log")
    for state, size, alpha in (("pruned", 22, 0.45), ("completed", 62, 1.0)):
        shown = part[part["state"] == state]
        faces = colours.to_rgba(shown[score].to_numpy(dtype="float64"), alpha=alpha)
        ax.scatter(
            shown["config_learning_rate"],
            shown["height"],
            s=size,
            facecolors=faces,
            marker=looks[name].marker,
            edgecolors=MUTED,
            linewidths=0.7,
        )
    best = part.sort_values(score, ascending=not metric.higher_is_better).iloc[0]
    ax.plot([best["config_learning_rate"]], [best["height"]], linestyle="", **_BEST)
    low, high = ax.get_xlim()
    ticks = [step * 10.0**power for power in range(-9, 2) for step in (1, 3) if low < step * 10.0**power < high]
    ax.xaxis.set_major_locator(FixedLocator(ticks or [best["config_learning_rate"]]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.rate(value).replace(".0e", "e")))
    ax.yaxis.set_major_locator(FixedLocator(range(7)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    ax.set(title=clipped(looks[name].title), xlabel="Learning rate (logarithmic)", ylabel="Unfrozen stages")


def _colours(score: "pd.Series[float]", metric: Metric) -> Any:
    """The colour of a score; brighter is better, whichever way the metric points."""
    from matplotlib.cm import ScalarMappable  # its stubs lack what the rest of it has

    name = "cividis" if metric.higher_is_better else "cividis_r"
    low, high = float(score.min()), float(score.max())
    if metric.higher_is_better:
        low = float(score.quantile(_WORST_SHOWN))
    else:
        high = float(score.quantile(1 - _WORST_SHOWN))
    if low == high:
        low, high = low - 0.005, high + 0.005
    return ScalarMappable(Normalize(low, high), sns.color_palette(name, as_cmap=True).resampled(24))


@dataclass(frozen=True)
class _Scale:
    """One upright axis: where each trial crosses it, from 0 to 1, and its ticks."""

    title: str
    places: Any
    ticks: list[tuple[float, str]]


@styled
def parallel(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Every scored trial as a line through all parameters that were varied; the best ones in their backbone's colour.

    The last axis is the score, better upwards. A trial without a parameter passes below that parameter's axis.
    """
    scored = scored_trials(trials, metric)
    best = chosen(scored, metric)
    if len(scored) < LEAST_LINES:
        raise ValueError(f"it needs at least {LEAST_LINES} trials with a score, but got {len(scored)}")
    known = [row for row in PARAMETERS.values() if row.column in scored]  # later ones are not in earlier tables
    values = {row: chosen_values(scored, row) for row in known}
    varied = [row for row in known if values[row].nunique(dropna=not row.optional) > 1]
    scales = [_scale(values[row], row, looks) for row in varied]
    scales.append(_score_scale(scored[column(metric)], metric))
    figure, (ax,) = new_figure(max(6.0, 1.5 + 1.05 * len(scales)), 4.3)
    lines = np.stack([scale.places for scale in scales], axis=1)
    across = range(len(scales))
    is_best = scored["trial"].isin(best["trial"]).to_numpy()
    faded = [list(zip(across, line, strict=True)) for line in lines[~is_best]]
    ax.add_collection(LineCollection(faded, colors=MUTED, linewidths=0.7, alpha=0.28))
    for line, name in zip(lines[is_best], scored["config_backbone"][is_best], strict=True):
        look = looks[str(name)]
        ax.plot(across, line, color=look.colour, linewidth=1.7, marker=look.marker, markersize=4.5, alpha=0.9)
    for position, scale in enumerate(scales):
        ax.axvline(position, color=GRID, linewidth=1.2, zorder=0)
        _label(ax, position, scale, -1 if position == 0 else 1 if position == len(scales) - 1 else 0)
    ax.set_xticks(list(across), [_wrapped(scale.title) for scale in scales], fontsize=8.5)
    ax.set(yticks=[], xlim=(-0.8, len(scales) - 0.5), ylim=(_NONE_AT - 0.08, 1.09))
    ax.tick_params(axis="x", length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    others = entry("the other trials", color=MUTED, linewidth=1.0, alpha=0.5)
    legend(figure, [*_best_handles(looks, best), others])
    return figure


def _label(ax: Axes, position: int, scale: _Scale, side: int) -> None:
    """The ticks of an upright axis: beside it where no line passes (``side`` -1 or 1), else over, under and on it."""
    highest, lowest = max(scale.ticks)[0], min(scale.ticks)[0]
    for height, text in scale.ticks:
        shift, across, up = (-6, 0), "right", "center"
        if side:
            shift, across = (7 * side, 0), "left" if side > 0 else "right"
        elif height == highest:
            shift, across, up = (0, 6), "center", "bottom"
        elif height == lowest:
            shift, across, up = (0, -6), "center", "top"
        plain = side or height in (highest, lowest)
        chip = None if plain else {"boxstyle": "round,pad=0.2", "facecolor": GRID, "edgecolor": "none"}
        ax.annotate(
            text,
            (position, height),
            shift,
            textcoords="offset points",
            ha=across,
            va=up,
            fontsize=8,
            color=INK,
            bbox=chip,
            zorder=4,
        )


def _best_handles(looks: Looks, best: pd.DataFrame) -> list[Line2D]:
    """Legend entries of the highlighted lines."""
    handles = palette.backbone_handles(looks, names_of(best))
    for handle in handles:
        handle.set_linestyle("-")
        handle.set_markersize(5)
        handle.set_label(f"{handle.get_label()}, among the best {len(best)}")
    return handles


def _scale(values: "pd.Series[Any]", row: Hyperparameter, looks: Looks) -> _Scale:
    """The axis of a parameter: a place for each of few values, else from the least to the greatest."""
    logarithmic, titles = row.scale == "log", {name: look.title for name, look in looks.items()}
    show = titles.__getitem__ if row.name == "backbone" else getattr(numbers, row.written)
    if row.kind is not float:
        options = sorted(values.dropna().unique(), key=lambda value: (value != "none", value))
        heights = {value: place / max(len(options) - 1, 1) for place, value in enumerate(options)}
        ticks = [(height, clipped(show(value), 11)) for value, height in heights.items()]
        places = values.map(heights)
    else:
        scaled = np.log10(values.where(values > 0)) if logarithmic else values
        low, high = scaled.min(), scaled.max()
        places = (scaled - low) / (high - low or 1)
        ends = ((0.0, low), (1.0, high)) if high > low else ((0.0, low),)
        shown = numbers.rate if logarithmic else show
        ticks = [(place, shown(10**value if logarithmic else value)) for place, value in ends]
    if places.isna().any():
        ticks.append((_NONE_AT, "none"))
    return _Scale(row.title, places.astype("float64").fillna(_NONE_AT).to_numpy(), ticks)


def _score_scale(score: "pd.Series[float]", metric: Metric) -> _Scale:
    worst, best = (score.min(), score.max()) if metric.higher_is_better else (score.max(), score.min())
    places = ((score - worst) / (best - worst or 1)).to_numpy()
    ticks = [(place, numbers.score(worst + place * (best - worst))) for place in (0, 0.25, 0.5, 0.75, 1)]
    return _Scale(f"Validation {metric_words(metric)}", places, ticks)


def _wrapped(title: str) -> str:
    """The title on two lines where it has several words."""
    head, _, tail = title.partition(" ")
    return f"{head}\n{tail}" if tail else title
