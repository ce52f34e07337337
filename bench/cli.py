"""The command line: its subcommands, and the exit status of what ends one early."""

import argparse
import errno
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise

from bench import __version__, texts
from bench.compare import command as compare
from bench.device import quiet
from bench.errors import ConfigError
from bench.flags import STATUSES, Parser
from bench.invocation import program
from bench.report import command as report
from bench.reuse import command as predict
from bench.reuse import explain_command, export_command
from bench.run import command as run
from bench.run import data_command as data
from bench.verify import command as verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, as `bench.flags.STATUSES` has it."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    quiet()
    try:
        options = _parse(arguments)
        return int(options.run(options))
    except ConfigError as error:
        texts.error(error)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.strerror is None or (error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT)):
            raise  # it is not the machine's
        place = f"{error.filename}: " if error.filename is not None else ""
        texts.error(f"{place}{error.strerror}.")
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
        report.add_open,
        report.add_list,
        report.add_report,
        run.add_evaluate,
        predict.add_parser,
        explain_command.add_parser,
        export_command.add_parser,
        verify.add_parser,
        compare.add_parser,
    ):
        add(commands)
    if arguments and arguments[0].startswith("--") and arguments[0] not in ("--help", "--version"):
        raise ConfigError(f"A command comes before flags; did you mean `{program()} run {shlex.join(arguments)}`?")
    _refuse_empty(arguments)
    if arguments[:1] and arguments[0] in data.TAKE_DATA:
        arguments = _without_flag("--data", arguments)
    options, unknown = parser.parse_known_args(arguments or ["--help"])
    if unknown:
        chosen = commands.choices.get(arguments[0], parser)
        if unknown[0] in commands.choices:  # python run_bench.py report xray
            raise ConfigError(f"Unknown argument {unknown[0]!r}; did you mean `{program()} {shlex.join(unknown)}`?")
        chosen.error(f"unrecognized arguments: {unknown[0]}")
    options.command_line = arguments[1:]
    return options


def _without_flag(flag: str, arguments: Sequence[str]) -> list[str]:
    """``arguments`` with the value of ``flag`` alone, as the command takes it: elsewhere the same is a flag's."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*(one.removeprefix(f"{flag}=") for one in arguments[:end] if one != flag), *arguments[end:]]


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse, by a ConfigError, an argument of no characters: an empty path would be the working folder."""
    for before, one in pairwise(["", *arguments]):
        flag, equals, value = one.partition("=")
        if not one.strip():
            is_flag = before.startswith("--") and "=" not in before
            named = before if is_flag else f"The argument after {before!r}" if before else "The command"
            raise ConfigError(f"{named} is empty; give a value, or leave it out.")
        if flag.startswith("--") and equals and not value.strip():
            raise ConfigError(f"{flag} is empty; give a value, or leave it out.")
