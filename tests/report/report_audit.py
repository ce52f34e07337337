"""A made-up audit.json of format 2, and the rows of splits.csv that go with it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

NOTES = (
    "The given val split (16 images) is too small to select by; it was merged with train and drawn anew.",
    "3 images left train because their patients are also in test.",
)


def left_out_rows(classes: tuple[str, ...]) -> pd.DataFrame:
    """Rows of splits.csv of images that take no part: 2 truncated, 3 whose patient is in test, 5 not drawn."""
    reasons = ["truncated: 12 bytes are missing", "truncated: 40 bytes are missing"]
    reasons += ["its patient is also in test"] * 3 + ["not drawn by --max-images 5216"] * 5
    return pd.DataFrame(
        {
            "image": f"train/{classes[0]}/out-{number}.jpeg",
            "label": classes[number % 2],
            "patient": "test-0",  # also a patient of test: no leak, for it takes no part
            "split": None,
            "reason": reason,
        }
        for number, reason in enumerate(reasons)
    )


def audit(used: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """What the audit of such data would say.

    Args:
        used: images, patients and classes by split, as in run.json.
        classes: at least two.
    """
    first, second = classes[0], classes[1]
    files = [f"train/{first}/out-{number}.jpeg" for number in range(60)]
    given = {
        "train": {"images": 4600, "patients": 2300, "classes": dict.fromkeys(classes, 4600 // len(classes))},
        "val": {"images": 16, "patients": 16, "classes": dict.fromkeys(classes, 16 // len(classes))},
        "test": used["test"],
    }
    return {
        "format": 2,
        "source": "folder",
        "path": "../chest_xray",
        "classes": list(classes),
        "images": 5226,
        "findings": [
            _finding(
                "patients",
                "Patients across splits",
                "warning",
                "Patients have images in two of the given splits: train and val share 5. Their images: 3 left train.",
                files[2:5],
            ),
            _finding("truncated", "Truncated files", "warning", "2 files end before the image does.", files[:2]),
            _finding(
                "shortcut",
                "Metadata baseline",
                "warning",
                "The label can be predicted without looking at the picture: bytes per pixel (alone 0.700).",
                count=1,
            ),
            _finding("near", "Near duplicates", "note", "30 sets of images (60 images) look alike.", files),
            _finding("source", "The source", "note", NOTES[0]),
            _finding("constant", "Constant images", "good", "No image is of one value only."),
        ],
        "left_out": [
            {"file": name, "label": first, "kind": "truncated", "reason": "12 bytes are missing"} for name in files[:2]
        ],
        "patients": {
            "rule": "built-in reading of the public chest X-ray file names",
            "assumed": False,
            "wide": 2700,
            "narrow": 2790,
        },
        "shared_patients": {
            "narrow": {"train-val": 5, "train-test": 0, "val-test": 0},
            "wide": {"train-val": 7, "train-test": 192, "val-test": 1},
        },
        "duplicates": [
            {
                "kind": "exact",
                "distance": 0,
                "labels_conflict": False,
                "across_splits": False,
                "images": [{"file": f"train/{first}/twin-{n}.jpeg", "label": first, "split": "train"} for n in (1, 2)],
            },
            {
                "kind": "near",
                "distance": 3,
                "labels_conflict": True,
                "across_splits": True,
                "images": [
                    {"file": f"train/{first}/copy.jpeg", "label": first, "split": "train"},
                    {"file": f"test/{second}/copy-2.jpeg", "label": second, "split": "test"},
                ],
            },
            {
                "kind": "altered",
                "distance": 0,
                "labels_conflict": False,
                "across_splits": True,
                "images": [
                    {"file": f"train/{first}/left.jpeg", "label": first, "split": "train", "change": ""},
                    {"file": f"val/{first}/right.jpeg", "label": first, "split": "val", "change": "mirrored"},
                ],
            },
        ],
        "moved": [
            {"from": "train", "images": 3, "reason": "their patients are also in test", "files": files[2:5]},
        ],
        "splits": {"given": given, "used": used},
        "by_class": {name: _class(place) for place, name in enumerate(classes)},
        "shortcut": {
            "auc": 0.712,
            "low": 0.69,
            "high": 0.731,
            "limit": 0.6,
            "warns": True,
            "images": 4592,
            "patients": 2296,
            "features": [
                {"name": "bytes per pixel", "auc": 0.7},
                {"name": "width", "auc": 0.62},
                {"name": "height", "auc": 0.6},
                {"name": "aspect", "auc": 0.58},
                {"name": "colour mode", "auc": 0.5},
            ],
        },
        "notes": list(NOTES),
    }


def _finding(
    kind: str, heading: str, severity: str, text: str, files: Sequence[str] = (), count: int = 0
) -> dict[str, Any]:
    about = {"kind": kind, "heading": heading, "severity": severity, "text": text}
    return {**about, "count": count or len(files), "files": list(files)}


def _class(place: int) -> dict[str, Any]:
    """The summary of the class at ``place`` in the order of the classes."""
    return {
        "images": 1341 + 2534 * place,
        "width": [912 - 500 * (place == 1), 1466 - 500 * (place == 1), 1640 - 450 * (place == 1), 1858, 2916],
        "height": [672, 1152 - 400 * (place == 1), 1328 - 400 * (place == 1), 1528 - 400 * (place == 1), 2663],
        "aspect": [0.84, 1.14, 1.24, 1.4, 1.9] if place == 0 else [0.9, 1.3, 1.43, 1.6, 3.4],
        "bytes": [160_000, 340_000, 520_000, 640_000, 2_200_000] if place == 0 else [9e3, 7e4, 1e5, 1.5e5, 4e5],
        "bytes_per_pixel": [0.1, 0.2, 0.245, 0.28, 0.9] if place == 0 else [0.04, 0.07, 0.09, 0.12, 0.4],
        "modes": {"L": 1300 + 2534 * place, "RGB": 41},
        "formats": {"JPEG": 1341 + 2534 * place},
    }
