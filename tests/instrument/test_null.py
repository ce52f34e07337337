"""When runs on labels that mean nothing have found too much."""

from collections import Counter

from instrument.null import KINDS, judged, most_by_chance


def test_each_kind_is_held_to_what_all_together_exceed_in_at_most_one_of_twenty_repetitions() -> None:
    assert (len(KINDS), most_by_chance(50), most_by_chance(200)) == (6, 7, 18)
    assert judged(Counter({"primary": 7, "finalists": 6}), 50, {})[0]
    fine, lines = judged(Counter({"primary": 8}), 50, {})
    assert not fine and "primary: 8 of 50 runs (by chance at most 7)" in lines


def test_rates_of_labels_drawn_again_are_held_to_their_spread_over_runs() -> None:
    """Three standard errors of runs; draws of a run are not independent."""
    assert judged(Counter(), 4, {"primary": [0.0, 0.05, 0.1, 0.25]})[0]
    fine, lines = judged(Counter(), 4, {"primary": [0.09, 0.1, 0.1, 0.11]})
    assert not fine and any("labels drawn again: 10.00% (at most 6.22%)" in one for one in lines)
    assert judged(Counter(), 1, {"primary": [0.09]})[0], "a single run has no spread to judge by"
