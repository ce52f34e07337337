"""Checksums find any damage, are compared once, and are those of the published algorithm."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import overwrite

from bench import checksums


def test_the_checksum_of_nothing_is_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert checksums.checksum(tmp_path / "empty") == "99aa06d3014798d86001c324468d497f"


def test_a_file_longer_than_a_block_is_read_to_its_end(tmp_path: Path) -> None:
    import xxhash

    content = bytes(range(256)) * (checksums.BLOCK // 256) + b"the end"
    (path := tmp_path / "long").write_bytes(content)
    assert checksums.checksum(path) == xxhash.xxh3_128_hexdigest(content)
    checksums.keep(path)
    assert checksums.intact(path)
    overwrite(path, content[:-1])
    assert not checksums.intact(path)


def test_a_file_is_read_once_as_long_as_it_stays_and_not_by_who_wrote_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (draft := tmp_path / "draft").write_bytes(b"content")
    checksums.keep(path := tmp_path / "file", of=draft)
    draft.rename(path)
    read = []
    original = checksums.checksum
    monkeypatch.setattr(checksums, "checksum", lambda path: (read.append(path), original(path))[1])
    assert checksums.intact(path) and read == []
    checksums._read.clear()  # as in another process
    assert checksums.intact(path) and checksums.intact(path) and read == [path]
    overwrite(path, b"CONTENT")
    assert not checksums.intact(path) and read == [path, path]


@pytest.mark.parametrize("gone", ["the file", "its checksum"])
def test_what_is_not_there_is_not_intact(tmp_path: Path, gone: str) -> None:
    (path := tmp_path / "file").write_bytes(b"content")
    checksums.keep(path)
    (path if gone == "the file" else checksums.beside(path)).unlink()
    assert not checksums.intact(path)


def test_the_checksum_of_a_draft_is_that_of_the_file_whose_place_it_takes(tmp_path: Path) -> None:
    (draft := tmp_path / "draft").write_bytes(b"content")
    checksums.keep(tmp_path / "file", of=draft)
    draft.rename(tmp_path / "file")
    assert checksums.intact(tmp_path / "file")


def test_what_the_disk_cannot_read_is_not_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "file").write_bytes(b"content")
    checksums.keep(path)

    def failing(number: int) -> Callable[[Path], str]:
        def read(path: Path) -> str:
            raise OSError(number, os.strerror(number))

        return read

    checksums._read.clear()
    monkeypatch.setattr(checksums, "checksum", failing(errno.EIO))
    assert not checksums.intact(path)
    monkeypatch.setattr(checksums, "checksum", failing(errno.EACCES))
    with pytest.raises(PermissionError):
        checksums.intact(path)
