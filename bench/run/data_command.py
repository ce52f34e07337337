"""The subcommands that show what is understood of images before anything is trained on them: audit and manifest."""

import argparse
import shlex
import sys
from pathlib import Path

from bench.errors import ConfigError
from bench.flags import Commands, add_command, add_flag, add_settings, describe, given
from bench.invocation import typed
from bench.run.folder import write_json, write_text
from bench.settings import make_settings
from bench.texts import visible

TAKE_DATA = ("audit", "manifest")
"""Commands whose one argument is DATA; they take it behind --data, too, as a run does."""


def add_audit(commands: Commands) -> None:
    """``audit``, with the settings that decide what is read and how it is split."""
    parser = add_command(
        commands,
        "audit",
        audit,
        "look at images before anything is trained on them",
        typed("audit", "path/to/chest_xray"),
        "What there is to beware of in a set of labelled images: files that cannot be read, duplicates, patients in"
        " two splits, labels that can be told from the files alone. A run does the same first.\n"
        "The exit status is 2 where a run would stop, else 0.",
    )
    parser.add_argument("data", metavar="DATA", help=describe("data"))
    add_settings(parser, "patient_pattern image_root splits test_share val_share split_seed")
    add_settings(parser, "window max_pixels cache keep_going verify")
    add_flag(
        parser,
        "--json",
        "write all that was found as JSON too",
        "--json audit.json",
        "no file",
        type=Path,
        metavar="FILE",
    )


def add_manifest(commands: Commands) -> None:
    """``manifest``, with the settings that decide how a source is understood."""
    parser = add_command(
        commands,
        "manifest",
        manifest,
        "write what is understood of a folder or a table as a table to be corrected by hand",
        f"{typed('manifest', 'path/to/chest_xray')} > manifest.csv",
        "Write one row per image, path,label,patient,split, as --data DATA is understood, to standard output. Paths"
        " are relative to the folder, or to --image-root: correct the table, and give it as --data with that folder"
        " as --image-root.",
    )
    parser.add_argument("data", metavar="DATA", help="a folder of images, or a table that names them; example: xray/")
    add_settings(parser, "patient_pattern image_root max_pixels")
    text = "a new file to write to"
    add_flag(parser, "--out", text, "--out manifest.csv", "standard output", type=Path, metavar="FILE")


def audit(options: argparse.Namespace) -> int:
    """Print what an audit finds.

    Raises:
        ConfigError: where a run would stop.
    """
    from bench.data.audit.audit import audit, require_enough
    from bench.data.audit.findings import how_read
    from bench.data.patients import naming
    from bench.data.splits import require_learnable, take_over
    from bench.run.console import Screen, next_steps
    from bench.run.examine import decode_all
    from bench.run.request import check_outside, check_writable, open_settings

    settings, file = make_settings(**given(options), name="audit"), getattr(options, "json", None)
    check_outside(settings, "cache")
    check_writable(settings.cache, "--cache")
    if file is not None:
        if file.is_dir():
            raise ConfigError(f"--json takes a file, but {file} is a folder.")
        check_writable(file.absolute().parent, "--json")
    screen, source = Screen(), open_settings(settings, print)
    screen.layout(how_read(source))
    with naming(source.patient_rule):
        require_learnable(source.table, source.table["label"])
    if settings.splits is not None:
        take_over(settings.splits, source.table)
    stored = decode_all(source, [], settings, screen)
    found = audit(source, stored, settings, strict=False, counting=screen.counting)
    screen.audit(found.audit)
    if file is not None:
        write_json(file, found.audit)
        screen.line(f"Audit: {file}")
    if found.splits.refused:
        raise ConfigError(found.splits.refused)
    require_enough(source, stored, settings.keep_going)
    for line in next_steps(*_steps(options, found.audit.patients.assumed)):
        screen.line(line)
    return 0


def _steps(options: argparse.Namespace, assumed: bool) -> list[tuple[str, str]]:
    """What an audit is good for, each with its command; ``assumed`` if nothing tells the patients."""
    arguments = list(options.command_line)
    if "json" in options:
        arguments = [one for one in arguments if not one.startswith("--json=")]
        if "--json" in arguments:
            del arguments[arguments.index("--json") : arguments.index("--json") + 2]
    arguments.remove(options.data)
    steps = [("search, retrain, evaluate", typed("run", "--data", options.data, *arguments))]
    if assumed:
        table = f"{typed('manifest', options.data)} > manifest.csv"
        steps.insert(0, ("say who the patients are", f"--patient-pattern REGEX, or a table: {table}"))
    return steps


def manifest(options: argparse.Namespace) -> int:
    """Write a table of what is understood of a source.

    Raises:
        ConfigError: if there is nothing usable, or the file is there already.
    """
    from bench.data.sources.manifest import manifest_text, root_of
    from bench.run.request import check_writable, open_settings

    settings, out = make_settings(**given(options), name="manifest"), getattr(options, "out", None)
    if out is not None:
        if out.exists():
            raise ConfigError(f"--out {out} is there already, and may hold corrections; choose another name.")
        check_writable(out.absolute().parent, "--out")
    source = open_settings(settings)
    text = manifest_text(source)
    for note in source.notes:
        print(visible(f"note: {note}"), file=sys.stderr)
    classes = ", ".join(source.classes)
    print(visible(f"{len(source.table)} images of {classes}; patients: {source.patient_rule}."), file=sys.stderr)
    name, root = (shlex.quote(str(path)) for path in (out or "manifest.csv", root_of(source)))
    print(visible(f"Correct it, and use it by: --data {name} --image-root {root}"), file=sys.stderr)
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
    else:
        write_text(out, text)
    return 0
