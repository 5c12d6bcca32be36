"""Near-duplicates and poor pictures that were planted among others."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from xfer.data import Split
from xfer.data.audit.appearance import appearances, measure
from xfer.data.audit.duplicates import Place
from xfer.data.audit.near import near_duplicates, same_picture
from xfer.data.audit.quality import quality_issues

SIDE = 96


@pytest.fixture(scope="module")
def crops():
    """60 pictures of coarse shapes with fine texture."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        fine = rng.normal(0, 20, (SIDE, SIDE, 1))
        found.append(Image.fromarray(np.clip(0.7 * np.asarray(coarse) + 30 + fine, 0, 255).astype(np.uint8)))
    return found


def encoded(image, quality=40):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


CHANGES = {
    "half the size": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "larger": lambda image: image.resize((SIDE * 2, SIDE * 2), Image.Resampling.BICUBIC),
    "encoded again": encoded,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "brighter": lambda image: image.point(lambda v: min(255, int(v * 1.15))),
    "all of it": lambda image: encoded(image.resize((70, 70)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), 60),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_are_found_and_no_others(crops, change):
    planted = [3, 17, 40]
    images = [*crops, *(CHANGES[change](crops[i]) for i in planted)]
    groups, pairs = same_picture([measure(image) for image in images])
    assert {(i, j) for i, j, _ in pairs} == {(i, len(crops) + n) for n, i in enumerate(planted)}
    assert all(0.9 <= similarity <= 1.0001 for _, _, similarity in pairs)
    assert len(set(groups.tolist())) == len(crops)


def test_copies_are_one_picture_and_no_near_duplicates(crops):
    images = [crops[0], crops[1], crops[0], crops[0].resize((48, 48)), crops[2]]
    groups, pairs = same_picture([measure(image) for image in images])
    assert [(i, j) for i, j, _ in pairs] == [(0, 3)]
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups.tolist())) == 3
    places = [Place("train", "a", "x"), Place("train", "b", "x"), Place("val", "c", "y"), *[Place("val", "d", "x")] * 2]
    (found,) = near_duplicates(places, groups, pairs)
    assert [place.name for place in found.places] == ["a", "c", "d"]
    assert (found.labels, found.splits) == (("x", "y"), ("train", "val"))


def test_those_with_other_labels_come_first(crops):
    images = [crops[0], crops[1], crops[2], *(CHANGES["encoded again"](crop) for crop in crops[:3])]
    groups, pairs = same_picture([measure(image) for image in images])
    places = [Place("train", name, "x") for name in "abc"]
    places += [Place("train", "d", "x"), Place("val", "e", "x"), Place("train", "f", "y")]
    found = near_duplicates(places, groups, pairs)
    assert [[place.name for place in group.places] for group in found] == [["c", "f"], ["b", "e"], ["a", "d"]]


def test_noise_and_blank_images_are_no_near_duplicates():
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(40)]
    images += [Image.new("RGB", (20, 20), grey) for grey in ("black", "grey", "white")]
    assert same_picture([measure(image) for image in images])[1] == []
    assert same_picture([])[1] == []


def test_poor_pictures_are_found_and_no_others(crops):
    poor = {
        "dark": crops[5].point(lambda v: v // 6),
        "low contrast": crops[6].point(lambda v: 110 + v // 12),
        "blurred": crops[7].filter(ImageFilter.GaussianBlur(3)),
        "tiny": crops[8].resize((20, 20)),
    }
    images = [*crops, *poor.values(), Image.new("RGB", (SIDE, SIDE), "white")]
    places = [Place("train", str(i), None) for i in range(len(images))]
    found = quality_issues(places, [measure(image) for image in images])
    named = {(issue.place.name, issue.issue) for issue in found}
    assert named == {(str(len(crops) + i), name) for i, name in enumerate(poor)} | {
        (str(len(images) - 1), "low contrast")
    }
    assert [issue.severity for issue in found] == sorted((issue.severity for issue in found), reverse=True)
    assert all(issue.value < issue.bound for issue in found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (3, 500)])
def test_any_size_is_measured(shape):
    found = measure(Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)))
    assert (found.height, found.width) == shape
    assert found.thumbnail.shape == (16, 16)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_cannot_be_read_has_no_measures(crops, workers):
    images = [np.asarray(crops[0]), b"no picture", np.asarray(crops[1])]
    found = appearances(Split(images, [0, 0, 0], list("abc")), workers)
    assert [each is None for each in found] == [False, True, False]
    assert quality_issues([Place("train", name, None) for name in "abc"], found) == []
