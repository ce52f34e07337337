"""The subcommand ``compare``: its flags and their texts, and what it does with them.

What is heavy is imported when it is needed: a request that cannot be carried out should not have to wait for it.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bench import texts
from bench.errors import ConfigError, TrialFailed
from bench.flags import Commands, Parser, add_command, add_flag, add_setting, output_of
from bench.invocation import typed
from bench.settings import default_cache, make_settings, parse_duration

LIST = "compare24"
"""The shipped list: 3 backbones, policies none and light, depths 0 to 2."""


def add_parser(commands: Commands) -> None:
    """``compare``."""
    parser = add_command(
        commands,
        "compare",
        run,
        "time this suite, and others' tools, on the same search",
        typed("compare", "--data", "path/to/chest_xray", "--budget", "24", "--name", "speed"),
        "Run this suite, this suite with each of its levers switched off, plain Ray Tune and KerasTuner on the same"
        " images, space and number of trials, one after the other, and leave a CSV and an HTML page in reports/NAME/."
        " Run again under the same name, it goes on where it stopped, and takes further methods and seeds in.",
    )
    _add_search(parser)
    _add_training(parser)
    _add_instead(parser)
    add_setting(parser, "cache")
    add_flag(
        parser,
        "--name",
        "name of the comparison and of its folder",
        "--name speed",
        "compare-, or with --fidelity fidelity-, and the data's name",
    )
    add_setting(parser, "output")


def _add_search(parser: Parser) -> None:
    """What is searched, by which methods, how often and how long."""
    flag, number = partial(add_flag, parser), partial(add_flag, parser, type=int, metavar="N")
    add_setting(parser, "data")
    number("--budget", "number of trials of each method and seed", "--budget 24")
    add_flag(parser, "--seeds", "number of seeds", "--seeds 3", "1", type=int, metavar="K")
    number("--seed", "the first seed; splits and subset are the same for all", "--seed 3")
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
        " suite-cold-workers, suite-no-asha, suite-float32, ray-tune, hyperband, bayesian, random; and two that go the"
        " whole way to evaluated models: suite-whole (run_bench.py from start to report), by-hand (Ray Tune, Keras,"
        " scikit-learn)",
        "--methods suite,ray-tune",
        "all but those two",
        metavar="NAMES",
    )
    flag("--target", "validation AUC that methods are timed to", "--target 0.95", "0.97", type=float, metavar="AUC")
    flag("--time-limit", "end a method after this time; its trials so far count", "--time-limit 2h", "no limit")


def _add_training(parser: Parser) -> None:
    """How every configuration is trained, and on what."""
    number = partial(add_flag, parser, type=int, metavar="N")
    weights = "imagenet, random, or a folder of Keras's .h5 files"
    add_flag(parser, "--weights", weights, "--weights random", "imagenet")
    number("--epochs", "at most so many epochs per phase", "--epochs 4", "the space's, else 8")
    number("--image-size", "pixels for all backbones", "--image-size 96", "as for run")
    number("--max-images", "train and validate on a subset", "--max-images 1200", "all")
    add_setting(parser, "val_share")
    number("--jobs", "trials at a time, for methods that run several", "--jobs 1", "as for run")


def _add_instead(parser: Parser) -> None:
    """What is done instead of a comparison."""
    add_flag(
        parser,
        "--limit",
        "instead of comparing: measure on the idle machine how fast bare Keras could have done the work of this run,"
        " or the list of this comparison, and compute the least time: of a run's search, of what follows, and of all",
        "--limit xray",
        "off",
        metavar="RUN",
    )
    add_flag(
        parser,
        "--fidelity",
        "instead of comparing: draw N configurations, and hold their scores on cached features against those of full"
        " models with fresh augmentation",
        "--fidelity 20",
        "off",
        type=int,
        metavar="N",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, or measure what ``--limit`` or ``--fidelity`` ask for; returns the exit status.

    Raises:
        ConfigError: if the request is impossible.
    """
    from bench import cluster

    cluster.interrupted_by_signals()
    values = {name: value for name, value in vars(options).items() if name not in ("run", "command_line")}
    values["output"] = output_of(options)
    if "time_limit" in values:
        values["time_limit"] = parse_duration(values["time_limit"])
    try:
        if "limit" in values:
            return _lower_bound(**values)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(values.get("data", "demo")).resolve().name).strip("-._") or "data"
        values = {"name": f"{'fidelity' if 'fidelity' in values else 'compare'}-{stem}", **values}
        if "methods" in values:
            values["methods"] = [name.strip() for name in values["methods"].split(",") if name.strip()]
        if "list" in values:
            values["fixed_list"] = values.pop("list")
        return _fidelity(**values) if "fidelity" in values else _compare(**values)
    except TrialFailed as error:
        texts.error(error)
        return 1


def _compare(**values: Any) -> int:
    from bench.compare.comparison import carry_out
    from bench.compare.plan import make_plan
    from bench.run.console import Screen

    plan = make_plan(**values)
    try:
        return 1 if carry_out(plan, Screen()) else 0
    except KeyboardInterrupt:
        print("\nInterrupted; what has finished is kept. Give the same command again to go on.", file=sys.stderr)
        return 130


def _lower_bound(**values: Any) -> int:
    from bench.compare.lower_bound import lower_bound
    from bench.compare.record import find_comparison
    from bench.run.folder import find_run

    others = sorted(set(values) - {"limit", "output", "cache"})
    if others:
        raise ConfigError(
            f"--limit measures for a run that is there; --{others[0].replace('_', '-')} does not go with it."
        )
    comparison = find_comparison(values["limit"], values["output"])
    cache = Path(values["cache"]).absolute() if "cache" in values else None
    if comparison is not None:
        lower_bound.lower_bound_of_list(comparison, cache or default_cache().absolute())
        print(lower_bound.describe_list(comparison))
    else:
        found = lower_bound.lower_bound_of_run(find_run(values["limit"], values["output"]), cache=cache)
        print(lower_bound.describe_run(found))
    return 0


def _fidelity(**values: Any) -> int:
    from bench.compare.fidelity.cached_vs_fresh import describe, run_fidelity
    from bench.run import request

    configurations = values.pop("fidelity")
    others = sorted(set(values) & {"methods", "seeds", "fixed_list", "target", "time_limit", "budget"})
    if others or configurations < 3:
        flag = others[0].removeprefix("fixed_").replace("_", "-") if others else ""
        problem = f"--{flag} does not go with it" if others else "at least 3 are needed"
        raise ConfigError(f"--fidelity draws configurations and scores each in two ways; {problem}.")
    settings = make_settings(**values)
    folder = settings.output / settings.name
    request.check_writable(folder.parent, "--output")
    print(describe(run_fidelity(request.prepare(settings, tell=print), folder, configurations)))
    return 0
