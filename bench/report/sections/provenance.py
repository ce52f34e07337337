"""The section on how the run was made: the commands that repeat, resume and reuse it, settings, versions and time."""

import json
from typing import Any

import pandas as pd

from bench import numbers
from bench.invocation import resume, typed
from bench.report import names
from bench.report.answers import Facts
from bench.report.blocks import Section, Table, pairs, table
from bench.report.page import Page
from bench.run.plans import changes
from bench.run.record import ParameterRange, RunRecord

TITLE = "Provenance"
SCALING = "How pixels of 0 to 255 are scaled for each backbone, inside the model, as its weights were trained."
PRECISION = "What each backbone computed in while it was trained; models are scored and exported in float32."


def provenance(page: Page) -> Section:
    """Settings, space, versions, hardware, time, and the commands that repeat, resume and reuse the run."""
    record = page.files.record
    return page.section(
        "provenance",
        TITLE,
        record=record,
        resume=resume(page.run.name, page.run.path.parent),
        exported=page.run.best_model.exists(),
        winner=page.files.title(record.winner.backbone) if record.winner else "",
        made=page.run.best_model_card.exists(),
        model_hash=Facts(page).model_hash,
        classes=json.dumps(page.files.classes, ensure_ascii=False),
        predict=typed("predict"),
        openings=_openings,
        plans=_plans(record),
        settings=_settings(record),
        space=_space(record),
        hashes=_weights(record),
        circumstances=_circumstances(record),
    )


def _openings(page: Page) -> Table | None:
    """What the ledger knows of this test split; None where it lists no opening."""
    ledger = page.files.tested.ledger
    if ledger is None or not ledger.openings:
        return None
    rows = pd.DataFrame([one.model_dump() for one in ledger.openings], dtype="object")
    rows = rows.assign(**{name: rows[name].map(_brief) for name in ("split", "decisions", "plan")})
    rows["scored"] = [scores.get("auc") for scores in rows["scores"]]
    present = rows["time"].isin(page.files.tested.opened[-1:]) & (rows["run"] == page.run.name)
    rows.loc[present & rows["scored"].isna(), "scored"] = page.files.chosen_scores.get("auc", (None,))[0]
    return table("openings", rows, folded=len(rows) > 6)


def _plans(record: RunRecord) -> Table | None:
    """The plans of the run, and what each changed; None where none is on record, as of earlier versions."""
    if not record.plans:
        return None
    told = ["", *("; ".join(one) for one in changes(record.plans))]
    rows = pd.DataFrame({"time": [one.time for one in record.plans], "sha256": [one.sha256 for one in record.plans]})
    return table("plans", rows.assign(changed=told), folded=False)


def _brief(value: Any) -> str:
    """The start of a fingerprint, enough to tell it from others."""
    words = numbers.text(value)
    return words if len(words) <= 16 else f"{words[:16]}…"


def _settings(record: RunRecord) -> Table:
    shown = names.settings(record.settings.model_dump(mode="json", exclude_unset=True))
    return pairs(shown, "Settings of the run, its seed among them.", "Setting", "Value")


def _range(parameter: ParameterRange) -> str:
    """What a parameter may be: ``0.0003 to 0.003, logarithmic``, or its choices, and when it is there at all."""
    if parameter.low is not None and parameter.high is not None:
        scale = ", logarithmic" if parameter.log else ""
        told = f"{parameter.low:g} to {parameter.high:g}{scale}"
    else:
        told = names.setting(parameter.choices)
    when = [f"{key.replace('_', ' ')} is {names.setting(value)}" for key, value in parameter.when.items()]
    return f"{told}, where {names.joined(when)}" if when else told


def _space(record: RunRecord) -> list[Table]:
    """What the search could vary, and the augmentation policies."""
    parameters = {names.parameter(key): _range(value) for key, value in record.space.parameters.items()}
    policies = {
        key: names.setting(value) if value else "no change" for key, value in record.space.augmentations.items()
    }
    return [
        pairs(parameters, "What the search could vary.", "Parameter", "Values"),
        pairs(policies, "Augmentation policies.", "Policy", "Ranges"),
    ]


def _weights(record: RunRecord) -> Table:
    hashes = {names.model(name, record.titles): value for name, value in record.weights.sha256.items()}
    caption = "SHA-256 of the weights that training started from."
    return pairs(hashes, caption, "Backbone", "SHA-256", folded=True)


def _circumstances(record: RunRecord) -> list[Table]:
    """Time by stage, hardware and versions of packages."""
    spent = {names.STAGES.get(key, key): numbers.seconds(value) for key, value in record.seconds.items()}
    hardware = names.hardware(record)
    computed = record.precisions()
    fed = {names.model(name, record.titles): how for name, how in record.weights.scaling.items()}
    return [
        pairs(spent, "Time by stage.", "Stage", "Time"),
        pairs(hardware, "Hardware.", "Part", "Value"),
        *([pairs(fed, SCALING, "Backbone", "Scaling")] if fed else []),
        *([pairs(computed, PRECISION, "Backbone", "Precision")] if computed else []),
        pairs(record.packages, "Package versions.", "Package", "Version", folded=True),
    ]
