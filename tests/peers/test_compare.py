"""The command: what is asked for, what is kept, and every method end to end on toys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from toys import SPACE, write_folder

from bench import cli
from bench.errors import ConfigError
from bench.peers import asked, compare
from bench.peers.methods import METHODS, choose
from bench.peers.process import Ended, MethodRun
from bench.peers.scene import complete_points
from bench.peers.spec import COLUMNS
from bench.rundir import write_json
from bench.screen import Screen
from bench.search.space import load_space, parse_space

LIST = (
    SPACE.split("points:")[0]
    + """points:
  - {backbone: toy, augmentation: none, unfreeze_depth: 0, learning_rate: 0.02, dropout: 0.0}
  - {backbone: toy2, augmentation: light, unfreeze_depth: 1, learning_rate: 0.02, finetune_factor: 0.1, dropout: 0.0}
"""
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images, cache and spaces that the tests share."""
    root = tmp_path_factory.mktemp("compare")
    write_folder(root / "images", {"train": 40, "val": 50, "test": 4})
    (root / "space.yaml").write_text(SPACE)
    (root / "list.yaml").write_text(LIST)
    return root


def arguments(data, tmp_path, *further):
    return [
        "compare",
        *("--data", str(data / "images"), "--weights", "random", "--image-size", "32", "--epochs", "2"),
        *("--cache", str(data / "cache"), "--output", str(tmp_path), "--name", "toys"),
        *further,
    ]


def plan(data, tmp_path, **values):
    common = {"data": str(data / "images"), "weights": "random", "image_size": 32, "epochs": 2, "name": "toys"}
    if "fixed_list" not in values:
        common |= {"space": str(data / "space.yaml"), "budget": 2}
    return asked.plan(**{**common, "cache": data / "cache", "output": tmp_path, **values})


# What is asked for


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--methods", "sweet"], ["unknown method 'sweet'", "suite, suite-warm"]),
        (["--methods", ","], ["names separated by commas"]),
        (["--seeds", "0"], ["--seeds of at least 1"]),
        (["--target", "1.5"], ["--target", "1.5"]),
        (["--budget", "0"], ["--budget"]),
        (["--jobs", "4000"], ["--jobs 4000", "cores"]),
        (["--space", "nowhere"], ["'nowhere'"]),
        (["--list", "--budget", "3"], ["--list", "--budget"]),
        (["--list", "default"], ["'default' has no points"]),
        (["--list", "--methods", "hyperband"], ["hyperband cannot train a fixed list"]),
        (["--methods", "suite-warm"], ["suite-warm goes on from the cache", "seed 0"]),
        (["--time-limit", "soon"], ["--time-limit"]),
        (["--data", "/nowhere"], ["/nowhere"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(data, tmp_path, capsys, toy_table, flags, words):
    given = arguments(data, tmp_path, *flags)
    if "--space" not in flags and "--list" not in flags:
        given += ["--space", str(data / "space.yaml")]
    assert cli.main(given) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert all(word in told for word in words), told
    assert not list(tmp_path.iterdir())


def test_methods_are_chosen_in_the_order_of_the_table():
    assert [method.name for method in choose(["ray-tune", "suite"], False)] == ["suite", "ray-tune"]
    assert [method.name for method in choose(None, False)] == list(METHODS)
    assert not {"hyperband", "bayesian", "random", "suite-no-asha"} & {method.name for method in choose(None, True)}


def test_the_shipped_list_is_the_24():
    points = complete_points(load_space(asked.LIST))
    assert len(points) == 24
    by_depth = pd.DataFrame(points).groupby("unfreeze_depth")
    assert by_depth.size().tolist() == [12, 6, 6]
    assert set(by_depth.get_group(0)["learning_rate"]) == {1e-3, 3e-4}
    for depth in (1, 2):
        assert set(by_depth.get_group(depth)["learning_rate"]) == {1e-3}
        assert set(by_depth.get_group(depth)["finetune_factor"]) == {0.1}
    assert {(point["backbone"], point["augmentation"]) for point in points} == {
        (backbone, policy) for backbone in ("vgg16", "resnet50", "inceptionv3") for policy in ("none", "light")
    }
    policies = load_space("default").policies
    assert dict(load_space(asked.LIST).policies) == {name: policies[name] for name in ("none", "light")}


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ("[{backbone: vgg16}]", "lacks augmentation"),
        (
            "[{backbone: vgg16, augmentation: none, unfreeze_depth: 1, learning_rate: 0.001, dropout: 0}]",
            "finetune_factor",
        ),
        ("[]", "no points"),
    ],
)
def test_a_list_must_be_whole(points, words):
    text = SPACE.split("points:")[0].replace("[toy, toy2]", "[vgg16]") + f"points: {points}"
    with pytest.raises(ConfigError, match=words):
        complete_points(parse_space("own", text))


# What is kept


@pytest.fixture
def pretended(monkeypatch, knows_toys, toy_table):
    """Methods that only pretend; returns what was carried out. The one called ``fails`` fails."""
    done = []
    failing = set()

    def carry_out(run, spec, time_limit):
        done.append((run.method.name, run.seed))
        spec.cache.mkdir(parents=True, exist_ok=True)
        row = [run.method.name, run.seed, 0, "completed", 2.0, 3.0, 0.9, 2, "", "toy", "none", 0, 0.01, "", 0.0, 0.0, 8]
        pd.DataFrame([row], columns=list(COLUMNS)).to_csv(run.outcomes, index=False)
        state = "failed" if run.method.name in failing else "finished"
        ended = Ended(run.method.name, run.seed, state, 2.5, "Boom" if state == "failed" else "")
        write_json(run.folder / "ended.json", {**vars(ended), "notes": []})
        return ended

    monkeypatch.setattr(MethodRun, "carry_out", carry_out)
    return done, failing


def test_a_comparison_goes_on_where_it_stopped(data, tmp_path, pretended):
    done, failing = pretended
    failing.add("ray-tune")
    assert compare.carry_out(plan(data, tmp_path, methods=["suite", "ray-tune"]), Screen()) == 1
    assert done == [("suite", 0), ("ray-tune", 0)]
    done.clear(), failing.clear()
    further = plan(data, tmp_path, methods=["suite", "suite-warm", "ray-tune"], seeds=2, target=0.9)
    assert compare.carry_out(further, Screen()) == 0
    assert done == [("suite-warm", 0), ("ray-tune", 0), ("suite", 1), ("suite-warm", 1), ("ray-tune", 1)]
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    assert list(zip(rows["method"], rows["seed"], strict=True)) == [
        (method, seed) for method in ("suite", "suite-warm", "ray-tune") for seed in (0, 1)
    ]
    facts = json.loads((tmp_path / "toys" / "compare.json").read_text())
    assert facts["target"] == 0.9
    assert [run["state"] for run in facts["runs"]] == ["finished"] * 6
    assert (tmp_path / "toys" / "compare.html").exists()


@pytest.mark.parametrize(
    ("change", "flag"), [({"epochs": 3}, "--epochs"), ({"budget": 5}, "--budget"), ({"max_images": 60}, "--max-images")]
)
def test_what_decides_results_cannot_change_within_a_comparison(data, tmp_path, pretended, change, flag):
    compare.carry_out(plan(data, tmp_path, methods=["random"]), Screen())
    with pytest.raises(ConfigError, match=f"{flag} cannot change"):
        plan(data, tmp_path, methods=["random"], **change)


def test_a_folder_of_something_else_is_left_alone(data, tmp_path, toy_table):
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no comparison"):
        plan(data, tmp_path, methods=["random"])


# End to end


def run_command(data, tmp_path, *flags):
    site = Path(__file__).parent / "site"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments(data, tmp_path, *flags)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.end_to_end
def test_a_list_gives_the_same_configurations_to_all(data, tmp_path):
    done = run_command(
        data, tmp_path, "--list", str(data / "list.yaml"), "--methods", "suite,suite-warm,ray-tune", "--seed", "4"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    configs = [name for name in COLUMNS if name.startswith("config_")]
    found = {
        method: part[configs].sort_values("config_backbone").reset_index(drop=True)
        for method, part in rows.groupby("method")
    }
    assert set(found) == {"suite", "suite-warm", "ray-tune"}
    for table in found.values():
        pd.testing.assert_frame_equal(table, found["suite"])
    assert rows.groupby("config_backbone")["epochs"].unique().apply(list).to_dict() == {"toy": [2], "toy2": [4]}
    assert set(rows["seed"]) == {4}
    scores = rows.pivot(index="config_backbone", columns="method", values="auc")
    assert scores["suite"].tolist() == pytest.approx(scores["suite-warm"].tolist(), abs=1e-6)
    left = {path.name for path in (tmp_path / "toys" / "runs").glob("*/*")}
    assert not left & {"scratch", "cache"}, "suite-warm was the last to need the cache"
    assert "The same configurations" in (tmp_path / "toys" / "compare.html").read_text()


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "method", ["suite-no-cache", "suite-cold-workers", "suite-no-asha", "suite-float32", "ray-tune", "random"]
)
def test_every_method_runs(data, tmp_path, method):
    done = run_command(data, tmp_path, "--space", str(data / "space.yaml"), "--budget", "3", "--methods", method)
    log = (tmp_path / "toys" / "runs" / f"{method}-0" / "log.txt").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    rows = pd.read_csv(tmp_path / "toys" / "compare.csv")
    assert rows["trial"].tolist() == [0, 1, 2]
    assert set(rows["state"]) <= {"completed", "pruned"}
    assert rows["ended"].is_monotonic_increasing and (rows["ended"] > 0).all()
    assert (rows["core_seconds"] > 1).all()
    assert rows["auc"].between(0, 1).all()


@pytest.mark.end_to_end
def test_a_method_that_is_out_of_time_keeps_its_rows(data, tmp_path):
    flags = ("--space", str(data / "space.yaml"), "--budget", "500", "--methods", "random", "--time-limit", "25s")
    done = run_command(data, tmp_path, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads((tmp_path / "toys" / "compare.json").read_text())
    assert [run["state"] for run in facts["runs"]] == ["time limit"]
    assert "was ended by the time limit" in (tmp_path / "toys" / "compare.html").read_text()
