"""The command line as a person would type it again: messages name the command that was used."""

import shlex
import sys
from pathlib import Path

INSTALLED = "medical-transfer-bench"


def program() -> str:
    """What comes before a command."""
    return INSTALLED if _script() == INSTALLED else "python -m bench"


def typed(command: str, *arguments: str) -> str:
    """``command`` (``run``, ``report`` …) with ``arguments``, in the way in which this process was started."""
    by_script = command == "run" and _script() not in (INSTALLED, "bench")
    start = "python run_bench.py" if by_script else f"{program()} {command}"
    return " ".join([start, *map(shlex.quote, arguments)])


def _script() -> str:
    """What was started: `INSTALLED`, ``bench`` by ``python -m``, or else a script."""
    path = Path(sys.argv[0] if sys.argv else "")
    return path.parent.name if path.name == "__main__.py" else path.stem


def resume(name: str, folder: Path) -> str:
    """The command that goes on with the run ``name`` in ``folder``."""
    return typed("run", "--resume", name, *in_output(folder))


def in_output(folder: Path) -> list[str]:
    """The flag that names ``folder``, unless it is where runs lie by default."""
    return [] if folder.absolute() == Path("reports").absolute() else ["--output", str(folder)]
