"""A fold of the nested loop: what is retrained on it, and that its own validation images alone choose the winner."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bench.data.splits import OuterFold
from bench.errors import ConfigError, WorkerDied
from bench.finalists.outer import Retraining, choose_winner, wanted_in
from bench.finalists.seeds import NoFinalist, Wanted
from bench.run.results import TrialRecord
from bench.stats.metrics import METRICS
from bench.trial import EpochRecord, Scored, TrialConfig, TrialResult

AUC = METRICS["auc"]
FOLD = OuterFold(2, 3, np.array([7, 8]), {"train": np.array([0, 1, 2]), "val": np.array([3, 4])})
HOW = Retraining(AUC, seed=0, repeats=3, views=6)


def trial(number: int, backbone: str) -> TrialRecord:
    config = TrialConfig(backbone, learning_rate=0.01)
    return TrialRecord(number, "completed", "", "sampled", config, dict.fromkeys(METRICS, 0.7), 1, 1, 1.0, 1.0)


CHOSEN = [trial(0, "toy"), trial(1, "toy2")]


def result(auc: float, held_out: float = 0.5) -> TrialResult:
    metrics = {**dict.fromkeys(METRICS, 0.5), "auc": auc}
    scored = Scored((1,), np.full((1, 2, 2), 0.5, np.float32))
    asked = np.array([[1 - held_out, held_out]] * 2, np.float32)
    return TrialResult(1, metrics, (EpochRecord("head", 1, 0.5, metrics, 1.0),), 2.0, scored=scored, held_out=asked)


def outcomes(scores: dict[str, Sequence[Any]]) -> list[tuple[Wanted, Any]]:
    """Of each backbone's seeds: a validation score, a result, or what ended it."""
    wanted = wanted_in(FOLD, CHOSEN, HOW)
    left = {name: list(values) for name, values in scores.items()}
    ended = [left[one.curve.name].pop(0) for one in wanted]
    return [(one, result(end) if isinstance(end, float) else end) for one, end in zip(wanted, ended, strict=True)]


def test_each_finalist_is_retrained_on_the_fold_and_asked_about_what_is_held_out() -> None:
    wanted = wanted_in(FOLD, CHOSEN, HOW)
    assert [(one.curve.name, one.curve.repeat) for one in wanted] == [
        (b, r) for b in ("toy", "toy2") for r in (1, 2, 3)
    ]
    for one in wanted:
        trained_on = np.concatenate(list((one.job.rows or {}).values()))
        assert not set(trained_on) & set(FOLD.held_out)
        assert one.job.held_out is FOLD.held_out and one.job.model_file is None and one.job.views == 6
    assert [one.job.first_view for one in wanted] == [0, 1, 2] * 2
    others = wanted_in(OuterFold(1, 3, FOLD.held_out, FOLD.rows), CHOSEN, HOW)
    assert len({one.job.seed for one in wanted + others}) == 12, "another fold, other draws"


def test_the_best_mean_on_validation_wins_and_the_seed_nearest_the_median_stands_for_it() -> None:
    found = choose_winner(outcomes({"toy": [0.9, 0.6, 0.8], "toy2": [0.75, 0.8, 0.73]}), AUC)
    assert found.config.backbone == "toy"
    assert found.validation == pytest.approx(2.3 / 3)
    assert found.result.metrics["auc"] == 0.8
    by_loss = choose_winner(outcomes({"toy": [0.9, 0.6, 0.8], "toy2": [0.75, 0.8, 0.8]}), METRICS["auc"])
    assert by_loss.config.backbone == "toy2"


def test_what_is_held_out_has_no_say() -> None:
    """The loser on validation is perfect on the fold, and the luckiest seed there is not the median one."""
    perfect, useless = result(0.7, held_out=1.0), result(0.8, held_out=0.0)
    found = choose_winner(outcomes({"toy": [useless] * 3, "toy2": [perfect] * 3}), AUC)
    assert found.config.backbone == "toy" and found.result is useless
    seeds = [result(0.8, 0.1), result(0.9, 1.0), result(0.7, 1.0)]
    found = choose_winner(outcomes({"toy": seeds, "toy2": [0.5] * 3}), AUC)
    assert found.result is seeds[0]
    assert found.seed == wanted_in(FOLD, CHOSEN, HOW)[0].job.seed


def test_inner_folds_decide_where_there_are_some() -> None:
    def rows(score: float, state: str = "completed") -> list[dict[str, Any]]:
        return [{"state": state, **{f"metric_{name}": score for name in METRICS}}] * 2

    ended = outcomes({"toy": [0.9] * 3, "toy2": [0.8] * 3})
    found = choose_winner(ended, AUC, lambda names: {"toy": rows(0.6), "toy2": rows(0.7)})
    assert found.config.backbone == "toy2" and found.validation == 0.7
    found = choose_winner(ended, AUC, lambda names: {"toy": rows(0.0, "failed"), "toy2": rows(0.7)})
    assert found.config.backbone == "toy2", "one without a fold comes last, as in a run"
    assert choose_winner(ended, AUC, lambda names: {}).config.backbone == "toy"


def test_a_failed_training_is_left_out_and_a_backbone_that_a_crash_takes_ends_the_fold() -> None:
    broken, died = RuntimeError("no such layer"), WorkerDied("machine", "the worker process was killed")
    assert choose_winner(outcomes({"toy": [broken, 0.6, died], "toy2": [0.5] * 3}), AUC).validation == 0.6
    assert choose_winner(outcomes({"toy": [broken] * 3, "toy2": [0.5] * 3}), AUC).config.backbone == "toy2"
    with pytest.raises(NoFinalist, match=r"toy \(.*was killed.*\) could not be trained for a fault of the machine or"):
        choose_winner(outcomes({"toy": [died] * 3, "toy2": [0.5] * 3}), AUC)
    with pytest.raises(NoFinalist, match=r"No finalist could be retrained; the last: .*no such layer"):
        choose_winner(outcomes({"toy": [broken] * 3, "toy2": [broken] * 3}), AUC)
    with pytest.raises(ConfigError):
        choose_winner(outcomes({"toy": [ConfigError("gone")] * 3, "toy2": [0.5] * 3}), AUC)
