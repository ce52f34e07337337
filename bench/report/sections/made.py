"""The section on how the run was made: the commands that repeat, resume and reuse it, settings, versions and time."""

import json
from typing import Any

import pandas as pd

from bench.invocation import typed
from bench.report import names, wording
from bench.report.blocks import Block, Code, Column, Heading, Missing, Paragraph, Section, pairs, table
from bench.report.names import backbone, present
from bench.report.page import Page
from bench.report.read.files import listed, mapping

TITLE = "How it was made"


def made(page: Page) -> Section:
    """Settings, space, versions, hardware, time, and the commands that repeat, resume and reuse the run."""
    run = page.files.run
    blocks: list[Block] = [*page.problems("run.json")]
    if present(run.get("command")):
        blocks.append(Code("The command that made this run", str(run["command"])))
    blocks.append(Code("To resume it, or to go on with a larger --budget", typed("run", "--resume", page.run.name)))
    blocks += [Heading("The model to reuse"), *_reuse(page)]
    blocks += page.part("How often the test split was opened", _openings)
    blocks += [Heading("Settings"), _settings(page.files.settings)]
    blocks += [*_space(mapping(run.get("space"))), *_weights(mapping(run.get("weights")))]
    blocks += [Heading("Time, versions and hardware"), *_circumstances(run)]
    return Section("made", TITLE, blocks)


def _openings(page: Page) -> list[Block]:
    """What the ledger knows of this test split; nothing while it is sealed."""
    if page.files.evaluation is None:
        return []
    evaluation = mapping(page.files.evaluation)
    ledger = mapping(evaluation.get("ledger"))
    if not ledger:
        times = wording.counted(len(listed(evaluation.get("opened"))), "time")
        return [
            Paragraph(
                f"This run opened it {times}. Openings by other runs are not known: this run was evaluated by an "
                "earlier version of the suite, which kept no ledger."
            )
        ]
    rows = pd.DataFrame([mapping(one) for one in listed(ledger.get("openings"))], dtype="object")
    said: list[Block] = [Paragraph(str(ledger["sentence"]))] if present(ledger.get("sentence")) else []
    if not len(rows):
        return said or [Missing("evaluation.json lists no opening.")]
    columns = [
        Column("time", "Opened", wording.moment, numeric=False),
        Column("run", "By the run", numeric=False),
        Column("images", "Images", wording.count),
        Column("split", "Fingerprint of the test images", _brief, numeric=False),
        Column("decisions", "SHA-256 of best_model.json then", _brief, numeric=False),
    ]
    caption = (
        "Every opening on record of these test images, and of others of the same data. best_model.json holds every "
        "choice, and was written before."
    )
    return [*said, table(rows, caption, columns, folded=len(rows) > 6)]


def _brief(value: Any) -> str:
    """The start of a fingerprint, enough to tell it from others."""
    words = wording.text(value)
    return words if len(words) <= 16 else f"{words[:16]}…"


def _settings(settings: dict[str, Any]) -> Block:
    if not settings:
        return Missing("run.json holds no settings.")
    shown = {key.replace("_", " "): _plain(value) for key, value in settings.items()}
    return pairs(shown, "Settings of the run, its seed among them.", "Setting", "Value")


def _plain(value: Any) -> str:
    """A setting as text: lists in one line, nothing as a dash."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items()) or "none"
    return wording.text(value)


def _range(parameter: Any) -> str:
    """What a parameter may be: ``0.0003 to 0.003, logarithmic``, or its choices, and when it is there at all."""
    about = mapping(parameter)
    if "choices" in about:
        text = _plain(about["choices"])
    elif "low" in about and "high" in about:
        text = f"{_plain(about['low'])} to {_plain(about['high'])}{', logarithmic' if about.get('log') else ''}"
    else:
        return _plain(parameter)
    when = [f"{key.replace('_', ' ')} is {_plain(value)}" for key, value in mapping(about.get("when")).items()]
    return f"{text}, where {names.joined(when)}" if when else text


def _space(space: dict[str, Any]) -> list[Block]:
    if not space:
        return [Missing("run.json holds no search space.")]
    blocks: list[Block] = [Heading(f"Search space: {wording.text(space.get('name'))}")]
    parameters = {names.parameter(key): _range(value) for key, value in mapping(space.get("parameters")).items()}
    policies = {
        key: _plain(value) if value else "no change" for key, value in mapping(space.get("augmentations")).items()
    }
    if parameters:
        blocks.append(pairs(parameters, "What the search could vary.", "Parameter", "Values"))
    if policies:
        blocks.append(pairs(policies, "Augmentation policies.", "Policy", "Ranges"))
    return blocks


def _weights(weights: dict[str, Any]) -> list[Block]:
    if not weights:
        return []
    blocks: list[Block] = [Heading(f"Weights: {wording.text(weights.get('kind'))}")]
    if present(weights.get("note")):
        blocks.append(Paragraph(str(weights["note"])))
    hashes = {backbone(name): wording.text(value) for name, value in mapping(weights.get("sha256")).items()}
    if hashes:
        caption = "SHA-256 of the weights that training started from."
        blocks.append(pairs(hashes, caption, "Backbone", "SHA-256", folded=True))
    return blocks


def _circumstances(run: dict[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    spent = {names.STAGES.get(key, key): wording.seconds(value) for key, value in mapping(run.get("seconds")).items()}
    if spent:
        blocks.append(pairs(spent, "Time by stage.", "Stage", "Time"))
    hardware = {key.replace("_", " "): _plain(value) for key, value in mapping(run.get("hardware")).items()}
    if hardware:
        blocks.append(pairs(hardware, "Hardware.", "Part", "Value"))
    packages = {key: _plain(value) for key, value in mapping(run.get("packages")).items()}
    if packages:
        blocks.append(pairs(packages, "Package versions.", "Package", "Version", folded=True))
    return blocks or [Missing("run.json holds neither times nor versions.")]


_READ = 'Image.open("image.png").convert("L" if channels == 1 else "RGB")'
_SHAPES = {
    "squash": ("Image", f"{_READ}.resize((width, height), 2)"),
    "pad": ("Image, ImageOps", f"ImageOps.pad({_READ}, (width, height), 2, 0)"),
    "crop": ("Image, ImageOps", f"ImageOps.fit({_READ}, (width, height), 2)"),
}
"""What to import, and how an image becomes what the model takes, by --resize."""


def _reuse(page: Page) -> list[Block]:
    if not page.run.best_model.exists():
        return [Missing("best_model.h5 is missing: there is no winner yet, or the file was moved.")]
    classes = json.dumps(page.files.classes, ensure_ascii=False)
    kind, shaped = _SHAPES.get(str(page.files.settings.get("resize")), _SHAPES["squash"])
    lines = [
        "import keras, numpy as np",
        f"from PIL import {kind}",
        'model = keras.models.load_model("best_model.h5")',
        "_, height, width, channels = model.input_shape",
        f"image = {shaped}",
        'probabilities = model.predict(np.asarray(image, dtype="float32").reshape(1, height, width, channels))[0]',
        f"print(dict(zip({classes}, probabilities.tolist())))",
    ]
    return [
        Code("Python that reuses best_model.h5 (two imports, five lines)", "\n".join(lines)),
        Paragraph(
            "The model takes values from 0 to 255 and has its preprocessing inside. Its probabilities are not yet "
            "calibrated: best_model.json holds the temperature and the threshold. Of images of 16 bits, with an "
            f"orientation tag, or in DICOM, “{typed('predict')}” makes exactly what the run did. The model was "
            "made for research and is no medical device."
        ),
    ]
