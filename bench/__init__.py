"""Which pretrained CNN, fine-tuned how, classifies these medical images best, and how sure can one be?"""

__version__ = "0.1.0"

RULES = 7
"""Version of the rules that decide a score: results compare only within one (see CHANGELOG.md)."""

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded by Python itself, and a file of the working folder could stand in for it
    from bench.reuse.model import load_model as load_model
    from bench.run.api import read as read

_LATER = {"load_model": "bench.reuse.model", "read": "bench.run.api"}
"""What is imported when it is first used, with the module that it lies in: importing this package stays light."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "run":  # a package that can be called
        return import_module("bench.run")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER, "run"])
