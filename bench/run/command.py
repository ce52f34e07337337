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
from bench.errors import TrialFailed
from bench.failures import MACHINE, kind_of, reason_of
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
    add_settings,
    given,
    output_of,
)
from bench.invocation import resume as resume_command
from bench.invocation import typed
from bench.run.folder import find_run
from bench.settings import FIRST

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


def add_evaluate(commands: Commands) -> None:
    """``evaluate``: how the test split is to be scored, and where a run's files lie by now."""
    parser = add_command(
        commands,
        "evaluate",
        evaluate,
        "open the test split of a run that left it sealed (--no-test)",
        typed("evaluate", "xray"),
    )
    add_run_name(parser)
    add_settings(parser, "bootstrap target_sensitivity group_by", shown="what the run was begun with")
    add_setting(parser, "data", "where the run's images lie by now", shown="where they lay")
    add_setting(parser, "image_root")
    add_setting(
        parser, "weights", "where the run's folder of weights lies by now", "weights", "where it lay", metavar="FOLDER"
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
    """Open the test split of a run.

    Raises:
        ConfigError: if that is impossible.
    """
    from bench.run.request import taken_up

    changed = {name: value for name, value in given(options).items() if name not in ("name", "output")}
    return execute(taken_up(find_run(options.name, output_of(options)), changed), options.command_line, evaluate=True)


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
    except (SearchFailed, NoFinalist, ExportMismatch, TrialFailed, TestSealed, Sealed, OSError) as error:
        of_machine = isinstance(error, OSError)
        if of_machine and kind_of(error) != MACHINE:
            raise
        texts.error(_sentence(error))
        if isinstance(error, SearchFailed | NoFinalist) or (of_machine and request.run.run.exists()):
            print(f"Once that is seen to, go on by: {again}", file=sys.stderr)
        return 1
    except Exception as error:
        if not is_of_a_full_disk(error):
            raise
        texts.error(told_of_the_fullest([request.run.path, request.settings.cache, Path(gettempdir())]))
        print(f"Once that is seen to, go on by: {again}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if request.run.run.exists():
            kept = "finished trials are kept" if request.run.trials.exists() else "no trial was finished"
            print(f"\nInterrupted; {kept}. Continue by: {again}", file=sys.stderr)
        else:
            print("\nInterrupted before anything was written.", file=sys.stderr)
        return 130
    finally:
        cluster.stop()
    return UNFAIR if pipeline.warn_if_unfair(request.run, screen) else 0


def _sentence(error: Exception) -> str:
    """What ended a run, in one line; of an error of the machine its place."""
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}." if error.filename and error.strerror else reason_of(error)
