"""Searches without a disk, for tests of what is proposed and in which order."""

from pathlib import Path

import optuna
import pytest

from bench.search import searcher


@pytest.fixture
def study_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies live as long as the test, each by its path: writing them to SQLite takes most of the time."""
    kept: dict[Path, optuna.storages.InMemoryStorage] = {}
    monkeypatch.setattr(searcher, "_storage", lambda path: kept.setdefault(path, optuna.storages.InMemoryStorage()))
