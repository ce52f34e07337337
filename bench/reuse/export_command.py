"""The subcommand ``export``: a model in another format."""

import argparse

from bench import numbers, texts
from bench.flags import Commands, add_command, add_flag, add_setting, output_of
from bench.invocation import typed
from bench.texts import visible

NAMES = ("keras", "savedmodel", "onnx", "tflite")


def add_parser(commands: Commands) -> None:
    """``export``."""
    parser = add_command(
        commands,
        "export",
        export_model,
        "write the model of a run in another format",
        typed("export", "xray", "--to", "onnx"),
        "Write a model as .keras, TensorFlow SavedModel, ONNX or TensorFlow Lite, by Keras's own exporters. The new"
        " file is run by its own runtime on sample images and kept only if it predicts the same; its classes, input,"
        " threshold and calibration map lie beside it as .json.\n"
        'onnx and tflite need pip install "medical-transfer-bench[export]".',
    )
    parser.add_argument(
        "model", metavar="MODEL", help="name of a run, path of its folder, or an .h5 file; example: xray"
    )
    add_flag(
        parser,
        "--to",
        "the format",
        "--to onnx",
        "none; it has to be given",
        metavar="|".join(NAMES),
        choices=NAMES,
        required=True,
    )
    add_flag(
        parser,
        "--out",
        "path of the new file, or a folder for it, which is made",
        "--out xray.onnx",
        "beside the .h5 file",
        metavar="PATH",
    )
    add_setting(parser, "output")


def export_model(options: argparse.Namespace) -> int:
    """Export, and say where; returns the exit status.

    Raises:
        ConfigError: if there is no such model, a package is missing or the place is taken.
    """
    from bench.models.export import ExportMismatch
    from bench.reuse.export import export
    from bench.reuse.model import load_model

    model = load_model(options.model, output_of(options))
    try:
        path, record = export(model, options.to, getattr(options, "out", None))
    except ExportMismatch as error:
        texts.error(error)
        return 1
    images = numbers.counted(record.images, "sample image")
    print(visible(f"Export: {path}"))
    print(f"It predicts the same on {images}: probabilities differ by at most {numbers.rate(record.difference)}.")
    print(visible(f"Metadata: {path}.json"))
    return 0
