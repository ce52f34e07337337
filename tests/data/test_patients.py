"""Patients by pattern, by what the source says, by the public chest X-ray names, or each image its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import write

from bench.data.patients import ASSUMED, RECOGNISED, find_patients, naming
from bench.data.sources.open_source import folder_source, open_source
from bench.data.splits import shared_patients
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
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", "IM-0115"),
        ("train/PNEUMONIA/person1_virus_6.jpeg", "virus-1", "person-1"),
    ],
)
def test_patients_of_the_public_names(name, narrow, wide):
    found = find_patients([name])
    assert (found.split_groups, found.ids) == ((wide,), (narrow,))
    assert "chest X-ray" in found.rule
    assert not found.assumed
    assert found.notes == ()


BESIDE = ["train/NORMAL/NORMAL2-IM-0999-0001.jpeg", "test/NORMAL/NORMAL2-IM-0998-0001.jpeg"]


@pytest.mark.parametrize("name", ["IM-0115-0001.jpeg", "IM-0115-0001-0002.jpeg"])
@pytest.mark.parametrize("folder", ["train/NORMAL/", "val/NORMAL/", "NORMAL/test_set/"])
def test_the_public_names_without_a_mark_count_beside_those_with_one(folder, name):
    found = find_patients([*BESIDE, folder + name])
    assert (found.ids[-1], found.split_groups[-1]) == ("IM-0115", "IM-0115")


def test_the_public_names_without_a_mark_count_beside_the_other_class():
    found = find_patients(["train/P/person1_virus_1.jpeg", "train/N/IM-0001-0001.jpeg", "test/N/IM-0001-0002.jpeg"])
    assert found.ids == ("virus-1", "IM-0001", "IM-0001")


def test_leaks_of_the_public_set_are_seen_across_its_splits():
    found = find_patients([*BESIDE, "train/NORMAL/IM-0115-0001.jpeg", "test/NORMAL/IM-0115-0002.jpeg"])
    assert found.ids[2] == found.ids[3] == "IM-0115"


EXPORT = [f"{kind}/case{number:02}{kind[0]}/IM-{number % 4:04}-{image:04}.png"
          for kind in ("benign", "malignant") for number in range(10) for image in range(2)]  # fmt: skip


def test_names_of_a_viewers_export_alone_tell_no_patient():
    for names in (EXPORT, ["IM-0115-0001.jpeg", "IM-0115-0002.jpeg"]):
        found = find_patients(names)
        assert found.assumed
        assert found.split_groups == found.ids == tuple(names)
        assert found.rule == ASSUMED
    assert "IM-" not in find_patients(EXPORT).notes[0]


def test_the_pattern_that_is_suggested_for_folders_names_them_as_patients():
    for names in (EXPORT, [name.replace("case", "P") for name in EXPORT]):
        (note,) = find_patients(names).notes
        assert "20 folders such as" in note
        pattern = note.split("--patient-pattern '")[1].split("'")[0]
        assert len(set(find_patients(names, pattern).split_groups)) == 20
    assert find_patients(["A/1.png", "B/2.png", "C/3.png"]).notes == ()
    assert find_patients(["train/A/1.png", "train/B/2.png", "test/A/3.png", "test/B/4.png"]).notes == ()


def test_an_export_beside_the_public_set_is_not_joined_with_it():
    public = [*BESIDE, *(f"train/PNEUMONIA/person{number}_virus_1.jpeg" for number in range(8))]
    names = [*public, "train/NORMAL/IM-0001-0001.jpeg", *EXPORT]
    found = find_patients(names)
    assert "public chest X-ray" in found.rule
    assert found.ids[len(public)] == "IM-0001"
    assert found.ids[len(public) + 1 :] == found.split_groups[len(public) + 1 :] == tuple(EXPORT)
    assert found.notes[0].startswith("40 images have no patient")


def test_names_without_a_mark_are_never_joined_across_folders():
    names = [f"{site}/NORMAL/{name}-0001.jpeg" for site in ("a", "b") for name in ("NORMAL2-IM-0001", "IM-0002")]
    found = find_patients(names)
    assert found.ids[1] != found.ids[3]
    assert found.split_groups[1] != found.split_groups[3]
    assert found.ids[0] == found.ids[2], "the mark is the same set's"
    names = [*BESIDE, "p1/IM-0001-0001.png", "p2/IM-0001-0001.png", "train/NORMAL/IM-0001-0001.jpeg"]
    assert find_patients(names).ids[2:] == ("p1/IM-0001", "p2/IM-0001", "IM-0001")


# OCT2017


def test_patients_of_the_public_oct_names():
    names = ["train/CNV/CNV-1016042-1.jpeg", "test/CNV/CNV-1016042-2.jpeg", "train/DME/DME-1016042-1.jpeg"]
    names += ["train/NORMAL/NORMAL-12494-1.jpeg", "val/NORMAL/NORMAL-12494-2.jpeg", "train/DRUSEN/DRUSEN-95633-1.jpeg"]
    found = find_patients(names)
    assert "OCT" in found.rule
    assert len(set(found.ids)) == 4
    assert len(set(found.split_groups)) == 3


def test_names_like_those_of_the_oct_set():
    assert find_patients([f"NORMAL-{number}-1.jpeg" for number in range(12494, 12500)]).assumed
    assert find_patients(["CNV-1-1.jpeg", "CNV-1-2.jpeg", "DME-1-1.jpeg"]).assumed, "its numbers are longer"


# Nobody


def test_words_for_nobody_join_nobody():
    names = [f"{number}.png" for number in range(6)]
    found = find_patients(names, None, ["p", "nan", "NaN", " unknown ", "Anonymous", "-"], "told")
    assert found.split_groups == ("p", *names[1:])
    assert find_patients(names, None, ["nan", "None", "", "n/a", "null", "?"], "told").assumed
    assert find_patients(["p1_a.png", "nan_a.png", "nan_b.png"], r"^(\w+)_").split_groups == (
        "p1",
        "nan_a.png",
        "nan_b.png",
    )


def test_an_error_names_how_patients_were_told_apart():
    with (
        pytest.raises(ConfigError, match=r"^Few patients; how patients were told apart: some rule\.$"),
        naming("some rule"),
    ):
        raise ConfigError("Few patients.")
    with pytest.raises(ConfigError, match=r"^No class\.$"), naming("some rule"):
        raise ConfigError("No class.")


def test_the_wide_reading_joins_what_the_narrow_one_keeps_apart():
    names = ["person3_bacteria_1.jpeg", "person3_virus_2.jpeg", "person3_virus_9.jpeg", "person33_virus_1.jpeg"]
    found = find_patients(names)
    assert found.split_groups == ("person-3", "person-3", "person-3", "person-33")
    assert found.ids == ("bacteria-3", "virus-3", "virus-3", "virus-33")


def test_counts_of_the_two_readings():
    names = [f"{series}IM-{number:04}-0001.jpeg" for series in ("", "NORMAL2-") for number in range(5)]
    names += [f"person{number}_{series}_1.jpeg" for series in ("bacteria", "virus") for number in range(7)]
    found = find_patients(names)
    assert len(set(found.split_groups)) == 12
    assert len(set(found.ids)) == 24


@pytest.mark.parametrize(
    "name", ["person_bacteria_1.jpeg", "xperson1_virus_2.jpeg", "IM-0115.jpeg", "person1_fungus_2.png"]
)
def test_names_that_only_resemble_them_carry_no_patient(name):
    found = find_patients([name])
    assert found.split_groups == found.ids == (name,)
    assert found.assumed
    assert found.rule == ASSUMED


@pytest.mark.parametrize(("n_images", "odd"), [(10, 1), (1000, 120), (10, 9), (30, 27), (70, 63), (100, 90)])
def test_odd_names_do_not_part_the_set(n_images, odd):
    names = [f"person1_virus_{number}.jpeg" for number in range(n_images - odd)]
    found = find_patients([*names, *(f"scan{number}.jpeg" for number in range(odd))])
    assert set(found.split_groups) == {"person-1", *(f"scan{number}.jpeg" for number in range(odd))}
    assert not found.assumed
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"{odd} images have no patient")
    assert "scan0.jpeg" in found.notes[0]


def test_a_set_of_odd_names_is_another_set():
    few = round(100 * RECOGNISED) - 1
    names = [f"person1_virus_{number}.jpeg" for number in range(few)]
    names += [f"scan{number}.jpeg" for number in range(100 - few)]
    found = find_patients(names)
    assert found.split_groups == found.ids == tuple(names)
    assert found.assumed


# Patterns


def test_a_pattern_is_searched_for_in_the_file_name():
    found = find_patients(["P1/P2_a.png", "P1/P2_b.png", "P1/P3_a.png"], r"(P\d)")
    assert found.split_groups == found.ids == ("P2", "P2", "P3")
    assert found.rule == r"--patient-pattern (P\d)"
    assert not found.assumed


def test_a_pattern_with_a_slash_is_searched_for_in_the_path():
    assert find_patients(["A/P1/x.png", "A/P2/x.png", "B/P1/x.png"], r"/(P\d)/").split_groups == ("P1", "P2", "P1")


def test_names_that_the_pattern_does_not_match_are_patients_of_their_own():
    names = ["P1_a.png", "P1_b.png", *(f"x{number}.png" for number in range(7))]
    found = find_patients(names, r"^(P\d)_")
    assert found.split_groups == ("P1", "P1", *names[2:])
    assert len(found.notes) == 1
    assert found.notes[0].startswith(r"7 images have no patient by the rule “--patient-pattern ^(P\d)_”")
    assert "x0.png, x1.png, x2.png, x3.png, x4.png, …" in found.notes[0]
    assert "x5.png" not in found.notes[0]


def test_a_group_that_takes_no_part_or_is_empty_names_nobody():
    assert find_patients(["P1.png", "Q.png", "P.png"], r"P(\d*)|Q").split_groups == ("1", "Q.png", "P.png")


def test_a_group_that_does_not_count():
    assert find_patients(["left-P1.png", "right-P1.png"], r"(?:left|right)-(P\d)").split_groups == ("P1", "P1")


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


# Written in two ways


WRITTEN = [
    ("P1", "p1"),
    ("Jos\u00e9", "Jose\u0301"),
    ("7", "7.0"),
    ("M\u00fcller, A", "M\u00dcLLER,  A"),
]


@pytest.mark.parametrize(("one", "other"), WRITTEN)
def test_patients_who_are_written_in_two_ways_are_joined_with_a_note(one, other):
    names = [f"{patient}_{number}.png" for number, patient in enumerate((one, other, "01", "1x"))]
    for found in (
        find_patients(names, r"^(.+)_"),
        find_patients(list("abcd"), None, [one, other, "01", "1x"], "told"),
    ):
        assert found.split_groups == found.ids == (one, one, "01", "1x")
        assert found.notes == (f"Patients who are written in two ways were joined: {other} is {one}.",)


def test_a_leak_shows_whatever_the_spelling(tmp_path):
    write(tmp_path, [f"train/patient{n}/{label}/{n}.png" for n in (1, 2) for label in "AB"])
    found = folder_source(write(tmp_path, [f"test/Patient{n}/{label}/{n}{n}.png" for n in (1, 3) for label in "AB"]))
    assert set(found.table["split_group"]) == {"Patient1", "patient2", "Patient3"}
    assert shared_patients(found.table) == {"train-test": 1}
    rows = [f"{one.image},{one.label},{one.split},{one.image.split('/')[1]}" for one in found.table.itertuples()]
    (tmp_path / "set.csv").write_text("\n".join(["path,label,split,patient", *rows]))
    table = open_source(str(tmp_path / "set.csv"), 0)
    assert table.table["split_group"].tolist() == found.table["split_group"].tolist()
    assert [note for note in found.notes if "two ways" in note] == [note for note in table.notes if "two ways" in note]


# What goes before what

PUBLIC = ["person1_virus_1.png", "person1_virus_2.png", "person2_virus_1.png"]
KNOWN = ["x", "y", "y"]


def test_a_pattern_goes_before_what_the_source_says():
    assert find_patients(PUBLIC, r"_(\d)\.", KNOWN, "told").split_groups == ("1", "2", "1")


def test_what_the_source_says_goes_before_the_public_names():
    found = find_patients(PUBLIC, None, KNOWN, "told")
    assert (found.split_groups, found.rule) == (("x", "y", "y"), "told")


@pytest.mark.parametrize("known", [None, [], ["", "", ""]])
def test_the_public_names_go_before_assumption(known):
    found = find_patients(PUBLIC, None, known, "told")
    assert found.split_groups == ("person-1", "person-1", "person-2")


def test_a_source_that_says_nothing_of_some():
    found = find_patients(PUBLIC, None, ["x", "", "x"], "told")
    assert found.split_groups == ("x", PUBLIC[1], "x")
    assert found.notes[0].startswith("1 images have no patient by the rule “told”")


@given(st.lists(st.text("abc123_", min_size=1, max_size=6).map("{}.png".format), min_size=1, max_size=20, unique=True))
def test_everyone_has_a_patient(names):
    for found in (find_patients(names), find_patients(names, "(.)")):
        assert len(found.split_groups) == len(found.ids) == len(names)
        assert all(found.split_groups)
        assert all(found.ids)


@pytest.mark.parametrize(
    "folders",
    [
        ["Dataset/COVID", "Dataset/Normal", "Dataset/Viral"],
        ["a/b/COVID", "a/b/Normal", "a/b/Viral", "a/b/Opacity"],
        ["Dataset/benign/40X", "Dataset/benign/100X", "Dataset/malignant/40X", "Dataset/malignant/200X"],
    ],
)
def test_folders_that_are_the_labels_are_not_suggested_as_patients(tmp_path, folders):
    names = [f"{folder}/{n}.png" for folder in folders for n in range(2)]
    write(tmp_path, names)
    assert [note for note in folder_source(tmp_path).notes if "each is a patient" in note] == []
    table = [f"{name},{name.split('/')[2 if name.startswith('a') else 1]}" for name in names]
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *table]))
    assert [note for note in open_source(str(tmp_path / "set.csv"), 0).notes if "each is a patient" in note] == []


def test_folders_are_suggested_as_patients_once(tmp_path):
    write(tmp_path, EXPORT)
    (note,) = (note for note in folder_source(tmp_path).notes if "--patient-pattern" in note)
    pattern = note.split("--patient-pattern '")[1].split("'")[0]
    assert folder_source(tmp_path, pattern).table["split_group"].nunique() == 20
