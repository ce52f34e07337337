"""The audit finds every planted fault under its own heading, says nothing of what is not there, and splits safely."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planted import PER_CLASS, SIZE, encode, file_name, pictures, write, write_clean, write_planted

from bench.data.audit import audit as audit_module
from bench.data.audit.alterations import PAIR
from bench.data.audit.audit import audit, draw_splits, require_enough
from bench.data.audit.duplicates import Duplicates
from bench.data.audit.findings import PROBLEMS, SEVERITIES
from bench.data.images.decode import OTHER, THUMBNAIL, Facts
from bench.data.images.store import Stored, store_images
from bench.data.imageset import ImageSet, MemoryReader
from bench.data.sources.open_source import folder_source
from bench.data.splits import SPLITS, folds, write_splits
from bench.errors import ConfigError
from bench.run.documents import ShortcutRecord
from bench.run.ledgers import LEDGER, WITH_DATA
from bench.settings import make_settings


@dataclasses.dataclass(frozen=True)
class Case:
    """A folder, decoded and audited."""

    source: ImageSet
    stored: Stored
    table: pd.DataFrame
    content: dict
    planted: dict

    def findings(self, severity):
        return {finding["kind"]: finding for finding in self.content["findings"] if finding["severity"] == severity}

    def finding(self, kind):
        (found,) = (finding for finding in self.content["findings"] if finding["kind"] == kind)
        return found


def settings_of(**changes):
    return make_settings(name="run", cache="cache", **changes)


def content_of(done):
    """audit.json, as it is read again."""
    return done.audit.model_dump(mode="json", exclude_unset=True)


def examine(root, cache, planted=None, **changes):
    source = folder_source(root)
    stored = store_images(source, [], cache)
    done = audit(source, stored, settings_of(**changes))
    return Case(source, stored, done.table, content_of(done), planted or {})


CHANCE = ShortcutRecord(
    auc=0.5, low=0.4, high=0.6, limit=0.7, images=90, patients=90, warns=False, reason="", features=()
)


@pytest.fixture(autouse=True)
def without_searches(request, monkeypatch):
    """Copies and shortcuts are sought in the shared sets, and where a test names ``searched``: that takes most time."""
    if "searched" not in request.fixturenames:
        nothing = np.empty(0, PAIR), np.empty(0, np.int64)
        monkeypatch.setattr("bench.data.audit.local_features.find_altered", lambda *_: nothing)
        for baseline in ("shortcut", "border_shortcut"):
            monkeypatch.setattr(audit_module, baseline, lambda *_: CHANCE)


@pytest.fixture
def searched():
    """Named by a test of what `without_searches` leaves out."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    write_clean(root / "data")
    return examine(root / "data", root)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    root = tmp_path_factory.mktemp("faulty")
    planted = write_planted(root / "data")
    return examine(root / "data", root, planted.files)


# Planted faults


KINDS = {
    "truncated": "warning",
    "empty": "warning",
    "no image": "warning",
    "patients": "warning",
    "exact": "warning",
    "near": "warning",
    "conflicting labels": "warning",
    "constant": "warning",
    "transparent": "note",
    "deep": "note",
    "palette": "note",
    "rotated": "note",
    "others": "warning",
}


@pytest.mark.parametrize(("kind", "severity"), KINDS.items())
def test_a_planted_fault_is_found_under_its_own_heading(faulty, kind, severity):
    found = faulty.finding(kind)
    assert set(found["files"]) == faulty.planted[kind]
    assert found["severity"] == severity
    headings = [finding["heading"] for finding in faulty.content["findings"] if finding["kind"] != "moved"]
    assert headings.count(found["heading"]) == 1
    assert found["text"].endswith(".")


def test_everything_planted_is_looked_for_here(faulty):
    assert set(KINDS) == set(faulty.planted)


def test_the_class_that_is_saved_larger_is_the_first_of_the_shortcuts(faulty):
    shortcut = faulty.content["shortcut"]
    assert shortcut["warns"]
    assert shortcut["low"] > 0.8
    assert {feature["name"] for feature in shortcut["features"][:2]} == {"width", "height"}
    found = faulty.finding("shortcut")
    assert found["severity"] == "warning"
    assert "width (alone" in found["text"]


def test_what_cannot_be_decoded_is_left_out_and_listed(faulty):
    assert {row["file"]: row["kind"] for row in faulty.content["left_out"]} == {
        name: kind for kind in ("truncated", "empty", "no image") for name in faulty.planted[kind]
    }
    table = faulty.table.set_index("image")
    for row in faulty.content["left_out"]:
        assert table.loc[row["file"], ["split", "reason", "label"]].tolist() == [
            "",
            f"{row['kind']}: {row['reason']}",
            row["label"],
        ]
    assert [part["images"] for part in faulty.content["by_class"].values()] == [43, 44]


def test_copies_across_train_and_test_leave_train_alone(faulty):
    table = faulty.table.set_index("image")
    for kind, reason in (("exact", "the same pixels are"), ("near", "a near duplicate of it is")):
        for name in faulty.planted[kind]:
            split, said = table.loc[name, ["split", "reason"]]
            assert (split, said) == (("test", "") if name.startswith("test/") else ("", f"{reason} also in test"))
    given = faulty.source.table
    assert set(table.index[table["split"] == "test"]) == set(given.loc[given["split"] == "test", "image"])
    moved = {name for entry in faulty.content["moved"] for name in entry["files"]}
    assert moved == {name for kind in ("exact", "near") for name in faulty.planted[kind] if name.startswith("train/")}


def test_the_splits_as_used_are_free_of_crossings(faulty):
    used = faulty.table[faulty.table["split"] != ""]
    assert (used.groupby("group")["split"].nunique() == 1).all()
    assert (used.groupby("patient_id")["split"].nunique() == 1).all()
    split = used.set_index("image")["split"]
    for cluster in faulty.content["duplicates"]:
        assert len({split[image["file"]] for image in cluster["images"] if image["file"] in split}) == 1


def test_the_table_has_every_image(faulty, clean):
    for case in (faulty, clean):
        columns = ["image", "label", "split_group", "patient_id"]
        pd.testing.assert_frame_equal(case.table[columns], case.source.table[columns])
        assert ((case.table["split"] == "") == (case.table["reason"] != "")).all()


def test_duplicates_are_told_with_the_splits_as_given(faulty):
    (across, conflicting), (near,) = (
        [cluster for cluster in faulty.content["duplicates"] if cluster["kind"] == kind] for kind in ("exact", "near")
    )
    assert [image["split"] for image in across["images"]] == ["test", "train"]
    assert (across["across_splits"], across["labels_conflict"], across["distance"]) == (True, False, 0)
    assert (conflicting["across_splits"], conflicting["labels_conflict"]) == (False, True)
    assert {image["label"] for image in conflicting["images"]} == {"NORMAL", "PNEUMONIA"}
    assert (near["across_splits"], near["labels_conflict"]) == (True, False)


def test_too_many_left_out_stop_a_run_unless_it_is_to_go_on(faulty, tmp_path):
    found = faulty.content["findings"][0]
    assert (found["kind"], found["severity"], found["count"]) == ("too many left out", "stop", 3)
    assert "NORMAL 2 of 45 (4.4 %)" in found["text"]
    assert "--keep-going" in found["text"]
    going = audit(faulty.source, faulty.stored, settings_of(keep_going=True))
    (found,) = (finding for finding in content_of(going)["findings"] if finding["kind"] == "too many left out")
    assert found["severity"] == "warning"
    with pytest.raises(ConfigError, match=r"2 of 45 images of class 'NORMAL' \(4.4 %\).*IM-0500.*--keep-going"):
        require_enough(faulty.source, faulty.stored, keep_going=False)
    require_enough(faulty.source, faulty.stored, keep_going=True)


# Nothing planted


def test_a_clean_set_is_good(clean):
    assert set(clean.findings("good")) == {"readable", "patients", "exact", "near", "altered", "shortcut", "border"}
    assert set(clean.findings("warning")) == {"validation", "small validation"}, "few to select by, planted or not"
    assert set(clean.findings("note")) == set(clean.findings("stop")) == set()
    assert (clean.content["left_out"], clean.content["duplicates"], clean.content["moved"]) == ([], [], [])
    require_enough(clean.source, clean.stored, keep_going=False)


def test_what_a_clean_set_is_made_of(clean):
    content = clean.content
    counts = {
        split: {"images": 2 * count, "patients": 2 * count, "classes": {"NORMAL": count, "PNEUMONIA": count}}
        for split, count in PER_CLASS.items()
    }
    assert content["splits"]["given"] == counts
    assert content["splits"]["used"]["test"] == counts["test"]
    assert content["images"] == 76
    assert content["patients"]["narrow"] == content["patients"]["wide"] == 76
    assert not content["patients"]["assumed"]
    for part in content["by_class"].values():
        assert part["images"] == 38
        assert part["width"] == part["height"] == [SIZE] * 5
        assert part["aspect"] == [1] * 5
        assert part["bytes"] == sorted(part["bytes"])
        assert part["bytes_per_pixel"][0] == pytest.approx(part["bytes"][0] / SIZE**2, abs=1e-3)
        assert (part["modes"], part["formats"]) == ({"L": 38}, {"JPEG": 38})


def test_the_same_is_found_again(searched, clean):
    again = audit(clean.source, clean.stored, settings_of())
    assert content_of(again) == clean.content
    pd.testing.assert_frame_equal(again.table, clean.table)


# The format


def check_format(content):
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert set(content) == {
        *(
            "format",
            "source",
            "path",
            "classes",
            "images",
            "layout",
            "findings",
            "left_out",
            "patients",
            "shared_patients",
        ),
        *("duplicates", "moved", "splits", "by_class", "shortcut", "border", "notes"),
    }
    assert content["format"] == 2
    severities = [SEVERITIES.index(finding["severity"]) for finding in content["findings"]]
    assert severities == sorted(severities), "the most severe first"
    for finding in content["findings"]:
        assert list(finding) == ["kind", "heading", "severity", "text", "count", "files"]
        assert isinstance(finding["count"], int)
        assert finding["text"]
    for row in content["left_out"]:
        assert set(row) == {"file", "label", "kind", "reason"}
        assert row["kind"] in PROBLEMS
    assert set(content["patients"]) == {"rule", "assumed", "wide", "narrow"}
    assert set(content["shared_patients"]) == {"narrow", "wide"}
    for cluster in content["duplicates"]:
        assert set(cluster) == {"kind", "distance", "labels_conflict", "across_splits", "images"}
        assert all(set(image) == {"file", "label", "split", "change"} for image in cluster["images"])
    for entry in content["moved"]:
        assert set(entry) == {"from", "images", "reason", "files"}
        assert entry["images"] == len(entry["files"])
    assert set(content["splits"]) == {"given", "used"}
    for part in content["by_class"].values():
        assert set(part) - {"images", "modes", "formats"} in (
            set(),
            {"width", "height", "aspect", "bytes", "bytes_per_pixel"},
        )
    if content["shortcut"]["auc"] is None:
        assert content["shortcut"]["reason"]
    else:
        assert set(content["shortcut"]) >= {
            *("auc", "low", "high", "limit", "warns", "images", "patients", "features"),
        }


def test_the_content_is_as_its_readers_expect_it(clean, faulty):
    for case in (clean, faulty):
        check_format(case.content)


# Sets of other kinds


def made_up(labels, splits=None, patients=None, narrow=None, problems=None, **facts):
    """A set that was never decoded, and what its store would say: sources and facts of any kind."""
    n = len(labels)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{row:03d}.png" for row in range(n)], "label": labels})
    table["split_group"] = patients or table["image"]
    table["patient_id"] = narrow or table["split_group"]
    table["split"] = splits or ""
    looks = [row.tobytes().hex() for row in rng.integers(0, 256, (n, 32), dtype=np.uint8)]
    rows = [
        dataclasses.asdict(
            Facts(bytes=900, width=30, height=30, mode="L", format="PNG", pixels=str(row), perceptual_hash=one)
        )
        for row, one in enumerate(looks)
    ]
    known = pd.DataFrame(rows).assign(**facts)
    for row, problem in (problems or {}).items():
        known.loc[row, ["problem", "reason"]] = (problem, f"it is {problem}")
    reader = MemoryReader(np.zeros((n, 1, 1), np.uint8))
    classes = tuple(sorted(set(labels)))
    source = ImageSet("folder", "/scans", classes, table, ("",) * n, reader, "by name", patients is None)
    return source, known


def stored_in(folder, facts):
    """A stored set of these facts, all of whose thumbnails are black."""
    np.save(folder / "thumbnails.npy", np.zeros((len(facts), THUMBNAIL, THUMBNAIL), np.uint8))
    return Stored(folder, facts, {}, "0")


@pytest.fixture
def audited(tmp_path):
    def run(*args, settings=None, **kwargs):
        source, facts = made_up(*args, **kwargs)
        done = audit(source, stored_in(tmp_path, facts), settings or settings_of())
        check_format(content_of(done))
        return done

    return run


def kinds(done):
    return {finding["kind"]: finding for finding in content_of(done)["findings"]}


def test_where_nothing_can_be_decoded_the_request_is_refused(tmp_path):
    source, facts = made_up(["A", "B"], problems={0: "no image", 1: "empty"})
    with pytest.raises(ConfigError, match=r"None of the 2 images in /scans can be decoded \(it is no image\)"):
        audit(source, stored_in(tmp_path, facts), settings_of())


@pytest.mark.parametrize(("lost", "refused"), [(1, False), (2, True)])
def test_one_in_a_hundred_may_be_lost(tmp_path, lost, refused):
    source, facts = made_up(["A", "B"] * 100, problems=dict.fromkeys(range(0, 2 * lost, 2), "truncated"))
    stored = stored_in(tmp_path, facts)
    if refused:
        with pytest.raises(ConfigError, match=r"2 of 100 images of class 'A' \(2.0 %\)"):
            require_enough(source, stored, keep_going=False)
    else:
        require_enough(source, stored, keep_going=False)


def test_links_to_images_that_are_gone_are_images_that_cannot_be_read(tmp_path):
    """As in a set of which git-annex or DataLad has fetched a part."""
    for number, picture in enumerate(pictures()[:40]):
        write(tmp_path / "data", f"{'AB'[number % 2]}/{number:02}.png", encode(picture))
    images = sorted((tmp_path / "data").glob("*/*.png"))
    for path in images[:3]:
        path.unlink()
        path.symlink_to("../.git/annex/objects/1.png")
    source = folder_source(tmp_path / "data")
    stored = store_images(source, [], tmp_path)
    assert source.others == ()
    assert stored.facts["reason"].tolist() == ["the link leads nowhere"] * 3 + [""] * 37
    with pytest.raises(ConfigError, match=r"3 of 20 images of class 'A' \(15.0 %\) cannot be decoded, such as A/00"):
        require_enough(source, stored, keep_going=False)
    done = audit(source, stored, settings_of(), strict=False)
    assert kinds(done)["no access"]["text"].endswith("such as A/00.png: the link leads nowhere.")
    for path in images[3:]:
        path.unlink()
        path.symlink_to(path)
    source = folder_source(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"None of the 40 images in .* can be decoded \(the link leads nowhere\)"):
        audit(source, store_images(source, [], tmp_path), settings_of())


def test_links_to_folders_that_are_gone_are_a_warning(tmp_path):
    for number, picture in enumerate(pictures()[:40]):
        write(tmp_path / "data", f"{'AB'[number % 2]}/{number:02}.png", encode(picture))
    (tmp_path / "data/A/patient 7").symlink_to("/media/away")
    found = examine(tmp_path / "data", tmp_path).finding("layout")
    assert (found["severity"], found["files"]) == ("warning", ["A/patient 7"])
    assert found["text"].endswith("left out: 1 link that leads nowhere.")


def test_a_class_that_is_lost_whole_is_told(tmp_path):
    """Such a set cannot be split, but what is lacking is said before that."""
    source, facts = made_up(["A", "B", "C"] * 20, problems=dict.fromkeys(range(2, 60, 3), "empty"))
    with pytest.raises(ConfigError, match=r"20 of 20 images of class 'C' \(100.0 %\)"):
        require_enough(source, stored_in(tmp_path, facts), keep_going=False)
    with pytest.raises(ConfigError, match="'C' has no patient"):
        audit(source, stored_in(tmp_path, facts), settings_of(keep_going=True))


def test_dicom_of_other_kinds_is_told_and_costs_nothing(audited, tmp_path):
    """Reports and directories beside the images are no images that are lost: not by count, and not by class."""
    labels = ["A", "B"] * 60
    others = dict.fromkeys(range(0, 40, 2), OTHER)
    source, facts = made_up(labels, problems=others)
    facts.loc[facts["problem"] == OTHER, "reason"] = "a DICOM file that holds no image, but RT Plan Storage"
    stored = stored_in(tmp_path, facts)
    require_enough(source, stored, keep_going=False)
    done = audit(source, stored, settings_of())
    check_format(content_of(done))
    found = kinds(done)
    assert found["other file"]["severity"] == "note"
    assert found["other file"]["text"] == (
        "20 DICOM files that hold no image (RT Plan Storage): left out, as other files are."
    )
    assert len(found["other file"]["files"]) == 20
    assert found["readable"]["text"] == "All 100 images can be decoded."
    assert "too many left out" not in found
    assert (content_of(done)["images"], content_of(done)["left_out"]) == (100, [])
    assert content_of(done)["patients"]["narrow"] == content_of(done)["patients"]["wide"] == 100
    assert done.table["reason"].iloc[0].startswith("other file: a DICOM file")
    facts.loc[40, "problem"] = "truncated"
    with pytest.raises(ConfigError, match=r"1 of 40 images of class 'A' \(2.5 %\) cannot be decoded, such as 040"):
        require_enough(source, stored, keep_going=False)


def test_what_became_of_more_than_eight_bits_is_told_by_its_rule(audited):
    labels, rows = ["A", "B"] * 60, np.arange(120)
    found = kinds(audited(labels, deep=True, window="set", high=996.0))
    assert found["deep"]["text"] == (
        "120 images of more than 8 bits per channel: 120 windowed from 0 to 996, one range for the whole set."
    )
    windows = np.where(rows < 100, "own", np.where(rows < 110, "header", ""))
    mixed = kinds(audited(labels, deep=rows < 118, window=windows))
    assert "100 windowed from its own minimum to its maximum; 10 windowed as its DICOM" in mixed["deep"]["text"]
    assert mixed["deep"]["text"].endswith("; 8 of which the upper 8 bits stay.")
    assert len(mixed["mixed depth"]["files"]) == 100
    assert "beside 2 of 8 bits that stay as they are" in mixed["mixed depth"]["text"]
    assert "mixed depth" not in found


def test_a_window_that_serves_no_image_is_refused(audited):
    with pytest.raises(ConfigError, match="--window 40,400 applies to none of the images in /scans"):
        audited(["A", "B"] * 60, settings=settings_of(window=(40, 400)))
    done = audited(
        ["A", "B"] * 60, deep=True, window="asked", low=-160.0, high=239.0, settings=settings_of(window=(40, 400))
    )
    assert "120 windowed from -160 to 239, by --window" in kinds(done)["deep"]["text"]


def test_a_shortcut_that_may_be_chance_is_a_note(audited, monkeypatch):
    told = {"limit": 0.6, "features": [{"name": "width", "auc": 0.7}], "images": 9, "patients": 9, "warns": False}
    for low, words in (
        (0.5, "the interval reaches down to 0.500, not above 0.6"),
        (None, "there are too few patients for an interval"),
    ):
        known = {"auc": 0.7, "low": low, "high": low and 0.8, **told}
        monkeypatch.setattr("bench.data.audit.audit.shortcut", lambda *_, known=known: ShortcutRecord(**known))
        found = kinds(audited(["A", "B"] * 60))["shortcut"]
        assert found["severity"] == "note"
        assert f"ROC AUC 0.700{' (0.500–0.800)' if low else ''}, " in found["text"]
        assert words in found["text"]
        assert "can be predicted without looking" not in found["text"]


def test_nothing_given_and_patients_assumed(audited):
    done = audited(["A", "B"] * 60)
    found = kinds(done)
    assert found["assumed"]["severity"] == "warning"
    assert "patients" not in found, "there are no given splits to look for patients in"
    assert content_of(done)["splits"]["given"] == {}
    assert content_of(done)["shared_patients"] == {"narrow": {}, "wide": {}}
    assert set(content_of(done)["splits"]["used"]) == set(SPLITS)
    assert found["shortcut"]["severity"] == "good"
    assert content_of(done)["shortcut"]["auc"] == 0.5


GIVEN = (["train"] * 4 + ["test"] * 2) * 20


def test_where_nobody_is_known_leaks_cannot_be_judged(audited):
    found = kinds(audited(["A", "B"] * 60, GIVEN))["patients"]
    assert found["severity"] == "note"
    assert "cannot be judged" in found["text"]
    assert "No patient" not in found["text"]


def test_where_all_are_known_it_is_good_and_says_how(audited):
    found = kinds(audited(["A", "B"] * 60, GIVEN, [f"p{row}" for row in range(120)]))["patients"]
    assert found["severity"] == "good"
    assert found["text"] == "No patient is in two given splits (rule: by name)."


def test_where_some_are_nobody_it_is_no_all_clear(audited):
    patients = [f"p{row}" if row > 2 else f"{row:03d}.png" for row in range(120)]
    found = kinds(audited(["A", "B"] * 60, GIVEN, patients))["patients"]
    assert found["severity"] == "note"
    assert found["text"].startswith(
        "As far as can be told, no patient is in two given splits: of 3 images nobody knows"
    )


def test_where_a_lesion_stands_for_the_patient_it_is_no_all_clear(tmp_path):
    source, facts = made_up(["A", "B"] * 60, GIVEN, [f"p{row}" for row in range(120)])
    source = dataclasses.replace(source, patient_doubt="lesion_id names a lesion, not a patient")
    found = kinds(audit(source, stored_in(tmp_path, facts), settings_of()))["patients"]
    assert found["severity"] == "note"
    assert "lesion_id names a lesion, not a patient" in found["text"]


def test_a_leak_names_the_rule_it_rests_on(audited):
    found = kinds(audited(["A", "B"] * 60, GIVEN, [f"p{max(row, 5)}" for row in range(120)]))["patients"]
    assert found["severity"] == "warning"
    assert found["text"].endswith("Patients are told apart by this rule: by name.")


def test_a_refusal_that_rests_on_patients_names_the_rule(tmp_path):
    source, facts = made_up(["A", "B"] * 6, patients=["p", "q"] * 6)
    with pytest.raises(ConfigError, match=r"one patient only.*; how patients were told apart: by name\.$"):
        audit(source, stored_in(tmp_path, facts), settings_of())


def test_patients_are_not_looked_for_where_no_split_is_given(audited):
    """A patient with an image in train and one without a split is in one given split only."""
    labels, patients = ["A", "B"] * 120, [f"p{row // 4}-{row % 2}" for row in range(240)]
    splits = (["train"] * 2 + [""] * 2) * 60
    splits[-8:] = ["train"] * 2 + ["test"] * 6
    found = kinds(audited(labels, splits, patients))["patients"]
    assert found["count"] == 2
    assert found["files"] == [f"{row:03d}.png" for row in range(232, 236)]


def test_imbalance(audited):
    even, uneven, very = (kinds(audited(["A"] * n + ["B"] * 60)) for n in (64, 120, 900))
    assert "imbalance" not in even
    assert uneven["imbalance"]["severity"] == "note"
    assert very["imbalance"]["severity"] == "warning"


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_one_patient_is_warned_of(audited, split):
    patients = [f"p{row}" for row in range(240)]
    given = (["train"] * 8 + ["val"] * 2 + ["test"] * 2) * 20
    assert "one patient" not in kinds(audited(["A", "B"] * 120, given, patients))
    assert "one patient" not in kinds(audited(["A", "B"] * 120, given)), "where nobody is known, one image is one"
    one = ["alone" if place == split else patient for place, patient in zip(given, patients, strict=True)]
    found = kinds(audited(["A", "B"] * 120, given, one))["one patient"]
    assert found["severity"] == "warning"
    assert f"show one patient: {split} (40 images)." in found["text"]


def test_a_split_that_lacks_a_label(audited):
    splits = ["train"] * 120 + ["val"] * 110 + ["test"] * 20
    labels = ["A", "B"] * 60 + ["A", "B"] * 55 + ["A"] * 20
    found = kinds(audited(labels, splits))["missing labels"]
    assert found["text"] == "Of the given splits, test holds no B."


def test_too_few_patients_for_the_shortcut(searched, audited):
    """Of class B all but one are in test; that one is two by the narrow reading, in train and in val."""
    labels = ["A"] * 60 + ["B"] * 6
    patients = [f"a{row}" for row in range(60)] + ["b0", "b0", "b1", "b2", "b3", "b4"]
    splits = ["train"] * 30 + ["val"] * 10 + ["test"] * 20 + ["train", "val"] + ["test"] * 4
    done = audited(labels, splits, patients, narrow=[f"n{row}" for row in range(66)])
    assert content_of(done)["shortcut"]["auc"] is None
    found = kinds(done)["shortcut"]
    assert found["severity"] == "note"
    assert found["text"] == "Not computed: each class needs at least two patients outside the test split."


def test_several_ways_of_storing(audited):
    grey = np.arange(120) % 3 > 0
    frames = np.where(np.arange(120) == 5, 7, 1)
    found = kinds(audited(["A", "B"] * 60, grey=grey, frames=frames))
    assert len(found["mixed colour"]["files"]) == 80
    assert found["frames"]["files"] == ["005.png"]
    assert "frames" not in kinds(audited(["A", "B"] * 60))


def test_images_too_alike_to_compare(audited):
    found = kinds(audited(["A", "B"] * 60, perceptual_hash=["ab" * 32] * 120))
    assert found["alike"]["count"] == 120
    assert found["near"]["severity"] == "good"


def test_notes_of_the_source_are_passed_on(tmp_path):
    source, facts = made_up(["A", "B"] * 60)
    source = dataclasses.replace(source, notes=("Two files were odd.",), others=("a.txt", "b.txt"))
    done = audit(source, stored_in(tmp_path, facts), settings_of())
    assert content_of(done)["notes"][0] == "Two files were odd."
    assert kinds(done)["source"]["text"] == "Two files were odd."
    assert kinds(done)["others"]["count"] == 2


# Splits as the settings want them


def test_a_run_s_own_splits_are_taken_over_when_it_is_resumed(faulty, tmp_path):
    settings = settings_of(max_images=40)
    first = audit(faulty.source, faulty.stored, settings)
    assert "not drawn by --max-images 40" in set(first.table["reason"])
    write_splits(tmp_path / "splits.csv", first.table)
    again = audit(faulty.source, faulty.stored, settings, taken=tmp_path / "splits.csv")
    pd.testing.assert_frame_equal(again.table, first.table)
    other = audit(faulty.source, faulty.stored, settings_of(splits=tmp_path / "splits.csv", seed=5))
    pd.testing.assert_frame_equal(other.table, first.table)


def test_a_validation_split_that_is_taken_over_is_kept_however_small(tmp_path):
    source, _ = made_up(["A", "B"] * 100)
    names = source.table["image"]
    splits = ["val"] * 4 + ["test"] * 40 + ["train"] * 156
    pd.DataFrame({"image": names, "split": splits}).to_csv(tmp_path / "splits.csv", index=False)
    table, report = draw_splits(source, settings_of(splits=tmp_path / "splits.csv"))
    assert table["split"].tolist() == splits
    assert "It was kept" in report.on_validation


def test_shares_and_the_split_seed_reach_the_draw():
    source, _ = made_up(["A", "B"] * 100)
    table, report = draw_splits(source, settings_of(test_share=0.4, val_share=0.25, split_seed=3))
    assert (table["split"] == "test").mean() == pytest.approx(0.4, abs=0.02)
    assert (table["split"] == "val").mean() == pytest.approx(0.15, abs=0.02)
    assert len(report.notes) == 2
    assert "--split-seed 3" in report.notes[0]
    other, _ = draw_splits(source, settings_of(test_share=0.4, val_share=0.25, split_seed=4))
    assert table["split"].tolist() != other["split"].tolist()


def noise(folder, names):
    """Images of noise, the same whatever they are called."""
    for label in "AB":
        (folder / label).mkdir(parents=True)
        rng = np.random.default_rng(ord(label))
        for name in names:
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(folder / label / f"{name}.png")
    return folder


def drawn(folder, cache, **changes):
    """Content of each image -> its split and, from 1, its fold."""
    source, settings = folder_source(folder), settings_of(**changes)
    found = audit(source, store_images(source, [], cache), settings).table
    numbered = found["split"] + folds(found, 3, settings.split_seed).astype(str)
    return dict(zip(found["content"], numbered, strict=True))


@pytest.mark.parametrize("more", [{}, {"max_images": 40}])
def test_what_the_images_are_decides_their_split_and_no_name_order_or_training_seed(tmp_path, more):
    names = [f"{number:02d}" for number in range(40)]
    first = drawn(noise(tmp_path / "set", names), tmp_path / "cache", **more)
    assert {split[:-1] for split in first.values()} == {"train", "val", "test", *([""] if more else [])}
    (tmp_path / "set" / WITH_DATA).mkdir()
    (tmp_path / "set" / WITH_DATA / LEDGER).write_text("{}")  # the ledger beside the data is none of them
    renamed = noise(tmp_path / "elsewhere" / "other", [f"scan{name[::-1]}" for name in reversed(names)])
    assert drawn(renamed, tmp_path / "cache", **more) == first
    assert drawn(tmp_path / "set", tmp_path / "cache", seed=5, **more) == first
    assert drawn(tmp_path / "set", tmp_path / "cache", split_seed=5, **more) != first
    one = Image.open(tmp_path / "set" / "A" / "00.png")
    one.putpixel((0, 0), 255 - one.getpixel((0, 0)))
    one.save(tmp_path / "set" / "A" / "00.png")
    assert drawn(tmp_path / "set", tmp_path / "cache", **more).items() - first.items() > {}.items(), "another set"


def test_splits_that_are_given_stay_whatever_the_split_seed(clean):
    found = [audit(clean.source, clean.stored, settings_of(split_seed=seed)).table["split"] for seed in (0, 7)]
    given = clean.source.table["split"]
    assert all((one[given == "test"] == "test").all() and not (one[given != "test"] == "test").any() for one in found)


def test_without_facts_the_splits_are_as_large_as_they_would_be(clean):
    table, _ = draw_splits(clean.source, settings_of())
    pd.testing.assert_frame_equal(table.drop(columns="split"), clean.table.drop(columns=["split", "content"]))
    assert table["split"].value_counts().to_dict() == clean.table["split"].value_counts().to_dict()
    again, _ = draw_splits(clean.source, settings_of(), {3: "empty: the file is empty"}, Duplicates())
    assert again["reason"].iloc[3] == "empty: the file is empty"


def test_one_fault_alone_is_one_finding_more(tmp_path):
    """The set of faults does not hide that each is found for itself: a single copy in an otherwise clean set."""
    write_clean(tmp_path / "data")
    copied = write(tmp_path / "data", "train/NORMAL/IM-0900-0001.png", encode(pictures()[90]))
    write(tmp_path / "data", "train/NORMAL/IM-0901-0001.bmp", encode(pictures()[90], "BMP"))
    case = examine(tmp_path / "data", tmp_path)
    assert case.finding("exact")["severity"] == "note"
    assert copied in case.finding("exact")["files"]
    assert set(case.findings("warning")) == {"validation", "small validation"}
    assert case.finding("near")["severity"] == "good"
    assert case.content["moved"] == []
    name = file_name("train", "PNEUMONIA", 3)
    (tmp_path / "data" / name).write_bytes(encode(Image.new("L", (SIZE, SIZE), 3), "JPEG"))
    assert examine(tmp_path / "data", tmp_path).finding("constant")["files"] == [name]


# Where splits cannot be drawn, or are taken over


def straddling(root):
    """Every patient of train has an image in test too: what a split by images, not patients, looks like."""
    for split in ("train", "test"):
        for number, picture in enumerate(pictures()[:24]):
            label = ("NORMAL", "PNEUMONIA")[number % 2]
            shown = picture if split == "train" else pictures()[number + 24]
            write(root, f"{split}/{label}/P{number:03d}_{split}.png", encode(shown))
    return folder_source(root, patient_pattern=r"^(P\d+)_")


def test_an_audit_tells_all_even_if_no_splits_can_be_drawn(tmp_path):
    source = straddling(tmp_path / "data")
    stored = store_images(source, [], tmp_path)
    with pytest.raises(ConfigError, match=r"24 images left train: their patients are also in test"):
        audit(source, stored, settings_of())
    done = audit(source, stored, settings_of(), strict=False)
    first, *others = content_of(done)["findings"]
    assert (first["kind"], first["severity"]) == ("splits", "stop")
    assert first["text"] == done.splits.refused
    shared = next(finding for finding in others if finding["kind"] == "patients")
    assert len(shared["files"]) == 48
    assert content_of(done)["splits"]["given"]["train"]["images"] == 24
    json.dumps(content_of(done), allow_nan=False)


def test_the_splits_of_a_file_are_those_that_count_as_given(clean, tmp_path):
    """The folder's own splits play no part: a copy that the file parts is one that crosses."""
    write_clean(tmp_path / "data")
    write(tmp_path / "data", "train/NORMAL/IM-0900-0001.png", encode(pictures()[90]))
    write(tmp_path / "data", "train/NORMAL/IM-0901-0001.bmp", encode(pictures()[90], "BMP"))
    case = examine(tmp_path / "data", tmp_path)
    table = case.table.assign(reason="")
    table.loc[table["image"].str.contains("IM-0900"), "split"] = "test"
    table.loc[table["image"].str.contains("IM-0901"), "split"] = "train"
    write_splits(tmp_path / "splits.csv", table)
    taken = examine(tmp_path / "data", tmp_path, splits=tmp_path / "splits.csv")
    (copies,) = taken.content["duplicates"]
    assert copies["across_splits"]
    assert {image["split"] for image in copies["images"]} == {"train", "test"}
    assert taken.finding("exact")["severity"] == "warning"
    assert taken.content["splits"]["given"]["test"]["images"] == (table["split"] == "test").sum()
    left = taken.table.set_index("image")["reason"]["train/NORMAL/IM-0901-0001.bmp"]
    assert left == "the same pixels are also in test"


def test_a_run_whose_images_changed_is_not_resumed(clean, tmp_path):
    write_splits(tmp_path / "splits.csv", clean.table.iloc[1:])
    with pytest.raises(ConfigError, match=r"are not those of the run: .+ \(new\); start"):
        draw_splits(clean.source, settings_of(), taken=tmp_path / "splits.csv")
    write_splits(tmp_path / "splits.csv", clean.table)
    again, _ = draw_splits(clean.source, settings_of(seed=5), taken=tmp_path / "splits.csv")
    assert again["split"].tolist() == clean.table["split"].tolist()
