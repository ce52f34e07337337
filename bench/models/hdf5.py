"""What an .h5 file may hold before Keras opens it: values of its own, and layers of Keras alone.

A link to another file, or a dataset that lies in one, would read any file that the user may read into a model (the kind
of CVE-2026-1669); layers such as Lambda run code that the file brings.
"""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RUN_CODE = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
"""Layers that bring code, or load a model from another place."""
WIDTHS = ("units", "filters", "input_dim", "output_dim")
"""What sizes of weights are called in the configuration of a layer."""
MOST_UNPACKED = 100
"""Times its size that a file's values may take; Keras does not compress them."""
SMALL = 10**8  # bytes of values that any file may hold
ATTRIBUTE = "medical_transfer_bench"
"""Name of the attribute, at the root of the file, that holds its card (`bench.models.metadata`): JSON in UTF-8."""
MOST_OF_CARD = 2**24
"""Bytes of it; a card takes up to 250 KB."""
ABOUT_THE_FILE = {"sha256"}
"""What a file cannot say of itself."""
DEEPEST = 50
"""Groups within groups, and parts of a configuration within parts."""
PATIENCE = 30.0
"""Seconds that reading a file may take, beside one more for every `BYTES_A_SECOND`."""
BYTES_A_SECOND = 5 * 10**6
BLOCK = 2**24  # bytes of values that are read at a time
UNREADABLE = 3
"""Exit code of the process that reads a file, where the file cannot be read; its output says why."""


class Unsafe(ValueError):
    """An .h5 file that holds more than values and layers."""


def check_h5(path: Path) -> None:
    """Refuse an .h5 file that is not safe to open with Keras; none of its values is read.

    Raises:
        Unsafe: for links, values outside it or far beyond its size, and layers that run code or are not Keras's.
        OSError: if it is no HDF5 file, or one without values.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            values = [(one.nbytes, one.size) for one in _datasets(file, set())]
            total, count = (sum(column) for column in zip(*values, strict=True)) if values else (0, 0)
            if not total:
                raise OSError("it holds no values")
            if total > max(SMALL, MOST_UNPACKED * path.stat().st_size):
                raise Unsafe(f"its values take {total:,} bytes, and the file has {path.stat().st_size:,}")
            config = file.attrs.get("model_config")
    except (RuntimeError, KeyError, TypeError) as error:  # what h5py makes of damage
        raise OSError(f"damaged ({error})") from error
    if config is not None:
        try:
            _check_layers(json.loads(config), count)
        except RecursionError:
            raise Unsafe("its configuration is nested without end") from None


def check_given_h5(path: Path) -> None:
    """`check_h5` of a file that no hash vouches for, after a process of its own has read every value of it.

    The HDF5 library reads some damaged files for ever, or ends its process on them; neither can be caught, and both
    happen to that process alone. It takes 0.2 s, and what reading takes.

    Raises:
        Unsafe, OSError: as `check_h5`; OSError too if reading does not end, or ends the process.
    """
    limit = PATIENCE + path.stat().st_size / BYTES_A_SECOND
    command = [sys.executable, "-P", str(Path(__file__)), str(path)]  # this module imports no other of the suite
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"damaged (reading it did not end within {limit:.0f} s)") from None
    if done.returncode == UNREADABLE:
        raise OSError(done.stdout.decode(errors="replace").strip())
    if done.returncode == -signal.SIGKILL:
        raise OSError("not read: the process that reads it was killed, as where memory runs out")
    if done.returncode < 0:
        raise OSError(f"damaged (reading it ends the process by signal {-done.returncode})")
    if done.returncode:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise OSError(f"not read: the process that reads it failed ({last})")
    check_h5(path)  # what it refuses it refuses here, with its own error


def _read(path: Path) -> None:
    """Check an .h5 file, and read each attribute and each value of it, as Keras would."""
    import h5py

    check_h5(path)
    try:
        with h5py.File(path, "r") as file:
            _read_one("/", file)
            file.visititems(_read_one)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise OSError(f"damaged ({error})") from error


def _read_one(name: str, found: Any) -> None:
    """Read the attributes of a group or dataset, and the values of the latter, a block after another."""
    for attribute in found.attrs:
        with contextlib.suppress(TypeError):  # of a type that NumPy does not have, nor Keras reads
            found.attrs[attribute]
    if not hasattr(found, "shape"):
        return
    if not found.shape:
        found[()]
        return
    step = max(1, BLOCK * found.shape[0] // max(1, found.nbytes))
    for start in range(0, found.shape[0], step):
        found[start : start + step]


def _datasets(group: Any, met: set[int], depth: int = 0) -> Iterator[Any]:
    """The datasets in ``group`` and below; Unsafe for a link that leads anywhere but to what lies there.

    Groups that several links lead to are gone into once; ``met`` has the addresses of those that were.
    """
    import h5py

    if depth > DEEPEST:
        raise Unsafe(f"its groups lie more than {DEEPEST} deep")
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Unsafe(f"{group.name.rstrip('/')}/{name} is a link to another place")
        found = group[name]
        if isinstance(found, h5py.Dataset):
            if found.external or found.is_virtual:
                raise Unsafe(f"the values of {found.name} lie in another file")
            yield found
        elif isinstance(found, h5py.Group):
            address = h5py.h5o.get_info(found.id).addr
            if address not in met:
                met.add(address)
                yield from _datasets(found, met, depth + 1)


def _check_layers(config: Any, values: int) -> None:
    """Refuse a configuration with classes that run code, or are not Keras's, or wider than ``values`` are stored."""
    if isinstance(config, list):
        for one in config:
            _check_layers(one, values)
    elif isinstance(config, dict):
        name, module = config.get("class_name"), config.get("module")
        if name in RUN_CODE:
            raise Unsafe(f"it has a layer {name}, which runs code that the file brings")
        if module is not None and not f"{module}.".startswith("keras."):
            raise Unsafe(f"it names {name!r} of {module!r}, which is not Keras's")
        for key in WIDTHS:  # of each unit a value is stored at least, and for a new one memory would be taken
            if isinstance(width := config.get(key), int) and width > values:
                raise Unsafe(f"it has a layer of {key} {width:,}, and holds {values:,} values")
        for one in config.values():
            _check_layers(one, values)


def held_card(path: Path) -> dict[str, Any] | None:
    """What the card in an .h5 file says, whatever that is; None where there is none, or the file is no HDF5 file.

    Raises:
        ValueError: if what lies in its place is no JSON object of a usual length.
    """
    import h5py

    text: Any = None
    with contextlib.suppress(OSError, RuntimeError, KeyError, TypeError), h5py.File(path, "r") as file:
        text = file.attrs.get(ATTRIBUTE)
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > MOST_OF_CARD:
        raise ValueError("it is no text of a usual length")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested without end") from None
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def other_parts(card: dict[str, Any], held: dict[str, Any] | None) -> list[str]:
    """The parts of a card beside an .h5 file that are not as the file ``held`` them.

    Returns:
        their names, sorted; none for a file without a card whose ``card`` names no training's file that it was made of,
        as in earlier versions.
    """
    if held is None:
        return sorted({*card} - ABOUT_THE_FILE) if card.get("trained") else []
    nothing = object()
    names = {*card, *held} - ABOUT_THE_FILE
    return sorted(name for name in names if card.get(name, nothing) != held.get(name, nothing))


if __name__ == "__main__":
    try:
        with contextlib.suppress(Unsafe):  # for the process that asks to say
            _read(Path(sys.argv[1]))
    except OSError as error:
        print(error)
        sys.exit(UNREADABLE)
