"""Pretrained weights: from Keras's own download and cache, from a folder of .h5 files, or random from a seed.

Whatever the kind, the result is one .h5 file per network, which every process of a run loads. A network is a backbone
with an initialisation: the one that ``--weights`` gives, or one that a search space names.
"""

import hashlib
import os
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from bench import checksums
from bench.errors import ConfigError
from bench.failures import TRIED_AGAIN, kind_of
from bench.models.backbones import Backbone
from bench.models.hdf5 import check_given_h5, check_h5
from bench.models.scaling import SCALINGS, parse_scaling
from bench.run.folder import write_text
from bench.scratch import draft_folder
from bench.search.parameters import GIVEN, network_name
from bench.seeds import stable_hash

IMAGENET, RADIMAGENET, RANDOM = "imagenet", "radimagenet", "random"
"""What an initialisation can be called; anything else is a folder."""
RANDOM_NOTE = "Random weights: no pretraining took place, so this is not transfer learning."
IMAGENET_NOTE = (
    "ImageNet weights as published with keras.applications (its code is under Apache-2.0; weights that were ported, "
    "such as those of VGG16 and VGG19 under Creative Commons Attribution, keep their authors' licence; the images of "
    "ImageNet are for non-commercial research)."
)
LICENCE_UNKNOWN = "(licence not known here: that of whoever published them)."
"""Said of weights whose files do not tell; before it, in a note, stands what they are."""
RADIMAGENET_FILE = "RadImageNet-{}_notop.h5"
"""How RadImageNet (Mei et al., Radiology: AI 4:e210315, 2022) names its weights of ResNet50, InceptionV3 and
DenseNet121."""
TORCH_FILES = (
    "; PyTorch's are not read, for networks of one name differ there (torchvision's ResNet50 has its stride in another "
    "layer of each block)"
)


@dataclass(frozen=True)
class Weights:
    """The weight files of a run.

    Attributes:
        kind: ``imagenet``, ``folder`` or ``random``; ``several`` where every configuration names its initialisation.
        note: one sentence about them and their licence for the reader; of a folder it has the name alone.
        files: network name (`bench.search.parameters.network_name`) -> .h5 file.
        sha256: network name -> hash of that file's values, layer by layer.
        scaling: network name -> name of the scaling that its weights were trained with, where that is not the one of
            the backbone's published ImageNet weights.
        starts: initialisation -> kind of its weights and a sentence about them.
    """

    kind: str
    note: str
    files: dict[str, Path]
    sha256: dict[str, str]
    scaling: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def fed(self, backbone: Backbone, network: str) -> Backbone:
        """The row of the table with the preprocessing that the weights of ``network`` want."""
        name = self.scaling.get(network)
        return replace(backbone, preprocessing=SCALINGS[name].preprocessing) if name else backbone

    def of(self, initialisation: str) -> "Weights":
        """These weights, of backbones, as those of networks with this initialisation."""

        def named(values: Mapping[str, Any]) -> dict[str, Any]:
            return {network_name(name, initialisation): value for name, value in values.items()}

        return replace(self, files=named(self.files), sha256=named(self.sha256), scaling=named(self.scaling))


def resolve_weights(
    wanted: str | None,
    backbones: Sequence[Backbone],
    cache: Path,
    seed: int,
    fall_back: bool = False,
    scaling: str | None = None,
    starts: Mapping[str, Sequence[str]] | None = None,
    folders: Mapping[str, str] | None = None,
) -> Weights:
    """The weights that ``wanted`` names, as files that have been loaded once to check them.

    Args:
        wanted: ``imagenet`` (also None), ``random``, or a folder that holds Keras's weight files.
        backbones: those whose weights are needed.
        cache: folder for the files of random weights.
        seed: decides random weights.
        fall_back: take random weights, and say so, where ImageNet weights cannot be had.
        scaling: as ``--scaling`` takes it: what pretrained weights were trained with, where their files do not tell.
        starts: backbone name -> the initialisations that trials can choose; by default what ``wanted`` gives.
        folders: where those lie that are folders, for a worker has another working folder.

    Raises:
        ConfigError: if weights cannot be had or do not fit.
    """
    starts = starts or {backbone.name: (GIVEN,) for backbone in backbones}
    parts: dict[str, Weights] = {}
    for start in dict.fromkeys(chain.from_iterable(starts.values())):
        rows = [backbone for backbone in backbones if start in starts[backbone.name]]
        if start == GIVEN:
            part = _given(wanted, rows, cache, seed, fall_back)
        else:
            part = _named((folders or {}).get(start, start), wanted, rows, cache, seed)
        parts[start] = part.of(start)
    found = _together(parts)
    drawn = GIVEN in parts and parts[GIVEN].kind == RANDOM
    networks = scalable(RANDOM if drawn else wanted, starts)
    if scaling is None or not networks:
        return found
    return replace(found, scaling={**found.scaling, **parse_scaling(scaling, networks)})


def scalable(wanted: str | None, starts: Mapping[str, Sequence[str]]) -> list[str]:
    """The networks whose weights are pretrained, for all that is known without a look."""
    known = {RANDOM, *({GIVEN} if wanted == RANDOM else ())}
    return [network_name(name, start) for name, some in starts.items() for start in some if start not in known]


def _together(parts: Mapping[str, Weights]) -> Weights:
    """The weights of all initialisations."""
    notes = [one.note if start == GIVEN else f"Initialisation {start}: {one.note}" for start, one in parts.items()]
    every = [*parts.values()]
    return Weights(
        kind=parts[GIVEN].kind if GIVEN in parts else "several",
        note=" ".join(notes),
        files=dict(ChainMap(*(one.files for one in every))),
        sha256=dict(ChainMap(*(one.sha256 for one in every))),
        scaling=dict(ChainMap(*(dict(one.scaling) for one in every))),
        starts={start: (one.kind, one.note) for start, one in parts.items()},
    )


def _given(wanted: str | None, backbones: Sequence[Backbone], cache: Path, seed: int, fall_back: bool) -> Weights:
    """What ``--weights`` gives."""
    if wanted == RANDOM:
        return _random(backbones, cache, seed, RANDOM_NOTE)
    if wanted in (None, IMAGENET):
        try:
            return _imagenet(backbones, cache, wanted)
        except ConfigError as error:
            if not fall_back or wanted is not None:
                raise
            return _random(backbones, cache, seed, f"{RANDOM_NOTE} ({error})")
    return _from_folder(Path(str(wanted)), backbones, cache)


def _named(start: str, wanted: str | None, backbones: Sequence[Backbone], cache: Path, seed: int) -> Weights:
    """What a search space calls ``start``."""
    if start == RANDOM:
        return _random(backbones, cache, seed, RANDOM_NOTE)
    if start == IMAGENET:
        return _imagenet(backbones, cache, wanted)
    if start == RADIMAGENET:
        note = f"RadImageNet's weights as its authors publish them {LICENCE_UNKNOWN}"
        found = _checked("folder", note, backbones, cache, lambda backbone: _radimagenet_file(wanted, backbone))
        return replace(found, scaling={backbone.name: RADIMAGENET for backbone in backbones})
    return _from_folder(Path(start), backbones, cache)


def _folders(wanted: str | None) -> list[Path]:
    """Where files may lie: the folder that ``--weights`` names, if it does, and the two that are Keras's."""
    home = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))  # noqa: PTH111  (there may be no home)
    given = [] if wanted in (None, IMAGENET, RANDOM) else [Path(str(wanted))]
    # the last is Keras's own choice where its first cannot be written
    return [*given, home / "models", Path("/tmp/.keras/models")]


def _radimagenet_file(wanted: str | None, backbone: Backbone) -> Path:
    """The file of RadImageNet's weights of a backbone.

    Raises:
        ConfigError: if it is nowhere.
    """
    name = RADIMAGENET_FILE.format(backbone.title)
    for folder in _folders(wanted):
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise ConfigError(
        f"RadImageNet's weights of {backbone.title} are not to be had: {name} is expected in a folder that --weights "
        f"gives, or in {_folders(None)[0]}. A space leaves {backbone.name} out by initialisation: {{when: {{backbone: "
        "[...]}}."
    )


def folders_of(starts: Mapping[str, Sequence[str]], known: Mapping[str, str]) -> dict[str, str]:
    """Where the initialisations lie that are folders: as ``known``, which a run has written down, else from here."""
    named = (GIVEN, IMAGENET, RADIMAGENET, RANDOM)
    some = [start for start in dict.fromkeys(chain.from_iterable(starts.values())) if start not in named]
    return {start: known.get(start, str(Path(start).absolute())) for start in some}


def check_starts(
    wanted: str | None,
    backbones: Sequence[Backbone],
    starts: Mapping[str, Sequence[str]],
    folders: Mapping[str, str] | None = None,
) -> None:
    """Check what can be checked without Keras: that there is a file of each backbone for each of its initialisations.

    Args:
        wanted: as in `resolve_weights`.
        backbones: those of the run.
        starts: backbone name -> the initialisations that trials can choose.
        folders: where those lie that are folders.

    Raises:
        ConfigError: if not.
    """
    check_weights(wanted, [])
    for start in dict.fromkeys(chain.from_iterable(starts.values())):
        rows = [backbone for backbone in backbones if start in starts[backbone.name]]
        if start == GIVEN:
            check_weights(wanted, rows)
        elif start == RADIMAGENET:
            for backbone in rows:
                path = _radimagenet_file(wanted, backbone)
                with _weights_expected(path, backbone):
                    check_given_h5(path)
        elif start not in (IMAGENET, RANDOM):
            place = (folders or {}).get(start, start)
            if not Path(place).is_dir():
                raise ConfigError(
                    f"An initialisation is {GIVEN} (by --weights), {IMAGENET}, {RADIMAGENET}, {RANDOM} or a folder of "
                    f".h5 files, but the space names {start!r}, and {place} is no folder."
                )
            check_weights(place, rows)


def check_weights(wanted: str | None, backbones: Sequence[Backbone]) -> None:
    """Check what can be checked without Keras: that a folder of weights is there, with one HDF5 file per backbone.

    Raises:
        ConfigError: if it is not.
    """
    if wanted in (None, IMAGENET, RANDOM):
        return
    folder = Path(str(wanted))
    if not folder.is_dir():
        raise ConfigError(
            f"--weights takes imagenet, random or a folder of .h5 files, but {str(folder)!r} is none of them."
        )
    there = {backbone.name: _files_of(folder, backbone) for backbone in backbones}
    missing = [backbone.weights_file for backbone in backbones if not there[backbone.name]]
    if missing:
        torch = any(one.suffix in (".pth", ".pt") for one in folder.iterdir())
        raise ConfigError(
            f"{folder} lacks {', '.join(missing)}; Keras's own file names, or those of RadImageNet, are expected"
            f"{TORCH_FILES if torch else ''}."
        )
    for backbone in backbones:
        if len(there[backbone.name]) > 1:
            both = " and ".join(path.name for path in there[backbone.name])
            raise ConfigError(f"{folder} holds {both}: one file of {backbone.title} is expected; move the other.")
        for path in there[backbone.name]:
            with _weights_expected(path, backbone):
                check_given_h5(path)


def _files_of(folder: Path, backbone: Backbone) -> dict[Path, str]:
    """The weight files of a backbone in a folder, each with the name of its scaling; "" is the backbone's own."""
    known = {backbone.weights_file: "", RADIMAGENET_FILE.format(backbone.title): RADIMAGENET}
    return {folder / name: scaling for name, scaling in known.items() if (folder / name).is_file()}


def load_backbone(backbone: Backbone, size: int, weights_file: Path | None, precision: str = "float32") -> Any:
    """The backbone as a Keras model for images of shape (size, size, 3), with the weights of ``weights_file``.

    Args:
        backbone: row of the table.
        size: height and width in pixels.
        weights_file: its weights; None draws random ones.
        precision: ``float32``, or ``bfloat16`` to compute in that; its weights are float32 in either case.

    Raises:
        ConfigError: if the file does not fit the network.
    """
    shape = (size, size, 3)
    if weights_file is None:
        with _computing_in(precision):
            return backbone.build(weights=None, input_shape=shape)
    with _weights_expected(weights_file, backbone):
        check_h5(weights_file)
        with _computing_in(precision):
            return backbone.build(weights=str(weights_file), input_shape=shape)


@contextmanager
def _weights_expected(file: Path, backbone: Backbone) -> Iterator[None]:
    """Errors of the block, which reads ``file``, as a ConfigError that says what the file should hold."""
    try:
        yield
    except (ValueError, OSError, KeyError, TypeError) as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(
            f"{file} does not hold the weights of {backbone.title} without classifier: {first}."
        ) from error


@contextmanager
def _computing_in(precision: str) -> Iterator[None]:
    """What is built in the block computes in ``precision``; Keras's own builders take it from the global policy."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def weights_hash(model: Any) -> str:
    """SHA-256 over the values of all weights of a Keras model, in order."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(f"{value.shape}{value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _checked(
    kind: str, note: str, backbones: Sequence[Backbone], cache: Path, find: Callable[[Backbone], Path]
) -> Weights:
    files = {backbone.name: find(backbone) for backbone in backbones}
    return Weights(
        kind, note, files, {backbone.name: _hash(backbone, files[backbone.name], cache) for backbone in backbones}
    )


def _hash(backbone: Backbone, file: Path, cache: Path) -> str:
    """Hash of the weights in ``file`` once they have been loaded; remembered for this content of the file."""
    known = cache / "weights" / f"{stable_hash(backbone.name, checksums.checksum(file))}.sha256"
    with suppress(OSError, ValueError):  # what cannot be read, for whatever reason, is computed
        if checksums.intact(known):
            return known.read_text(encoding="ascii")
    found = weights_hash(load_backbone(backbone, _smallest(backbone), file))
    write_text(known, found)
    checksums.keep(known)
    return found


def _smallest(backbone: Backbone) -> int:
    return max(backbone.minimum_size, 32)


def _imagenet(backbones: Sequence[Backbone], cache: Path, wanted: str | None) -> Weights:
    """Keras's own weights, from the folder ``wanted`` if they are there."""
    import keras

    def find(backbone: Backbone) -> Path:
        there = [folder / backbone.weights_file for folder in _folders(wanted)]
        path = next((one for one in there if one.is_file()), _folders(None)[0] / backbone.weights_file)
        if not path.is_file():
            keras.utils.disable_interactive_logging()
            try:
                backbone.build(weights="imagenet", input_shape=(_smallest(backbone), _smallest(backbone), 3))
            except Exception as error:  # whatever the download raises: the network decides
                if kind_of(error) in TRIED_AGAIN:  # no fault of the network
                    raise
                raise ConfigError(
                    f"The ImageNet weights of {backbone.title} are not in {path.parent} and could not be downloaded; "
                    f"put {backbone.weights_file} there, or give --weights FOLDER or --weights random."
                ) from error
        return next((one for one in there if one.is_file()), path)

    return _checked("imagenet", IMAGENET_NOTE, backbones, cache, find)


def _from_folder(folder: Path, backbones: Sequence[Backbone], cache: Path) -> Weights:
    check_weights(str(folder), backbones)
    found = {backbone.name: next(iter(_files_of(folder, backbone).items())) for backbone in backbones}
    checked = _checked(
        "folder",
        f"Weights from the folder {folder.absolute().name} {LICENCE_UNKNOWN}",
        backbones,
        cache,
        lambda backbone: found[backbone.name][0].resolve(),
    )
    return replace(checked, scaling={name: scaling for name, (_, scaling) in found.items() if scaling})


def random_file(backbone: Backbone, cache: Path, seed: int) -> Path:
    """Where the random weights of a backbone lie once they are drawn."""
    return cache / "weights" / f"{backbone.name}-random-{seed}.weights.h5"


def _random(backbones: Sequence[Backbone], cache: Path, seed: int, note: str) -> Weights:
    def find(backbone: Backbone) -> Path:
        path = random_file(backbone, cache, seed)
        if not checksums.intact(path):
            import keras

            keras.utils.set_random_seed(seed)
            model = load_backbone(backbone, _smallest(backbone), None)
            path.parent.mkdir(parents=True, exist_ok=True)
            with draft_folder(".drawing-", path.parent) as scratch:
                temporary = scratch / path.name
                model.save_weights(temporary)
                checksums.keep(path, of=temporary)
                temporary.replace(path)
        return path

    return _checked("random", note, backbones, cache, find)
