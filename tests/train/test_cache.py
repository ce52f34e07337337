"""The folder of cached arrays: whole or absent, least recently used first, never over its budget."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from toys import overwrite

from bench import checksums
from bench.train.cache import FeatureCache, NoRoom, create


def put(cache: FeatureCache, key: str, size: int, age: int = 0) -> None:
    with cache.scratch(size) as folder:
        create(folder / "values.npy", np.uint8, (size,))[:] = 7
        cache.publish(folder, key, {})
    os.utime(cache.folder / key / "meta.json", (1e9 - age, 1e9 - age))


def refusing(place: Path, number: int) -> Callable[[Path, Path], Path]:
    """As `Path.rename`, but for ``place``, to which nothing can be renamed."""
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if target == place:
            raise OSError(number, os.strerror(number))
        return real(self, target)

    return rename


def test_the_least_recently_used_leaves_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=3800)
    for age, key in enumerate(["new", "middle", "old"]):
        put(cache, key, 1000, age)
    assert cache.open("old") is not None  # used just now
    put(cache, "next", 1000)
    assert {key for key in ("new", "middle", "old", "next") if cache.has(key)} == {"new", "old", "next"}


def test_what_must_stay_stays_and_nothing_leaves_in_vain(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=2500)
    put(cache, "needed", 1000, age=9)
    put(cache, "other", 1000)
    with pytest.raises(NoRoom, match="--cache-size"), cache.scratch(2000, keep={"needed"}):
        pass
    assert cache.has("needed")
    assert cache.has("other")
    with cache.scratch(1200, keep={"needed"}):
        assert cache.has("needed")
        assert not cache.has("other")


def test_entries_in_the_making_count(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=2500)
    with cache.scratch(1500), pytest.raises(NoRoom), FeatureCache(tmp_path, budget=2500).scratch(1500):
        pass
    with cache.scratch(1500):  # what has ended counts no more
        pass


FILL = """
import sys, time
from pathlib import Path
import numpy as np
from bench import checksums
from bench.train.cache import FeatureCache, create
with FeatureCache(Path(sys.argv[1]), 2500).scratch(1500) as folder:
    create(folder / "values.npy", np.uint8, (1500,))
    print(folder.parent, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_was_filling_is_removed_and_counts_no_more(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=2500)
    process = subprocess.Popen([sys.executable, "-c", FILL, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    os.utime(left, (0, 0))
    with pytest.raises(NoRoom), cache.scratch(1500):
        pass
    assert (left / "entry" / "values.npy").is_file(), "its process lives"
    process.kill()
    process.wait()
    with cache.scratch(1500):
        assert not left.exists()


def test_what_was_published_counts_once(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=2500)
    with cache.scratch(1000) as folder:
        create(folder / "values.npy", np.uint8, (1000,))[:] = 7
        cache.publish(folder, "entry", {})
        with cache.scratch(1000, keep={"entry"}):
            pass


def test_what_is_optional_makes_nobody_leave(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=2500)
    put(cache, "other", 1500)
    with pytest.raises(NoRoom), cache.scratch(1500, evict=False):
        pass
    assert cache.has("other")


def test_a_full_disk_is_no_room_wherever_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FeatureCache(tmp_path, budget=2500)

    def full(*given: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with cache.scratch(100) as folder:
        create(folder / "values.npy", np.uint8, (100,))
        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(NoRoom, match="full"):
            cache.publish(folder, "key", {})
    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(NoRoom, match="full"), cache.scratch(100):
        pass


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoRoom, match="full"):
        create(tmp_path / "values.npy", np.float32, (10, 10))


DAMAGES = {
    "half is zero": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "cut short": lambda content: content[:-100],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["values.npy", "values.npy.xxh128"])
def test_what_is_not_as_it_was_written_is_not_opened_and_leaves(tmp_path: Path, file: str, damage: str) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    put(cache, "sound", 1000)
    put(cache, "entry", 1000)
    assert cache.open("entry") is not None
    path = cache.folder / "entry" / file
    overwrite(path, DAMAGES[damage](path.read_bytes()))
    assert cache.open("entry") is None
    assert not cache.has("entry")
    assert cache.damaged == 1
    assert cache.open("entry") is None and cache.damaged == 1, "it is simply not there any more"
    assert cache.open("sound") is not None


def test_an_entry_without_a_checksum_is_not_trusted(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    put(cache, "entry", 1000)
    (cache.folder / "entry" / "values.npy.xxh128").unlink()
    assert cache.open("entry") is None
    put(cache, "entry", 1000)
    assert cache.open("entry") is not None


def test_a_damaged_entry_that_cannot_be_removed_is_no_endless_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    put(cache, "entry", 1000)
    path = cache.folder / "entry" / "values.npy"
    path.write_bytes(b"")

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(NoRoom, match="is damaged and cannot be removed"):
            cache.open("entry")
    assert cache.open("entry") is None, "another user may do it"
    assert list(cache.folder.glob(".filling-*")) == []


RENAMES = [errno.EMFILE, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.ENOTEMPTY]


@pytest.mark.parametrize("number", RENAMES)
def test_an_entry_that_cannot_be_put_in_place_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    monkeypatch.setattr(Path, "rename", refusing(cache.folder / "entry", number))
    with pytest.raises(NoRoom, match=f"entry cannot be put in place .{os.strerror(number)}"):
        put(cache, "entry", 1000)
    assert not cache.has("entry")
    assert list(cache.folder.glob(".filling-*")) == []
    put(cache, "other", 1000)


def test_another_that_was_faster_is_no_failure(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    with cache.scratch(1000) as folder:
        create(folder / "values.npy", np.uint8, (1000,))[:] = 7
        put(cache, "entry", 1000)
        cache.publish(folder, "entry", {})
    assert cache.open("entry") is not None
    assert list(cache.folder.glob(".filling-*")) == []


# A cache that users share


@pytest.fixture
def shared() -> Iterator[FeatureCache]:
    """A cache in a place that every user may enter, of the superuser, who can become another."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser can become another user")
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)  # noqa: PTH101
        yield FeatureCache(Path(place), budget=10_000)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o022, 0o755, 0o644), (0o007, 0o770, 0o660)])
def test_an_entry_is_as_readable_as_the_user_wants_files_to_be(
    tmp_path: Path, mask: int, folder: int, file: int
) -> None:
    cache, before = FeatureCache(tmp_path, budget=10_000), os.umask(mask)
    try:
        put(cache, "entry", 1000)
    finally:
        os.umask(before)
    entry = cache.folder / "entry"
    assert entry.stat().st_mode & 0o777 == folder
    assert {path.name: path.stat().st_mode & 0o777 for path in entry.iterdir()} == dict.fromkeys(
        ("values.npy", "values.npy.xxh128", "meta.json"), file
    )


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EROFS])
def test_an_entry_whose_use_cannot_be_noted_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cache = FeatureCache(tmp_path, budget=10_000)
    put(cache, "entry", 1000)

    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", refuse)
    assert cache.open("entry") is not None


def test_the_entries_of_another_user_are_used_and_no_further_one_has_room(shared: FeatureCache) -> None:
    put(shared, "entry", 1000)
    with another_user():
        values = shared.open("entry")
        assert values is not None and values[0] == 7
        with pytest.raises(NoRoom, match=r"features.* cannot be written \(Permission denied\)"):
            put(shared, "other", 1000)


def test_an_entry_that_another_user_keeps_to_himself_is_none(shared: FeatureCache) -> None:
    put(shared, "entry", 1000)
    put(shared, "hidden", 1000)
    (shared.folder / "entry").chmod(0o700)
    (shared.folder / "hidden" / "values.npy").chmod(0o600)
    for folder in (shared.folder, shared.folder / ".locks"):
        folder.chmod(0o777)
    (shared.folder / ".locks" / "budget.lock").chmod(0o666)
    checksums._read.clear()
    with another_user():
        for key in ("entry", "hidden"):
            assert shared.open(key) is None and not shared.has(key)
            with pytest.raises(NoRoom, match=f"{key} can be neither read nor removed"):
                put(shared, key, 1000)
        put(shared, "other", 1000)
        assert shared.open("other") is not None
    assert shared.open("entry") is not None


def test_what_another_user_is_writing_counts_and_his_entries_do_not_leave(shared: FeatureCache) -> None:
    put(shared, "entry", 3000)
    for folder in (shared.folder, shared.folder / ".locks"):
        folder.chmod(0o777)
    (shared.folder / ".locks" / "budget.lock").chmod(0o666)
    with shared.scratch(4000), another_user():
        with pytest.raises(NoRoom, match="--cache-size"), shared.scratch(4000):
            pass
        with shared.scratch(2000):
            pass
    assert shared.has("entry")
