"""The methods of the comparison as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import ConfigError


@dataclass(frozen=True)
class Method:
    """One way to search, or to train a fixed list.

    Attributes:
        name: as in ``--methods``.
        title: as people write it.
        module: of `bench.compare.methods`, run as ``python -m bench.compare.methods.MODULE SPEC.json``.
        options: of its specification.
        trains_lists: whether it can train a fixed list of configurations instead of searching.
        off: the lever of this suite that is switched off; empty if none is.
        goes_on_from: the method whose feature cache it begins with; empty if it begins with none.
    """

    name: str
    title: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trains_lists: bool = True
    off: str = ""
    goes_on_from: str = ""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("suite", "This suite", "suite"),
        Method("suite-warm", "This suite, cache already filled", "suite", goes_on_from="suite"),
        Method("suite-no-cache", "This suite without its cache", "suite", {"cache": False}, off="feature cache"),
        Method(
            "suite-cold-workers", "This suite, a fresh process a trial", "suite", {"warm": False}, off="warm workers"
        ),
        Method("suite-no-asha", "This suite without ASHA", "suite", {"asha": False}, trains_lists=False, off="ASHA"),
        Method("suite-float32", "This suite in float32", "suite", {"precision": "float32"}, off="lower precision"),
        Method("ray-tune", "Ray Tune with OptunaSearch", "plain_ray"),
        Method("hyperband", "KerasTuner Hyperband", "keras_tuner_peers", {"tuner": "hyperband"}, trains_lists=False),
        Method("bayesian", "KerasTuner Bayesian", "keras_tuner_peers", {"tuner": "bayesian"}, trains_lists=False),
        Method("random", "KerasTuner random search", "keras_tuner_peers", {"tuner": "random"}, trains_lists=False),
    )
}


def choose(names: Sequence[str] | None, fixed_list: bool) -> tuple[Method, ...]:
    """The methods called ``names``, in the order of the table; all that can do it for None.

    Raises:
        ConfigError: for an unknown name, and for a method that cannot train a fixed list.
    """
    able = [name for name, method in METHODS.items() if method.trains_lists or not fixed_list]
    unknown = [name for name in names or () if name not in METHODS]
    if unknown:
        raise ConfigError(f"--methods: unknown method {unknown[0]!r}; known methods: {', '.join(METHODS)}.")
    unable = [name for name in names or () if name not in able]
    if unable:
        raise ConfigError(f"--methods: {unable[0]} cannot train a fixed list (--list); {', '.join(able)} can.")
    if names is not None and not names:
        raise ConfigError(f"--methods takes names separated by commas; known methods: {', '.join(METHODS)}.")
    return tuple(METHODS[name] for name in METHODS if name in (able if names is None else names))


def title(method: str) -> str:
    """How people write ``method``."""
    return METHODS[method].title if method in METHODS else method
