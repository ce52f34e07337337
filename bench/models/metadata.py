"""What an exported .h5 file says of itself: the content of best_model.json as one attribute of the file.

Keras reads the attributes that it knows and passes over others, so the file loads in plain Keras as before.
"""

import json
import shutil
from pathlib import Path

from bench.errors import ConfigError
from bench.models.hdf5 import ABOUT_THE_FILE, ATTRIBUTE, held_card, other_parts
from bench.run.documents import ModelCard
from bench.run.folder import atomic_path


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
    try:
        content = held_card(path)
        return None if content is None else ModelCard.model_validate(content)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} holds metadata of this suite that cannot be read: {reason[:200]}.") from None


def check_card(card: Path, model: Path, again: str) -> None:
    """Compare a card, which its checksum does not cover, with the one that its .h5 file holds.

    Args:
        card: the JSON file.
        model: the .h5 file; one of earlier versions holds no card.
        again: what is to be done about a difference, as the end of a sentence.

    Raises:
        ConfigError: if they differ, or one of them cannot be read; the message names the parts.
    """
    try:
        parts = other_parts(json.loads(card.read_bytes()), held_card(model))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{card} and the card in {model} cannot be compared: {reason[:200]}; {again}.") from None
    if parts:
        raise ConfigError(
            f"{card} is not the card that {model.name} holds (other: {', '.join(parts)}); one of them was changed or "
            f"damaged; {again}."
        )
