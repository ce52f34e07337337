"""Temporary folders of ours: private, gone at the end, and after kill -9 at the next start."""

import contextlib
import errno
import fcntl
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import scratch
from bench.cli import main
from bench.scratch import NEW, OWNER, QUIET, UNLOCKED, draft_folder, own_folder, remove_left

HOLD = """
import sys, time
from pathlib import Path
from bench.scratch import draft_folder, own_folder
function = draft_folder if sys.argv[2].startswith(".") else own_folder
with function(sys.argv[2], Path(sys.argv[1])) as folder:
    (folder / "below").mkdir()
    (folder / "below" / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold():
    """``hold(place, prefix)`` -> a process that holds a folder there, and that folder."""
    started = []

    def begin(place, prefix):
        process = subprocess.Popen([sys.executable, "-c", HOLD, place, prefix], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, Path(process.stdout.readline().strip())

    yield begin
    for process in started:
        kill(process)


def kill(process):
    process.kill()
    process.wait()


def test_a_folder_is_private_and_goes(tmp_path):
    with own_folder("bench-tune-", tmp_path) as folder:
        assert folder.name.startswith("bench-tune-")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
        (folder / "link").symlink_to(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path, hold):
    process, left = hold(tmp_path, "bench-tune-")
    with own_folder("ray-", tmp_path):
        assert left.is_dir(), "its process lives"
    kill(process)
    assert (left / "below" / "file").is_file()
    with own_folder("ray-", tmp_path) as folder:
        assert [*tmp_path.iterdir()] == [folder]


def test_what_is_not_proven_to_be_ours_stays(tmp_path):
    (tmp_path / "bench-tune-unmarked").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / OWNER).touch()
    (tmp_path / "bench-tune-link").symlink_to(elsewhere)
    (tmp_path / "bench-tune-file").touch()
    (tmp_path / "other-abc").mkdir()
    (tmp_path / "other-abc" / OWNER).touch()
    if os.geteuid() == 0:
        (tmp_path / "bench-tune-others").mkdir()
        (tmp_path / "bench-tune-others" / OWNER).touch()
        os.chown(tmp_path / "bench-tune-others", 12345, -1)
    before = sorted(tmp_path.rglob("*"))
    assert remove_left(tmp_path) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_what_another_process_still_writes_is_left_to_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.scratch.SECONDS_TO_EMPTY", 0.2)
    real = os.unlink
    monkeypatch.setattr(Path, "unlink", lambda path: None if path.name == "busy" else real(path))
    with own_folder("bench-tune-", tmp_path) as folder:
        (folder / "busy").touch()
    assert (folder / "busy").exists()
    monkeypatch.undo()
    began = time.monotonic()
    assert remove_left(tmp_path) == [folder]
    assert time.monotonic() - began < 1
    assert not folder.exists()


@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_whose_process_was_killed_before_it_was_named_goes(tmp_path, marked):
    left = tmp_path / f"{NEW}abcdefgh@{platform.node()}"
    left.mkdir()
    if marked:
        (left / OWNER).touch()
    other = tmp_path / f"{NEW}somebody"
    other.mkdir()
    assert remove_left(tmp_path) == [left]
    assert [*tmp_path.iterdir()] == [other]


@pytest.mark.parametrize("marked", [True, False])
def test_a_folder_that_is_taken_for_left_behind_before_it_is_locked_is_made_anew(tmp_path, monkeypatch, marked):
    real, taken = scratch.FileLock, []

    def late(file):
        if file.parent.name.startswith(NEW) and not taken:
            if marked:
                file.touch()
            with monkeypatch.context() as patch:
                patch.setattr(scratch, "FileLock", real)
                taken.extend(remove_left(tmp_path))
        return real(file)

    monkeypatch.setattr(scratch, "FileLock", late)
    with own_folder("bench-tune-", tmp_path) as folder:
        (folder / "file").touch()
        assert len(taken) == 1 and folder.name.startswith("bench-tune-")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [*tmp_path.iterdir()] == [folder]
    assert [*tmp_path.iterdir()] == []


# Drafts of a cache


@pytest.fixture
def data(tmp_path):
    for number in range(8):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 20), dtype=np.uint8)).save(path)
    return tmp_path / "data"


def test_what_killed_processes_left_in_a_cache_goes_at_the_next_start(tmp_path, data, hold):
    cache, held = tmp_path / "cache", []
    for place, prefix in (("store/other", ".decoding-"), ("features", ".filling-9-"), ("weights", ".drawing-")):
        (cache / place).mkdir(parents=True)
        held.append(hold(cache / place, prefix))
    held.append(hold(cache / "features", ".discarded-"))
    for _, folder in held:
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (0, 0))  # however long it has been at work
    assert main(["audit", str(data), "--cache", str(cache)]) == 0
    assert all((folder / "below" / "file").is_file() for _, folder in held), "their processes live"
    for process, _ in held:
        kill(process)
    assert main(["audit", str(data), "--cache", str(cache)]) == 0
    assert not any(folder.exists() for _, folder in held)


def test_a_draft_of_another_machine_stays_as_long_as_it_may_be_written(tmp_path):
    """On some shared disks each machine sees its own locks alone."""
    left = tmp_path / f".decoding-abcdefgh@other-{platform.node()}"
    left.mkdir()
    for name in (OWNER, "draft.npy"):
        (left / name).touch()
    os.utime(left, (0, 0))
    assert remove_left(tmp_path) == []
    old = time.time() - QUIET - 60
    for path in (*left.iterdir(), left):
        os.utime(path, (old, old))
    assert remove_left(tmp_path) == [left]


def test_a_draft_of_an_earlier_version_goes_a_day_after_it_was_written(tmp_path):
    """It has no mark, and no machine in its name."""
    left = tmp_path / ".filling-abcdefgh"
    left.mkdir()
    (left / "values.npy").touch()
    assert remove_left(tmp_path) == []
    old = time.time() - QUIET - 60
    for path in (*left.iterdir(), left):
        os.utime(path, (old, old))
    assert remove_left(tmp_path) == [left]
    assert [*tmp_path.iterdir()] == []


def test_a_disk_that_removes_no_open_file_keeps_no_folder(tmp_path, monkeypatch):
    """As NFS, which renames a file that is removed while it is open."""
    real = Path.unlink

    def unlink(path, missing_ok=False):
        for opened in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if path.exists() and opened.samefile(path):
                    path.rename(path.with_name(f".nfs-{opened.name}"))
                    return
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with draft_folder(".filling-9-", tmp_path) as folder:
        (folder / "values.npy").touch()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_a_folder_is_used_and_no_other_is_removed(tmp_path, monkeypatch, hold, number):
    process, left = hold(tmp_path, ".decoding-")
    kill(process)

    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with draft_folder(".decoding-", tmp_path) as folder:
        (folder / "file").touch()
        assert folder.name.startswith(UNLOCKED)
        assert remove_left(tmp_path) == []
        monkeypatch.undo()
        assert remove_left(tmp_path) == [left]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_without_flock_alone_a_folder_is_held_all_the_same(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with draft_folder(".decoding-", tmp_path) as folder:
        (folder / "file").touch()
        assert remove_left(tmp_path) == []
    assert [*tmp_path.iterdir()] == []


def test_where_no_folder_can_be_renamed_one_is_used_all_the_same(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "rename", refuse)
    with draft_folder(".decoding-", tmp_path) as folder:
        (folder / "file").touch()
        assert remove_left(tmp_path) == []
    assert [*tmp_path.iterdir()] == []
