"""Models in pairs over seeds: who stands against whom, what is corrected together, and what the sentences say."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort

from bench.evaluation.comparisons import Rules, comparisons, sentences
from bench.evaluation.inputs import ScoredModel
from bench.run.tables import COMPARISONS, records
from bench.stats.bootstrap import Bootstrap
from bench.stats.contrast import Seeds, contrast
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions
from bench.stats.proportions import clustered_mcnemar, holm

TITLES = {
    "vgg16": "VGG16",
    "resnet50": "ResNet50",
    "inceptionv3": "InceptionV3",
    "recipe": "Default recipe",
    "small_cnn": "Small CNN from scratch",
    "majority": "Majority class",
}
CONTROLS = ("recipe", "small_cnn", "majority")
LABELS, GOOD, PATIENTS = cohort(400)
BAD = cohort(400, edge=0.3, seed=2)[1]


def seeds(scores, number=3, luck=0.3, first=0):
    """Trainings of one model that differ by noise."""
    return [(1 - luck) * scores + luck * cohort(400, edge=0, seed=100 + first + place)[1] for place in range(number)]


SCORES = {
    "vgg16": seeds(GOOD),
    "resnet50": seeds(GOOD, first=10),
    "inceptionv3": seeds(BAD, first=20),
    "recipe": seeds(GOOD, 5, first=30),
    "small_cnn": seeds(BAD, first=40),
    "majority": [np.tile([0.4, 0.6], (400, 1))],
}


def models_of(scores=SCORES, labels=LABELS, patients=PATIENTS, classes=("NORMAL", "PNEUMONIA")):
    return {
        name: ScoredModel(
            TITLES[name],
            "control" if name in CONTROLS else "finalist",
            {place: Predictions(labels, one, patients, classes) for place, one in enumerate(each, 1)},
            1,
            seeded=name != "majority",
        )
        for name, each in scores.items()
    }


def compared(scores=SCORES, winner="resnet50", metric="auc", margin=0.002, draws=100, **images):
    return comparisons(models_of(scores, **images), Rules(winner, METRICS[metric], margin, Bootstrap(draws)))


def row_of(table, b):
    """Of the winner and ``b``."""
    return records(table[table["b"] == b])[0]


@pytest.fixture(scope="module")
def table():
    return compared()


def test_the_primary_contrast_then_every_pair_of_finalists_then_the_other_baselines(table):
    assert list(table.columns) == COMPARISONS.names
    assert list(zip(table["family"], table["a"], table["b"], strict=True)) == [
        ("primary", "resnet50", "recipe"),
        ("finalists", "resnet50", "vgg16"),
        ("finalists", "resnet50", "inceptionv3"),
        ("finalists", "vgg16", "inceptionv3"),
        ("controls", "resnet50", "small_cnn"),
        ("chance", "resnet50", "majority"),
    ]


@pytest.mark.parametrize("metric", ["auc", "log_loss", "accuracy"])
def test_a_row_is_the_contrast_of_its_seeds_by_the_metric_of_the_run(metric):
    """All models share the draws, and yet those of each pair by itself."""
    images = Predictions(LABELS, GOOD, PATIENTS)
    for row in records(compared(metric=metric)):
        a, b = SCORES[row["a"]], SCORES[row["b"]]
        found = Bootstrap(100).of_models(metric, images, [*a, *b])
        alone = contrast(found, Seeds(range(len(a))), Seeds(range(len(a), len(found.value)), row["b"] != "majority"))
        each = [[METRICS[metric].compute(LABELS, one) for one in model] for model in (a, b)]
        assert [[float(value) for value in row[f"scores_{end}"].split()] for end in "ab"] == [
            pytest.approx(scores, abs=1e-6) for scores in each
        ]
        assert (row["seeds_a"], row["seeds_b"], row["metric"]) == (len(a), len(b), metric)
        assert (row["score_a"], row["score_b"]) == pytest.approx((np.mean(each[0]), np.mean(each[1])))
        told = (row["difference"], row["low"], row["high"], row["p"], row["standard_error"], row["df"])
        assert told == pytest.approx((alone.value, *alone.ends, alone.p, alone.error, alone.df))
        assert (row["seed_share"], row["detectable"]) == pytest.approx((alone.seed_share, alone.detectable))


def test_mcnemar_is_that_of_the_representatives_by_patients(table):
    for row in records(table):
        a_right, b_right = (SCORES[row[end]][0].argmax(axis=1) == LABELS for end in "ab")
        found = clustered_mcnemar(a_right, b_right, PATIENTS)
        assert (row["repeat_a"], row["repeat_b"]) == (1, 1)
        assert (row["only_a_right"], row["only_b_right"], row["mcnemar_p"]) == (found.only_a, found.only_b, found.p)


def test_each_family_and_each_test_is_corrected_by_itself(table):
    for name, family in table.groupby("family"):
        for p in ("p", "mcnemar_p"):
            assert list(family[f"{p}_holm"]) == holm(list(family[p]))
            if name in ("primary", "chance"):
                assert list(family[f"{p}_holm"]) == list(family[p]), "one pair is not corrected"


def test_verdicts(table):
    assert list(table["verdict"]) == [
        "undecided",
        "cannot be told apart",
        "a better",
        "a better",
        "a better",
        "a better",
    ]
    assert row_of(compared(winner="inceptionv3"), "vgg16")["verdict"] == "b better"


def test_a_metric_that_is_to_be_small_names_the_smaller_one_better():
    row = row_of(compared(metric="log_loss"), "inceptionv3")
    assert row["difference"] < 0
    assert row["verdict"] == "a better"
    assert row["sentence"].startswith("ResNet50 is better than InceptionV3 by 0.")
    assert "(mean log loss over 3 seeds each, Holm-corrected p" in row["sentence"]


def test_the_lucky_seed_decides_nothing():
    """One seed of three far better than the others: by that one alone the model would win."""
    lucky = SCORES | {"resnet50": [GOOD, BAD, BAD], "recipe": [BAD, BAD, GOOD]}
    row = row_of(compared(lucky), "recipe")
    assert abs(row["difference"]) < 0.005
    assert row["verdict"] == "undecided"
    assert row["seed_share"] > 0.8


# The primary contrast


def primary(a, b, margin=0.01):
    row = row_of(compared({"resnet50": a, "recipe": b}, margin=margin), "recipe")
    assert row["margin"] == margin
    return row


def test_tuning_that_helped_and_that_harmed():
    row = primary(seeds(GOOD), seeds(BAD, first=10))
    assert row["verdict"] == "a better"
    assert row["sentence"].startswith("Tuning was worth it: over 3 seeds each, the winner's mean ROC AUC is 0.")
    assert "above that of the default recipe of ResNet50 (p <\u00a00.001)." in row["sentence"]
    row = primary(seeds(BAD), seeds(GOOD, 5, first=10))
    assert row["verdict"] == "b better"
    assert row["sentence"].startswith("Tuning did harm: over 3 and 5 seeds, the winner's mean ROC AUC is 0.")
    assert "below that of" in row["sentence"]
    assert "(−" not in row["sentence"], "the interval is turned round with its sign"


def test_a_difference_within_the_margin_is_equivalent_and_a_wide_interval_is_undecided():
    a, b = seeds(GOOD), seeds(GOOD, first=10)
    wide, narrow = primary(a, b, margin=0.2), primary(a, b, margin=0.0005)
    assert wide["p_equivalent"] < 0.001
    assert (wide["verdict"], narrow["verdict"]) == ("equivalent", "undecided")
    assert wide["sentence"].startswith("Tuned and default are equivalent: over 3 seeds each, ")
    assert "within the margin of ±0.200 (equivalence test p <\u00a00.001). A true difference of 0.0" in wide["sentence"]
    assert narrow["sentence"].startswith("Whether tuning was worth it is undecided: over 3 seeds each, ")
    assert (
        f"A true difference of {narrow['detectable']:.3f} would have been found with 80 % power" in narrow["sentence"]
    )
    assert "chance" not in narrow["sentence"]


def test_a_difference_that_is_sure_and_small_is_equivalent():
    a, b = seeds(GOOD, luck=0.01), seeds(0.4 * GOOD + 0.6 * BAD, luck=0.01, first=10)
    row = primary(a, b, margin=0.4)
    assert row["p"] < 0.05
    assert row["verdict"] == "equivalent"
    assert primary(a, b, margin=0.0001)["verdict"] == "a better"


def test_one_seed_gives_no_verdict():
    alone = compared({name: each[:1] for name, each in SCORES.items()})
    (row, *_), majority = records(alone), row_of(alone, "majority")
    assert (row["verdict"], row["p"], row["seed_share"]) == ("not computed", None, None)
    assert row["low"] < row["difference"] < row["high"], "by patients, of these trainings"
    assert row["reason"] == ("ResNet50 has one seed, so how far another would lie is unknown (--repeats)")
    assert row["sentence"] == f"Whether tuning was worth it cannot be said: {row['reason']}."
    assert majority["reason"].startswith("ResNet50 has one seed"), "the majority class has no other"


# Words


def test_the_sentences_say_what_the_table_says(table):
    told, row = sentences(table, TITLES, 400), row_of(table, "inceptionv3")
    assert told[0] == table.iloc[0]["sentence"]
    assert told[1] == (
        "ResNet50 and VGG16 cannot be told apart on these 400 images; InceptionV3 is worse by "
        f"{row['difference']:.3f} ({row['low']:.3f}–{row['high']:.3f})."
    )
    assert told[2].startswith("VGG16 is better than InceptionV3 by 0.")
    assert told[3].startswith("Beside ResNet50, on these 400 images, Small CNN from scratch is worse by 0.")
    assert "Majority class is worse by 0." in told[3]
    assert len(told) == 4


def test_a_winner_that_lost_on_test_is_told():
    told = sentences(compared(winner="inceptionv3"), TITLES, 400)
    assert told[1].startswith("Beside InceptionV3, on these 400 images, VGG16 is better by 0.")


def test_a_pair_says_over_which_seeds_and_by_which_test(table):
    told = row_of(table, "vgg16")["sentence"]
    assert told.startswith("ResNet50 and VGG16 cannot be told apart (mean ROC AUC over 3 seeds each differs by 0.0")
    assert "; of their representative seeds, only ResNet50 is right on" in told
    assert "(exact McNemar by patients: p = " in told


# What cannot be computed


def test_calls_that_favour_the_model_with_the_worse_mean_are_told():
    """ResNet50 ranks best, and calls most images the first class."""
    shy = [np.column_stack([1 - 0.52 * one[:, 1], 0.52 * one[:, 1]]) for one in SCORES["resnet50"]]
    worse = seeds(cohort(400, edge=0.7, seed=2)[1])
    found = compared(SCORES | {"resnet50": shy, "inceptionv3": worse, "recipe": worse})
    row = row_of(found, "inceptionv3")
    assert row["verdict"] == "a better" and row["only_a_right"] < row["only_b_right"] and row["mcnemar_p_holm"] < 0.05
    assert row["sentence"].endswith(", though calls at the most probable class favour InceptionV3.")
    primary, against, *_ = sentences(found, TITLES, len(LABELS))
    assert ", though calls at the most probable class favour InceptionV3" in against
    counted = f"only ResNet50 is right on {row['only_a_right']} images, only Default recipe on {row['only_b_right']} "
    assert "favour Default recipe, though: of the representative seeds, " + counted in primary


def test_calls_that_favour_the_better_model_or_neither_are_not_said_to_differ(table):
    assert not any("favour" in one for one in table["sentence"])


def test_patients_widen_the_interval():
    """Each image four times: alike by patients, far too sure by images."""
    copies = np.repeat(np.arange(100), 4)
    scores = {name: [value[copies] for value in each] for name, each in SCORES.items()}
    clustered = row_of(compared(scores, labels=LABELS[copies], patients=copies), "small_cnn")
    naive = row_of(compared(scores, labels=LABELS[copies], patients=np.arange(400)), "small_cnn")
    assert clustered["standard_error"] > 1.6 * naive["standard_error"]


def test_several_classes_are_compared_by_their_macro_auc():
    labels, good, patients = cohort(300, 3)
    others = [cohort(300, 3, edge=0.2, seed=seed)[1] for seed in (4, 5)]
    scores = {"vgg16": [good, 0.9 * good + 0.1 * others[0]], "resnet50": others}
    table = compared(scores, "vgg16", labels=labels, patients=patients, classes=["a", "b", "c"])
    assert row_of(table, "resnet50")["score_a"] == pytest.approx(
        np.mean([METRICS["auc"].compute(labels, one) for one in scores["vgg16"]])
    )
    assert row_of(table, "resnet50")["verdict"] == "a better"


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
    by_accuracy = compared(labels=np.zeros(400, np.int64), metric="accuracy")
    assert by_accuracy["p"].notna().all(), "accuracy needs no class but those there are"


def test_few_patients_give_no_interval():
    keep = PATIENTS < 9
    scores = {name: [value[keep] for value in each] for name, each in SCORES.items()}
    table = compared(scores, labels=LABELS[keep], patients=PATIENTS[keep])
    assert table[["low", "high", "p", "detectable"]].isna().all(axis=None)
    assert table["difference"].notna().all()
    assert (table["reason"] == "no interval: there are 9 patients, fewer than 10").all()
    assert "nan" not in " ".join(table["sentence"]).lower()


def test_what_was_not_scored_is_left_out():
    table = compared({name: SCORES[name] for name in ("resnet50", "majority")})
    assert list(zip(table["a"], table["b"], strict=True)) == [("resnet50", "majority")]
    alone = compared({"resnet50": SCORES["resnet50"]})
    assert list(alone.columns) == COMPARISONS.names
    assert not len(alone)
    assert sentences(alone, TITLES, 400) == []
    none = {name: [value[:0] for value in each] for name, each in SCORES.items()}
    assert not len(compared(none, labels=LABELS[:0], patients=PATIENTS[:0]))


def test_it_is_written_without_nan(table, tmp_path):
    compared(labels=np.zeros(400, np.int64)).to_csv(tmp_path / "comparisons.csv", index=False)
    assert "nan" not in (tmp_path / "comparisons.csv").read_text().lower()
    assert pd.read_csv(tmp_path / "comparisons.csv")["score_a"].isna().all()
