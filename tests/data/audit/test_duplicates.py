"""Copies are found by pixels and by look, and what belongs together is one group."""

import dataclasses
import io
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from planted import encode, pictures

from bench import checksums
from bench.data.audit import duplicates
from bench.data.audit.duplicates import ALIKE_SHARE, FEW, MAJORITY_FROM, NEAR_BITS, find_duplicates, near_pairs
from bench.data.images.decode import Facts, decode, facts_of
from bench.data.splits import Cluster, groups


def facts_from(contents):
    return pd.DataFrame([dataclasses.asdict(facts_of(content, decode(content))) for content in contents])


def flipped(look, *bits):
    """A hash with some bits turned."""
    number = int(look, 16)
    for bit in bits:
        number ^= 1 << bit
    return f"{number:064x}"


def random_looks(n, seed=0):
    return [row.tobytes().hex() for row in np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)]


def looking(looks, **changes):
    """Facts of images with these perceptual hashes, all of different pixels."""
    facts = pd.DataFrame(
        [dataclasses.asdict(Facts(perceptual_hash=look, pixels=str(i))) for i, look in enumerate(looks)]
    )
    return facts.assign(**changes)


def found(facts, folder=None):
    return [(cluster.kind, cluster.rows, cluster.distance) for cluster in find_duplicates(facts, folder).clusters]


def resaved(picture, **options):
    return Image.open(io.BytesIO(encode(picture, "JPEG", **options)))


# Finding them


def test_the_same_pixels_in_other_files():
    a, b, c = pictures()[:3]
    facts = facts_from([encode(a), encode(b), encode(a, "BMP"), encode(c), encode(a.convert("RGB"), "TIFF")])
    assert found(facts) == [("exact", (0, 2, 4), 0)]


def test_recompressed_resized_and_brightened_copies():
    a, b, c, d = pictures()[:4]
    brighter = Image.fromarray(np.asarray(d) + (np.asarray(d) < 250).astype(np.uint8) * 5)
    contents = [encode(image) for image in (a, b, c, d, brighter, resaved(a, quality=60), b.resize((80, 80)))]
    facts = facts_from(contents)
    pairs = [(kind, rows) for kind, rows, _ in found(facts)]
    assert pairs == [("near", (0, 5)), ("near", (1, 6)), ("near", (3, 4))]
    assert all(0 <= distance <= NEAR_BITS for _, _, distance in found(facts))


def test_near_reaches_so_far_and_no_farther():
    look, *others = random_looks(40)
    near, far = flipped(look, *range(NEAR_BITS)), flipped(look, *range(100, 100 + NEAR_BITS + 1))
    assert found(looking([look, *others, near, far])) == [("near", (0, 40), NEAR_BITS)]


def test_a_chain_is_one_set_and_the_distance_is_from_the_first():
    look, *others = random_looks(30)
    steps = [flipped(look, *range(12 * step)) for step in range(4)]
    order = [steps[0], others[0], steps[2], others[1], steps[3], *others[2:], steps[1]]
    assert found(looking(order)) == [("near", (0, 2, 4, 32), 36)]


def test_exact_copies_within_a_near_set():
    a, b = pictures()[:2]
    contents = [encode(a), encode(b), encode(a, "BMP"), encode(resaved(a, quality=60))]
    assert [(kind, rows) for kind, rows, _ in found(facts_from(contents))] == [("exact", (0, 2)), ("near", (0, 2, 3))]


def test_the_same_look_of_different_pixels_is_near():
    look, *others = random_looks(20)
    assert found(looking([look, *others, look])) == [("near", (0, 20), 0)]


def test_constant_images_are_compared_by_pixels_only():
    flat = [encode(Image.new("L", (8, 8), grey)) for grey in (10, 200, 10)]
    assert found(facts_from([*flat, encode(pictures()[0])])) == [("exact", (0, 2), 0)]


def test_what_could_not_be_decoded_is_no_copy():
    facts = pd.concat([facts_from([encode(pictures()[0])]), looking([""] * 3, problem="truncated", pixels="")])
    assert found(facts.reset_index(drop=True)) == []


def test_none_at_all():
    assert find_duplicates(looking(random_looks(30))).clusters == ()
    assert near_pairs([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("n_alike", "n_all", "aside"),
    [
        (FEW, 110, False),
        (FEW + 1, 110, True),
        (FEW + 1, 1100, False),
        (MAJORITY_FROM, 2 * MAJORITY_FROM - 1, True),
        (MAJORITY_FROM, 2 * MAJORITY_FROM, False),
        (MAJORITY_FROM - 1, MAJORITY_FROM, False),
        (40, 40, True),
    ],
)
def test_sets_too_large_to_be_copies_are_set_aside(n_alike, n_all, aside):
    """More than 50 images and 5 % of all, or 10 and more than half: the hash does not tell such images apart."""
    assert (n_alike > ALIKE_SHARE * n_all) == (n_all < 1000)
    look, *others = random_looks(1 + n_all - n_alike)
    facts = looking([look] * n_alike + others)
    facts.loc[[0, 1], "pixels"] = "same"
    answer = find_duplicates(facts)
    assert answer.alike == (n_alike if aside else 0)
    kinds = [cluster.kind for cluster in answer.clusters]
    assert kinds == (["exact"] if aside else ["exact", "near"])


def sets_of(n, pairs):
    """What pairs join, by the plainest reckoning: each row's set."""
    joined = {row: {row} for row in range(n)}
    for a, b in pairs:
        both = joined[a] | joined[b]
        joined.update(dict.fromkeys(both, both))
    return [joined[row] for row in range(n)]


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(7, 7), (3, 11), (11, 4), (512, 4096)]), st.sampled_from([0, 9, 99]))
def test_pairs_join_what_comparing_all_with_all_joins(seed, tile, kept):
    """Against the plainest reckoning, across the borders of tiles, however often pairs are joined on the way."""
    rng = np.random.default_rng(seed)
    looks = random_looks(6, seed)
    for _ in range(34):
        start = looks[rng.integers(len(looks))]
        looks.append(flipped(start, *rng.choice(256, rng.integers(0, 2 * NEAR_BITS), replace=False).tolist()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "TILE", tile)
        patch.setattr(duplicates, "KEPT", kept)
        pairs = near_pairs(looks).tolist()

    def apart(a, b):
        return (int(looks[a], 16) ^ int(looks[b], 16)).bit_count()

    n = len(looks)
    expected = sets_of(n, [(a, b) for a in range(n) for b in range(a) if apart(a, b) <= NEAR_BITS])
    assert sets_of(n, pairs) == expected
    assert all(first == min(expected[later]) < later for first, later in pairs)
    assert len(pairs) == n - len({min(joined) for joined in expected}), "no more than are needed"


def alike_looks(n):
    """Hashes of at most 12 bits apart, all different."""
    look, rng = random_looks(1)[0], np.random.default_rng(1)
    looks = set()
    while len(looks) < n:
        looks.add(flipped(look, *rng.choice(256, 6, replace=False).tolist()))
    return sorted(looks)


@pytest.mark.parametrize(("make", "pairs"), [(alike_looks, 5999), (random_looks, 0)], ids=["alike", "different"])
def test_memory_does_not_grow_with_the_number_of_pairs(make, pairs):
    """All 18 million pairs of 6,000 alike images would take some 290 MB, and their search more."""
    looks = make(6000)
    tracemalloc.start()
    try:
        found = near_pairs(looks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == pairs
    assert peak < (200 if pairs else 40) * 2**20
    if pairs:
        assert set(found[:, 0]) == {0}, "one set"


def test_kept_pairs_are_used_again_and_right(tmp_path, monkeypatch):
    look, *others = random_looks(10)
    facts = looking(["", *others, look, flipped(look, 1)])
    facts.loc[0, "problem"] = "empty"
    facts.loc[2, "constant"] = True
    without = find_duplicates(facts)
    assert [cluster.rows for cluster in without.clusters] == [(10, 11)]
    assert find_duplicates(facts, tmp_path) == without
    (kept,) = tmp_path.glob("*.npy")
    assert str(NEAR_BITS) in kept.name
    monkeypatch.setattr(duplicates, "near_pairs", lambda looks: pytest.fail("they are there already"))
    assert find_duplicates(facts, tmp_path) == without


def content_of(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00v",
        content_of(np.array([[10, 11], [3, 4]]))[:-8],
        b"what was made by something else",
        b"PK\3\4 an archive",
        content_of(np.array([10, 11])),
        content_of(np.array([[10.0, 11.0]])),
        content_of(np.array([[10, 12]])),
        content_of(np.array([[0, 11]])),
    ],
    ids=["empty", "head", "torn", "foreign", "archive", "shape", "kind", "too many rows", "undecoded"],
)
def test_kept_pairs_that_cannot_be_these_are_found_again(tmp_path, content):
    look, *others = random_looks(10)
    facts = looking(["", *others, look, flipped(look, 1)])
    facts.loc[0, "problem"] = "empty"
    right = find_duplicates(facts, tmp_path)
    (kept,) = tmp_path.glob("*.npy")
    before = kept.read_bytes()
    kept.write_bytes(content)
    checksums.keep(kept)  # it was written so
    assert find_duplicates(facts, tmp_path) == right == find_duplicates(facts)
    assert kept.read_bytes() == before


def test_two_first_audits_at_the_same_time(tmp_path, monkeypatch):
    """Both have written, and neither has renamed yet."""
    look, *others = random_looks(10)
    facts = looking([*others, look, flipped(look, 1)])
    met, answers, save = threading.Barrier(2, timeout=30), [], np.save

    def slow(*arguments):
        save(*arguments)
        met.wait()

    monkeypatch.setattr(np, "save", slow)
    threads = [threading.Thread(target=lambda: answers.append(found(facts, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [found(facts)] * 2
    assert len(list(tmp_path.glob("*.npy"))) == 1


# Groups


def table_of(patients):
    return pd.DataFrame({"split_group": list(patients)})


def test_without_duplicates_a_group_is_a_patient():
    assert groups(table_of("abacb"), []).tolist() == [0, 1, 0, 2, 1]


def test_copies_join_their_patients_and_those_theirs():
    """Rows 1 and 2 are copies, and 3 and 4: a, b and c are one, by way of b."""
    clusters = [Cluster("exact", (1, 2)), Cluster("near", (3, 4))]
    found = groups(table_of("aabbcd"), clusters)
    assert len(set(found[:5])) == 1
    assert found[5] != found[0]
    assert found.name == "group"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=40), st.data())
def test_no_group_parts_a_patient_or_copies_and_none_is_larger_than_it_must(patients, data):
    rows = st.lists(st.integers(0, len(patients) - 1), min_size=2, max_size=4, unique=True)
    clusters = [Cluster("near", tuple(sorted(drawn))) for drawn in data.draw(st.lists(rows, max_size=8))]
    group = groups(table_of(patients), clusters).to_numpy()
    links = [np.flatnonzero(np.array(patients) == patient) for patient in set(patients)]
    links += [np.array(cluster.rows) for cluster in clusters]
    assert all(len(set(group[link])) == 1 for link in links)
    for number in set(group):  # whatever is in a group can be reached from its first row
        reached, before = {int(np.flatnonzero(group == number)[0])}, 0
        while len(reached) > before:
            before = len(reached)
            reached = reached.union(*(map(int, link) for link in links if reached & set(link.tolist())))
        assert reached == set(np.flatnonzero(group == number).tolist())
