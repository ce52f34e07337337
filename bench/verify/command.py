"""The subcommand ``verify``: every number of a report computed again from its files, by other code."""

import argparse
from collections.abc import Callable
from pathlib import Path

from bench.flags import Commands, add_command, add_run_name, output_of
from bench.invocation import typed
from bench.run.folder import find_run
from bench.texts import visible
from bench.verify.reading import Folder, Tally

SHOWN = 5
"""Disagreements of a check that are printed."""


def add_parser(commands: Commands) -> None:
    """``verify``."""
    parser = add_command(
        commands,
        "verify",
        verify,
        "compute every number of a run's report again, by other code",
        typed("verify", "xray"),
        "Computes again what a report says, from the CSV files of its run and with code of its own (scikit-learn,"
        " statsmodels): scores, intervals, counts, curves, tables; and checks file hashes, the seal on the test split,"
        " the plan and the ledgers. The exit status is 1 if anything does not agree.",
    )
    add_run_name(parser)


def verify(options: argparse.Namespace) -> int:
    """Print what was checked and what does not agree; returns 1 if anything does not.

    Raises:
        ConfigError: if there is no such run.
    """
    run = find_run(options.name, output_of(options))
    found = verified(run.path)
    for line in told(found):
        print(visible(line))
    return 1 if any(tally.wrong for tally in found.values()) else 0


def checks() -> dict[str, Callable[[Folder, Tally], None]]:
    """Every check by the file, or the matter, that it is about."""
    from bench.verify import compared, integrity, tested, trainings

    return {
        "file hashes": integrity.files,
        "seal and plan": integrity.seal,
        "ledgers": integrity.ledger,
        "splits.csv": trainings.splits,
        "trials.csv": trainings.trials,
        "finalists.csv": trainings.finalists,
        "folds.csv": trainings.folds,
        "predictions": tested.predictions,
        "images and validation": tested.sizes,
        "scores of models": tested.models,
        "intervals by patients": tested.intervals,
        "comparisons.csv": compared.comparisons,
        "operating_points.csv": tested.operating_points,
        "prevalences.csv": tested.prevalences,
        "decision_curve.csv": tested.decision_curve,
        "curves.csv": tested.curves,
        "subgroups.csv": tested.subgroups,
        "calibration.json": tested.calibration,
        "failures.csv": tested.failures,
    }


def verified(path: Path) -> dict[str, Tally]:
    """What each check found in a run folder, by its name; a table that a check cannot read does not agree."""
    from bench.verify.reading import NotThere

    run, found = Folder(path), {}
    for name, check in checks().items():
        tally = found[name] = Tally()
        try:
            check(run, tally)
        except NotThere as error:
            tally.skipped = str(error)
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError) as error:
            tally.check(False, f"cannot be checked: {type(error).__name__}: {error}")
    return found


def told(found: dict[str, Tally]) -> list[str]:
    """A short table of what was checked, and what does not agree."""
    width = max(map(len, found))
    lines = [f"{'checked':{width}}  values  wrong"]
    for name, tally in found.items():
        note = f"  {tally.skipped}" if tally.skipped else ""
        lines.append(f"{name:{width}}  {tally.compared:6}  {len(tally.wrong):5}{note}")
    for name, tally in found.items():
        lines += [f"{name}: {sentence}" for sentence in tally.wrong[:SHOWN]]
        if len(tally.wrong) > SHOWN:
            lines.append(f"{name}: and {len(tally.wrong) - SHOWN} more")
    compared, wrong = sum(one.compared for one in found.values()), sum(len(one.wrong) for one in found.values())
    lines.append(f"{compared} values checked: {'all agree' if not wrong else f'{wrong} do not agree'}.")
    return lines
