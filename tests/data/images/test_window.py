"""How values of more than 8 bits become 8."""

import numpy as np
import pytest

from bench.data.images.window import Window, of_set


def test_what_is_asked_for_is_the_linear_function_of_the_standard():
    """PS3.3, C.11.2.1.2.1, by its pseudo-code with output 0 to 255."""
    center, width = 40.0, 400.0
    values = np.arange(-300, 400, 7, dtype=np.int16)
    expected = ((values - (center - 0.5)) / (width - 1) + 0.5) * 255
    expected[values <= center - 0.5 - (width - 1) / 2] = 0
    expected[values > center - 0.5 + (width - 1) / 2] = 255
    assert np.array_equal(Window.centered(center, width).apply(values), expected.round().astype(np.uint8))


def test_a_width_of_one_parts_black_from_white():
    assert Window.centered(10, 1).apply(np.array([9.0, 9.5, 9.6, 10.0])).tolist() == [0, 0, 255, 255]


def test_values_that_do_not_vary_are_black():
    values = np.full((2, 2), 300, np.uint16)
    assert (Window.own(values).apply(values) == 0).all()


def test_of_a_set_dark_images_stay_darker_than_bright_ones():
    dark, bright = np.full((3, 4, 4), 200, np.uint16), np.full((2, 4, 4), 900, np.uint16)
    bright[0, 0, 0] = 1000
    dark[0, 0, 0] = 0
    window = of_set([dark, bright])
    assert (window.low, window.high, window.rule) == (0, 1000, "set")
    assert window.apply(dark[1]).max() == 51
    assert window.apply(bright[1]).min() == 230


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.int8])
def test_a_set_of_integers_that_fit_needs_no_window(dtype):
    assert of_set([np.arange(100, dtype=dtype).reshape(4, 5, 5)]) is None
    assert of_set([]) is None


def test_floating_point_needs_a_window_whatever_its_range():
    window = of_set([np.linspace(0, 1, 100, dtype=np.float32).reshape(4, 5, 5)])
    assert (window.low, window.high) == (0, 1)


@pytest.mark.parametrize("outlier", [60000, -30000])
def test_a_few_outliers_do_not_make_all_images_dark(outlier):
    values = np.random.default_rng(0).integers(0, 4096, (50, 20, 20)).astype(np.int32)
    values[17, 3, 3] = outlier
    window = of_set([values])
    assert window.low >= 0
    assert 4000 < window.high < 4096


def test_values_that_are_not_finite_do_not_decide():
    values = np.linspace(-5, 9, 200).reshape(8, 5, 5)
    values[3, 2] = np.nan, np.inf, -np.inf, 0, 0
    window = of_set([values, np.full((2, 5, 5), np.nan)])
    assert (window.low, window.high) == (-5, 9)
    assert of_set([np.full((2, 5, 5), np.nan)]) is None
    with pytest.raises(ValueError, match="not finite"):
        window.apply(values[3])


def test_the_extremes_are_found_in_whatever_image_they_are():
    values = np.full((300, 2, 2), 500, np.uint16)
    values[129, 0, 1], values[299, 1, 1] = 7, 1111
    assert (of_set([values]).low, of_set([values]).high) == (7, 1111)
