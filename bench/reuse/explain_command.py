"""The subcommand ``explain``: where a model looks in images."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench import numbers
from bench.device import without_chatter
from bench.errors import ConfigError
from bench.flags import Commands, add_command, add_flag, add_pixels, add_setting, output_of, pixels_of
from bench.invocation import typed
from bench.texts import visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bench.data.images.decode import Facts
    from bench.reuse.model import ReusableModel


def add_parser(commands: Commands) -> None:
    """``explain``."""
    parser = add_command(
        commands,
        "explain",
        explain_images,
        "draw where the model of a run looks in images",
        typed("explain", "xray", "scan1.jpeg", "scan2.jpeg", "--out", "explained"),
        "Draw one PNG file for each image: the image as the model sees it, the class activation map of the class that"
        " it is called (an occlusion map where the network's last stage is too small), and the same map of the network"
        " with shuffled weights, from which it must differ to mean anything.",
    )
    parser.add_argument(
        "model", metavar="MODEL", help="name of a run, path of its folder, or an .h5 file; example: xray"
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files; example: scan1.jpeg")
    add_flag(
        parser,
        "--out",
        "folder for the pictures, which replace those of the same model and images",
        "--out maps",
        "explained",
        metavar="FOLDER",
        type=Path,
    )
    add_pixels(parser)
    add_setting(parser, "output")


def explain_images(options: argparse.Namespace) -> int:
    """Draw, and say where.

    Raises:
        ConfigError: if there is no such model, it gives no probabilities, no image can be read, or the folder cannot
            be written.
    """
    from bench.reuse.command import banner
    from bench.reuse.explain import explain, pictures
    from bench.reuse.model import load_model
    from bench.reuse.unlike import unlike
    from bench.reuse.watch import watch_of

    missing = [path for path in options.images if not path.is_file()]
    if missing:
        raise ConfigError(f"There is no image file {missing[0]}.")
    folder = getattr(options, "out", Path("explained"))
    model = load_model(options.model, output_of(options), pixels_of(options))
    targets = pictures(model, options.images, folder)
    with without_chatter():
        _ = model.forward
    for line in banner(model):
        print(visible(line), file=sys.stderr)
    paths, images, facts = _read(model, options.images)
    watch = watch_of(model, paths)
    watch.note(facts)
    if watch.sentence:
        _note(watch.sentence)
    for path, image, known in zip(paths, images, facts, strict=True):
        (found_in,) = unlike(model.card.training, [known], model.outputs(image[None], 1))
        if found_in:
            _note(f"{path} is unlike the training images: {found_in}")
    found, why = explain(model, {path: targets[path] for path in paths}, images)
    print(visible(why))
    for one in found:
        print(visible(f"{one.picture}: {one.called}, probability {numbers.score(one.probability)}"))
    return 0


def _note(line: str) -> None:
    print(f"note: {visible(line)}", file=sys.stderr)


def _read(model: "ReusableModel", paths: Sequence[Path]) -> "tuple[list[Path], npt.NDArray[np.uint8], list[Facts]]":
    """Those of the ``paths`` that are images which can be read, their pixels and facts; others are told as notes.

    Raises:
        ConfigError: if none can be read.
    """
    import numpy as np

    read, problems = {}, list[ConfigError]()
    for path in paths:
        try:
            read[path] = model.read(path)
        except ConfigError as error:
            problems.append(error)
    if not read:
        raise problems[0]
    for problem in problems:
        _note(f"{str(problem).rstrip('.')}; no picture of it is drawn.")
    images, facts = zip(*read.values(), strict=True)
    return list(read), np.concatenate(images), [one for each in facts for one in each]
