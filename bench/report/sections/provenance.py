"""The section on how the run was made: the commands that repeat, resume and reuse it, settings, versions and time."""

import json
from typing import Any

import pandas as pd

from bench import numbers
from bench.invocation import typed
from bench.report import names
from bench.report.blocks import Section, Table, pairs, table
from bench.report.names import backbone
from bench.report.page import Page
from bench.run.record import ParameterRange, RunRecord

TITLE = "Provenance"


def provenance(page: Page) -> Section:
    """Settings, space, versions, hardware, time, and the commands that repeat, resume and reuse the run."""
    record = page.files.record
    return page.section(
        "provenance",
        TITLE,
        record=record,
        resume=typed("run", "--resume", page.run.name),
        exported=page.run.best_model.exists(),
        reuse=_reuse(page),
        predict=typed("predict"),
        openings=_openings,
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
    rows = rows.assign(split=rows["split"].map(_brief), decisions=rows["decisions"].map(_brief))
    return table("openings", rows, folded=len(rows) > 6)


def _brief(value: Any) -> str:
    """The start of a fingerprint, enough to tell it from others."""
    words = numbers.text(value)
    return words if len(words) <= 16 else f"{words[:16]}…"


def _settings(record: RunRecord) -> Table | None:
    settings = record.settings.model_dump(mode="json", exclude_unset=True)
    shown = names.settings(settings)
    return pairs(shown, "Settings of the run, its seed among them.", "Setting", "Value") if shown else None


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
    shown = [pairs(parameters, "What the search could vary.", "Parameter", "Values")] if parameters else []
    return shown + ([pairs(policies, "Augmentation policies.", "Policy", "Ranges")] if policies else [])


def _weights(record: RunRecord) -> Table | None:
    hashes = {backbone(name): value for name, value in record.weights.sha256.items()}
    caption = "SHA-256 of the weights that training started from."
    return pairs(hashes, caption, "Backbone", "SHA-256", folded=True) if hashes else None


def _circumstances(record: RunRecord) -> list[Table]:
    """Time by stage, hardware and versions of packages."""
    spent = {names.STAGES.get(key, key): numbers.seconds(value) for key, value in record.seconds.items()}
    about = record.hardware.model_dump(mode="json", exclude_unset=True)
    hardware = names.settings(about)
    shown = [pairs(spent, "Time by stage.", "Stage", "Time")] if spent else []
    shown += [pairs(hardware, "Hardware.", "Part", "Value")] if hardware else []
    return shown + (
        [pairs(record.packages, "Package versions.", "Package", "Version", folded=True)] if record.packages else []
    )


_READ = 'Image.open("image.png").convert("L" if channels == 1 else "RGB")'
_SHAPES = {
    "squash": ("Image", f"{_READ}.resize((width, height), 2)"),
    "pad": ("Image, ImageOps", f"ImageOps.pad({_READ}, (width, height), 2, 0)"),
    "crop": ("Image, ImageOps", f"ImageOps.fit({_READ}, (width, height), 2)"),
}
"""What to import, and how an image becomes what the model takes, by --resize."""


def _reuse(page: Page) -> str:
    """Python that predicts with the exported model."""
    classes = json.dumps(page.files.classes, ensure_ascii=False)
    kind, shaped = _SHAPES[page.files.record.settings.resize]
    lines = [
        "import keras, numpy as np",
        f"from PIL import {kind}",
        'model = keras.models.load_model("best_model.h5")',
        "_, height, width, channels = model.input_shape",
        f"image = {shaped}",
        'probabilities = model.predict(np.asarray(image, dtype="float32").reshape(1, height, width, channels))[0]',
        f"print(dict(zip({classes}, probabilities.tolist())))",
    ]
    return "\n".join(lines)
