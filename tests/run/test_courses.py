"""predictions_epochs.jsonl.gz: exact, appended, and whole after a line that was being written."""

import errno
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.run import courses
from bench.run.courses import Curve, append_course, kept_images, mend, read_courses
from bench.run.folder import RunDir
from bench.trial import Scored


def scored(seed: int, epochs: int = 2, n_images: int = 30) -> Scored:
    scores = np.random.default_rng(seed).dirichlet([0.01, 0.01, 1], (epochs, n_images)).astype(np.float32)
    return Scored(tuple(range(4, 4 + epochs)), scores)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_what_was_appended_is_read_to_the_last_bit(run: RunDir) -> None:
    given = {
        Curve("trial", "0"): scored(0),
        Curve("finalist", "vgg16", 2): scored(1, 1),
        Curve("fold", "a", fold=3): scored(2),
    }
    for curve, one in given.items():
        append_course(run, curve, one)
    found = {course.curve: course for course in read_courses(run)}
    assert set(found) == set(given)
    for curve, one in given.items():
        assert found[curve].epochs == one.epochs
        np.testing.assert_array_equal(found[curve].scores, one.scores)
        assert found[curve].scores.dtype == np.float32
    assert len(pd.read_json(run.predictions_epochs, lines=True)) == 3, "as others read it"


def test_a_later_line_of_the_same_replaces_the_earlier(run: RunDir) -> None:
    append_course(run, Curve("trial", "5"), scored(0))
    append_course(run, Curve("trial", "5"), scored(1, 3))
    (course,) = read_courses(run)
    assert course.epochs == (4, 5, 6)


@pytest.mark.parametrize("damage", ["half", "zeros", "one byte"])
def test_a_torn_line_counts_as_none_and_the_next_is_found(run: RunDir, damage: str) -> None:
    append_course(run, Curve("trial", "0"), scored(0))
    whole = run.predictions_epochs.stat().st_size
    append_course(run, Curve("trial", "1"), scored(1))
    content = run.predictions_epochs.read_bytes()
    torn = {
        "half": content[: (whole + len(content)) // 2],
        "zeros": content[:whole] + bytes(len(content) - whole),
        "one byte": content[: whole + 40] + bytes([content[whole + 40] ^ 4]) + content[whole + 41 :],
    }[damage]
    run.predictions_epochs.write_bytes(torn)
    assert [course.curve.name for course in read_courses(run)] == ["0"]
    said = "predictions_epochs.jsonl.gz was damaged; 1 training of it is whole, and "
    assert mend(run).startswith(said) if damage == "one byte" else mend(run) == ""
    assert run.predictions_epochs.stat().st_size == whole and mend(run) == ""
    append_course(run, Curve("trial", "2"), scored(2))
    assert [course.curve.name for course in read_courses(run)] == ["0", "2"]


@pytest.mark.parametrize("lost", [(1,), (0, 1), (1, 3), (0, 2, 4)])
def test_a_damaged_line_takes_no_other_with_it(run: RunDir, lost: tuple[int, ...]) -> None:
    ends = [0]
    for number in range(5):
        append_course(run, Curve("trial", str(number)), scored(number))
        ends.append(run.predictions_epochs.stat().st_size)
    content = bytearray(run.predictions_epochs.read_bytes())
    for number in lost:
        content[(ends[number] + ends[number + 1]) // 2] ^= 4
    run.predictions_epochs.write_bytes(content)
    left = [str(number) for number in range(5) if number not in lost]
    assert [course.curve.name for course in read_courses(run)] == left
    assert mend(run).startswith(f"predictions_epochs.jsonl.gz was damaged; {len(left)} trainings of it are whole, and ")
    append_course(run, Curve("trial", "5"), scored(5))
    found = read_courses(run)
    assert [course.curve.name for course in found] == [*left, "5"] and mend(run) == ""
    np.testing.assert_array_equal(found[-1].scores, scored(5).scores)
    assert len(pd.read_json(run.predictions_epochs, lines=True)) == len(left) + 1


def line_of(**changes: object) -> bytes:
    line = {"kind": "trial", "name": "0", "repeat": None, "fold": None, "epochs": [1], "probabilities": [[[1]]]}
    return json.dumps(line | changes).encode()


NO_TRAINING = {
    "no JSON": b"x\n",
    "a list": b"[1]\n",
    "nothing": b"{}\n",
    "nested deeply": b"[" * 100_000,
    "ragged": line_of(probabilities=[[1], [1, 2]]),
    "a list for a name": line_of(name=[]),
    "too few epochs": line_of(epochs=[]),
    "a huge number": line_of(probabilities=[[[10**400]]]),
}


@pytest.mark.parametrize("what", NO_TRAINING)
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_is_whole_and_no_training_counts_as_damaged(run: RunDir, what: str, last: bool) -> None:
    append_course(run, Curve("trial", "0"), scored(0))
    whole, line = run.predictions_epochs.read_bytes(), gzip.compress(NO_TRAINING[what], mtime=0)
    run.predictions_epochs.write_bytes(whole + line if last else line + whole)
    assert [course.curve.name for course in read_courses(run)] == ["0"]
    assert mend(run).startswith("predictions_epochs.jsonl.gz was damaged; 1 training of it is whole")
    assert run.predictions_epochs.read_bytes() == whole and mend(run) == ""


def test_a_line_of_far_more_than_its_size_is_not_unpacked(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courses, "SMALL", 10**5)
    append_course(run, Curve("trial", "0"), scored(0))
    packed = memoryview(gzip.compress(bytes(10**7), mtime=0))
    line, _, other = courses._line(packed)
    assert line is None and other
    run.predictions_epochs.write_bytes(run.predictions_epochs.read_bytes() + packed)
    assert len(read_courses(run)) == 1 and "was damaged" in mend(run)


def test_lines_are_not_looked_for_without_end(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these begins as a line does, and none ends before the file does: all but the last block is looked at."""
    looked: list[int] = []
    line = courses._line

    def counted(content: memoryview) -> tuple[bytes | None, int, bool]:
        found = line(content)
        looked.append(found[1])
        return found

    monkeypatch.setattr(courses, "_line", counted)
    monkeypatch.setattr(courses, "MOST_IN_VAIN", 3)
    content = courses._MEMBER * 4000
    run.predictions_epochs.write_bytes(content)
    assert read_courses(run) == []
    assert 3 * len(content) < sum(looked) <= 4 * len(content)


def test_a_run_that_was_ended_in_its_very_first_line_keeps_what_follows(run: RunDir) -> None:
    append_course(run, Curve("trial", "0"), scored(0))
    run.predictions_epochs.write_bytes(run.predictions_epochs.read_bytes()[:-7])
    mend(run)
    for name in "01":
        append_course(run, Curve("trial", name), scored(1))
    assert [course.curve.name for course in read_courses(run)] == ["0", "1"]


def test_a_full_disk_leaves_the_file_as_it_was(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    append_course(run, Curve("trial", "0"), scored(0))
    before = run.predictions_epochs.read_bytes()

    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"predictions_epochs\.jsonl\.gz"):
        append_course(run, Curve("trial", "1"), scored(1))
    assert run.predictions_epochs.read_bytes() == before


def test_of_very_many_images_some_are_kept(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept_images(30).tolist() == list(range(30))
    monkeypatch.setattr(courses, "MOST_IMAGES", 10)
    assert len(kept_images(30)) == 10
    given = scored(0)
    append_course(run, Curve("trial", "0"), given)
    (course,) = read_courses(run)
    np.testing.assert_array_equal(course.scores, given.scores[:, kept_images(30)])
