"""Test images of known runs among those that are to be classified: what notes them before anything is said of them."""

from collections.abc import Sequence
from pathlib import Path

from bench.evaluation.recognise import TestImages
from bench.reuse.model import ReusableModel
from bench.run.folder import file_sha256


def watch_of(model: ReusableModel, files: Sequence[Path]) -> TestImages:
    """What notes test images among those in ``files``, before anything is said of them."""
    if model.run is None:
        return TestImages.of_file(model.path, model.card, files)
    return TestImages.of_run(model.run, files, file_sha256(model.run.best_model_card))
