"""The command line: flags in, settings out, no logic."""

import argparse
import csv
import difflib
import errno
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import platformdirs

from bench import __version__
from bench.device import quiet
from bench.errors import ConfigError, TrialFailed
from bench.failures import MACHINE, kind_of, reason_of
from bench.invocation import program, typed
from bench.invocation import resume as resume_command
from bench.models.backbones import BACKBONES
from bench.run.folder import RunDir
from bench.settings import RunSettings, make_settings, parse_bytes, parse_duration, parse_folds, parse_window
from bench.stats.metrics import METRICS

try:
    CACHE = Path(platformdirs.user_cache_dir("medical-transfer-bench"))
except RuntimeError:  # a user without a home folder, as containers have them: --cache has to be given
    CACHE = Path("~/.cache/medical-transfer-bench")
RESUMABLE = ("budget", "repeats", "time_limit", "jobs", "no_test", "verify", "data", "image_root", "cache", "weights")
"""What may be said anew of a run that is there; the last four name other places of the same files."""
DATA_HELP = (
    "folder with train/, val/, test/ of class folders, or class folders alone; a table (.csv, .tsv, .txt) with"
    " path,label[,patient][,split][,fold]; an .npz in the MedMNIST layout; medmnist:NAME[@SIZE]; or demo"
)
PATTERN_HELP = (
    "regular expression with one group that names the patient, searched for in the file name (in the path below the"
    " data folder if it holds a /)"
)
PATTERN_DEFAULT = "what the source says, else names of public sets with marks of their own, else each image its own"
ROOT_HELP = "folder that the paths of a table start from; images are looked for below it by name too"
TEST_SHARE_HELP = "share of the images drawn for test where no test split is given"
VAL_SHARE_HELP = "share of the other images drawn for validation where none is given, or one too small to select by"
KEEP_GOING_HELP = "go on although more than 1 % of a class cannot be decoded"
VERIFY_HELP = "read every file again to see whether it is still what was decoded"
STATUSES = (
    "exit status: 0 done; 1 failed; 2 the request is impossible, and nothing was begun; 3 done, but so many trials"
    " failed that the comparison is not fair; 130 interrupted"
)
UNFAIR = 3


class _Parser(argparse.ArgumentParser):
    """An argument parser whose error is one sentence, with the nearest flag for a mistyped one."""

    def error(self, message: str) -> NoReturn:
        """Raise the message instead of printing usage and leaving."""
        if message.startswith("unrecognized arguments:"):
            given = message.split(":", 1)[1].split()[0]
            flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
            close = difflib.get_close_matches(given.split("=")[0], flags, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the flags there are: {', '.join(flags)}"
            message = f"Unknown argument {given!r}; {hint}"
        else:
            message = message[0].upper() + message[1:] + "."
        raise ConfigError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, as `STATUSES` has it."""
    arguments = _joined(sys.argv[1:] if arguments is None else arguments)
    quiet()
    try:
        options = _parse(arguments)
        return int(options.action(options, arguments))
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


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--window -600,1500`` as one argument: its value looks like a flag to argparse."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--window":
            joined[-1] = f"--window={argument}"
        else:
            joined.append(argument)
    return joined


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog=program(),
        description="Which pretrained CNN, fine-tuned how, classifies these medical images best,"
        " and how sure can one be?",
        epilog=f"Each command has its own --help. `python run_bench.py` is `{program()} run`. {STATUSES}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"medical-transfer-bench {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_run(commands)
    _add_audit(commands)
    _add_manifest(commands)
    _add_named(
        commands,
        "report",
        _report,
        "render the report of a run again, from its files alone; of several runs, a page that sets them side by side",
        f"{typed('report', 'xray')}; {typed('report', 'xray', 'xray-wide', 'thesis')}",
        several=True,
    )
    evaluate = _add_named(
        commands,
        "evaluate",
        _evaluate,
        "open the test split of a run that left it sealed (--no-test)",
        typed("evaluate", "xray"),
    )
    flag = _adder(evaluate)
    _evaluation_flags(flag, "what the run was begun with")
    flag("--data", "where the run's images lie by now", "--data chest_xray", "where they lay", metavar="DATA")
    _root_flag(flag)
    flag("--weights", "where the run's folder of weights lies by now", "--weights weights", "where it lay")
    _cache_flag(flag, "the run's own")
    predict = _add_named(
        commands,
        "predict",
        _predict,
        "classify images with the model of a run",
        typed("predict", "xray", "scan1.jpeg", "scan2.jpeg"),
    )
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files; example: scan1.jpeg")
    _add_compare(commands)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        chosen = commands.choices.get(arguments[0], parser) if arguments else parser
        chosen.error(f"unrecognized arguments: {unknown[0]}")
    return options


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100)


def _add_named(commands: Any, name: str, action: Any, description: str, example: str, several: bool = False) -> Any:
    parser = commands.add_parser(
        name,
        help=description,
        description=f"{description[0].upper()}{description[1:]}.",
        epilog=f"example: {example}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=action)
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="+" if several else None,
        help="name of the run, or path of its folder; example: xray",
    )
    _output_flag(parser)
    return parser


def _output_flag(parser: Any) -> None:
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("reports"),
        metavar="FOLDER",
        help="folder of run folders (default: reports; example: --output /data/runs)",
    )


def _add_audit(commands: Any) -> None:
    parser = commands.add_parser(
        "audit",
        help="look at images before anything is trained on them",
        description=textwrap.dedent(
            """\
            What there is to beware of in a set of labelled images: files that cannot be read, duplicates, patients in
            two splits, labels that can be told from the files alone. A run does the same first.
            The exit status is 2 where a run would stop, else 0."""
        ),
        epilog=f"example: {typed('audit', 'path/to/chest_xray')}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=_audit)
    parser.add_argument("data", metavar="DATA", help=DATA_HELP.replace("%", "%%"))
    flag = _adder(parser)
    flag("--patient-pattern", PATTERN_HELP, r"--patient-pattern '^(P\d+)_'", PATTERN_DEFAULT, metavar="REGEX")
    _root_flag(flag)
    _splits_flags(flag)
    flag("--seed", "decides the splits that are drawn", "--seed 7", type=int, metavar="N")
    _window_flag(flag)
    _cache_flag(flag)
    flag("--keep-going", KEEP_GOING_HELP, "--keep-going", "stop", action="store_true")
    flag("--verify", VERIFY_HELP, "--verify", "trust size and time of change", action="store_true")
    parser.add_argument(
        "--json",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="write all that was found as JSON too (default: no file; example: --json audit.json)",
    )


def _add_manifest(commands: Any) -> None:
    parser = commands.add_parser(
        "manifest",
        help="write what is understood of a folder or a table as a table to be corrected by hand",
        description=textwrap.dedent(
            """\
            Write one row per image, path,label,patient,split, as --data DATA is understood, to standard output. Paths
            are relative to the folder, or to --image-root: correct the table, and give it as --data with that folder
            as --image-root."""
        ),
        epilog=f"example: {typed('manifest', 'path/to/chest_xray')} > manifest.csv",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=_manifest)
    parser.add_argument("data", metavar="DATA", help="a folder of images, or a table that names them; example: xray/")
    flag = _adder(parser)
    flag("--patient-pattern", PATTERN_HELP, r"--patient-pattern '^(P\d+)_'", PATTERN_DEFAULT, metavar="REGEX")
    _root_flag(flag)
    parser.add_argument(
        "--out",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="FILE",
        help="a new file to write to (default: standard output; example: --out manifest.csv)",
    )


def _root_flag(flag: Any) -> None:
    default = "the table's own folder"
    flag("--image-root", ROOT_HELP, "--image-root /data/HAM10000", default, type=Path, metavar="FOLDER")


def _adder(target: Any) -> Any:
    """A function that adds a flag whose help names its default, as `RunSettings` has it, and an example."""
    defaults = {name: field.default for name, field in RunSettings.model_fields.items()}

    def flag(name: str, text: str, example: str, default: str | None = None, **arguments: Any) -> None:
        shown = default or defaults[name.removeprefix("--").replace("-", "_")]
        target.add_argument(
            name,
            default=argparse.SUPPRESS,
            help=f"{text} (default: {shown}; example: {example})".replace("%", "%%"),
            **arguments,
        )

    return flag


def _splits_flags(flag: Any) -> None:
    flag(
        "--splits",
        "take the splits of this table over: image,label,split, as a run's splits.csv has them",
        "--splits reports/xray/splits.csv",
        "the given splits; what is missing is drawn",
        type=Path,
        metavar="FILE",
    )
    flag("--test-share", TEST_SHARE_HELP, "--test-share 0.25", type=float, metavar="SHARE")
    flag("--val-share", VAL_SHARE_HELP, "--val-share 0.2", type=float, metavar="SHARE")


def _window_flag(flag: Any) -> None:
    flag(
        "--window",
        "show these values of DICOM in grey and of grey of more than 8 bits, as DICOM windows do",
        "--window 40,400",
        "what the DICOM header says; else each image's own range, of an .npz the range of all",
        metavar="CENTER,WIDTH",
    )


def _cache_flag(flag: Any, default: str | None = None) -> None:
    flag(
        "--cache",
        "folder for decoded images and cached features",
        "--cache /scratch/bench",
        default or str(CACHE).replace(os.environ.get("HOME") or "~", "~"),
        type=Path,
        metavar="FOLDER",
    )


def _evaluation_flags(flag: Any, default: str | None = None) -> None:
    """Flags of how the test split is looked at; ``default`` is named where it is not that of the settings."""
    flag(
        "--bootstrap",
        "draws of patients that intervals and comparisons rest on, 100 to 100000",
        "--bootstrap 10000",
        default,
        type=int,
        metavar="N",
    )
    flag(
        "--target-sensitivity",
        "freeze the operating point that reaches this sensitivity on validation, above 0.5 and below 1",
        "--target-sensitivity 0.95",
        default or "Youden's index decides",
        type=float,
        metavar="SHARE",
    )
    flag(
        "--group-by",
        "score the test images by these columns of a .csv too, separated by commas",
        "--group-by sex,scanner",
        default or "image size, aspect ratio, and what file names tell",
        metavar="COLUMNS",
    )


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="search, retrain, evaluate and report",
        description=textwrap.dedent(
            """\
            Compare pretrained CNNs on labelled images: search, retrain the best of each backbone, evaluate the winner
            once on the test split, and leave an HTML report and a reusable .h5 model in reports/NAME/.
            Without --data, the embedded demo data are used: synthetic phantoms that say nothing about medicine."""
        ),
        epilog="\n".join(
            [
                f"example: {typed('run', '--budget', '50', '--data', 'path/to/chest_xray', '--name', 'xray')}",
                *textwrap.wrap(STATUSES),
            ]
        ),
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=_run)
    flag = _adder(parser.add_argument_group("data"))
    flag("--data", DATA_HELP, "--data chest_xray", metavar="DATA")
    flag("--patient-pattern", PATTERN_HELP, r"--patient-pattern '^(P\d+)_'", PATTERN_DEFAULT, metavar="REGEX")
    _root_flag(flag)
    _splits_flags(flag)
    flag(
        "--folds",
        "validate the finalists over so many patient-grouped folds of train and validation, or over those given by"
        " folders fold_1, fold_2 … or a fold column",
        "--folds 5",
        "off",
        type=parse_folds,
        metavar="K|given",
    )
    flag(
        "--repeats",
        "train each finalist, the default recipe and the small CNN with so many seeds; the best mean wins",
        "--repeats 5",
        type=int,
        metavar="R",
    )
    flag(
        "--resize",
        "how images become square: squash ignores the aspect ratio, pad adds black, crop cuts the longer side",
        "--resize pad",
        metavar="squash|pad|crop",
    )
    _window_flag(flag)
    flag("--keep-going", KEEP_GOING_HELP, "--keep-going", "stop", action="store_true")
    flag("--verify", VERIFY_HELP, "--verify", "trust size and time of change", action="store_true")
    flag(
        "--max-images",
        "train and validate on a stratified subset of whole patients; test stays whole",
        "--max-images 1200",
        "all",
        type=int,
        metavar="N",
    )
    flag(
        "--image-size",
        "height and width in pixels for all backbones; InceptionV3 needs at least 75",
        "--image-size 96",
        "the space's, else each backbone's native size: 224, InceptionV3 299",
        type=int,
        metavar="N",
    )

    flag = _adder(parser.add_argument_group("search"))
    flag("--budget", "number of trials", "--budget 12", type=int, metavar="N")
    flag(
        "--space",
        "search space: a shipped one (default, demo, wide) or a .yaml file",
        "--space wide",
        "default, or demo for the demo data",
        metavar="NAME|FILE",
    )
    flag(
        "--backbones",
        "narrow the space to these, separated by commas",
        "--backbones vgg16,resnet50",
        "all that the space offers",
        metavar="NAMES",
    )
    flag(
        "--weights",
        "imagenet, random, or a folder of Keras's .h5 weight files",
        "--weights random",
        "imagenet; the demo falls back to random where it cannot be had",
        metavar="KIND|FOLDER",
    )
    flag("--metric", f"validation score that decides: {', '.join(METRICS)}", "--metric log_loss", metavar="NAME")
    flag(
        "--epochs",
        "at most so many epochs a phase (head, then fine-tuning)",
        "--epochs 4",
        "the space's, else 8",
        type=int,
        metavar="N",
    )
    flag("--patience", "a phase ends after so many epochs without gain", "--patience 5", type=int, metavar="N")
    flag(
        "--no-class-weights",
        "train without class weights from the training labels",
        "--no-class-weights",
        "weights that balance the classes",
        action="store_false",
        dest="class_weights",
    )
    flag(
        "--scheduler",
        "asha stops weak trials early (never before 2 epochs), none trains all to the end",
        "--scheduler none",
        metavar="asha|none",
    )
    flag(
        "--views",
        "pre-drawn augmentations of the training images that the search trains on",
        "--views 2",
        type=int,
        metavar="N",
    )
    flag(
        "--time-limit",
        "end the search after this time; finalists and evaluation come on top",
        "--time-limit 2h",
        "no limit",
        metavar="TIME",
    )
    flag(
        "--seed", "decides splits, samples, initial heads, orders and augmentations", "--seed 7", type=int, metavar="N"
    )

    flag = _adder(parser.add_argument_group("machine"))
    flag(
        "--jobs",
        "trials at a time; with 1, a run can be repeated exactly",
        "--jobs 1",
        "one a GPU, else one a CPU core up to 8, as memory allows",
        type=int,
        metavar="N",
    )
    flag(
        "--address",
        "Ray cluster to join, as `ray start --head` prints it; all its machines must share the disks of"
        " --data, --cache and --output",
        "--address auto",
        "this machine alone",
        metavar="ADDRESS",
    )
    _cache_flag(flag)
    flag(
        "--cache-size",
        "disk space that cached features may take; the least recently used leave first, and 0 keeps none",
        "--cache-size 50G",
        "20G",
        metavar="SIZE",
    )

    flag(
        "--precision",
        "what backbones compute in while they are trained; models are scored at the end and exported in float32",
        "--precision float32",
        "auto: bfloat16 where this machine computes faster in it, else float32",
        metavar="auto|float32|bfloat16",
    )

    _evaluation_flags(_adder(parser.add_argument_group("evaluation")))

    group = parser.add_argument_group("output")
    flag = _adder(group)
    flag("--name", "name of the run and of its folder", "--name xray", "the data's name and the time", metavar="NAME")
    _output_flag(group)
    flag(
        "--resume",
        "go on with an interrupted run, or extend a finished one by a larger --budget; --data, --image-root, --cache"
        " and --weights name the new places of what has been moved",
        "--resume xray --budget 80",
        "start anew",
        metavar="NAME",
    )
    flag(
        "--no-test",
        f"leave the test split sealed; `{typed('evaluate', 'NAME')}` opens it later",
        "--no-test",
        "it is opened once, at the end",
        action="store_true",
    )


def _given(options: argparse.Namespace) -> dict[str, Any]:
    values = {key: value for key, value in vars(options).items() if key not in ("action", "resume")}
    for name in ("splits", "image_root", "cache"):
        if name in values:
            values[name] = values[name].absolute()
    if "weights" in values and values["weights"] not in ("imagenet", "random"):
        values["weights"] = str(Path(values["weights"]).absolute())
    if "time_limit" in values:
        values["time_limit"] = parse_duration(values["time_limit"])
    if "window" in values:
        values["window"] = parse_window(values["window"])
    if "cache_size" in values:
        values["cache_size"] = parse_bytes(values["cache_size"])
    if "backbones" in values:
        values["backbones"] = tuple(name.strip() for name in values["backbones"].split(",") if name.strip())
        if not values["backbones"]:
            raise ConfigError(f"--backbones takes names separated by commas, such as {','.join(BACKBONES)}.")
    if "group_by" in values:
        values["group_by"] = tuple(name.strip() for name in values["group_by"].split(",") if name.strip())
        if not values["group_by"]:
            raise ConfigError("--group-by takes names of columns separated by commas, such as sex,scanner.")
    return values


def _flag_of(setting: str) -> str:
    return "--no-class-weights" if setting == "class_weights" else "--" + setting.replace("_", "-")


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.run import request
    from bench.run.folder import find_run

    values = _given(options)
    if "resume" in options:
        output = values.pop("output")
        fixed = sorted(set(values) - set(RESUMABLE))
        if fixed:
            flags = ", ".join(map(_flag_of, RESUMABLE))
            raise ConfigError(f"{_flag_of(fixed[0])} cannot be changed when a run is resumed; only {flags} can.")
        run = find_run(options.resume, output)
        return _execute(_resumed(run, values), arguments[1:])
    data = values.get("data", "demo")
    values["data"] = _located(data)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).resolve().name).strip("-._") or "run"
    values.setdefault("name", f"{stem}-{datetime.now():%Y%m%d-%H%M%S}")
    values.setdefault("cache", CACHE)
    settings = make_settings(**values)
    request.check_output(RunDir(settings.output / settings.name), settings.cache)
    return _execute(request.prepare(settings, tell=print), arguments[1:])


def _resumed(run: RunDir, values: dict[str, Any]) -> Any:
    """The request of a run that is there, with what is said anew.

    Raises:
        ConfigError: if that is impossible.
    """
    from bench.run import request

    if "data" in values:
        values["data"] = _located(values["data"])
    make_settings(**{"name": run.name, "cache": CACHE, **values})
    return request.resume(run, values)


def _located(data: str) -> str:
    """``data`` with a path made absolute; names stay names."""
    return data if data == "demo" or data.lower().startswith("medmnist:") else str(Path(data).absolute())


def _audit(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.data.audit.audit import audit, require_enough
    from bench.data.imageset import how_read
    from bench.data.patients import naming
    from bench.data.splits import require_learnable
    from bench.data.splits_file import take_over
    from bench.run import request
    from bench.run.console import Screen
    from bench.run.examine import decode_all
    from bench.run.folder import write_json

    values = _given(options)
    json_file = values.pop("json", None)
    values.setdefault("cache", CACHE)
    settings = make_settings(**{**values, "data": _located(values["data"]), "name": "audit"})
    request.check_outside(settings, "cache")
    request.check_writable(settings.cache, "--cache")
    if json_file is not None:
        if json_file.is_dir():
            raise ConfigError(f"--json takes a file, but {json_file} is a folder.")
        request.check_writable(json_file.absolute().parent, "--json")
    screen, source = Screen(), request.open_settings(settings, print)
    screen.layout(how_read(source))
    with naming(source.patient_rule):
        require_learnable(source.table, source.table["label"])
    if settings.splits is not None:
        take_over(settings.splits, source.table)
    stored = decode_all(source, [], settings, screen)
    found = audit(source, stored, settings, strict=False)
    screen.audit(found.audit)
    if json_file is not None:
        write_json(json_file, found.audit)
        screen.line(f"Audit: {json_file}")
    if found.splits.refused:
        raise ConfigError(found.splits.refused)
    require_enough(source, stored, settings.keep_going)
    return 0


def _manifest(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.data.sources.manifest_out import manifest_text, root_of
    from bench.run.folder import write_text
    from bench.run.request import check_writable, open_settings

    values = _given(options)
    out = values.pop("out", None)
    if out is not None:
        if out.exists():
            raise ConfigError(f"--out {out} is there already, and may hold corrections; choose another name.")
        check_writable(out.absolute().parent, "--out")
    settings = make_settings(**{**values, "data": _located(values["data"]), "name": "manifest", "cache": CACHE})
    source = open_settings(settings)
    text = manifest_text(source)
    for note in source.notes:
        print(f"note: {note}", file=sys.stderr)
    classes = ", ".join(source.classes)
    print(f"{len(source.table)} images of {classes}; patients: {source.patient_rule}.", file=sys.stderr)
    name, root = (shlex.quote(str(path)) for path in (out or "manifest.csv", root_of(source)))
    print(f"Correct it, and use it by: --data {name} --image-root {root}", file=sys.stderr)
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
    else:
        write_text(out, text)
    return 0


def _execute(request: Any, arguments: Sequence[str], evaluate: bool = False) -> int:
    from bench import cluster as workers
    from bench.data.sealing import Sealed
    from bench.evaluation.test_access import TestSealed
    from bench.finalists.select import NoFinalist
    from bench.models.export import ExportMismatch
    from bench.run import pipeline
    from bench.run.console import Screen
    from bench.search.tune import SearchFailed

    screen = Screen()
    again = resume_command(request.run.name, request.run.path.parent)
    try:
        if evaluate:
            pipeline.evaluate(request, screen)
        else:
            pipeline.execute(request, screen, typed("run", *arguments))
    except (SearchFailed, NoFinalist, ExportMismatch, TrialFailed, TestSealed, Sealed) as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, SearchFailed):
            print(f"Once that is seen to, go on by: {again}", file=sys.stderr)
        return 1
    except OSError as error:
        if kind_of(error) != MACHINE:
            raise
        print(f"error: {reason_of(error)}", file=sys.stderr)
        if request.run.run.exists():
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
        workers.stop()
    return UNFAIR if pipeline.warn_if_unfair(request.run, screen) else 0


def _report(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.run.folder import find_run

    runs = [find_run(name, options.output) for name in options.name]
    if len(runs) > 1:
        from bench.report.side_by_side.page import render_side_by_side

        print(f"Side by side: {render_side_by_side(runs, options.output)}")
    else:
        from bench.report.html import render
        from bench.report.read.files import read
        from bench.report.summary import unfairness

        print(f"Report: {render(runs[0])}")
        found = unfairness(read(runs[0]))
        for sentence in found:
            print(f"ATTENTION: {sentence}")
        return UNFAIR if found else 0
    return 0


def _evaluate(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.run.folder import find_run

    values = {key: value for key, value in _given(options).items() if key not in ("name", "output")}
    run = find_run(options.name, options.output)
    return _execute(_resumed(run, values), arguments[1:], evaluate=True)


def _predict(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    import json

    import numpy as np

    from bench.data.images.window import Window
    from bench.models.export import load_images, predict_file
    from bench.run.folder import file_sha256, find_run

    run = find_run(options.name, options.output)
    finish = resume_command(run.name, run.path.parent)
    if not run.best_model_card.exists():
        raise ConfigError(f"Run {run.name!r} has no model yet; finish it by `{finish}`.")
    card = json.loads(run.best_model_card.read_text(encoding="utf-8"))
    if not run.best_model.exists() or card["sha256"] != file_sha256(run.best_model):
        raise ConfigError(
            f"best_model.json of run {run.name!r} does not belong to the best_model.h5 beside it (the run was "
            f"interrupted, or one of them was replaced); finish it by `{finish}`."
        )
    missing = [str(path) for path in options.images if not path.is_file()]
    if missing:
        raise ConfigError(f"There is no image file {missing[0]}.")
    given, window = card["input"], card["input"].get("window")
    images = load_images(
        options.images,
        given["height"],
        given["channels"],
        given.get("resize", "squash"),
        Window(**window) if window else None,
    )
    probabilities = predict_file(run.best_model, images, np.arange(len(images)))
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["image", *card["classes"]])
    for path, row in zip(options.images, probabilities, strict=True):
        lines.writerow([path, *(f"{value:.4f}" for value in row)])
    return 0


LIST = "compare24"
"""The shipped list: 3 backbones, policies none and light, depths 0 to 2."""


def _add_compare(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="time this suite, and others' tools, on the same search",
        description=textwrap.dedent(
            """\
            Run this suite, this suite with each of its levers switched off, plain Ray Tune and KerasTuner on the same
            images, space and number of trials, one after the other, and leave a CSV and an HTML page in reports/NAME/.
            Run again under the same name, it goes on where it stopped, and takes further methods and seeds in."""
        ),
        epilog=f"example: {typed('compare', '--data', 'path/to/chest_xray', '--budget', '24', '--name', 'speed')}",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(action=_compare)
    flag = _adder(parser)
    flag("--data", DATA_HELP, "--data chest_xray", metavar="DATA")
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
    flag("--val-share", VAL_SHARE_HELP, "--val-share 0.2", type=float, metavar="SHARE")
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
    _cache_flag(flag)
    flag("--name", "name of the comparison and of its folder", "--name speed", "compare- and the data's name")
    _output_flag(parser)


def _compare(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from bench.compare import asked, compare
    from bench.run.console import Screen

    values = _given(options)
    if "limit" in values:
        return _limit(values)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(values.get("data", "demo")).resolve().name).strip("-._") or "data"
    values = {"cache": CACHE, "name": f"compare-{stem}", **values, "data": _located(values.get("data", "demo"))}
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
    cache = values.get("cache")
    try:
        if (comparison / "compare.json").is_file():
            list_limit.run_list_limit(comparison, cache or CACHE.absolute())
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
