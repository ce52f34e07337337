"""Pairs of models: who stands against whom, what is corrected together, and what the sentences say."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort

from bench.evaluation.comparisons import comparisons, sentences
from bench.evaluation.inputs import ScoredModel
from bench.run.tables import COMPARISONS
from bench.stats.bootstrap import Bootstrap, paired_difference
from bench.stats.metrics import auc
from bench.stats.predictions import Predictions
from bench.stats.proportions import holm

TITLES = {
    "vgg16": "VGG16",
    "resnet50": "ResNet50",
    "inceptionv3": "InceptionV3",
    "recipe": "Default recipe",
    "majority": "Majority class",
}
LABELS, GOOD, PATIENTS = cohort(400)
SCORES = {
    "vgg16": GOOD,
    "resnet50": 0.97 * GOOD + 0.03 * cohort(400, edge=0, seed=1)[1],
    "inceptionv3": cohort(400, edge=0.3, seed=2)[1],
    "recipe": 0.97 * GOOD + 0.03 * cohort(400, edge=0, seed=3)[1],
    "majority": np.tile([0.4, 0.6], (400, 1)),
}


def compared(
    scores=SCORES, labels=LABELS, patients=PATIENTS, winner="resnet50", classes=("NORMAL", "PNEUMONIA"), draws=300
):
    models = {
        name: ScoredModel(
            TITLES[name],
            "control" if name in ("recipe", "majority") else "finalist",
            {1: Predictions(labels, value, patients, classes)},
            1,
        )
        for name, value in scores.items()
    }
    return comparisons(models, winner, Bootstrap(draws))


@pytest.fixture(scope="module")
def table():
    return compared()


def test_every_pair_of_finalists_and_the_winner_against_every_control(table):
    assert list(table.columns) == COMPARISONS.names
    assert list(zip(table["family"], table["a"], table["b"], strict=True)) == [
        ("finalists", "resnet50", "vgg16"),
        ("finalists", "resnet50", "inceptionv3"),
        ("finalists", "vgg16", "inceptionv3"),
        ("controls", "resnet50", "recipe"),
        ("controls", "resnet50", "majority"),
    ]


def test_a_row_is_what_the_two_models_give_alone(table):
    """The draws are shared by all, and yet those of each pair by itself."""
    for row in table.to_dict("records"):
        a, b = SCORES[row["a"]], SCORES[row["b"]]
        alone = paired_difference(Predictions(LABELS, a, PATIENTS), b, Bootstrap(300))
        assert row["score_a"] == pytest.approx(auc(LABELS, a), abs=1e-9)
        assert row["score_b"] == pytest.approx(auc(LABELS, b), abs=1e-9)
        assert (row["difference"], row["low"], row["high"], row["p"]) == (alone.value, alone.low, alone.high, alone.p)
        a_right, b_right = a.argmax(axis=1) == LABELS, b.argmax(axis=1) == LABELS
        assert row["only_a_right"] == np.sum(a_right & ~b_right)
        assert row["only_b_right"] == np.sum(b_right & ~a_right)


def test_each_family_and_each_test_is_corrected_by_itself(table):
    for _, family in table.groupby("family"):
        for p in ("p", "mcnemar_p"):
            assert list(family[f"{p}_holm"]) == holm(list(family[p]))


def test_verdicts(table):
    assert list(table["verdict"]) == [
        "cannot be told apart",
        "a better",
        "a better",
        "cannot be told apart",
        "a better",
    ]
    worse = compared(winner="inceptionv3")
    assert worse.loc[worse["b"] == "vgg16", "verdict"].iloc[0] == "b better"


def test_the_sentences_say_what_the_table_says(table):
    told = sentences(table, TITLES, 400)
    row = table.iloc[1]
    assert told[0] == (
        "ResNet50 and VGG16 cannot be told apart on these 400 images; InceptionV3 is worse by "
        f"{row['difference']:.3f} ({row['low']:.3f}–{row['high']:.3f})."
    )
    assert told[1].startswith("VGG16 is better than InceptionV3 by 0.")
    assert told[2].startswith("Tuning was not shown to be worth it: the winner is 0.0")
    assert told[2].endswith(f"(Holm-corrected p = {table.iloc[3]['p_holm']:.3f}).")
    assert told[3].startswith("Beside ResNet50, on these 400 images, Majority class is worse by 0.")
    assert len(told) == 4


def test_tuning_that_helped_and_that_harmed():
    won = sentences(compared(SCORES | {"recipe": SCORES["inceptionv3"]}), TITLES, 400)[2]
    assert won.startswith("Tuning was worth it: the winner is 0.")
    assert won.endswith("ROC AUC above the default recipe of ResNet50.")
    lost = sentences(compared(SCORES | {"resnet50": SCORES["inceptionv3"], "recipe": GOOD}), TITLES, 400)
    (lost,) = [sentence for sentence in lost if "Tuning" in sentence]
    assert lost.startswith("Tuning did harm on these images: the winner is 0.")
    assert "[-" not in lost, "the interval is turned round with its sign"


def test_a_winner_that_lost_on_test_is_told():
    told = sentences(compared(winner="inceptionv3"), TITLES, 400)
    assert told[0].startswith("Beside InceptionV3, on these 400 images, VGG16 is better by 0.")


def test_mcnemar_ignores_patients_and_the_sentence_says_so(table):
    assert table["sentence"].str.contains("takes images of one patient for independent").all()
    single = compared(patients=np.arange(400))
    assert not single["sentence"].str.contains("independent").any()


def test_patients_widen_the_interval():
    """Each image four times: alike by patients, far too sure by images."""
    copies = np.repeat(np.arange(100), 4)
    scores = {name: value[copies] for name, value in SCORES.items()}
    clustered = compared(scores, LABELS[copies], copies).iloc[1]
    naive = compared(scores, LABELS[copies], np.arange(400)).iloc[1]
    assert clustered["high"] - clustered["low"] > 1.6 * (naive["high"] - naive["low"])


def test_several_classes_are_compared_by_their_macro_auc():
    labels, good, patients = cohort(300, 3)
    scores = {"vgg16": good, "resnet50": cohort(300, 3, edge=0.2, seed=4)[1]}
    (row,) = compared(scores, labels, patients, winner="vgg16", classes=["a", "b", "c"]).to_dict("records")
    assert row["score_a"] == pytest.approx(auc(labels, good))
    assert row["verdict"] == "a better"


def test_one_class_leaves_mcnemar_and_says_why():
    table = compared(labels=np.zeros(400, np.int64))
    assert (table["verdict"] == "not computed").all()
    assert (table["reason"] == "ROC AUC cannot be computed: the split holds no image of PNEUMONIA").all()
    assert table[["score_a", "difference", "low", "p", "p_holm"]].isna().all(axis=None)
    assert table["mcnemar_p_holm"].notna().all()
    told = " ".join([*sentences(table, TITLES, 400), *table["sentence"]])
    assert "nan" not in told.lower()
    assert "none" not in told.lower()
    assert "ResNet50 was not compared with VGG16 or InceptionV3: ROC AUC cannot be computed" in told
    assert "Whether tuning was worth it cannot be said" in told


def test_few_patients_give_no_interval():
    keep = PATIENTS < 9
    table = compared({name: value[keep] for name, value in SCORES.items()}, LABELS[keep], PATIENTS[keep])
    assert table[["low", "high", "p"]].isna().all(axis=None)
    assert table["difference"].notna().all()
    assert (table["reason"] == "no interval: there are 9 patients, fewer than 10").all()
    assert "nan" not in " ".join(table["sentence"]).lower()


def test_what_was_not_scored_is_left_out():
    table = compared({name: SCORES[name] for name in ("resnet50", "majority")})
    assert list(zip(table["a"], table["b"], strict=True)) == [("resnet50", "majority")]
    alone = compared({"resnet50": GOOD})
    assert list(alone.columns) == COMPARISONS.names
    assert not len(alone)
    assert sentences(alone, TITLES, 400) == []
    assert not len(compared({name: value[:0] for name, value in SCORES.items()}, LABELS[:0], PATIENTS[:0]))


def test_it_is_written_without_nan(table, tmp_path):
    compared(labels=np.zeros(400, np.int64)).to_csv(tmp_path / "comparisons.csv", index=False)
    assert "nan" not in (tmp_path / "comparisons.csv").read_text().lower()
    assert pd.read_csv(tmp_path / "comparisons.csv")["score_a"].isna().all()
