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
        module: whose function ``run(experiment, outcomes)`` is called in a process of its own.
        options: for that function.
        trains_lists: whether it can train a fixed list of configurations instead of searching.
        off: the lever of this suite that is switched off; empty if none is.
        goes_on_from: the method whose feature cache it begins with; empty if it begins with none.
        whole: whether it goes on from the search to evaluated models; such a method is carried out if it is named.
    """

    name: str
    title: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    trains_lists: bool = True
    off: str = ""
    goes_on_from: str = ""
    whole: bool = False


SUITE = "bench.compare.methods.suite"
RAY_TUNE = "bench.compare.methods.ray_tune"
KERASTUNER = "bench.compare.methods.kerastuner"
WHOLE_SUITE = "suite-whole"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("suite", "This suite", SUITE),
        Method("suite-warm", "This suite, cache already filled", SUITE, goes_on_from="suite"),
        Method("suite-no-cache", "This suite without its cache", SUITE, {"cache": False}, off="feature cache"),
        Method(
            "suite-cold-workers", "This suite, a fresh process per trial", SUITE, {"warm": False}, off="warm workers"
        ),
        Method("suite-no-asha", "This suite without ASHA", SUITE, {"asha": False}, trains_lists=False, off="ASHA"),
        Method("suite-float32", "This suite in float32", SUITE, {"precision": "float32"}, off="lower precision"),
        Method("ray-tune", "Ray Tune with OptunaSearch", RAY_TUNE),
        Method("hyperband", "KerasTuner Hyperband", KERASTUNER, {"tuner": "hyperband"}, trains_lists=False),
        Method("bayesian", "KerasTuner Bayesian", KERASTUNER, {"tuner": "bayesian"}, trains_lists=False),
        Method("random", "KerasTuner random search", KERASTUNER, {"tuner": "random"}, trains_lists=False),
        Method(WHOLE_SUITE, "This suite, whole way", f"{SUITE}_whole", trains_lists=False, whole=True),
        Method("by-hand", "By hand, whole way", "bench.compare.methods.by_hand", trains_lists=False, whole=True),
    )
}


def choose(names: Sequence[str] | None, fixed_list: bool) -> tuple[Method, ...]:
    """The methods called ``names``, in the order of the table; None takes all that can and that end with the search.

    Raises:
        ConfigError: for an unknown name, and for a method that cannot train a fixed list.
    """
    able = [name for name, method in METHODS.items() if method.trains_lists or not fixed_list]
    for name in names or ():
        if name not in METHODS:
            raise ConfigError(f"--methods: unknown method {name!r}; known methods: {', '.join(METHODS)}.")
        if name not in able:
            raise ConfigError(f"--methods: {name} cannot train a fixed list (--list); {', '.join(able)} can.")
    if names is not None and not names:
        raise ConfigError(f"--methods takes names separated by commas; known methods: {', '.join(METHODS)}.")
    wanted = [name for name in able if not METHODS[name].whole] if names is None else names
    return tuple(method for name, method in METHODS.items() if name in wanted)


def title(method: str) -> str:
    """How people write ``method``."""
    return METHODS[method].title if method in METHODS else method
