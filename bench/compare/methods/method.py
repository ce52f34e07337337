"""What every method's process does: read its specification, start its clock, run, note how it ended."""

import importlib
import sys
from pathlib import Path

from bench.compare.clock import Clock
from bench.compare.spec import Outcomes, Spec
from bench.device import plain_keras, quiet


def main(module: str) -> None:
    """Carry out ``python -m bench.compare.methods.METHOD SPEC.json``: outcomes.csv appears beside the specification.

    Args:
        module: its full name. It is imported again under that name, for what is sent to other processes must not
            belong to ``__main__``.
    """
    clock = Clock()
    quiet()
    file = Path(sys.argv[1])
    spec = Spec.load(file)
    method = importlib.import_module(module)
    if "keras" in sys.modules:
        plain_keras()
    method.run(spec, Outcomes(file.with_name("outcomes.csv"), spec, clock))
