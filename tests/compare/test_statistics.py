"""Numbers of the page, checked by hand on a table that is written out here."""

import math

import pandas as pd
import pytest

from bench.compare import statistics
from bench.compare.methods.experiment import OUTCOMES
from bench.compare.record import Ended


def trials(*runs):
    """``(method, seed, [(ended, auc), …])`` -> rows; two core-seconds a second, three epochs per trial."""
    rows = []
    for method, seed, ends in runs:
        for number, (ended, auc) in enumerate(ends):
            state = "failed" if auc is None else "completed"
            config = ["toy", "none", 0, 0.01 * (number + 1), None, 0.0, 0.0, 8, "given", "constant", 0.0]
            rows.append([method, seed, number, state, ended, 2 * ended, auc, 3, "", *config])
    table = pd.DataFrame(rows, columns=OUTCOMES.names)
    return table.astype({"auc": "float64", "config_finetune_factor": "float64"})


THREE = trials(
    ("suite", 0, [(10, 0.90), (20, 0.98)]),
    ("suite", 1, [(10, 0.98), (25, 0.97)]),
    ("suite", 2, [(12, 0.90), (40, 0.95)]),
    ("ray-tune", 0, [(50, 0.96), (60, 0.98)]),
    ("ray-tune", 1, [(50, 0.96), (100, 0.96)]),
    ("ray-tune", 2, [(50, None), (80, 0.97)]),
    ("suite-no-cache", 0, [(30, 0.90), (40, 0.978)]),
    ("suite-no-cache", 1, [(30, 0.979), (75, 0.97)]),
    ("suite-no-cache", 2, [(30, 0.90), (60, 0.951)]),
)


def test_a_run_in_numbers():
    row = statistics.runs(THREE, 0.97).query("method == 'suite' and seed == 0").iloc[0]
    assert (row["trials"], row["wall"], row["cores"], row["best"]) == (2, 20, 40, 0.98)
    assert (row["to_target"], row["cores_to_target"]) == (20, 40)
    assert (row["trials_per_hour"], row["epochs_per_trial"]) == (360, 3)


def test_methods_stand_in_the_order_of_their_table():
    assert list(statistics.by_method(statistics.runs(THREE, 0.97))["method"]) == ["suite", "suite-no-cache", "ray-tune"]


def test_ratios_are_paired_by_seed():
    row = statistics.by_method(statistics.runs(THREE, 0.97)).set_index("method").loc["ray-tune"]
    assert (row["ratio_low"], row["ratio"], row["ratio_high"], row["pairs"]) == (3, 3.5, 4, 2)  # 60/20, 100/25
    assert row["failed"] == 1
    row = statistics.by_method(statistics.runs(THREE, 0.97)).set_index("method").loc["suite-no-cache"]
    assert (row["ratio_low"], row["ratio"], row["ratio_high"], row["pairs"]) == (1.5, 2, 3, 3)  # 60/40, 40/20, 75/25


def test_a_run_with_fewer_trials_gives_no_ratio():
    cut = THREE[~((THREE["method"] == "suite-no-cache") & (THREE["ended"] == 75))]
    row = statistics.by_method(statistics.runs(cut, 0.97)).set_index("method").loc["suite-no-cache"]
    assert (row["ratio_low"], row["ratio_high"], row["pairs"]) == (1.5, 2, 2)


def test_a_trial_that_failed_is_no_work():
    most_failed = trials(("suite", 0, [(100, 0.9), (300, 0.9)]), ("ray-tune", 0, [(200, None), (400, 0.9)]))
    assert statistics.by_method(statistics.runs(most_failed, 0.97)).loc[1, "pairs"] == 0
    again = trials(("suite", 0, [(50, None), (100, 0.9), (300, 0.9)]), ("ray-tune", 0, [(200, 0.9), (600, 0.9)]))
    assert statistics.by_method(statistics.runs(again, 0.97)).loc[1, "ratio"] == 2


def ends(*runs):
    return [Ended(method=method, seed=seed, state=state, seconds=90.0) for method, seed, state in runs]


def test_runs_that_failed_are_left_out_of_means():
    found = statistics.runs(THREE, 0.97, ends(("ray-tune", 1, "failed"), ("suite", 0, "finished")))
    assert found["method"].tolist() == ["suite"] * 3 + ["suite-no-cache"] * 3 + ["ray-tune"] * 2
    row = statistics.by_method(found).set_index("method").loc["ray-tune"]
    assert (row["seeds"], row["wall"], row["pairs"]) == (2, 70, 1)  # 60 and 80; a trial of the second failed
    assert list(statistics.of_whole_runs(THREE.head(0), ends(("suite", 0, "failed")))) == OUTCOMES.names


def test_trials_per_hour_are_those_that_did_not_fail_over_the_whole_time():
    found = statistics.runs(THREE, 0.97, ends(("suite", 0, "time limit"))).set_index(["method", "seed"])
    assert found.loc[("suite", 0), "wall"] == 90 and found.loc[("suite", 0), "trials_per_hour"] == 80
    assert found.loc[("ray-tune", 2), "trials_per_hour"] == 45  # one of two, in 80 s
    pruned = THREE.assign(state=THREE["state"].replace("completed", "pruned"))
    assert statistics.runs(pruned, 0.97).set_index(["method", "seed"]).loc[("suite", 0), "trials_per_hour"] == 360


def test_time_to_the_target_is_a_median_over_those_that_reached_it():
    rows = statistics.by_method(statistics.runs(THREE, 0.97)).set_index("method")
    assert (rows.loc["suite", "reached"], rows.loc["suite", "to_target"]) == (2, 15)  # 20 and 10
    assert (rows.loc["ray-tune", "reached"], rows.loc["ray-tune", "to_target"]) == (2, 70)  # 60 and 80
    never = statistics.by_method(statistics.runs(THREE, 0.99)).set_index("method")
    assert never.loc["suite", "reached"] == 0 and math.isnan(never.loc["suite", "to_target"])


def test_intervals():
    low, high = statistics.interval([0.96, 0.97, 0.98])  # mean 0.97, SD 0.01, t(2) = 4.3027
    assert (low, high) == pytest.approx((0.97 - 0.024841, 0.97 + 0.024841), abs=1e-6)
    assert statistics.interval([0.9, 0.8]) == (0.8, 0.9)
    assert all(math.isnan(end) for end in statistics.interval([0.9]))


def test_levers_with_their_margin():
    row = statistics.levers(statistics.runs(THREE, 0.97)).iloc[0]
    assert (row["off"], row["ratio"], row["ratio_low"], row["ratio_high"]) == ("feature cache", 2, 1.5, 3)
    assert row["difference"] == pytest.approx((0.002 + 0.001 - 0.001) / 3)
    assert row["verdict"] == "not inferior"
    two = statistics.levers(statistics.runs(THREE[THREE["seed"] < 2], 0.97)).iloc[0]
    assert two["verdict"] == "open", "two seeds show nothing"
    worse = THREE.assign(auc=THREE["auc"] + 0.05 * (THREE["method"] == "suite-no-cache"))
    assert statistics.levers(statistics.runs(worse, 0.97)).iloc[0]["verdict"] == "inferior"


def test_a_lever_is_judged_by_pairs_of_equal_work_alone():
    cut = THREE[~((THREE["method"] == "suite-no-cache") & (THREE["ended"] == 75))]
    row = statistics.levers(statistics.runs(cut, 0.97)).iloc[0]
    assert (row["pairs"], row["verdict"]) == (2, "open")
    assert row["difference"] == pytest.approx((0.002 - 0.001) / 2), "seed 1 has a trial less"
    unscored = THREE["auc"].mask((THREE["method"] == "suite") & (THREE["seed"] == 0))
    row = statistics.levers(statistics.runs(THREE.assign(auc=unscored), 0.97)).iloc[0]
    assert row["pairs"] == 2 and row["difference"] == pytest.approx((0.001 - 0.001) / 2, abs=1e-12)
    none = THREE[(THREE["method"] != "suite-no-cache") | (THREE["trial"] == 0)]
    row = statistics.levers(statistics.runs(none, 0.97)).iloc[0]
    assert row["pairs"] == 0 and math.isnan(row["difference"]) and row["verdict"] == "open"


def test_the_same_configurations_are_compared_pair_by_pair():
    row = statistics.same_configurations(THREE).set_index("method").loc["suite-no-cache"]
    assert row["pairs"] == 6
    assert row["difference"] == pytest.approx((-0.002 - 0.001 + 0.001) / 6)
    assert row["largest"] == pytest.approx(0.002)
    assert "ray-tune" not in set(statistics.same_configurations(THREE)["method"]), "one of its trials failed"


def test_best_so_far_over_seeds():
    curve = statistics.best_so_far(THREE, "suite", "ended")
    assert curve["x"].tolist() == [12, 20, 25, 40]  # from where every seed has a trial
    assert curve["best"].tolist() == [0.90, 0.98, 0.98, 0.98]
    assert curve["low"].tolist() == [0.90, 0.90, 0.90, 0.95]
    assert curve["high"].tolist() == [0.98] * 4
