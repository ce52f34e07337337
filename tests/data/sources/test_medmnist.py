"""MedMNIST sets by name: fetched once through pooch, here from a server on this machine."""

import dataclasses
import hashlib
import logging
import re
import socket
import time

import numpy as np
import pooch
import pytest
from source_files import pixels, served

from bench.data.sources import medmnist
from bench.data.sources.medmnist import SIZES, catalogue, class_names
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with breastmnist.npz and breastmnist_64.npz, and a catalogue that knows their checksums."""
    monkeypatch.setenv("NO_PROXY", "*")
    folder = tmp_path / "published"
    folder.mkdir()
    sums = {}
    for size in (28, 64):
        path = folder / ("breastmnist.npz" if size == 28 else f"breastmnist_{size}.npz")
        np.savez(path, train_images=pixels(size, (4, size, size)), train_labels=np.array([[0], [1], [0], [1]]))
        sums[size] = hashlib.md5(path.read_bytes()).hexdigest()
    changed = [
        dataclasses.replace(entry, md5=(sums[28], sums[64], "", "")) if entry.name == "breastmnist" else entry
        for entry in catalogue()
    ]
    monkeypatch.setattr(medmnist, "catalogue", lambda: tuple(changed))
    return folder


@pytest.fixture
def fetch(tmp_path):
    """``fetch(data)`` -> the set, and the lines that were told."""

    def fetched(data):
        told = []
        return open_source(data, 0, cache=tmp_path / "cache", tell=told.append), told

    return fetched


@pytest.fixture
def refusal(fetch):
    def told(data):
        with pytest.raises(ConfigError) as caught:
            fetch(data)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return told


def test_a_set_is_fetched_once(published, fetch, tmp_path, monkeypatch):
    with served(published) as (address, asked):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        found, told = fetch("medmnist:breastmnist")
        assert asked == ["/breastmnist.npz?download=1"]
        assert len(told) == 1
        for part in ("breastmnist.npz", "780 images", address):
            assert part in told[0]
        again, told = fetch("medmnist:BreastMNIST@28")
    assert (len(asked), told) == (1, [])
    assert again.stamps == found.stamps
    assert found.classes == ("malignant", "normal, benign")
    kept = tmp_path / "cache" / "medmnist" / "breastmnist.npz"
    assert kept.read_bytes() == (published / "breastmnist.npz").read_bytes()
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_each_size_is_a_file(published, fetch, monkeypatch):
    with served(published) as (address, asked):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        found, _ = fetch("medmnist:breastmnist@64")
    assert asked == ["/breastmnist_64.npz?download=1"]
    assert found.path == "medmnist:breastmnist@64"


def test_the_licence_is_told(published, fetch, monkeypatch):
    with served(published) as (address, _):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        assert any("CC BY 4.0" in note for note in fetch("medmnist:breastmnist")[0].notes)


def test_pooch_says_nothing(published, fetch, monkeypatch, capsys):
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = pooch.get_logger()
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    with served(published) as (address, _):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        fetch("medmnist:breastmnist")
    logger.removeHandler(handler)
    assert records == []
    assert capsys.readouterr() == ("", "")


def test_a_file_in_the_cache_is_not_hashed_again(published, fetch, tmp_path):
    kept = tmp_path / "cache" / "medmnist" / "breastmnist.npz"
    kept.parent.mkdir(parents=True)
    np.savez(kept, train_images=pixels(7, (2, 28, 28)), train_labels=np.array([0, 1]))
    assert len(fetch("medmnist:breastmnist")[0].table) == 2


# Refusals


def told_what_to_do(message, address, file="breastmnist.npz"):
    assert f"{file} could not be fetched" in message
    assert f"fetch it elsewhere from {address}/{file}" in message
    assert f"--data {file}" in message


def test_another_file_than_the_published(published, refusal, tmp_path, monkeypatch):
    (published / "breastmnist.npz").write_bytes(b"something else")
    with served(published) as (address, _):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        message = refusal("medmnist:breastmnist")
    told_what_to_do(message, address)
    assert "MD5 differs" in message
    assert list((tmp_path / "cache" / "medmnist").iterdir()) == []


def test_a_file_that_is_not_there(published, refusal, monkeypatch):
    with served(published) as (address, _):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        message = refusal("medmnist:breastmnist@128")
    told_what_to_do(message, address, "breastmnist_128.npz")
    assert "the server answers 404" in message


def test_no_network(published, refusal, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        message = refusal("medmnist:breastmnist")
    told_what_to_do(message, address)
    assert "no connection" in message


def test_a_server_that_does_not_answer(published, refusal, monkeypatch):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        monkeypatch.setattr(medmnist, "TIMEOUT", 0.2)
        start = time.monotonic()
        message = refusal("medmnist:breastmnist")
        assert time.monotonic() - start < 4
    told_what_to_do(message, address)
    assert "ReadTimeout" in message


def test_a_cache_that_cannot_be_written(published, tmp_path, refusal):
    (tmp_path / "cache").write_text("a file")
    told_what_to_do(refusal("medmnist:breastmnist"), medmnist.BASE_URL)


@pytest.mark.parametrize("name", ["", "mnist", "nodulemnist3d"])
def test_unknown_names(refusal, name):
    message = refusal(f"medmnist:{name}")
    assert repr(name) in message
    assert all(entry.name in message for entry in catalogue())


@pytest.mark.parametrize("size", ["", "32", "64x64"])
def test_unknown_sizes(refusal, size):
    message = refusal(f"medmnist:pathmnist@{size}")
    assert repr(size) in message
    assert all(str(known) in message for known in SIZES)


def test_several_labels_an_image(refusal):
    message = refusal("medmnist:chestmnist@64")
    assert "multi-label" in message
    assert "14 findings" in message


def test_a_pattern(published, tmp_path, monkeypatch):
    with served(published) as (address, asked):
        monkeypatch.setattr(medmnist, "BASE_URL", address)
        with pytest.raises(ConfigError, match="--patient-pattern cannot be used with medmnist:breastmnist"):
            open_source("medmnist:breastmnist", 0, cache=tmp_path, patient_pattern="(.)")
    assert asked == []


# The catalogue


def test_the_catalogue_is_consistent():
    assert len(catalogue()) == len({entry.name for entry in catalogue()}) == 12
    sums = [md5 for entry in catalogue() for md5 in entry.md5]
    assert len(sums) == len(set(sums)) == 48
    assert all(re.fullmatch("[0-9a-f]{32}", md5) for md5 in sums)
    for entry in catalogue():
        assert len(set(entry.classes)) == len(entry.classes) >= 2
        assert (entry.task == "binary-class") == (len(entry.classes) == 2)
        assert entry.channels in (1, 3)


def test_class_names_by_file_name():
    assert class_names("pneumoniamnist") == class_names("PneumoniaMNIST_224") == ("normal", "pneumonia")
    assert class_names("pneumoniamnist_28") is class_names("other") is None
