"""Numbers and configurations as a reader sees them; nothing that is not there is shown as a number."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from bench import numbers
from bench.models.backbones import BACKBONES
from bench.report import blocks, names, palette, pictures
from bench.report.summary import configuration
from bench.stats.metrics import METRICS


@pytest.mark.parametrize("show", [numbers.count, numbers.score, numbers.percent, numbers.rate, numbers.seconds])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, "", "many", pd.NA])
def test_what_is_not_there_is_a_dash(show: object, value: object) -> None:
    assert callable(show)
    assert show(value) == names.DASH


def test_numbers() -> None:
    assert numbers.count(5216) == "5,216"
    assert numbers.score(0.98149) == "0.981"
    assert numbers.percent(0.9423) == "94.2\u00a0%"
    assert numbers.rate(0.0003) == "3.0e-4"
    assert (numbers.signed(0.0123), numbers.signed(-0.0029), numbers.signed(0.0001)) == ("+0.012", "−0.003", "0.000")
    assert numbers.counted(1, "trial") == "1 trial"
    assert numbers.counted(1200, "trial") == "1,200 trials"
    assert numbers.with_interval(0.97, 0.95, 0.98) == "0.970 (0.950–0.980)"
    assert numbers.with_interval(0.97, None, 0.98) == "0.970"
    assert numbers.with_spread(0.97, 0.0061) == "0.970 ± 0.006"
    assert numbers.with_spread(0.99, 0.00021) == "0.990 ± 0.0002"
    assert numbers.with_spread(0.99, 0.0) == "0.990 ± 0.000"
    assert numbers.with_spread(0.97, None) == "0.970", "one fold has no deviation"
    assert numbers.ratio(2.857) == "2.9\u00a0:\u00a01"
    assert (numbers.plain(1640), numbers.plain(0.1234), numbers.plain(None)) == ("1,640", "0.123", names.DASH)


@pytest.mark.parametrize(
    ("size", "words"),
    [(312, "312 B"), (1023.7, "1.0 KiB"), (49_664, "48.5 KiB"), (532_480, "520 KiB"), (2_200_000, "2.1 MiB")],
)
def test_sizes(size: float, words: str) -> None:
    assert numbers.size(size).replace("\u00a0", " ") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.21, "4.2 s"),
        (59.4, "59 s"),
        (59.97, "1 min 00 s"),
        (320, "5 min 20 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
    ],
)
def test_seconds(seconds: float, words: str) -> None:
    assert numbers.seconds(seconds).replace("\u00a0", " ") == words


def test_moments_are_given_in_utc() -> None:
    assert numbers.moment("2026-11-23T06:00:00+01:00") == "23 November 2026, 05:00 UTC"
    assert numbers.moment("yesterday") == "yesterday"


def test_settings_have_their_thousands_separated_and_seeds_stay_as_they_are_typed() -> None:
    told = names.settings({"max_pixels": 100_000_000, "split_seed": 1234567, "ema_momentum": None, "images": True})
    assert told == {"max pixels": "100,000,000", "split seed": "1234567", "ema momentum": names.DASH, "images": "yes"}
    assert names.settings({"sizes": [1234, 5678], "of": {"seed": 12345}}) == {"sizes": "1234, 5678", "of": "seed 12345"}


def test_metric_titles_inside_a_sentence() -> None:
    assert [names.metric_words(METRICS[name]) for name in ("auc", "log_loss", "f1")] == [
        "ROC AUC",
        "log loss",
        "F1 (macro)",
    ]


def test_configurations_name_what_they_have() -> None:
    frozen = pd.Series({"config_augmentation": "none", "config_unfreeze_depth": 0.0, "config_learning_rate": 1e-3})
    assert configuration(frozen) == "augmentation “none”, every backbone stage frozen, learning rate 1.0e-3"
    tuned = pd.Series({"config_unfreeze_depth": 1, "config_finetune_factor": 0.1, "config_dropout": math.nan})
    assert configuration(tuned) == "the last stage unfrozen, fine-tuning at 0.1 times that rate"


def test_a_backbone_looks_the_same_in_every_run() -> None:
    alone, together = palette.looks(["resnet50"], {}), palette.looks(["my_net", "vgg16", "resnet50"], {})
    assert alone["resnet50"] == together["resnet50"]
    assert len({look.colour for look in together.values()}) == 3
    assert len({look.marker for look in together.values()}) == 3


def test_eight_backbones_look_different_each() -> None:
    known = palette.looks([*BACKBONES, "my_net"], {})
    assert set(palette.KNOWN) == set(BACKBONES) and len(known) == 8
    assert len({look.marker for look in known.values()}) == len({look.colour.lower() for look in known.values()}) == 8
    for name, matrix in VISION.items():
        seen = [_seen(look.colour, matrix) for look in known.values()]
        apart = min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(seen, 2))
        assert apart > 0.07, name  # of OKLab; blue and green of Okabe and Ito are 0.086 apart to a tritanope


def test_what_is_dim_on_a_dark_page_is_shown_lighter_there() -> None:
    for look in palette.KNOWN.values():
        shown = pictures._DARK.get(look.colour.lower(), look.colour)
        assert (_luminance(shown) + 0.05) / (_luminance("#1a212a") + 0.05) > 3  # contrast of graphics (WCAG 1.4.11)
        assert 1.05 / (_luminance(look.colour) + 0.05) > 3


def _linear(colour: str) -> npt.NDArray[np.float64]:
    share = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _luminance(colour: str) -> float:
    return float(_linear(colour) @ [0.2126, 0.7152, 0.0722])


def _seen(colour: str, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A colour in OKLab (Ottosson 2020) as an eye sees it that mixes linear RGB by ``matrix``."""
    cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    axes = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    return np.asarray(axes @ np.cbrt(cones @ np.clip(matrix @ _linear(colour), 0, 1)))


VISION = {
    "normal": np.eye(3),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9690]]),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "tritanopia": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
"""Machado, Oliveira and Fernandes, IEEE Transactions on Visualization and Computer Graphics 15:1291, 2009."""


def test_a_capital_letter_leaves_the_others_alone() -> None:
    assert numbers.capital("open: its ROC AUC") == "Open: its ROC AUC"
    assert numbers.capital("") == ""


def test_every_column_of_a_table_names_a_way_to_write_that_there_is() -> None:
    for name, rows in blocks._columns_of_tables().items():
        for row in rows:
            known = row.show == "bounded" or hasattr(numbers, row.show) or hasattr(names, row.show)
            assert known and bool(row.name) != bool(row.each), (name, row)
