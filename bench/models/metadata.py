"""What an exported .h5 file says of itself: the content of best_model.json as one attribute of the file.

Keras reads the attributes that it knows and passes over others, so the file loads in plain Keras as before.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.errors import ConfigError
from bench.run.documents import ModelCard
from bench.run.folder import atomic_path

ATTRIBUTE = "medical_transfer_bench"
"""Name of the attribute, at the root of the file: JSON in UTF-8."""
MOST_BYTES = 2**24
"""Of it; a card takes up to 250 KB."""
ABOUT_THE_FILE = {"sha256"}
"""What a file cannot say of itself."""


def write_with_card(model: Path, path: Path, card: ModelCard) -> None:
    """Make ``path`` a copy of the .h5 file ``model`` that holds ``card``, in one step.

    The same model and card give the same bytes, as far as the version of HDF5 is the same.
    """
    import h5py

    content = {name: value for name, value in card.content().items() if name not in ABOUT_THE_FILE}
    with atomic_path(path) as temporary:
        shutil.copyfile(model, temporary)
        with h5py.File(temporary, "r+") as file:
            file.attrs[ATTRIBUTE] = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True)


def read_card(path: Path) -> ModelCard | None:
    """The card in an .h5 file; None where it holds none, or is no HDF5 file, which is for Keras to say.

    Raises:
        ConfigError: if what it holds is no card.
    """
    import h5py

    text: Any = None
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get(ATTRIBUTE)
    except (OSError, RuntimeError, KeyError, TypeError):
        return None
    if text is None:
        return None
    try:
        if not isinstance(text, str) or len(text) > MOST_BYTES:
            raise ValueError("it is no text of a usual length")
        return ModelCard.model_validate(json.loads(text))
    except (ValueError, ValidationError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} holds metadata of this suite that cannot be read: {reason[:200]}.") from None
