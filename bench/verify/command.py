"""The subcommand ``verify``: every number of a report computed again from its files, by other code."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.flags import Commands, add_command, add_run_name, output_of
from bench.invocation import typed
from bench.run.folder import find_run
from bench.texts import visible

if TYPE_CHECKING:
    from bench.verify.reading import Folder, Tally

PAGE = "report.html"
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
    for line in [*told(found), *(f"Not computed again: {what}." for what in left_out(run.path))]:
        print(visible(line))
    return 1 if any(tally.wrong for tally in found.values()) else 0


def checks() -> "dict[str, Callable[[Folder, Tally], None]]":
    """Every check by the file, or the matter, that it is about."""
    from bench.verify import (
        altered,
        bands,
        calibrated,
        chosen,
        compared,
        conformal,
        integrity,
        nested,
        page,
        patients,
        secondary,
        tested,
        trainings,
        verdicts,
    )

    return {
        "file hashes": integrity.files,
        "seal and plan": integrity.seal,
        "ledgers": integrity.ledger,
        "splits.csv": trainings.splits,
        "trials.csv": trainings.trials,
        "finalists.csv": trainings.finalists,
        "folds.csv": trainings.folds,
        "outer.csv": nested.outer,
        "scores of trainings": chosen.trainings,
        "cost of choosing": chosen.selection,
        "predictions": tested.predictions,
        "images and validation": tested.sizes,
        "scores of models": tested.models,
        "intervals of models": bands.models,
        "intervals on validation": bands.on_validation,
        "comparisons.csv": compared.comparisons,
        "verdicts on pairs": verdicts.pairs,
        "operating_points.csv": tested.operating_points,
        "operating_points.csv, intervals": bands.operating_points,
        "prevalences.csv": tested.prevalences,
        "prevalences.csv, intervals": bands.prevalences,
        "decision_curve.csv": tested.decision_curve,
        "decision_curve.csv, intervals": bands.decision_curve,
        "curves.csv": tested.curves,
        "curves.csv, intervals": bands.curves,
        "subgroups.csv": tested.subgroups,
        "subgroups.csv, intervals": bands.subgroups,
        "calibration map": calibrated.fitted,
        "calibration.json": calibrated.calibration,
        "verdict on calibration": verdicts.calibration,
        "verdicts on validation": verdicts.on_validation,
        "frozen thresholds": calibrated.thresholds,
        "prediction sets": conformal.prediction_sets,
        "failures.csv": tested.failures,
        "robustness.csv": altered.robustness,
        "saliency.json": altered.saliency,
        "by patient": patients.patients,
        "ensemble and views": secondary.secondary,
        "what stands beside": verdicts.beside_winner,
        "report.html": page.page,
    }


def verified(path: str | os.PathLike[str]) -> "dict[str, Tally]":
    """What each check found in a run folder, by its name; a table that a check cannot read does not agree."""
    from bench.verify.reading import Folder, NotThere, Tally

    run, found = Folder(Path(path)), {}
    for name, check in checks().items():
        tally = found[name] = Tally()
        try:
            check(run, tally)
        except NotThere as error:
            tally.note(str(error))
        except Exception as error:  # a damaged file ends a check in whatever way its reader has
            tally.check(False, f"cannot be checked: {type(error).__name__}: {error}")
    return found


LEFT_OUT = {
    "audit.json": "what the audit says (audit.json): the images themselves are needed",
    "suspected_labels.csv": "margins in suspected_labels.csv: the features that they rest on are needed",
    "evaluation.json": "reasons, refusals, and the words on openings and on cost (evaluation.json), which are prose",
    "run.json": "whether the search was settled, notes, times and machine (run.json)",
    "calibration.json": "cross-validated log loss of each calibration map: it depends on how folds were dealt",
    "trials.csv": "importance of hyperparameters, chances of other trials and times, as report.html has them",
    "best_model.h5": "predictions: `python -m bench predict` makes them from best_model.h5 and the images",
    "external": "external tests (external/): they are tests of the same model on other images",
    PAGE: "prose, figures and threshold panel of report.html, but for what twice as many patients would give",
    "model_card.md": "model_card.md: the tables of the card are compared as report.html has them",
    "methods.md": "methods.md, which is prose",
}
"""Files of a run -> what of them, or of what is said by them, is not computed again, and why."""


def left_out(path: Path) -> list[str]:
    """What is not computed again of a run folder, in words."""
    return [what for name, what in LEFT_OUT.items() if (path / name).exists()]


def told(found: "dict[str, Tally]") -> list[str]:
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
