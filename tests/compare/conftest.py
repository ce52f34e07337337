"""Toys for the comparison: specifications on the toy folder, and processes that know the toy backbones."""

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
def make_spec(make_task: Callable[..., Any], toy_table: None, tmp_path: Path) -> Callable[..., Any]:
    """``make_spec(**changes)`` -> a specification on the toy folder."""
    import dataclasses

    from toys import SPACE

    from bench.compare.spec import Spec

    task = make_task()

    def make(**changes: Any) -> Spec:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        spec = Spec(
            method="random",
            seed=0,
            images=task.images,
            rows=task.rows,
            labels=task.labels,
            n_classes=2,
            weights=task.weights,
            space_name="toy",
            space_text=SPACE,
            configurations=(),
            budget=3,
            epochs=3,
            patience=3,
            views=2,
            jobs=0,
            cache=tmp_path / "cache",
            cache_bytes=10**9,
            scratch=scratch,
        )
        return dataclasses.replace(spec, **changes)

    return make


@pytest.fixture
def outcomes(tmp_path: Path) -> Callable[[Any], Any]:
    """``outcomes(spec)`` -> the rows that a method is to fill, in tmp_path/outcomes.csv."""
    from bench.compare.clock import Clock
    from bench.compare.spec import Outcomes

    return lambda spec: Outcomes(tmp_path / "outcomes.csv", spec, Clock())
