"""Flags made from the fields of `bench.settings.RunSettings`, and what every subcommand's parser has in common."""

import argparse
import difflib
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, get_args

from bench import settings
from bench.errors import ConfigError
from bench.invocation import program
from bench.search.parameters import PARAMETERS
from bench.search.shipped import shipped
from bench.settings import REPORTS, about_flag, flag_of, opposite_of
from bench.stats.metrics import METRICS

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
Target: TypeAlias = "argparse._ActionsContainer"
WIDTH = 100
CALLED_OTHERWISE = {
    "--backbones": "model models arch architecture architectures network networks",
    "--budget": "trials n-trials num-trials max-trials num-samples",
    "--cache": "cache-dir",
    "--data": "dataset data-dir images input root",
    "--folds": "cv kfold k-folds n-folds num-folds n-splits",
    "--image-size": "size img-size input-size resolution",
    "--jobs": "cpu cpus gpu gpus workers num-workers n-jobs processes",
    "--metric": "objective score scoring",
    "--output": "out out-dir outdir output-dir save-dir",
    "--precision": "amp fp16 bf16 mixed-precision dtype",
    "--repeats": "seeds n-seeds num-seeds",
    "--scheduler": "pruner",
    "--seed": "random-seed random-state",
    "--time-limit": "timeout max-time time-budget",
    "--weights": "pretrained initialisation initialization",
}
"""Flag -> what the same is called elsewhere."""
SEARCHED = {"lr": "learning_rate", "augment": "augmentation", "freeze": "unfreeze_depth", "ema": "ema_momentum"}
"""What parameters of the search are called elsewhere."""
UNFAIR = 3
STATUSES = (
    "exit status: 0 done; 1 failed; 2 the request is impossible, and nothing was begun; 3 done, but so many trials"
    " failed that the comparison is not fair; 130 interrupted"
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose error is one sentence, with the nearest flag for a mistyped one."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, allow_abbrev=False)
        # else a value such as that of --window -600,1500 is taken for a flag
        self._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")

    def error(self, message: str) -> NoReturn:
        """Raise the message instead of printing usage and leaving; what was mistyped is answered with what is near."""
        if message.startswith("unrecognized arguments:"):
            given = message.split(":", 1)[1].strip()
            raise ConfigError(f"Unknown argument {given!r}; {self._meant(given)}")
        commands = [
            name for action in self._actions if action.nargs == argparse.PARSER for name in action.choices or ()
        ]
        if found := re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from", message):
            near = closest(found[1], commands)
            hint = f"did you mean {near}?" if near else f"the commands there are: {', '.join(commands)}."
            raise ConfigError(f"Unknown command {found[1]!r}; {_given_as_data(found[1], 'run ') or hint}")
        raise ConfigError(f"{message[0].upper()}{message[1:]}.")

    def _meant(self, given: str) -> str:
        """What may have been meant by an argument that there is not: a flag, or what is given after one."""
        flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
        if not given.startswith("-"):
            if "--resume" in flags and Path(REPORTS, given, "run.json").is_file():
                return f"did you mean --resume {given}?"
            if "--data" in flags:
                return _given_as_data(given, "") or "images are given by --data, as in --data path/to/images"
        flag = given.split("=")[0]
        name = flag.strip("-").lower().replace("_", "-")
        same = [one for one in flags if one == f"--{name}s" or name in CALLED_OTHERWISE.get(one, "").split()]
        parameter = SEARCHED.get(name, name.replace("-", "_"))
        if "--space" in flags and parameter in PARAMETERS and not same:
            return f"{parameter} is searched: its values stand in a space, given by --space (docs/search.md)"
        near = next(iter([*same, closest(flag, flags)]))
        return f"did you mean {near}?" if near else f"the flags there are: {', '.join(flags)}"


def closest(given: str, names: Sequence[str]) -> str:
    """The name that may have been meant: one that begins so, or is written nearly so; empty if none is near."""
    begun = [name for name in names if len(given) > 1 and name.startswith(given) and not given.startswith("-")]
    return next(iter([*begun, *difflib.get_close_matches(given, names, n=1)]), "")


def _given_as_data(given: str, before: str) -> str:
    """A question for who has named images without their flag; empty if ``given`` looks like no images."""
    demo = closest(given, ["demo"])
    like = demo or given.startswith("medmnist:") or "/" in given or Path(given).exists()
    return f"did you mean {before}--data {demo or given}?" if like else ""


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    example: str,
    description: str = "",
) -> Parser:
    """A parser for a subcommand that ``run`` carries out; ``run`` returns the exit status.

    Args:
        commands: of the program.
        name: of the subcommand.
        run: takes what was parsed; ``command_line`` in it holds the arguments as they were typed.
        summary: a line for the overview.
        example: as it would be typed.
        description: paragraphs, one a line; the summary if empty.
    """
    told = description or f"{summary[0].upper()}{summary[1:]}."
    parser = commands.add_parser(
        name,
        help=summary,
        description="\n".join(textwrap.fill(line, WIDTH) for line in told.splitlines()),
        epilog=f"example: {example}",
        formatter_class=_formatter,
    )
    parser.set_defaults(run=run)
    return parser


class _Unbroken(argparse.RawDescriptionHelpFormatter):
    """No line ends in the middle of a flag."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


def _formatter(prog: str) -> argparse.HelpFormatter:
    return _Unbroken(prog, max_help_position=28, width=WIDTH)


def add_run_name(parser: Parser, nargs: str | None = None, without: str = "", or_file: bool = False) -> None:
    """The run that a subcommand is about, or ``nargs`` of them, and the folder in which it lies.

    Args:
        parser: of the subcommand.
        nargs: of argparse.
        without: what is taken where no name is given, if none need be.
        or_file: whether an .h5 file is taken too.
    """
    kinds = "path of its folder, or with --data of an .h5 file" if or_file else "path of its folder"
    text = f"name of the run, or {kinds}{without and f' (default: {without})'}; example: xray"
    parser.add_argument("name", metavar="NAME", nargs=nargs, help=text)
    add_setting(parser, "output")


def add_flag(target: Target, flag: str, text: str, example: str, shown: object = None, **arguments: Any) -> None:
    """A flag whose help names default and example; what is not given is not among the values.

    Args:
        target: a parser or a group of it.
        flag: as it is typed.
        text: what it decides.
        example: as it would be typed, flag included.
        shown: the default in words; None takes that of the setting of the same name.
        arguments: of `argparse.ArgumentParser.add_argument`.
    """
    if shown is None:
        shown = _default(flag.removeprefix("--").replace("-", "_"))
    told = f"{text} (default: {shown}; example: {example})".replace("%", "%%")
    target.add_argument(flag, default=argparse.SUPPRESS, help=told, **arguments)


def add_setting(
    target: Target, name: str, text: str = "", example: str = "", shown: str = "", metavar: str = ""
) -> None:
    """The flag of one setting; texts that are given stand in for those of its field."""
    field, about, flag = settings.RunSettings.model_fields[name], about_flag(name), flag_of(name)
    if field.annotation is bool:
        takes = {"action": "store_false" if field.default else "store_true"}
    else:
        takes = {"metavar": metavar or about["metavar"] or "|".join(get_args(field.annotation))}
    typed = f"{flag} {example or (field.examples or [''])[0]}".strip()
    add_flag(target, flag, text or describe(name), typed, shown or about["shown"] or _default(name), dest=name, **takes)


def _default(name: str) -> str:
    """The default of a setting as it would be typed."""
    value = settings.RunSettings.model_fields[name].get_default(call_default_factory=True)
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value).replace(os.environ.get("HOME") or "~", "~")


def add_settings(target: Target, names: str) -> None:
    """The flags of several settings, their names separated by spaces."""
    for name in names.split():
        add_setting(target, name)


def add_all_settings(parser: Parser) -> dict[str, Target]:
    """The flags of all settings under the headings of their groups; returns the groups by heading."""
    groups: dict[str, Target] = {}
    for name in settings.RunSettings.model_fields:
        heading = about_flag(name)["group"]
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        opposite = opposite_of(name)
        if not opposite:
            add_setting(groups[heading], name)
            continue
        add_setting(groups[heading], name, f"{describe(name)}; {opposite} takes that back on --resume")
        action = "store_true" if flag_of(name).startswith("--no-") else "store_false"
        groups[heading].add_argument(
            opposite, dest=name, action=action, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return groups


def describe(name: str) -> str:
    """What the setting ``name`` decides."""
    text = " ".join((settings.RunSettings.model_fields[name].description or "").split())
    return text.format(metrics=", ".join(METRICS), spaces=", ".join(shipped()), program=program())


def output_of(options: argparse.Namespace) -> Path:
    """The folder of run folders."""
    return Path(getattr(options, "output", REPORTS))


def add_pixels(target: Target) -> None:
    """``--max-pixels`` of what reads images for a model; `pixels_of` gives it."""
    text = "read no image of more pixels, and no file of more than 8 bytes for each of these"
    add_setting(target, "max_pixels", text, shown="that of the model's run, else 100M")


def pixels_of(options: argparse.Namespace) -> int | None:
    """What ``--max-pixels`` says; None where it is not given."""
    text = getattr(options, "max_pixels", None)
    return None if text is None else settings.make_settings(name="pixels", max_pixels=text).max_pixels


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings among what was given, as they were typed."""
    return {name: value for name, value in vars(options).items() if name in settings.RunSettings.model_fields}
