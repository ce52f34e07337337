"""``evaluate MODEL --data EXTERNAL``: what is typed becomes an external test, and what came of it is said."""

import argparse
from pathlib import Path
from typing import Any

from bench.data.imageset import ImageSet
from bench.device import without_chatter
from bench.errors import ConfigError, NoSubgroups
from bench.external.carried_out import Wanted, external_test, require
from bench.external.classes import ClassMap
from bench.external.place import name_of
from bench.flags import given, output_of
from bench.invocation import in_output, typed
from bench.numbers import counted, joined, signed, signed_interval, with_interval
from bench.reuse.model import ReusableModel, load_model
from bench.run.console import Screen
from bench.run.documents import ExternalRecord
from bench.run.request import check_outside, check_writable, open_settings
from bench.settings import RunSettings, flag_of, make_settings
from bench.texts import visible

FROZEN = ("target_sensitivity", "weights")
"""Settings of ``evaluate`` that an external test takes from the model."""
OF_RUN = ("bootstrap", "cache", "group_by", "max_pixels")
"""Those that it takes from the model's run, where nothing else is asked for."""


def evaluate_external(options: argparse.Namespace) -> int:
    """Test a model on the images of ``--data``; returns the exit status.

    Raises:
        ConfigError: if that is impossible; nothing has been predicted or written then.
    """
    values = {name: value for name, value in given(options).items() if name not in ("name", "output")}
    if frozen := [name for name in FROZEN if name in values]:
        raise ConfigError(f"{flag_of(frozen[0])} has no place in an external test, where the model is frozen as it is.")
    output = output_of(options)
    model = load_model(options.name, output)
    settings = _settings(model, values, output)
    check_outside(settings, "cache", "output")
    check_writable(settings.cache, "--cache")
    check_writable(settings.output, "--output")
    screen = Screen()
    source = _opened(settings, "group_by" in values)
    if not model.named:
        with without_chatter():
            _ = model.network
    classes = ClassMap.of(getattr(options, "map", []), source.classes, model.classes)
    kept = source.table[~source.table["label"].isin(classes.left_out)]
    why = " once classes are left out" if classes.left_out else ""
    require(kept["label"].map(classes.ours), kept["patient_id"], why)
    name = name_of(values["data"], getattr(options, "external_name", None))
    wanted = Wanted(model, settings, source, classes, name, typed("evaluate", *options.command_line))
    for line in wanted.about_model:
        screen.line(line)
    folder, record = external_test(wanted, output, screen)
    _tell(folder, record, screen)
    if model.run is not None and model.run.report.exists():
        again = typed("report", model.run.name, *in_output(model.run.path.parent))
        screen.line(f"The report of the run lists this test once it is written again: {again}")
    return 0


def _settings(model: ReusableModel, values: dict[str, Any], output: Path) -> RunSettings:
    """How the images are read: as in the model's run where nothing else is asked for."""
    place = output if model.run is None else model.run.path
    known: dict[str, Any] = {}
    if model.run is not None:
        own = model.run.read().settings
        known = {name: getattr(own, name) for name in OF_RUN if getattr(own, name) != Path()}
    return make_settings(name="external", **{**known, **values, "output": place})


def _opened(settings: RunSettings, asked: bool) -> ImageSet:
    """The images, grouped by what was ``asked`` for, or by those columns of the model's run that they have.

    Raises:
        ConfigError: if they cannot be used, or lack a column that was asked for.
    """
    while True:
        try:
            return open_settings(settings, print)
        except NoSubgroups as error:
            if asked:
                raise
            kept = tuple(name for name in settings.group_by or () if name not in error.columns)
            settings = settings.model_copy(update={"group_by": kept or None})
            names = joined(error.columns, "or")
            print(visible(f"note: no subgroups by {names}, for which the external data have no column of values"))


def _tell(folder: Path, record: ExternalRecord, screen: Screen) -> None:
    """What came of it, in a few lines."""
    rows = []
    for one in record.differences:
        if one.measure in ("auc", "sensitivity", "specificity") and one.external.value is not None:
            title = "ROC AUC" if one.measure == "auc" else f"{one.measure} for {one.label}, frozen threshold"
            told = with_interval(one.external.value, one.external.low, one.external.high)
            if one.internal.value is not None:
                inside = with_interval(one.internal.value, one.internal.low, one.internal.high)
                bounds = signed_interval(one.difference.low, one.difference.high)
                told += f"; internal {inside}; difference {signed(one.difference.value)} ({bounds or 'no interval'})"
            rows.append((title, told))
    sample = record.external
    title = f"External test {record.name}: {counted(sample.images, 'image')} of {counted(sample.patients, 'patient')}"
    screen.summary(title, rows)
    for left in record.excluded:
        named = ", ".join(left.files) + (", …" if left.images > len(left.files) else "")
        screen.line(f"  excluded: {counted(left.images, 'image')}, {left.reason}: {named}")
    if record.model.unchecked:
        screen.line(
            f"  note: whether there are copies of training images could not be checked: {record.model.unchecked}."
        )
    if record.without:
        screen.line(f"  note: there is no internal test to compare with: {record.without}.")
    if record.ledger:
        screen.line(f"  {record.ledger.sentence}")
    screen.line(f"Report: {folder / 'report.html'}")
