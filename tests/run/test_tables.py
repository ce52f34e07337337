"""Schemas of the CSV files: what is written is read, strictly and leniently, whatever texts and numbers it holds."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.run.tables import CURVES, EPOCHS, FAILURES, SCHEMAS, SPLITS, TRIALS, Column, Schema, Type

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=12) | st.sampled_from(
    ["nan", "NA", "None", "0", "1e3", "True", "a,b", 'quo"te', "two\nlines", " "]
)
CELLS = {
    Type.TEXT: TEXTS,
    Type.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    Type.INTEGER: st.integers(-(2**31), 2**31),
    Type.FLAG: st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn, schema: Schema) -> pd.DataFrame:
    """A table of ``schema`` with up to four rows, two classes and, where they may follow, columns of a manifest."""
    needed = {one.name for one in schema.columns if one.needed}
    columns = [*schema.columns, *(Column(f"{prefix}{name}") for prefix in schema.classes for name in ("nan", "B"))]
    columns += [Column("group_sex", Type.TEXT)] if schema.more else []
    empty = {Type.TEXT: "", Type.FLAG: False}

    def cell(one: Column) -> Any:
        kind = CELLS[one.type]
        return draw(kind if one.name in needed else st.just(empty.get(one.type)) | kind)

    return schema.frame([{one.name: cell(one) for one in columns} for _ in range(draw(st.integers(1, 4)))])


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: schema.file)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read(tmp_path: Path, schema: Schema, data: st.DataObject) -> None:
    table = data.draw(tables(schema))
    assert schema.write(tmp_path, table).equals(table)
    assert schema.file in [path.name for path in tmp_path.iterdir()]
    read = schema.read(tmp_path)
    texts = [str(name) for name in read if name == "group_sex"]  # no schema says what an empty cell of it is
    pd.testing.assert_frame_equal(read.assign(**read[texts].fillna("")), table, check_dtype=False, check_exact=True)
    lenient, cut = schema.read_leniently(tmp_path)
    assert (cut.last_line, cut.rows) == (False, 0)
    assert list(lenient.columns) == list(table.columns)
    for one in schema.columns:
        ours, theirs = lenient[one.name], table[one.name]
        if one.type in (Type.NUMBER, Type.INTEGER):
            assert [None if math.isnan(value) else value for value in ours] == [
                None if pd.isna(value) else value for value in theirs
            ]
        elif one.type is Type.FLAG:
            assert ours.tolist() == theirs.tolist()
        else:
            assert ours.fillna("").tolist() == theirs.tolist()


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=lambda schema: schema.file)
def test_an_empty_table_has_its_header(tmp_path: Path, schema: Schema) -> None:
    schema.write(tmp_path, [])
    assert (tmp_path / schema.file).read_text().strip() == ",".join(schema.names)
    assert len(schema.read(tmp_path)) == 0


def curves(tmp_path: Path, text: str) -> None:
    (tmp_path / CURVES.file).write_text("model,class,curve,x,y,low,high\n" + text)


def test_a_cut_last_line_is_refused_strictly_and_left_out_leniently(tmp_path: Path) -> None:
    curves(tmp_path, "a,nan,roc,0.1,0.2,0,1\na,nan,roc,0.3,0.4")
    with pytest.raises(ValueError, match="its last line is cut short"):
        CURVES.read(tmp_path)
    table, cut = CURVES.read_leniently(tmp_path)
    assert (table["x"].tolist(), table["class"].tolist()) == ([0.1], ["nan"])
    assert (cut.last_line, cut.rows) == (True, 0)


def test_a_damaged_cell_is_refused_strictly_and_empty_leniently(tmp_path: Path) -> None:
    curves(tmp_path, "a,B,roc,0.1,wrong,0,inf\n")
    with pytest.raises(ValueError):
        CURVES.read(tmp_path)
    table, cut = CURVES.read_leniently(tmp_path)
    assert table.loc[0, ["x", "low"]].tolist() == [0.1, 0]
    assert table[["y", "high"]].isna().all(axis=None)
    assert cut.rows == 0


@pytest.mark.parametrize("digits", [25, 400, 5000])
def test_a_number_of_many_digits_is_no_integer_and_shown_only_where_a_float_holds_it(
    tmp_path: Path, digits: int
) -> None:
    (tmp_path / FAILURES.file).write_text(f"rank,image,label,predicted,confidence\n{'9' * digits},a,b,c,0.5\n")
    with pytest.raises(ValueError):
        FAILURES.read(tmp_path)
    curves(tmp_path, f"a,B,roc,0.1,{'9' * digits},0,1\n")
    table, _ = CURVES.read_leniently(tmp_path)
    assert table["y"].tolist() == [1e25] if digits == 25 else table["y"].isna().all()


def test_a_row_without_what_it_needs_is_refused_strictly_and_counted_leniently(tmp_path: Path) -> None:
    curves(tmp_path, "a,B,,0.1,0.2,0,1\na,B,roc,0.3,0.4,0,1\n")
    with pytest.raises(ValueError, match=r"curves\.csv: a row has no curve"):
        CURVES.read(tmp_path)
    table, cut = CURVES.read_leniently(tmp_path)
    assert table["x"].tolist() == [0.3]
    assert cut.rows == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"model,class\na,B\n", "it lacks the column 'curve'"), (b"\xff\xfe\x00\x01\n", "it is not UTF-8 text")],
)
def test_what_is_no_such_table_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / CURVES.file).write_bytes(content)
    for read in (CURVES.read, CURVES.read_leniently):
        with pytest.raises(ValueError, match=reason):
            read(tmp_path)


def test_a_file_that_is_not_there_is_no_damaged_one(tmp_path: Path) -> None:
    for read in (CURVES.read, CURVES.read_leniently):
        with pytest.raises(FileNotFoundError):
            read(tmp_path)


def test_a_column_that_an_older_file_lacks_is_empty(tmp_path: Path) -> None:
    (tmp_path / EPOCHS.file).write_text("kind,name,epoch\ntrial,007,1\n")
    (row,) = EPOCHS.records(tmp_path)
    assert (row["kind"], row["name"], row["epoch"]) == ("trial", "007", 1)
    assert row["phase"] == ""
    assert row["repeat"] is row["loss"] is row["metric_auc"] is None


def test_a_column_that_no_schema_knows_is_refused_when_it_is_written() -> None:
    with pytest.raises(ValueError, match=r"curves\.csv has no column 'z'"):
        CURVES.frame([{"model": "a", "class": "B", "curve": "roc", "z": 1}])
    assert list(SPLITS.frame([{"image": "a", "label": "b", "sex": "f"}]))[-1] == "sex"


def test_a_part_of_a_whole_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / FAILURES.file).write_text("rank,image,label,predicted\n1.5,a,b,c\n")
    with pytest.raises(ValueError, match="rank must hold whole numbers"):
        FAILURES.read(tmp_path)


def test_no_column_is_named_twice() -> None:
    with pytest.raises(ValueError, match="named twice"):
        Schema("t.csv", (Column("a"), Column("a")))
    assert TRIALS.names[:2] == ["trial", "state"]
