"""splits.csv: what a run wrote gives the same splits again, and what does not fit is refused in a sentence."""

import numpy as np
import pandas as pd
import pytest

from bench.data.splits import Cluster, Shares, assign_splits, changes_since, subset, take_over, write_splits
from bench.errors import ConfigError

SHARES = Shares(0.2, 0.15)


@pytest.fixture
def table():
    """Two classes of 60 patients with two images each, nothing split; of the wide reading two are one patient."""
    patients = np.repeat(np.arange(120), 2)
    return pd.DataFrame(
        {
            "image": [f"images/{row:03d}, a.png" for row in range(240)],
            "label": np.where(patients % 2, "A", "B"),
            "split_group": [f"p{patient // 2}" for patient in patients],
            "patient_id": [f"{'AB'[patient % 2]}{patient // 2}" for patient in patients],
            "split": "",
        }
    )


def write(path, rows, columns="image,label,split"):
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def rows_like(table, **splits):
    """Lines of image, label and split; ``splits`` maps a row number to another split."""
    found = []
    for row, (image, label) in enumerate(zip(table["image"], table["label"], strict=True)):
        split = splits.get(f"row{row}", ("train", "val", "test")[row // 4 % 3])
        found.append(f'"{image}",{label},{split}')
    return found


# A run's own file


def test_the_file_has_a_row_an_image(tmp_path, table):
    found, _ = assign_splits(table, 0, shares=SHARES, excluded={3: "truncated: it ends, too early"})
    write_splits(tmp_path / "splits.csv", found)
    rows = pd.read_csv(tmp_path / "splits.csv", keep_default_na=False)
    assert list(rows) == ["image", "label", "patient", "patient_wide", "split", "reason"]
    assert rows["image"].tolist() == table["image"].tolist()
    assert rows["patient"].tolist() == table["patient_id"].tolist()
    assert rows["patient_wide"].tolist() == table["split_group"].tolist()
    assert rows.loc[3, ["split", "reason"]].tolist() == ["", "truncated: it ends, too early"]


@pytest.mark.parametrize("max_images", [None, 60])
@pytest.mark.parametrize("given", [False, True])
def test_a_run_s_splits_come_back_exactly(tmp_path, table, given, max_images):
    """Whatever the seed and the shares of the later run are, and whatever left a split in the first."""
    clusters = [Cluster("exact", (0, 30)), Cluster("near", (8, 101, 200))]
    if given:
        table["split"] = np.random.default_rng(0).choice(["train", "val", "test"], len(table), p=[0.7, 0.1, 0.2])
    excluded = {7: "truncated: it ends", 50: "empty: the file is empty"}
    first, report = assign_splits(table, 0, shares=SHARES, clusters=clusters, excluded=excluded)
    if max_images:
        first = subset(first, max_images, 0)
    assert bool(report.moved) == given
    write_splits(tmp_path / "splits.csv", first)

    taken, silent = take_over(tmp_path / "splits.csv", table)
    second, later = assign_splits(
        taken, 99, clusters=clusters, excluded={**silent, **excluded}, shares=Shares(0.4, 0.4, fixed=True)
    )
    pd.testing.assert_frame_equal(second, first)
    assert (later.moved, later.merged) == ([], False)


def test_images_are_found_by_name_whatever_the_order(tmp_path, table):
    first, _ = assign_splits(table, 0, shares=SHARES)
    write_splits(tmp_path / "splits.csv", first.sample(frac=1, random_state=0))
    taken, silent = take_over(tmp_path / "splits.csv", table)
    assert taken["split"].tolist() == first["split"].tolist()
    assert silent == {}
    assert set(table["split"]) == {""}, "the given table is left as it was"


# Other files


def test_older_files_have_no_reason(tmp_path, table):
    lines = [line.replace("AAA", "") for line in rows_like(table, row5="")]
    path = write(tmp_path / "old.csv", lines)
    taken, silent = take_over(path, table)
    assert silent == {5: "takes no part by old.csv"}
    assert taken["split"].tolist()[3:6] == ["train", "val", ""]


def test_image_and_split_are_enough_and_other_columns_are_ignored(tmp_path, table):
    lines = [line.replace(",A,", ",").replace(",B,", ",") + ",x" for line in rows_like(table)]
    taken, silent = take_over(write(tmp_path / "s.csv", lines, "image,split,score"), table)
    assert taken["split"].value_counts().to_dict() == {"train": 80, "val": 80, "test": 80}
    assert silent == {}


def test_images_that_the_file_does_not_name_take_no_part(tmp_path, table):
    taken, silent = take_over(write(tmp_path / "s.csv", rows_like(table)[:100]), table)
    assert (taken["split"] == "").sum() == 140
    assert silent == dict.fromkeys(range(100, 240), "takes no part by s.csv")


def test_a_file_written_by_a_spreadsheet(tmp_path, table):
    path = write(tmp_path / "s.csv", rows_like(table))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert (take_over(path, table)[0]["split"] != "").all()


def test_images_without_a_split_may_be_gone_or_relabelled(tmp_path, table):
    """A run that left a file out does not fail once the file is removed."""
    lines = [*rows_like(table, row5="")[:5], f'"{table["image"][5]}",other,', "gone.png,A,"]
    lines += rows_like(table)[6:]
    _, silent = take_over(write(tmp_path / "s.csv", lines), table)
    assert list(silent) == [5]


# What is refused


def refusal(path, table):
    with pytest.raises(ConfigError) as caught:
        take_over(path, table)
    message = str(caught.value)
    assert message.startswith(f"--splits {path} ")
    assert message.endswith(".")
    return message


@pytest.mark.parametrize(
    ("columns", "said"),
    [("name,label,split", "no column image"), ("image,label,set", "no column split"), ("a,b,c", "no column image and")],
)
def test_a_missing_column(tmp_path, table, columns, said):
    message = refusal(write(tmp_path / "s.csv", rows_like(table), columns), table)
    assert said in message
    assert columns.replace(",", ", ") in message


def test_an_unknown_image(tmp_path, table):
    message = refusal(write(tmp_path / "s.csv", [*rows_like(table), "gone.png,A,train"]), table)
    assert "images that the data do not hold (1, such as gone.png)" in message


def test_another_label(tmp_path, table):
    lines = rows_like(table)
    lines[2] = lines[2].replace(",A,", ",B,") if ",A," in lines[2] else lines[2].replace(",B,", ",A,")
    assert f"another label than the data (1, such as {table['image'][2]})" in refusal(
        write(tmp_path / "s.csv", lines), table
    )


def test_an_image_twice(tmp_path, table):
    lines = rows_like(table)
    assert "images twice (1, such as" in refusal(write(tmp_path / "s.csv", [*lines, lines[0]]), table)


@pytest.mark.parametrize("odd", ["validate", "Train", " test"])
def test_an_odd_split(tmp_path, table, odd):
    message = refusal(write(tmp_path / "s.csv", rows_like(table, row7=odd)), table)
    assert f"names the split {odd!r}; train, val, test or nothing" in message


@pytest.mark.parametrize("lacking", ["train", "val", "test"])
def test_a_split_that_is_lacking(tmp_path, table, lacking):
    lines = [line for line in rows_like(table) if not line.endswith(f",{lacking}")]
    assert f"puts no image into {lacking};" in refusal(write(tmp_path / "s.csv", lines), table)


def test_no_file(tmp_path, table):
    assert "cannot be read as a CSV file" in refusal(tmp_path / "none.csv", table)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00image", b'image,split\n"a,train\n'])
def test_no_table(tmp_path, table, content):
    (tmp_path / "s.csv").write_bytes(content)
    assert "cannot be read as a CSV file" in refusal(tmp_path / "s.csv", table)


def test_a_folder_is_no_table(tmp_path, table):
    assert "cannot be read as a CSV file" in refusal(tmp_path, table)


def test_images_that_changed_since_a_run_are_named_with_what_became_of_them() -> None:
    before = pd.DataFrame(
        {"image": list("abcd"), "label": ["x", "y", "x", "y"], "pixels": ["1", "2", "3", ""]},
    )
    table = pd.DataFrame({"image": list("dbce"), "label": ["y", "y", "y", "x"]})
    facts = pd.DataFrame({"pixels": ["4", "9", "3", "5"]})
    assert changes_since(before, table, facts) == ["a (gone)", "b (other pixels)", "c (another label)", "e (new)"]
    assert changes_since(before, before, before) == []
