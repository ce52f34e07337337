"""Which pretrained CNN, fine-tuned how, classifies these medical images best, and how sure can one be?"""

__version__ = "0.1.0"

RULES = 7
"""Version of the rules that decide a score: results compare only within one (see CHANGELOG.md)."""

_FOUND_IN = {"read": "bench.run.api"}
"""What ``from bench import NAME`` gives besides packages, and where that is; nothing is loaded before it is used."""


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "run":  # a package that can be called
        return import_module("bench.run")
    if name not in _FOUND_IN:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(import_module(_FOUND_IN[name]), name)
