"""Toys for the comparison: experiments on the toy folder, and processes that know the toy backbones."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parent / "site"


@pytest.fixture
def knows_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started from here have the toy backbones in their table (see site/sitecustomize.py)."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def make_experiment(make_task: Callable[..., Any], toy_table: None, tmp_path: Path) -> Callable[..., Any]:
    """``make_experiment(method, **changes)`` -> an experiment on the toy folder; changes of its task among them."""
    import dataclasses

    from toys import SPACE

    from bench.compare.methods.experiment import Experiment
    from bench.compare.methods.table import METHODS
    from bench.search.space import parse_space

    def make(method: str = "random", options: dict[str, Any] | None = None, **changes: Any) -> Experiment:
        row = METHODS[method] if options is None else dataclasses.replace(METHODS[method], options=options)
        own = {"configurations": (), "budget": 3, "jobs": 0}
        own |= {name: changes.pop(name) for name in own if name in changes}
        scratch = tmp_path / "scratch"
        return Experiment(row, make_task(**changes), parse_space("toy", SPACE), scratch=scratch, **own)

    return make


@pytest.fixture
def outcomes(tmp_path: Path) -> Callable[[Any], Any]:
    """``outcomes(experiment)`` -> the rows that a method is to fill, in tmp_path/outcomes.csv."""
    from bench.compare.methods.experiment import Outcomes

    return lambda experiment: Outcomes(tmp_path, experiment)
