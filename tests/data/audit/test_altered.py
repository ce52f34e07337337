"""Copies in another guise are found and named, strangers are not, and what was not looked for is said."""

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from planted import encode, pictures

from bench import checksums
from bench.data.audit import duplicates, local_features
from bench.data.audit.alterations import IDENTITY, MIRROR, QUARTER, Alteration, in_words
from bench.data.audit.duplicates import ALTERED_FILE, find_duplicates
from bench.data.audit.orientations import (
    NEAR_BITS,
    ORIENTATIONS,
    orientation_matrix,
    oriented,
    reoriented_hashes,
)
from bench.data.images.decode import THUMBNAIL, Facts, decode, facts_of, thumbnail

TURN = Image.Transpose
N = 20


def turned(image, degrees):
    return image.rotate(degrees, Image.Resampling.BILINEAR)


def cropped(image, share=0.85):
    side = round(image.width * share)
    return image.crop((4, 7, 4 + side, 7 + side)).resize(image.size, Image.Resampling.BILINEAR)


def shifted(image):
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, 12, 0, 1, -8))


GUISES = {
    "mirrored": ImageOps.mirror,
    "mirrored top to bottom": ImageOps.flip,
    "rotated by 90 degrees": lambda image: image.transpose(TURN.ROTATE_90),
    "rotated by 180 degrees": lambda image: image.transpose(TURN.ROTATE_180),
    "mirrored and rotated by 90 degrees": lambda image: image.transpose(TURN.TRANSPOSE),
    "inverted": ImageOps.invert,
    "mirrored and inverted": lambda image: ImageOps.invert(ImageOps.mirror(image)),
    "changed in contrast": lambda image: image.point(lambda value: round(255 * (value / 255) ** 3)),
    "rotated by 7 degrees": lambda image: turned(image, 7),
    "mirrored and rotated by 20 degrees": lambda image: turned(ImageOps.mirror(image), 20),
    "rotated by 5 degrees and inverted": lambda image: ImageOps.invert(turned(image, -5)),
    "cropped": cropped,
    "shifted": shifted,
    "bordered": lambda image: ImageOps.expand(image, 16, fill=255),
    "rotated by 4 degrees and cropped": lambda image: cropped(turned(image, 4), 0.9),
}


def large(image):
    """A phantom at the size of a small radiograph, with some grain of its own."""
    grain = np.random.default_rng(image.tobytes()[5000]).normal(0, 2.5, (192, 192))
    grain = np.asarray(image.resize((192, 192), Image.Resampling.BICUBIC)) + grain
    return Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))


def saved(image):
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=90)))


def examined(images):
    """Facts and thumbnails of images, as the store keeps them."""
    contents = [encode(image) for image in images]
    facts = pd.DataFrame([dataclasses.asdict(facts_of(content, decode(content))) for content in contents])
    return facts, np.stack([thumbnail(image) for image in images])


@pytest.fixture(scope="module")
def strangers():
    return [large(image) for image in pictures()[:N]]


@pytest.fixture(scope="module")
def disguised(strangers):
    """N strangers, and after them one copy of some of them in each guise."""
    copies = [saved(make(image)) for make, image in zip(GUISES.values(), strangers, strict=False)]
    return examined([*strangers, *copies])


@pytest.fixture(scope="module")
def found(disguised):
    return find_duplicates(*disguised[:1], thumbnails=disguised[1])


@pytest.mark.parametrize("guise", GUISES)
def test_a_copy_is_found_in_every_guise_and_named(found, guise):
    place = list(GUISES).index(guise)
    changes = [one.changes for one in found.clusters if one.rows == (place, N + place)]
    assert changes == [("", guise)]


def test_strangers_are_none_and_all_were_compared(found, strangers):
    assert {cluster.kind for cluster in found.clusters} == {"altered"}
    assert all(cluster.rows[1] - cluster.rows[0] == N for cluster in found.clusters)
    assert (found.unsearched, found.plain, found.alike) == ("", 0, 0)
    facts, thumbnails = examined(strangers)
    assert find_duplicates(facts, thumbnails=thumbnails) == duplicates.Duplicates()


def test_copies_of_copies_are_one_set_named_by_its_first(strangers):
    image = strangers[0]
    copies = [turned(image, 5), turned(ImageOps.mirror(image), 10), saved(image)]
    facts, thumbnails = examined([*strangers[:6], *map(saved, copies)])
    sets = {one.kind: one for one in find_duplicates(facts, thumbnails=thumbnails).clusters}
    assert sets["near"].rows == (0, 8)
    assert sets["altered"].rows == (0, 6, 7, 8)
    assert sets["altered"].changes == (
        "",
        "rotated by 5 degrees",
        "mirrored and rotated by 10 degrees",
        "nearly the same",
    )


def test_images_too_plain_for_local_features_are_counted_and_still_compared_whole(strangers):
    plain = [Image.fromarray(np.pad(np.full((40, 60), 160 + 20 * k, np.uint8), 60, constant_values=20)) for k in (0, 3)]
    facts, thumbnails = examined([*strangers[:4], *plain])
    answer = find_duplicates(facts, thumbnails=thumbnails)
    assert answer.plain >= 1
    assert not any(cluster.kind == "altered" for cluster in answer.clusters)


def test_too_many_images_are_not_compared_and_that_is_told(disguised, monkeypatch):
    monkeypatch.setattr(duplicates, "MOST_COMPARED", 10)
    answer = find_duplicates(disguised[0], thumbnails=disguised[1])
    assert answer.unsearched == "there are more than 10 images"
    assert not answer.clusters
    assert find_duplicates(disguised[0]).unsearched == "there are no thumbnails"


def test_what_was_found_is_kept(tmp_path, disguised, monkeypatch):
    facts, thumbnails = disguised
    rows = [0, 1, 2, 3, N, N + 2]
    facts, thumbnails = facts.iloc[rows].reset_index(drop=True), thumbnails[rows]
    found = find_duplicates(facts, tmp_path, thumbnails)
    assert [cluster.rows for cluster in found.clusters] == [(0, 4), (2, 5)]
    with monkeypatch.context() as patch:
        patch.setattr(local_features, "find_altered", lambda *given: pytest.fail("it is there already"))
        assert find_duplicates(facts, tmp_path, thumbnails) == found
    kept = tmp_path / ALTERED_FILE
    for content in (b"", kept.read_bytes()[:-40], b"PK\3\4 no archive"):
        kept.write_bytes(content)
        checksums.keep(kept)  # it was written so
        assert find_duplicates(facts, tmp_path, thumbnails) == found


def test_a_set_of_more_than_half_of_all_is_set_aside(strangers):
    rng = np.random.default_rng(0)
    many = [turned(strangers[0], float(degrees)) for degrees in rng.uniform(-60, 60, 14)]
    facts, thumbnails = examined([*strangers[1:5], *many])
    answer = find_duplicates(facts, thumbnails=thumbnails)
    assert answer.alike >= 10
    assert not any(len(cluster.rows) > 9 for cluster in answer.clusters)


# Names and orientations


@pytest.mark.parametrize(("mirrored", "quarters"), ORIENTATIONS)
def test_each_orientation_has_the_hash_of_the_image_turned_back(strangers, mirrored, quarters):
    image = thumbnail(strangers[0])
    copy = np.rot90(image, quarters)
    copy = copy[:, ::-1] if mirrored else copy
    stack = np.stack([thumbnail(strangers[1]), image, np.ascontiguousarray(copy)])
    (one,) = oriented(stack, np.arange(3))
    assert (one.first, one.later, one.mirrored, one.inverted) == (1, 2, mirrored, False)
    matrix = MIRROR @ orientation_matrix(quarters) if mirrored else orientation_matrix(quarters)
    x, y, _ = (matrix @ [40, 20, 1]).astype(int)
    assert copy[y, x] == image[20, 40]


REORIENTED = {
    "mirrored": (ImageOps.mirror, MIRROR, False),
    "mirrored top to bottom": (ImageOps.flip, MIRROR @ QUARTER @ QUARTER, False),
    "turned by 90 degrees": (lambda image: image.transpose(TURN.ROTATE_90), QUARTER, False),
    "turned by 180 degrees": (lambda image: image.transpose(TURN.ROTATE_180), QUARTER @ QUARTER, False),
    "turned by 270 degrees": (lambda image: image.transpose(TURN.ROTATE_270), QUARTER @ QUARTER @ QUARTER, False),
    "inverted": (ImageOps.invert, IDENTITY.matrix, True),
    "all of it": (
        lambda image: ImageOps.invert(ImageOps.mirror(image.transpose(TURN.ROTATE_90))),
        MIRROR @ QUARTER,
        True,
    ),
}


@pytest.mark.parametrize(("make", "matrix", "inverted"), REORIENTED.values(), ids=REORIENTED)
def test_a_copy_turned_back_has_nearly_the_hash_of_the_original(strangers, make, matrix, inverted):
    facts, thumbnails = examined([saved(make(strangers[0])), *strangers])
    known = [int(one, 16) for one in facts["perceptual_hash"]]
    answers = list(reoriented_hashes(thumbnails, np.array([0])))
    assert len(answers) == 2 * len(ORIENTATIONS) - 1
    away = np.array([[(int(hashes, 16) ^ one).bit_count() for one in known[1:]] for _, hashes in answers])
    near = away[:, 0].argmin()
    assert away[near, 0] <= NEAR_BITS < 2 * NEAR_BITS < away[:, 1:].min()
    assert np.delete(away[:, 0], near).min() > 2 * NEAR_BITS, "turned otherwise, it is another image"
    assert answers[near][0] == in_words(Alteration(matrix, inverted).parts())


def scaled(factor):
    middle = (THUMBNAIL - 1) / 2 * (1 - factor)
    return np.array([[factor, 0, middle], [0, factor, middle], [0, 0, 1]])


@pytest.mark.parametrize(
    ("alteration", "words"),
    [
        (Alteration(QUARTER @ QUARTER), "rotated by 180 degrees"),
        (Alteration(MIRROR @ QUARTER, inverted=True), "mirrored, rotated by 90 degrees and inverted"),
        (Alteration(MIRROR).then(Alteration(MIRROR)), "changed in contrast"),
        (Alteration(QUARTER, inverted=True).then(Alteration(QUARTER, inverted=True)), "rotated by 180 degrees"),
        (Alteration(scaled(1.2)), "cropped"),
        (Alteration(scaled(1.2)).reversed(), "cropped"),
        (Alteration(scaled(0.9), framed=True), "bordered"),
        (Alteration(np.array([[1, 0, 9], [0, 1, 0], [0, 0, 1.0]])), "shifted"),
    ],
)
def test_what_was_done_in_words(alteration, words):
    assert in_words(alteration.parts()) == words
    assert np.allclose(alteration.then(alteration.reversed()).matrix, IDENTITY.matrix)


def test_an_angle_is_that_of_the_image_before_it_was_squashed():
    """Turned by 10 degrees at 300 x 200 pixels, whose thumbnail is square."""
    cos, sin = np.cos(np.radians(10)), np.sin(np.radians(10))
    size = np.array([300, 200])
    linear = np.diag(1 / size) @ np.array([[cos, sin], [-sin, cos]]) @ np.diag(size)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (THUMBNAIL - 1) / 2 * (1 - linear.sum(axis=1))
    assert in_words(Alteration(matrix).parts((300, 200), (300, 200))) == "rotated by 10 degrees"


def test_memory_is_bounded_where_all_features_are_alike(monkeypatch):
    """Features that agree in every bit would meet in millions of pairs."""
    monkeypatch.setattr(local_features, "MOST_VOTES", 500)
    same = local_features.Features(np.zeros((40, 2), np.float32), np.zeros(40, np.uint8), np.zeros((40, 32), np.uint8))
    joined = local_features._Joined.of([same] * 60)
    order = joined.sorted_by(np.arange(16))
    first, later = local_features._meeting(joined, order, joined, order)
    assert len(first) == len(later) <= 500


def test_nothing_decoded_is_nothing_found():
    facts = pd.DataFrame([dataclasses.asdict(Facts(problem="empty"))] * 3)
    assert find_duplicates(facts, thumbnails=np.zeros((3, THUMBNAIL, THUMBNAIL), np.uint8)) == duplicates.Duplicates()
