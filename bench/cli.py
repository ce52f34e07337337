"""The command line: its subcommands, and the exit status of what ends one early."""

import argparse
import errno
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench import __version__
from bench.device import quiet
from bench.errors import ConfigError, TrialFailed
from bench.flags import STATUSES, Commands, Parser, add_command, add_flag, add_setting, output_of
from bench.invocation import program, typed
from bench.models import command as predict
from bench.report import command as report
from bench.run import command as run
from bench.run import data_command as data
from bench.settings import default_cache, make_settings, parse_duration


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, as `bench.flags.STATUSES` has it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    quiet()
    try:
        options = _parse(arguments)
        return int(options.run(options))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted before the run began.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.strerror is None or (error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT)):
            raise  # it is not the machine's
        place = f"{error.filename}: " if error.filename is not None else ""
        print(f"error: {place}{error.strerror}.", file=sys.stderr)
        return 1


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog=program(),
        description="Which pretrained CNN, fine-tuned how, classifies these medical images best,"
        " and how sure can one be?",
        epilog=f"Each command has its own --help. `python run_bench.py` is `{program()} run`. {STATUSES}.",
    )
    parser.add_argument("--version", action="version", version=f"medical-transfer-bench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for add in (
        run.add_run,
        data.add_audit,
        data.add_manifest,
        report.add_parser,
        run.add_evaluate,
        predict.add_parser,
        _add_compare,
    ):
        add(commands)
    options, unknown = parser.parse_known_args(arguments or ["--help"])
    if unknown:
        chosen = commands.choices.get(arguments[0], parser)
        chosen.error(f"unrecognized arguments: {unknown[0]}")
    options.command_line = arguments[1:]
    return options


# compare

LIST = "compare24"
"""The shipped list: 3 backbones, policies none and light, depths 0 to 2."""


def _add_compare(commands: Commands) -> None:
    parser = add_command(
        commands,
        "compare",
        _compare,
        "time this suite, and others' tools, on the same search",
        typed("compare", "--data", "path/to/chest_xray", "--budget", "24", "--name", "speed"),
        "Run this suite, this suite with each of its levers switched off, plain Ray Tune and KerasTuner on the same"
        " images, space and number of trials, one after the other, and leave a CSV and an HTML page in reports/NAME/."
        " Run again under the same name, it goes on where it stopped, and takes further methods and seeds in.",
    )
    flag = partial(add_flag, parser)
    add_setting(parser, "data")
    flag("--budget", "number of trials of each method and seed", "--budget 24", type=int, metavar="N")
    flag("--seeds", "number of seeds", "--seeds 3", "1", type=int, metavar="K")
    flag("--seed", "the first seed; splits and subset are the same for all", "--seed 3", type=int, metavar="N")
    flag("--space", "search space: a shipped one or a .yaml file", "--space wide", "as for run", metavar="NAME|FILE")
    flag(
        "--list",
        "instead of a search, train the points of this space, without stopping any early",
        "--list; --list own.yaml",
        f"off; {LIST} if no file is given",
        nargs="?",
        const=LIST,
        metavar="FILE",
    )
    flag(
        "--methods",
        "methods, separated by commas: suite, suite-warm (on the cache that suite leaves), suite-no-cache,"
        " suite-cold-workers, suite-no-asha, suite-float32, ray-tune, hyperband, bayesian, random",
        "--methods suite,ray-tune",
        "all that can",
        metavar="NAMES",
    )
    flag("--target", "validation AUC that methods are timed to", "--target 0.95", "0.97", type=float, metavar="AUC")
    flag("--time-limit", "end a method after this time; its trials so far count", "--time-limit 2h", "no limit")
    flag("--weights", "imagenet, random, or a folder of Keras's .h5 files", "--weights random", "imagenet")
    flag("--epochs", "at most so many epochs a phase", "--epochs 4", "the space's, else 8", type=int, metavar="N")
    flag("--image-size", "pixels for all backbones", "--image-size 96", "as for run", type=int, metavar="N")
    flag("--max-images", "train and validate on a subset", "--max-images 1200", "all", type=int, metavar="N")
    add_setting(parser, "val_share")
    flag("--jobs", "trials at a time, for methods that run several", "--jobs 1", "as for run", type=int, metavar="N")
    flag(
        "--limit",
        "instead of comparing: measure on the idle machine how fast bare Keras could have done the search of this run,"
        " or the list of this comparison, and compute the least time",
        "--limit xray",
        "off",
        metavar="RUN",
    )
    flag(
        "--fidelity",
        "instead of comparing: draw N configurations, and hold their scores on cached features against those of full"
        " models with fresh augmentation",
        "--fidelity 20",
        "off",
        type=int,
        metavar="N",
    )
    add_setting(parser, "cache")
    flag("--name", "name of the comparison and of its folder", "--name speed", "compare- and the data's name")
    add_setting(parser, "output")


def _compare(options: argparse.Namespace) -> int:
    from bench.compare import asked, compare
    from bench.run.console import Screen

    values = {name: value for name, value in vars(options).items() if name not in ("run", "command_line")}
    values["output"] = output_of(options)
    if "time_limit" in values:
        values["time_limit"] = parse_duration(values["time_limit"])
    if "limit" in values:
        return _limit(values)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(values.get("data", "demo")).resolve().name).strip("-._") or "data"
    values = {"name": f"compare-{stem}", **values}
    if "methods" in values:
        values["methods"] = [name.strip() for name in values["methods"].split(",") if name.strip()]
    if "list" in values:
        values["fixed_list"] = values.pop("list")
    if "fidelity" in values:
        return _fidelity(values)
    comparison = asked.plan(**values)
    try:
        return 1 if compare.carry_out(comparison, Screen()) else 0
    except KeyboardInterrupt:
        print("\nInterrupted; what has finished is kept. Give the same command again to go on.", file=sys.stderr)
        return 130


def _limit(values: dict[str, Any]) -> int:
    from bench.compare.lower_bound import limit, list_limit
    from bench.compare.methods.machine import CalibrationFailed
    from bench.run.folder import find_run

    others = sorted(set(values) - {"limit", "output", "cache"})
    if others:
        raise ConfigError(
            f"--limit measures for a run that is there; --{others[0].replace('_', '-')} does not go with it."
        )
    comparison = values["output"] / values["limit"]
    cache = Path(values["cache"]).absolute() if "cache" in values else None
    try:
        if (comparison / "compare.json").is_file():
            list_limit.run_list_limit(comparison, cache or default_cache().absolute())
            print(list_limit.describe(comparison))
        else:
            run = find_run(values["limit"], values["output"])
            print(limit.describe(limit.run_limit(run, cache=cache)))
    except CalibrationFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _fidelity(values: dict[str, Any]) -> int:
    from bench.compare.fidelity import fidelity
    from bench.run import request

    configurations = values.pop("fidelity")
    others = sorted(set(values) & {"methods", "seeds", "fixed_list", "target", "time_limit", "budget"})
    if others or configurations < 3:
        problem = f"--{others[0].replace('_', '-')} does not go with it" if others else "at least 3 are needed"
        raise ConfigError(f"--fidelity draws configurations and scores each in two ways; {problem}.")
    settings = make_settings(**values)
    folder = settings.output / settings.name
    request.check_writable(folder.parent, "--output")
    try:
        print(fidelity.describe(fidelity.run_fidelity(request.prepare(settings, tell=print), folder, configurations)))
    except TrialFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
