"""The subcommands that carry out a run: ``run``, also with ``--resume``, and ``evaluate``."""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from bench import texts
from bench.disk import is_of_a_full_disk, told_of_the_fullest
from bench.errors import ConfigError, TrialFailed
from bench.failures import MACHINE, MEMORY, kind_of, reason_of
from bench.flags import (
    STATUSES,
    UNFAIR,
    WIDTH,
    Commands,
    add_all_settings,
    add_command,
    add_flag,
    add_run_name,
    add_setting,
    given,
    output_of,
)
from bench.invocation import resume as resume_command
from bench.invocation import typed
from bench.run.folder import find_run
from bench.settings import FIRST, flag_of, make_settings

if TYPE_CHECKING:
    from bench.run.request import Request


def add_run(commands: Commands) -> None:
    """``run``, with a flag for every setting."""
    parser = add_command(
        commands,
        "run",
        run,
        "search, retrain, evaluate and report",
        typed("run", "--budget", "50", "--data", "path/to/chest_xray", "--name", "xray"),
        "Compare pretrained CNNs on labelled images: search, retrain the best of each backbone, evaluate the winner"
        " once on the test split, and leave an HTML report and a reusable .h5 model in reports/NAME/.\n"
        "Without --data, the embedded demo data are used: synthetic phantoms that say nothing about medicine.",
    )
    parser.epilog = f"{parser.epilog}\n{textwrap.fill(STATUSES, WIDTH)}"
    parser.usage = f"{typed('run')} [--data DATA] [--budget N] [--name NAME] [other flags]"
    groups = add_all_settings(parser)
    add_flag(
        groups[FIRST],
        "--resume",
        "go on with an interrupted run, or extend a finished one by a larger --budget; --data, --image-root, --cache"
        " and --weights name the new places of what has been moved",
        "--resume xray --budget 80",
        "start anew",
        metavar="NAME",
    )


EVALUATING = """Without --data: open the test split of a run that left it sealed (--no-test).
With --data: an external test. The model of a run, or an .h5 file, is scored on images that its run has never seen, in\
 any layout that a run reads, with threshold, calibration map and prediction sets frozen. The data are audited, copies\
 of the run's own images are excluded and named, and scores stand beside those of the internal test. The page and its\
 tables go to reports/RUN/external/NAME/, of a file to reports/external-NAME/. If DATA are the images of a run whose\
 test split is still sealed, that is opened there."""
OF_EXTERNAL = {"map": "--map", "external_name": "--name", "patient_pattern": "", "max_pixels": "", "keep_going": ""}
"""What ``evaluate`` takes for an external test alone, and its flag where it is no setting."""
MODEL_FILES = (".h5", ".hdf5", ".keras")


def add_evaluate(commands: Commands) -> None:
    """``evaluate``: how the test split is to be scored, where a run's files lie by now, and external tests."""
    parser = add_command(
        commands,
        "evaluate",
        evaluate,
        "open the test split of a run that left it sealed (--no-test), or test its model on external data (--data)",
        f"{typed('evaluate', 'xray')}; {typed('evaluate', 'xray', '--data', 'hospital-b/', '--map', 'Normal=NORMAL')}",
        EVALUATING,
    )
    add_run_name(parser, or_file=True)
    add_setting(parser, "bootstrap", shown="what the run was begun with")
    text = "what the run was begun with; in an external test, those of its columns that the data have"
    add_setting(parser, "group_by", shown=text)
    text = (
        "of a sealed run: freeze the operating point that reaches this sensitivity on validation, above 0.5 and below 1"
    )
    add_setting(parser, "target_sensitivity", text, shown="what the run was begun with")
    text = "external images, as run --data takes them; or the images of a sealed run, where they lie by now"
    add_setting(parser, "data", text, "hospital-b/", shown="the run's own, where they lay")
    add_flag(
        *(parser, "--map", "maps a class of the external data to one of the model, or to none (excluded); repeatable"),
        *("--map Normal=NORMAL --map Unclear=", "the same name"), action="append", metavar="THEIRS=OURS",
    )  # fmt: skip
    add_flag(
        *(parser, "--name", "name of the external test", "--name hospital-b", "that of the data"),
        dest="external_name", metavar="NAME",
    )  # fmt: skip
    add_setting(parser, "patient_pattern")
    add_setting(parser, "max_pixels", shown="the run's own, else 100M")
    add_setting(parser, "keep_going")
    add_setting(parser, "image_root")
    add_setting(
        parser,
        "weights",
        "where the weights of a sealed run lie by now",
        "weights",
        "where it lay",
        metavar="FOLDER",
    )
    add_setting(parser, "cache", shown="the run's own")
    add_setting(parser, "images", shown="what the run was begun with")


def run(options: argparse.Namespace) -> int:
    """Begin a run, or take one up again.

    Raises:
        ConfigError: if that is impossible.
    """
    from bench.run.request import begin, go_on

    values = given(options)
    if "resume" in options:
        return execute(go_on(options.resume, values, output_of(options)), options.command_line)
    request = begin(values, tell=print)
    if "data" not in values:
        print("No --data is given, so this is the demo; your own images: --data path/to/images")
    return execute(request, options.command_line)


def evaluate(options: argparse.Namespace) -> int:
    """Open the test split of a run, or test its model on external data.

    Raises:
        ConfigError: if that is impossible.
    """
    from bench.run.request import taken_up

    if "data" in options and not _of_sealed_run(options):
        from bench import cluster
        from bench.external.command import evaluate_external

        cluster.interrupted_by_signals()
        try:
            return evaluate_external(options)
        except KeyboardInterrupt:
            print("\nInterrupted; no file of this test was left.", file=sys.stderr)
            return 130
    if alone := next((name for name in OF_EXTERNAL if name in options), ""):
        flag = OF_EXTERNAL[alone] or flag_of(alone)
        raise ConfigError(f"{flag} is for an external test, whose images are named by --data.")
    if Path(options.name).is_file():
        raise ConfigError(
            f"{options.name} is a file; a test split is opened by its run's name, and an external test takes --data."
        )
    changed = {name: value for name, value in given(options).items() if name not in ("name", "output")}
    return execute(taken_up(find_run(options.name, output_of(options)), changed), options.command_line, evaluate=True)


def _of_sealed_run(options: argparse.Namespace) -> bool:
    """Whether ``--data`` names the images of a run whose test split is still sealed: they have been moved.

    Images that do not open as the run's settings have it are others, whose own faults the external test names.
    """
    from bench.data.splits import same_images
    from bench.run.request import open_settings

    named = Path(options.name)
    if named.is_file() or named.suffix.lower() in MODEL_FILES or any(name in options for name in OF_EXTERNAL):
        return False
    run = find_run(options.name, output_of(options))
    if run.finished("evaluation") or run.evaluation.exists() or not run.splits.is_file():
        return False
    moved = {name: value for name, value in given(options).items() if name in ("data", "image_root")}
    places = make_settings(name="moved", **moved).model_dump(include=set(moved))
    settings = run.read().settings.model_copy(update={**places, "ordinal": None})
    try:
        source = open_settings(settings)
    except ConfigError:
        return False
    return same_images(run.splits, source.table)


def execute(request: "Request", command_line: Sequence[str], evaluate: bool = False) -> int:
    """Carry out a request; returns the exit status."""
    from bench import cluster
    from bench.data.sealing import Sealed
    from bench.evaluation.test_access import TestSealed
    from bench.finalists.seeds import NoFinalist
    from bench.models.export import ExportMismatch
    from bench.run import pipeline
    from bench.run.console import Screen
    from bench.search.tune import SearchFailed

    screen = Screen()
    again = resume_command(request.run.name, request.run.path.parent)
    cluster.interrupted_by_signals()
    try:
        if evaluate:
            pipeline.evaluate(request, screen)
        else:
            pipeline.execute(request, screen, typed("run", *command_line))
    except (ExportMismatch, TestSealed, Sealed) as error:
        texts.error(str(error))
        return 1
    except Exception as error:
        told = isinstance(error, SearchFailed | NoFinalist | TrialFailed)
        sentence = str(error) if told else _of_machine(error, request)
        if not sentence:
            raise
        texts.error(sentence)
        if request.run.kept or not isinstance(error, OSError | TrialFailed):
            print(f"Once that is seen to, go on by: {again}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if request.run.kept:
            kept = "finished trials are kept" if request.run.trials.exists() else "no trial was finished"
            print(f"\nInterrupted; {kept}. Continue by: {again}", file=sys.stderr)
        else:
            print("\nInterrupted before anything was written.", file=sys.stderr)
        return 130
    finally:
        cluster.stop()
    return UNFAIR if pipeline.warn_if_unfair(request.run, screen) else 0


def _of_machine(error: Exception, request: "Request") -> str:
    """What the machine has ended a run by, in one line with its place; empty if it was anything else."""
    kind = kind_of(error)
    if kind == MEMORY and not isinstance(error, ConfigError):
        reason = reason_of(error).rstrip(": ")
        return f"Memory ran out ({reason}); ending what else runs here leaves more, and fewer --jobs need less."
    if isinstance(error, OSError) and kind == MACHINE:
        return f"{error.filename}: {error.strerror}." if error.filename and error.strerror else reason_of(error)
    if is_of_a_full_disk(error):
        return told_of_the_fullest([request.run.path, request.settings.cache, Path(gettempdir())])
    return ""
