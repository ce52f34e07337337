"""The metadata baseline: it sees what metadata tell of the label, and nothing where they tell nothing."""

import json

import numpy as np
import pandas as pd
import pytest

from bench.data.audit import shortcut as module
from bench.data.audit.shortcut import LIMIT, metadata

FEATURES = {"width", "height", "aspect", "colour mode", "bytes per pixel"}
ONE_SIZE = {"width": 1000, "height": 800, "mode": "L"}
"""One feature alone differs, which takes a fifth of the time."""


def facts_of(n, seed=0, **columns):
    """Facts of ``n`` images of all sizes, whatever they show."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(400, 2000, n), rng.integers(400, 2000, n)
    facts = {
        "width": width,
        "height": height,
        "mode": rng.choice(["L", "RGB"], n),
        "bytes": (rng.uniform(0.05, 0.3, n) * width * height).astype(int),
    }
    return pd.DataFrame(facts).assign(**columns)


def labels_of(n, seed=1, classes=("A", "B")):
    return np.random.default_rng(seed).choice(classes, n).tolist()


def shortcut(*args, **options):
    """As audit.json has it."""
    return module.shortcut(*args, **options).model_dump(mode="json", exclude_unset=True)


def check(found):
    """What every result holds, and that it can be written as JSON."""
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {feature["name"] for feature in found["features"]} == FEATURES
    aucs = [feature["auc"] for feature in found["features"]]
    assert aucs == sorted(aucs, reverse=True)
    if found["low"] is None:
        assert found["high"] is None, "no draw differs"
    else:
        assert found["low"] <= found["auc"] <= found["high"]
    if found["low"] is not None:
        assert found["warns"] == (found["low"] > found["limit"])
    assert found["limit"] == LIMIT
    return found


def test_the_features():
    facts = pd.DataFrame({"width": [100, 0], "height": [50, 0], "mode": ["RGB", "L"], "bytes": [2500, 0]})
    assert metadata(facts).to_dict("list") == {
        "width": [100, 0],
        "height": [50, 0],
        "aspect": [2, 0],
        "colour mode": [1, 0],
        "bytes per pixel": [0.5, 0],
    }


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("width", lambda facts, is_b: {"width": facts["width"] + 2000 * is_b}),
        ("colour mode", lambda facts, is_b: {"mode": np.where(is_b, "RGB", "L")}),
        ("bytes per pixel", lambda facts, is_b: {"bytes": facts["bytes"] * (1 + 7 * is_b)}),
    ],
)
def test_what_tells_the_label_is_found_and_named_first(name, change):
    labels = labels_of(160)
    facts = facts_of(160)
    facts = facts.assign(**change(facts, np.array(labels) == "B"))
    found = check(shortcut(facts, labels, range(160), seed=0))
    assert found["auc"] > 0.95
    assert found["low"] is None or found["low"] > 0.9
    assert found["warns"]
    assert found["features"][0]["name"] == name
    assert found["features"][0]["auc"] > 0.95
    assert (found["images"], found["patients"]) == (160, 160)


def test_without_a_signal_the_interval_is_about_a_half():
    covered = []
    for seed in range(4):
        found = check(shortcut(facts_of(150, seed), labels_of(150, seed + 50), range(150), seed))
        assert 0.3 < found["auc"] < 0.7
        covered.append(found["low"] < 0.5 < found["high"])
    assert sum(covered) >= 3


def test_a_score_above_the_limit_by_chance_is_no_warning():
    """Of 16 small sets without a signal several score above 0.6, and one of them may lie above by its interval."""
    sets = ((facts_of(40, seed, **ONE_SIZE), labels_of(40, seed + 50), seed) for seed in range(16))
    found = [check(shortcut(facts, labels, range(40), seed)) for facts, labels, seed in sets]
    assert sum(one["auc"] > one["limit"] for one in found) >= 2
    assert sum(one["warns"] for one in found) <= 1


@pytest.mark.parametrize(("n_images", "warns"), [(160, True), (16, False)])
def test_a_perfect_score_warns_where_there_are_enough_patients(monkeypatch, n_images, warns):
    """All draws of patients agree on it, so that it has no interval."""
    labels = ["A", "B"] * (n_images // 2)
    y = np.arange(n_images) % 2
    monkeypatch.setattr("bench.data.audit.shortcut.out_of_fold", lambda features, y, *_: np.eye(2)[y].astype(float))
    facts = facts_of(n_images, width=500 + 1000 * y)
    found = check(shortcut(facts, labels, range(n_images), 0))
    assert (found["auc"], found["low"], found["warns"]) == (1.0, None, warns)


def test_metadata_that_never_differ_tell_nothing_at_all():
    facts = facts_of(60, width=500, height=500, mode="L", bytes=9000)
    found = check(shortcut(facts, labels_of(60), range(60), 0))
    assert (found["auc"], found["low"], found["high"], found["warns"]) == (0.5, 0.5, 0.5, False)
    assert {feature["auc"] for feature in found["features"]} == {0.5}


def test_only_what_differs_counts():
    labels = labels_of(200)
    facts = facts_of(200, width=np.where(np.array(labels) == "B", 600, 500), height=500, mode="L", bytes=9000)
    by_name = {feature["name"]: feature["auc"] for feature in check(shortcut(facts, labels, range(200), 0))["features"]}
    assert by_name["width"] == by_name["aspect"] == by_name["bytes per pixel"] == 1
    assert by_name["height"] == by_name["colour mode"] == 0.5


def by_patient(n_patients=60, images=8):
    """Each patient a size and a label of their own: known patients are told by it, new ones cannot be."""
    patients = np.repeat(np.arange(n_patients), images)
    rng = np.random.default_rng(0)
    width = rng.permutation(np.arange(500, 500 + 10 * n_patients, 10))[patients]
    labels = np.array(["A", "B"])[rng.integers(0, 2, n_patients)][patients]
    return facts_of(len(patients), width=width, height=1000, mode="L", bytes=100_000), labels.tolist(), patients


def test_patients_are_kept_whole():
    facts, labels, patients = by_patient()
    found = check(shortcut(facts, labels, patients, 0))
    assert found["patients"] == 60
    assert 0.3 < found["auc"] < 0.65
    leaking = shortcut(facts, labels, range(len(labels)), 0)
    assert leaking["auc"] > 0.85, "the same images as if each were a patient"


def test_the_interval_is_of_patients():
    """Eight images of a patient are not eight patients: the interval is as wide as that of so many patients."""
    facts, labels = facts_of(60, **ONE_SIZE), np.array(labels_of(60))
    rows = np.repeat(np.arange(60), 8)
    single = shortcut(facts, labels.tolist(), range(60), 0)
    eightfold = shortcut(facts.iloc[rows], labels[rows].tolist(), rows, 0)
    width, same = (found["high"] - found["low"] for found in (single, eightfold))
    assert 0.7 < same / width < 1.4, "of images it would be a third"


def test_several_classes():
    labels = labels_of(180, classes=("A", "B", "C"))
    number = pd.factorize(pd.Series(labels), sort=True)[0]
    facts = facts_of(180, **ONE_SIZE)
    found = check(shortcut(facts.assign(height=number * 100 + 500), labels, range(180), 0))
    assert found["auc"] > 0.95
    assert found["features"][0]["name"] == "height"
    nothing = check(shortcut(facts, labels, range(180), 0))
    assert 0.35 < nothing["auc"] < 0.65


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (["A"] * 10 + ["B"] * 4, [*range(10), 20, 20, 20, 20]),
        (["A"] * 14, range(14)),
        ([], []),
    ],
    ids=["one patient", "one class", "nothing"],
)
def test_too_few_patients(labels, groups):
    found = shortcut(facts_of(len(labels)), labels, list(groups), 0)
    assert found["auc"] is None
    assert "at least two patients" in found["reason"]
    json.dumps(found, allow_nan=False)


def test_two_patients_a_class_are_enough():
    check(shortcut(facts_of(8), list("AABBAABB"), [0, 0, 1, 1, 2, 2, 3, 3], 0))


def test_the_seed_decides():
    facts, labels = facts_of(60, **ONE_SIZE), labels_of(60)
    first, second, other = (shortcut(facts, labels, range(60), seed) for seed in (1, 1, 2))
    assert first == second != other


def test_of_very_many_images_whole_patients_are_drawn(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 100)
    facts, labels, patients = by_patient()
    found = check(shortcut(facts, labels, patients, 0))
    assert found["images"] <= 100
    assert found["images"] == 8 * found["patients"]


def test_rows_are_taken_by_place_not_by_index():
    facts, labels = facts_of(80, **ONE_SIZE), labels_of(80)
    moved = facts.set_index(np.arange(80) * 3 + 5)
    assert shortcut(moved, labels, range(80), 0) == shortcut(facts, labels, range(80), 0)


def looks(kind, n=100, seed=0):
    """Thumbnails of two classes that differ in their middle, and by ``kind`` elsewhere."""
    rng = np.random.default_rng(seed)
    images = rng.normal(120, 20, (n, 128, 128))
    second = np.arange(n) % 2 == 1
    images[second, 40:90, 40:90] += 60
    if kind == "scanner":
        images[second] = 0.8 * images[second] + 24 + rng.normal(0, 20, images[second].shape)
    if kind == "mark":
        images[second, 4:12, 4:12] = 250
    return images.clip(0, 255).astype(np.uint8), ["AB"[int(one)] for one in second]


@pytest.mark.parametrize(
    ("kind", "warns", "telling"),
    [("none", False, None), ("scanner", True, "noise of the border"), ("mark", True, "top left corner")],
)
def test_the_border_tells_scanners_and_marks_and_not_what_the_middle_shows(kind, warns, telling):
    images, labels = looks(kind)
    found = module.border_shortcut(images, range(100), labels, range(100), 0)
    assert found.warns is warns
    assert (found.auc > 0.99) is warns
    alone = {one.name: one.auc for one in found.features}
    assert len(alone) == 8
    assert telling is None or alone[telling] > 0.99
    other = module.border_shortcut(images, range(0, 100, 2), labels[::2], range(50), 0)
    assert other.auc is None and "two patients" in other.reason


def test_borders_are_those_of_the_rows_that_are_asked_for():
    images = np.full((3, 128, 128), 50, np.uint8)
    images[2, :, :4] = 200
    plain, bright = module.borders(images, np.array([0, 2])).to_dict("records")
    assert plain["brightness of the border"] == 50 and plain["noise of the border"] == 0
    assert bright["brightness of the border"] > 50 and bright["top left corner"] > 50
    assert bright["top right corner"] == 50
