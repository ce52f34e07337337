"""Puts the toy backbones into the table in every process that is started with this folder in PYTHONPATH.

Where TOY_PIDS names a file, each of Ray's workers that builds a toy adds its Ray session and process number to it.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from toys import build_toy, toy_backbone

from bench.models.backbones import BACKBONES


def build_noted(**arguments: Any) -> Any:
    """`build_toy`, noted."""
    if "TOY_PIDS" in os.environ and "default_worker" in sys.argv[0]:
        session = next(argument for argument in sys.argv if argument.startswith("--session-name="))
        with Path(os.environ["TOY_PIDS"]).open("a") as pids:
            pids.write(f"{session} {os.getpid()}\n")
    return build_toy(**arguments)


BACKBONES.update({name: replace(toy_backbone(name), build=build_noted) for name in ("toy", "toy2")})
