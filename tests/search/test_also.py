"""The search for what is fast too: two objectives, what a trial that was stopped teaches, and a study made again."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import toys
from optuna.trial import TrialState

from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.searcher import STUDY, RecordingSearch, Rules
from bench.search.space import Space, parse_space
from bench.stats.metrics import METRICS
from bench.trial import EpochRecord, TrialConfig

MILLISECONDS = {"toy": 1.0, "toy2": 40.0}


class Silent:
    def trial_started(self, trial: int, config: TrialConfig) -> None: ...
    def trial_scored(self, trial: int, score: float, epoch: int) -> None: ...
    def trial_ended(self, record: TrialRecord) -> None: ...
    def note(self, text: str) -> None: ...


@pytest.fixture
def space(toy_table: None) -> Space:
    return parse_space("toys", toys.SPACE)


def begin(space: Space, run: RunDir, milliseconds: dict[str, float] = MILLISECONDS) -> RecordingSearch:
    rules = Rules(space, "auc", epochs=3, seed=0, jobs=9, milliseconds=milliseconds)
    return RecordingSearch(rules, TrialLog.load(run), Silent())


def result(epoch: int, auc: float, **more: Any) -> dict[str, Any]:
    """What a trial reports after an epoch."""
    metrics = dict.fromkeys(METRICS, auc)
    said = {"auc": auc, "epoch": epoch, "best_metrics": tuple(metrics.items()), "best_epoch": epoch, "spent": ()}
    new = {"new_epochs": [EpochRecord("head", epoch, 0.5, metrics, 0.1)], "new_scores": [np.full((3, 2), auc)]}
    return {**said, **new, "notes": (), "training_iteration": epoch, **more}


def ended(search: RecordingSearch, name: str, auc: float) -> str:
    """Carry out the next trial, all its epochs; returns its backbone."""
    backbone = str(search.suggest(name)["backbone"])
    search.scored(name, result(1, auc))
    search.ended(name, result(1, auc, new_epochs=[], new_scores=[], finished=True, training_iteration=2))
    return backbone


def told(run: RunDir) -> list[Any]:
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{run.study}")
    assert [one.name for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    return [(one.state, one.values, one.params, one.user_attrs["trial"]) for one in study.trials]


def test_the_ends_of_a_trial_with_score_and_time(tmp_path: Path, space: Space) -> None:
    """One that was stopped early is told as complete, with its best score so far: else it would teach nothing."""
    search = begin(space, run := RunDir(tmp_path))
    backbones = {name: search.suggest(name)["backbone"] for name in ("weak", "broken", "late", "new")}
    search.scored("weak", result(1, 0.5))
    search.ended("weak", result(2, 0.6))
    search.ended("broken", {"failed": "no such layer", "finished": True})
    search.scored("late", result(1, 0.7))
    search.close("stopped by the time limit")
    done = ended(search, "done", 0.8)
    assert [one.state for one in TrialLog.load(run).records] == ["pruned", "failed", "pruned", "completed"]
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert [one[0] for one in told(run)] == states
    times = [MILLISECONDS[name] for name in (backbones["weak"], backbones["late"], done)]
    assert [one[1] for one in told(run) if one[1]] == [[0.6, times[0]], [0.7, times[1]], [0.8, times[2]]]


@pytest.mark.parametrize(
    ("scores", "milliseconds", "preferred"),
    [
        ({"toy": 0.8, "toy2": 0.8}, {"toy": 40.0, "toy2": 1.0}, "toy2"),
        ({"toy": 0.9, "toy2": 0.6}, {"toy": 7.0, "toy2": 7.0}, "toy"),
    ],
)
def test_the_sampler_learns_from_both(
    tmp_path: Path, space: Space, scores: dict[str, float], milliseconds: dict[str, float], preferred: str
) -> None:
    log = TrialLog.load(RunDir(tmp_path))
    for trial in range(16):
        name = ("toy", "toy2")[trial % 2]
        config = TrialConfig(name, learning_rate=0.001 * (trial + 1), unfreeze_depth=0, dropout=0.0, batch_size=8)
        metrics = dict.fromkeys(METRICS, scores[name])
        log.add(TrialRecord(trial, "completed", "", "sampled", config, metrics, 1, 1, 1.0, 1.0 + trial), [])
    search = begin(space, RunDir(tmp_path), milliseconds)
    search.settle(log.records)
    assert len(told(RunDir(tmp_path))) == 16
    found = Counter(ended(search, f"t{number}", 0.7) for number in range(6))
    assert found[preferred] >= 5, found


@pytest.mark.parametrize("lost", [False, True])
def test_a_search_goes_on_and_a_study_that_was_lost_is_made_again(tmp_path: Path, space: Space, lost: bool) -> None:
    first = begin(space, run := RunDir(tmp_path))
    for number in range(3):
        ended(first, f"t{number}", 0.5 + 0.1 * number)
    first.suggest("weak")
    first.scored("weak", result(1, 0.4))
    first.ended("weak", result(2, 0.45))
    before = told(run)
    del first
    if lost:
        run.study.unlink()
    again, log = begin(space, run), TrialLog.load(run)
    assert again.settle(log.records) == []
    assert told(run) == before and len(before) == 4
    *others, last = log.records
    changed = [*others, replace(last, metrics={**(last.metrics or {}), "auc": 0.99})]
    with pytest.raises(Exception, match=r"trials\.csv says auc 0\.99 for trial 3, .*study\.db 0\.45"):
        again.settle(changed)
    ended(again, "more", 0.8)
    assert told(run)[-1][1][0] == 0.8


def test_without_times_there_is_one_objective(tmp_path: Path, space: Space) -> None:
    study = begin(space, RunDir(tmp_path), {})._study
    assert [one.name for one in study.directions] == ["MAXIMIZE"]
