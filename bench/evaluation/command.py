"""The subcommand ``predict``: images classified with the model of a run."""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.errors import ConfigError
from bench.flags import Commands, add_command, add_run_name, output_of
from bench.invocation import resume, typed
from bench.run.documents import ModelCard
from bench.run.folder import file_sha256, find_run
from bench.run.record import read_strictly
from bench.stats.calibration import CalibrationMap
from bench.texts import as_cell

MOST_SIDE = 10_000
"""Pixels of an image's side that a model may ask for."""


def add_parser(commands: Commands) -> None:
    """``predict``."""
    parser = add_command(
        commands,
        "predict",
        predict,
        "classify images with the model of a run",
        typed("predict", "xray", "scan1.jpeg", "scan2.jpeg"),
    )
    add_run_name(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files; example: scan1.jpeg")


def predict(options: argparse.Namespace) -> int:
    """Print one row per image: the file's own probability of each class, the calibrated one, and what is called.

    An image is called so where the own probability is at or above the threshold that was frozen on validation.

    Raises:
        ConfigError: if there is no whole model, or an image cannot be read.
    """
    from bench.data.images.window import Window
    from bench.evaluation.recognise import note_test_images
    from bench.models.export import load_images, predict_file

    run = find_run(options.name, output_of(options))
    finish = resume(run.name, run.path.parent)
    if not run.best_model_card.exists():
        raise ConfigError(f"Run {run.name!r} has no model yet; finish it by `{finish}`.")
    card = read_strictly(ModelCard, run.best_model_card)
    if card.input is None or not run.best_model.exists() or card.sha256 != file_sha256(run.best_model):
        raise ConfigError(
            f"best_model.json of run {run.name!r} does not belong to the best_model.h5 beside it (the run was "
            f"interrupted, or one of them was replaced); finish it by `{finish}`."
        )
    missing = [str(path) for path in options.images if not path.is_file()]
    if missing:
        raise ConfigError(f"There is no image file {missing[0]}.")
    size, channels, resize = card.input.height, card.input.channels, card.input.resize
    try:
        window = Window(**card.input.window) if card.input.window else None
        usable = 0 < size <= MOST_SIDE and channels in (1, 3)
    except TypeError:
        usable = False
    fits = card.map is None or card.map.fits(len(card.classes))
    if not fits or any(one.label not in card.classes for one in card.frozen):
        raise ConfigError(f"{run.best_model_card} holds a calibration map or thresholds of other classes.")
    if not usable:
        raise ConfigError(f"{run.best_model_card} states an input that no model of a run has: {card.input}.")
    images, facts = load_images(options.images, size, channels, resize, window)
    if told := note_test_images(run, options.images, facts, file_sha256(run.best_model_card)):
        print(f"note: {told}", file=sys.stderr)
    try:
        probabilities = predict_file(run.best_model, images, np.arange(len(images)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(f"{run.best_model} is no model of a run that can be loaded: {reason}.") from error
    if probabilities.shape[1] != len(card.classes):
        raise ConfigError(f"{run.best_model} has other classes than {run.best_model_card.name}.")
    _write(options.images, probabilities, card)
    return 0


def _write(images: list[Path], probabilities: npt.NDArray[np.float32], card: ModelCard) -> None:
    """Print the table of what the model says of ``images``; columns as in predictions_test.csv."""
    calibrated = (card.map or CalibrationMap())(probabilities)
    lines = csv.writer(sys.stdout, lineterminator="\n")
    heads = [f"{kind}_{name}" for kind in ("prob", "calibrated") for name in card.classes]
    lines.writerow(["image", *map(as_cell, [*heads, *(f"called_{one.label}" for one in card.frozen)])])
    for path, own, after in zip(images, probabilities, calibrated, strict=True):
        called = ["yes" if own[card.classes.index(one.label)] >= one.value else "no" for one in card.frozen]
        lines.writerow([as_cell(str(path)), *(f"{value:.4f}" for value in (*own, *after)), *called])
