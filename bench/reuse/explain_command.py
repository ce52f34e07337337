"""The subcommand ``explain``: where a model looks in images."""

import argparse
import sys
from pathlib import Path

from bench import numbers
from bench.device import without_chatter
from bench.errors import ConfigError
from bench.flags import Commands, add_command, add_flag, add_pixels, add_setting, output_of, pixels_of
from bench.invocation import typed
from bench.texts import visible


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
        ConfigError: if there is no such model, it gives no probabilities, an image cannot be read, or the folder cannot
            be written.
    """
    from bench.reuse.command import banner
    from bench.reuse.explain import explain, pictures
    from bench.reuse.model import load_model
    from bench.reuse.watch import watch_of

    missing = [path for path in options.images if not path.is_file()]
    if missing:
        raise ConfigError(f"There is no image file {missing[0]}.")
    folder = getattr(options, "out", Path("explained"))
    model = load_model(options.model, output_of(options), pixels_of(options))
    pictures(model, options.images, folder)
    with without_chatter():
        _ = model.forward
    for line in banner(model):
        print(visible(line), file=sys.stderr)
    images, facts = model.read(options.images)
    watch = watch_of(model, options.images)
    watch.note(facts)
    if watch.sentence:
        print(f"note: {visible(watch.sentence)}", file=sys.stderr)
    found, why = explain(model, options.images, images, folder)
    print(visible(why))
    for one in found:
        print(visible(f"{one.picture}: {one.called}, probability {numbers.score(one.probability)}"))
    return 0
