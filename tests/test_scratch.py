"""Temporary folders of ours: private, gone at the end, and after kill -9 at the next start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.scratch import OWNER, own_folder, remove_left

HOLD = """
import sys, time
from pathlib import Path
from bench.scratch import own_folder
with own_folder("bench-tune-", Path(sys.argv[1])) as folder:
    (folder / "below").mkdir()
    (folder / "below" / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holding(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.wait()


def test_a_folder_is_private_and_goes(tmp_path):
    with own_folder("bench-tune-", tmp_path) as folder:
        assert folder.name.startswith("bench-tune-")
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "a").mkdir()
        (folder / "link").symlink_to(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path, holding):
    process, left = holding
    with own_folder("ray-", tmp_path):
        assert left.is_dir(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
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
