"""What the report calls things: backbones, parameters, states and columns, in words for a reader."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from bench.numbers import DASH as DASH
from bench.numbers import count, short, text
from bench.numbers import joined as joined
from bench.numbers import present as present
from bench.run.record import RunRecord
from bench.search.parameters import GIVEN, PARAMETERS, network_title
from bench.stats.calibration import INTERCEPT, TEMPERATURE, VECTOR, CalibrationMap
from bench.stats.metrics import Metric

OTHER_START = "initialisation"
"""The winner's configuration from other weights: says whether these mattered, and need not lose."""
BASELINES = {
    "recipe": "Default recipe",
    OTHER_START: "Other initialisation",
    "small_cnn": "Small CNN from scratch",
    "majority": "Majority class",
    "metadata": "Metadata only",
}
"""The baselines in the order in which the report lists them."""

MEASURES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
MEASURES |= {"accuracy": "Accuracy"}
"""Measures of an operating point."""

STATES = {"completed": "completed", "pruned": "stopped early", "failed": "failed"}
"""The three ends of a trial; a file that says anything else was not written whole."""

STAGES = {
    "data": "reading and splitting the data",
    "search": "search",
    "finalists": "retraining the finalists",
    "outer": "outer folds",
    "evaluation": "evaluation on test",
}


def model(name: Any, titles: Mapping[str, str]) -> str:
    """The title of a backbone, by ``titles`` of the run, or of a baseline; the name itself where it has none."""
    return network_title(str(name), {**titles, **BASELINES}) if present(name) else DASH


def initialisation(name: Any) -> str:
    """What weights a network began with, in words."""
    return "the weights given by --weights" if name in ("", GIVEN) or not present(name) else str(name)


def state(name: Any) -> str:
    """How a trial ended, in words."""
    return STATES.get(str(name), str(name)) if present(name) else DASH


def metric_words(metric: Metric) -> str:
    """The title of a metric inside a sentence."""
    return metric.words


def calibration_map(found: CalibrationMap) -> str:
    """What a calibration map does, in words: ``the calibration map divides the logits by a temperature of 1.31``."""
    fitted = ""
    if found.method == TEMPERATURE and found.slopes:
        fitted = f"divides the logits by a temperature of {short(1 / found.slopes[0])}"
    elif found.method == INTERCEPT and found.slopes and found.intercepts:
        fitted = f"multiplies the log-odds by a slope of {short(found.slopes[-1])} and adds an intercept of"
        fitted += f" {short(found.intercepts[-1])}"
    elif found.method == VECTOR and found.slopes and found.intercepts:
        slopes, intercepts = (f"{short(min(of))} to {short(max(of))}" for of in (found.slopes, found.intercepts))
        fitted = f"multiplies the logit of each class by its slope ({slopes}) and adds its intercept ({intercepts})"
    weights = "undoes the class weights of the training loss" if found.class_weights else ""
    return f"the calibration map {' and then '.join(part for part in (weights, fitted) if part) or 'changes nothing'}"


def parameter(name: str) -> str:
    """The title of a parameter of a trial."""
    return PARAMETERS[name].title if name in PARAMETERS else name.replace("_", " ")


def setting(value: Any) -> str:
    """A setting in words: nothing as a dash, thousands of a whole number separated, but not in lists, by commas."""
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return _listed(value)


def _listed(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_listed, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_listed(part)}" for key, part in value.items()) or "none"
    return text(value)


def settings(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Settings in words by their titles, each of which begins with ``before``; seeds as they are typed."""
    shown = {key: str(value) if key.endswith("seed") and present(value) else value for key, value in values.items()}
    return {f"{before}{key}".replace("_", " "): setting(value) for key, value in shown.items()}


def hardware(record: RunRecord, before: str = "") -> dict[str, str]:
    """The machine of a run by its parts, as `settings` has them; of one that went on elsewhere ``1, then 2``."""
    machines = [*(one.hardware for one in record.earlier), record.hardware]
    told = [settings(one.model_dump(mode="json", exclude_unset=True), before) for one in machines]
    titles = dict.fromkeys(title for one in told for title in one)
    unknown = setting(None)
    values = {title: [one[title] for one in told if one.get(title, unknown) != unknown] for title in titles}
    return {title: ", then ".join(value for value, _ in groupby(some)) or unknown for title, some in values.items()}
