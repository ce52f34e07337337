"""The subcommand ``predict``: images classified with the model of a run."""

import argparse
import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from bench.device import without_chatter
from bench.errors import ConfigError
from bench.flags import Commands, add_command, add_flag, add_pixels, add_setting, output_of, pixels_of
from bench.invocation import typed
from bench.numbers import counted
from bench.run.documents import RESEARCH_USE
from bench.stats.conformal import COVERAGE
from bench.texts import visible

if TYPE_CHECKING:
    import pandas as pd

    from bench.reuse.model import ReusableModel
    from bench.reuse.output import Write

MODEL = "name of a run, path of its folder, or of an .h5 file; example: xray"
PATHS = "images, DICOM files, folders, patterns, a manifest (.csv with a column path), or .npz; example: scans/"
DESCRIPTION = """Classifies images with the model of a run. One row per image: calibrated and raw probabilities, the\
 class called at the frozen threshold, and whether the model abstains.
Images are decoded, windowed and resized by the code that training used. Images unlike the training images are marked\
 in the note. A file that cannot be read is a row with a note; the exit status is 2 where none could be read.
For research use only."""


BY = ("image", "patient")
MOST_NAMED = 10
"""Images in no report of which is said why."""


def add_parser(commands: Commands) -> None:
    """``predict``."""
    example = typed("predict", "xray", "scans/", "--out", "predictions.csv")
    parser = add_command(commands, "predict", predict, "classify images with the model of a run", example, DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    parser.add_argument("paths", nargs="+", metavar="PATH", help=PATHS)
    add_flag(
        *(parser, "--out", "file for the table, by its ending .csv, .json or .parquet", "--out predictions.csv"),
        shown="a table on a terminal, CSV in a pipe", type=Path, metavar="FILE",
    )  # fmt: skip
    add_flag(
        *(parser, "--coverage", "share of patients whose prediction sets should contain the true class on every image"),
        *("--coverage 0.95", COVERAGE), type=float, metavar="SHARE",
    )  # fmt: skip
    add_flag(
        *(parser, "--by", "what a row of the table stands for", "--by patient", "image"),
        choices=BY, metavar="|".join(BY),
    )  # fmt: skip
    add_flag(
        *(parser, "--dicom-sr", "folder for DICOM structured reports, one per study of the DICOM files given"),
        "--dicom-sr reports-sr", shown="none are written", type=Path, metavar="FOLDER",
    )  # fmt: skip
    add_setting(parser, "patient_pattern", shown="a manifest's column, or DICOM's PatientID")
    add_pixels(parser)
    add_setting(parser, "output")


def predict(options: argparse.Namespace) -> int:
    """Write the table of predictions.

    Raises:
        ConfigError: if there is no whole model, or no image that can be read.
    """
    import pandas as pd

    from bench.reuse.images import wanted_images
    from bench.reuse.model import load_model
    from bench.reuse.output import to_file
    from bench.reuse.patients import by_patient, require_patients, rule_in_words
    from bench.reuse.predict import predictions
    from bench.reuse.watch import watch_of

    coverage, by = getattr(options, "coverage", COVERAGE), getattr(options, "by", "image")
    out, reports = getattr(options, "out", None), getattr(options, "dicom_sr", None)
    _check_flags(coverage, out, reports)
    reported: list[pd.DataFrame] = []
    model = load_model(options.model, output_of(options), pixels_of(options))
    with ExitStack() as stack:
        pattern = getattr(options, "patient_pattern", None)
        wanted = wanted_images(options.paths, stack, _note, model.max_pixels, pattern)
        if out is not None and out.exists():
            _check_kept(out, [*_named(options.paths), *(one.file for one in wanted), *model.files])
        if by == "patient":
            require_patients(wanted)
        with without_chatter():  # the network is loaded here, of a file without metadata even to see its card
            watch = watch_of(model, [one.file for one in wanted])
            tables = _none_without_an_image(predictions(model, wanted, coverage, watch), len(wanted))
            first = next(tables)
        for line in banner(model):
            print(visible(line), file=sys.stderr)
        advance = stack.enter_context(_progress(len(wanted)))
        parts = _told(chain([first], tables), advance, reported if reports is not None else None)
        if by == "patient":
            parts = iter([by_patient(model, pd.concat(parts, ignore_index=True), coverage)])
            print(visible(rule_in_words(model.card)), file=sys.stderr)
        write = stack.enter_context(to_file(out) if out is not None else _to_screen())
        for part in parts:
            write(part)
    if watch.sentence:
        _note(visible(watch.sentence))
    if reports is not None:
        _report(model, pd.concat(reported), reports)
    return 0


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)


def _check_flags(coverage: float, out: Path | None, reports: Path | None) -> None:
    """Refuse, by a ConfigError, what can be seen to be wrong before the model is loaded."""
    from bench.reuse.dicom_sr import require_highdicom
    from bench.reuse.output import check_ending
    from bench.run.request import check_writable

    if not 0 < coverage < 1:
        raise ConfigError(f"--coverage must lie between 0 and 1, such as 0.95, but got {coverage:g}.")
    if out is not None:
        check_ending(out)
        check_writable(out.parent, "--out")
    if reports is not None:
        require_highdicom()
        check_writable(reports, "--dicom-sr")


def _named(paths: Sequence[str]) -> Iterator[str]:
    """The ``paths``, and what those that are patterns match."""
    for text in paths:
        yield text
        yield from glob.glob(text, recursive=True)  # noqa: PTH207 (a Path would end at its own pattern rules)


def _check_kept(out: Path, read: Sequence[str | Path]) -> None:
    """Refuse, by a ConfigError, to write over one of the files that are ``read``."""
    if os.path.realpath(out) in map(os.path.realpath, read):
        raise ConfigError(f"--out {out} is one of the files that are read, and would be lost; name another file.")


def _report(model: "ReusableModel", table: "pd.DataFrame", folder: Path) -> None:
    """Write structured reports of the images in the table, and say how many, and which image is in none."""
    from bench.reuse.dicom_sr import report_on

    written = report_on(model, table, folder)
    left = f"; {counted(len(written.left_out), 'image')} in none" if written.left_out else ""
    print(visible(f"{counted(len(written.files), 'structured report')} in {folder}{left}."), file=sys.stderr)
    for name, why in list(written.left_out.items())[:MOST_NAMED]:
        print(visible(f"  {name}: {why}"), file=sys.stderr)


def _told(
    tables: "Iterator[pd.DataFrame]", advance: Callable[[int], None], kept: "list[pd.DataFrame] | None"
) -> "Iterator[pd.DataFrame]":
    """The same tables, while the progress is shown; they are ``kept`` where a list is given."""
    for part in tables:
        yield part
        advance(len(part))
        if kept is not None:
            kept.append(part)


def _none_without_an_image(tables: "Iterator[pd.DataFrame]", count: int) -> "Iterator[pd.DataFrame]":
    """The same tables, those before the first image that could be read with its own.

    Raises:
        ConfigError: if none could be read.
    """
    import pandas as pd

    held: list[pd.DataFrame] = []
    for part in tables:
        held.append(part)
        if part["called"].notna().any():
            break
    else:
        name, note = held[0].loc[0, ["image", "note"]]
        raise ConfigError(f"None of {counted(count, 'file')} could be read as an image; {name}: {note}.")
    yield pd.concat(held, ignore_index=True)
    yield from tables


def banner(model: "ReusableModel") -> Iterator[str]:
    """What must be known before a prediction is looked at, in lines."""
    yield RESEARCH_USE
    card = model.card
    if not model.named:
        yield (
            f"{model.path} holds no metadata of this suite: classes are called by number, images are squashed to "
            "squares, and probabilities are the network's own, without threshold, calibration and limits."
        )
        return
    if card.weights.get("kind") == "random":
        yield "This model began with random weights, not with those of a pretrained network."
    if card.data.get("synthetic"):
        yield "This model was trained on drawn images (demo data): what it says of real ones means nothing."
    if card.conformal is None:
        yield "This model has no prediction sets: abstain is empty."
    if card.training is None:
        yield "What the training images of this model were like is not known: images unlike them are not marked."
    elif card.training.features is None:
        yield (
            "Images are told to be unlike the training images of this model by kind, size and shape alone, not by the "
            f"network's features{f', as {card.training.reason}' if card.training.reason else ''}."
        )


@contextmanager
def _to_screen() -> "Iterator[Write]":
    """A table on a terminal; CSV, as it comes, elsewhere."""
    from rich.console import Console

    from bench.reuse.output import to_stream, to_terminal

    if not sys.stdout.isatty():
        yield to_stream(sys.stdout)
        return
    with to_terminal(Console(file=sys.stdout, highlight=False)) as write:
        yield write


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda more: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Images", total=total)
        yield lambda more: progress.advance(task, more)
