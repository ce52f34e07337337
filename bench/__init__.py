"""Which pretrained CNN, fine-tuned how, classifies these medical images best, and how sure can one be?"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

RULES = 7
"""Version of the rules that decide a score: results compare only within one (see CHANGELOG.md)."""

if TYPE_CHECKING:
    from bench.reuse.model import load_model as load_model

_LATER = {"load_model": "bench.reuse.model"}
"""What is imported when it is first used, with the module that it lies in: importing this package stays light."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
