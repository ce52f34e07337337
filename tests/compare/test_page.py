"""The page says what compare.csv says, is whole in itself, and escapes what comes from outside."""

import json
import re

from test_statistics import THREE

from bench.compare import page


def text_of(folder):
    source = (folder / "compare.html").read_text(encoding="utf-8")
    body = re.sub(r"<style>.*?</style>", "", source, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_the_page_of_a_table_alone(tmp_path):
    THREE.to_csv(tmp_path / "compare.csv", index=False)
    assert page.render(tmp_path) == tmp_path / "compare.html"
    text = text_of(tmp_path)
    for words in ("3 methods over 3 seeds", "× 3.50", "× 3.00 to × 4.00", "not reached in 1 of 3", "feature cache"):
        assert words in text
    assert "not inferior" in text
    for words in ("starts from logistic regression", "the peers' starts at random", "time to 0.97"):
        assert words in text
    assert "compare.json is missing" in text
    source = (tmp_path / "compare.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", source)
    assert source.count("<img") == 3
    assert "could not be drawn" not in source


def test_never_reached_is_said(tmp_path):
    THREE[THREE["auc"] < 0.97].to_csv(tmp_path / "compare.csv", index=False)
    page.render(tmp_path)
    assert "not reached in 2 of 2" in text_of(tmp_path)


def test_a_lever_without_a_pair_of_equal_work_has_no_bar(tmp_path):
    cut = THREE[(THREE["method"] != "suite-no-cache") | (THREE["trial"] == 0)]
    cut.to_csv(tmp_path / "compare.csv", index=False)
    page.render(tmp_path)
    assert "feature cache" in text_of(tmp_path)
    assert (tmp_path / "compare.html").read_text(encoding="utf-8").count("<img") == 2


def test_failed_and_stopped_methods_are_named(tmp_path):
    THREE.to_csv(tmp_path / "compare.csv", index=False)
    facts = {
        "target": 0.97,
        "created": "2026-11-25T00:00:00+00:00",
        "suite_version": "0.1.0",
        "data": {"path": "a<b>", "train": 1, "val": 1, "sizes": {"toy": 32}, "synthetic": True},
        "weights": {"kind": "random", "note": "n"},
        "hardware": {"cpus": 2, "memory_gib": 8, "machine": "x", "system": "y", "gpus": []},
        "settings": {"space": "toy", "list": False, "budget": 2, "epochs": 3, "patience": 3},
        "packages": {"keras": "3"},
        "runs": [
            {"method": "hyperband", "seed": 0, "state": "failed", "seconds": 9.0, "reason": "Boom <b>", "notes": []},
            {"method": "random", "seed": 1, "state": "time limit", "seconds": 90.0, "reason": "", "notes": []},
            {
                "method": "suite",
                "seed": 0,
                "state": "finished",
                "seconds": 40.0,
                "reason": "",
                "notes": ["computed in float32"],
            },
        ],
    }
    (tmp_path / "compare.json").write_text(json.dumps(facts))
    page.render(tmp_path)
    source, text = (tmp_path / "compare.html").read_text(encoding="utf-8"), text_of(tmp_path)
    assert "KerasTuner Hyperband, seed 0, failed: Boom &lt;b&gt;." in source
    assert "a&lt;b&gt;" in source
    assert "KerasTuner random search, seed 1, was ended by the time limit" in text
    assert "computed in float32" in text
    assert "say nothing about medicine" in text and "not transfer learning" in text


def test_a_comparison_that_has_only_begun_has_a_page(tmp_path):
    THREE.head(0).to_csv(tmp_path / "compare.csv", index=False)
    page.render(tmp_path)
    assert "No method has ended a trial yet" in text_of(tmp_path)
