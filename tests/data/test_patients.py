"""Patients by pattern, by what the source says, by the public chest X-ray names, or each image its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.patients import ASSUMED, RECOGNISED, find_patients
from bench.errors import ConfigError


def refusal(names, pattern):
    with pytest.raises(ConfigError) as caught:
        find_patients(names, pattern)
    message = str(caught.value)
    assert f"'{pattern}'" in message
    assert "\n" not in message
    return message


# The public names


@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [
        ("person123_bacteria_456.jpeg", "bacteria-123", "person-123"),
        ("person123_virus_7.jpeg", "virus-123", "person-123"),
        ("IM-0115-0001.jpeg", "IM-0115", "IM-0115"),
        ("IM-0115-0001-0002.jpeg", "IM-0115", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", "IM-0115"),
        ("train/PNEUMONIA/person1_virus_6.jpeg", "virus-1", "person-1"),
    ],
)
def test_patients_of_the_public_names(name, narrow, wide):
    found = find_patients([name])
    assert (found.wide, found.narrow) == ((wide,), (narrow,))
    assert "chest X-ray" in found.rule
    assert not found.assumed
    assert found.notes == ()


def test_the_wide_reading_joins_what_the_narrow_one_keeps_apart():
    names = ["person3_bacteria_1.jpeg", "person3_virus_2.jpeg", "person3_virus_9.jpeg", "person33_virus_1.jpeg"]
    found = find_patients(names)
    assert found.wide == ("person-3", "person-3", "person-3", "person-33")
    assert found.narrow == ("bacteria-3", "virus-3", "virus-3", "virus-33")


def test_counts_of_the_two_readings():
    names = [f"{series}IM-{number:04}-0001.jpeg" for series in ("", "NORMAL2-") for number in range(5)]
    names += [f"person{number}_{series}_1.jpeg" for series in ("bacteria", "virus") for number in range(7)]
    found = find_patients(names)
    assert len(set(found.wide)) == 12
    assert len(set(found.narrow)) == 24


@pytest.mark.parametrize(
    "name", ["person_bacteria_1.jpeg", "xperson1_virus_2.jpeg", "IM-0115.jpeg", "person1_fungus_2.png"]
)
def test_names_that_only_resemble_them_carry_no_patient(name):
    found = find_patients([name])
    assert found.wide == found.narrow == (name,)
    assert found.assumed
    assert found.rule == ASSUMED


@pytest.mark.parametrize(("n_images", "odd"), [(10, 1), (1000, 120), (10, 9), (30, 27), (70, 63), (100, 90)])
def test_odd_names_do_not_part_the_set(n_images, odd):
    names = [f"person1_virus_{number}.jpeg" for number in range(n_images - odd)]
    found = find_patients([*names, *(f"scan{number}.jpeg" for number in range(odd))])
    assert set(found.wide) == {"person-1", *(f"scan{number}.jpeg" for number in range(odd))}
    assert not found.assumed
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"{odd} images have no patient")
    assert "scan0.jpeg" in found.notes[0]


def test_a_set_of_odd_names_is_another_set():
    few = round(100 * RECOGNISED) - 1
    names = [f"person1_virus_{number}.jpeg" for number in range(few)]
    names += [f"scan{number}.jpeg" for number in range(100 - few)]
    found = find_patients(names)
    assert found.wide == found.narrow == tuple(names)
    assert found.assumed


# Patterns


def test_a_pattern_is_searched_for_in_the_file_name():
    found = find_patients(["P1/P2_a.png", "P1/P2_b.png", "P1/P3_a.png"], r"(P\d)")
    assert found.wide == found.narrow == ("P2", "P2", "P3")
    assert found.rule == r"--patient-pattern (P\d)"
    assert not found.assumed


def test_a_pattern_with_a_slash_is_searched_for_in_the_path():
    assert find_patients(["A/P1/x.png", "A/P2/x.png", "B/P1/x.png"], r"/(P\d)/").wide == ("P1", "P2", "P1")


def test_names_that_the_pattern_does_not_match_are_patients_of_their_own():
    names = ["P1_a.png", "P1_b.png", *(f"x{number}.png" for number in range(7))]
    found = find_patients(names, r"^(P\d)_")
    assert found.wide == ("P1", "P1", *names[2:])
    assert len(found.notes) == 1
    assert found.notes[0].startswith(r"7 images have no patient by the rule “--patient-pattern ^(P\d)_”")
    assert "x0.png, x1.png, x2.png, x3.png, x4.png, …" in found.notes[0]
    assert "x5.png" not in found.notes[0]


def test_a_group_that_takes_no_part_or_is_empty_names_nobody():
    assert find_patients(["P1.png", "Q.png", "P.png"], r"P(\d*)|Q").wide == ("1", "Q.png", "P.png")


def test_a_group_that_does_not_count():
    assert find_patients(["left-P1.png", "right-P1.png"], r"(?:left|right)-(P\d)").wide == ("P1", "P1")


def test_a_pattern_that_matches_nothing():
    message = refusal(["a.png", "b.png"], r"^(P\d+)_")
    assert "matches none of the 2 names, such as 'a.png'" in message
    assert "path below the data folder" in message


def test_a_pattern_that_matches_the_folder_alone():
    assert "matches none" in refusal(["P1/a.png", "P2/a.png"], r"(P\d)")


@pytest.mark.parametrize(("pattern", "groups"), [(r"^P\d+", 0), (r"^(P)(\d)", 2)])
def test_a_pattern_without_exactly_one_group(pattern, groups):
    message = refusal(["P1.png"], pattern)
    assert f"has {groups} groups" in message
    assert "example" in message


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?P<x)"])
def test_no_regular_expression(pattern):
    assert "is no regular expression" in refusal(["P1.png"], pattern)


# What goes before what

PUBLIC = ["person1_virus_1.png", "person1_virus_2.png", "person2_virus_1.png"]
KNOWN = ["x", "y", "y"]


def test_a_pattern_goes_before_what_the_source_says():
    assert find_patients(PUBLIC, r"_(\d)\.", KNOWN, "told").wide == ("1", "2", "1")


def test_what_the_source_says_goes_before_the_public_names():
    found = find_patients(PUBLIC, None, KNOWN, "told")
    assert (found.wide, found.rule) == (("x", "y", "y"), "told")


@pytest.mark.parametrize("known", [None, [], ["", "", ""]])
def test_the_public_names_go_before_assumption(known):
    found = find_patients(PUBLIC, None, known, "told")
    assert found.wide == ("person-1", "person-1", "person-2")


def test_a_source_that_says_nothing_of_some():
    found = find_patients(PUBLIC, None, ["x", "", "x"], "told")
    assert found.wide == ("x", PUBLIC[1], "x")
    assert found.notes[0].startswith("1 images have no patient by the rule “told”")


@given(st.lists(st.from_regex(r"\A[a-c1-3_]{1,6}\.png\Z"), min_size=1, max_size=20, unique=True))
def test_everyone_has_a_patient(names):
    for found in (find_patients(names), find_patients(names, "(.)")):
        assert len(found.wide) == len(found.narrow) == len(names)
        assert all(found.wide)
        assert all(found.narrow)
