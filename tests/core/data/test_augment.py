import numpy as np
import pytest
from PIL import Image

from xfer.data import Augment
from xfer.data.images.decode import resize_crop
from xfer.errors import UnknownNameError, UsageError

SPECS = ["none", "flip", "crop", "rotate", "color", "randaugment", "erase", "light", "strong"]


def seen(spec, image, preprocessing, seed=0):
    return Augment.parse(spec)(image, preprocessing, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (None, "none"),
        ("", "none"),
        ("flip", "flip"),
        ("crop", "crop=0.35"),
        ("erase=0.5, rotate=10 ,flip", "flip,rotate=10,erase=0.5"),
        ("randaugment=3,12,flip", "flip,randaugment=3,12"),
        (["randaugment=3,12", "color=0.4"], "color=0.4,randaugment=3,12"),
        ("light", "crop=0.5,flip"),
        ("light,crop=0.8", "crop=0.8,flip"),
        ("strong", "crop=0.35,flip,color=0.2,randaugment=2,9,erase=0.25"),
        ("color=0.123456789", "color=0.123456789"),
    ],
)
def test_text_round_trips(spec, text):
    parsed = Augment.parse(spec)
    assert str(parsed) == text
    assert Augment.parse(text) == parsed
    assert Augment.parse(parsed) is parsed


def test_unknown_names_and_values():
    with pytest.raises(UnknownNameError, match="unknown augmentation 'flipp'; did you mean 'flip'"):
        Augment.parse("crop,flipp")
    with pytest.raises(UnknownNameError, match="unknown augmentation 'light'"):
        Augment.parse("light=3")
    for spec, message in {
        "crop=0": r"crop=0.0: give a share in \(0, 1\]",
        "rotate=181": "rotate=181.0: give degrees from 0 to 180",
        "color=nan": "color=nan: give a strength from 0 to 1",
        "erase=2": "erase=2.0: give a probability",
        "randaugment=2,31": "give a count and a magnitude up to 30",
        "randaugment=2": "randaugment=2: give for example randaugment=2,9",
        "rotate=far": "rotate=far: give for example rotate=15",
        "flip=1": "flip=1: give for example flip",
    }.items():
        with pytest.raises(UsageError, match=message):
            Augment.parse(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_a_pure_function_of_image_and_generator(spec, photo, preprocessing):
    image = photo()
    before = image.tobytes()
    first = [seen(spec, image, preprocessing, seed) for seed in range(8)]
    again = [seen(spec, image, preprocessing, seed) for seed in range(8)]
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (32, 32, 3)
    assert first[0].dtype == np.uint8
    assert image.tobytes() == before
    assert (len({pixels.tobytes() for pixels in first}) > 1) == (spec != "none")


def test_none_is_the_preprocessing(photo, preprocessing):
    np.testing.assert_array_equal(seen("none", photo(), preprocessing), resize_crop(photo(), preprocessing))


def test_flip_mirrors_half_of_the_time(photo, preprocessing):
    plain = seen("none", photo(), preprocessing)
    flipped = [seen("flip", photo(), preprocessing, seed) for seed in range(200)]
    mirrored = sum(np.array_equal(pixels, plain[:, ::-1]) for pixels in flipped)
    assert mirrored + sum(np.array_equal(pixels, plain) for pixels in flipped) == 200
    assert 70 < mirrored < 130


def test_crop_shows_a_share_of_the_whole_image(preprocessing):
    """On a picture whose red and green are its coordinates, the crop's box can be read from its pixels."""
    y, x = np.mgrid[0:256, 0:256].astype(np.uint8)
    image = Image.fromarray(np.dstack([x, y, x]))
    shares, ratios = [], []
    for seed in range(300):
        pixels = seen("crop=0.3", image, preprocessing, seed).astype(float)
        width = (pixels[16, 30, 0] - pixels[16, 1, 0]) / 29 * 32
        height = (pixels[30, 16, 1] - pixels[1, 16, 1]) / 29 * 32
        shares.append(width * height / 256**2)
        ratios.append(width / height)
    assert 0.28 < min(shares) < 0.36
    assert 0.85 < max(shares) < 1.04
    assert 0.6 < np.mean(shares) < 0.7
    assert 0.72 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.39


@pytest.mark.parametrize("size", [(400, 3), (1, 500), (1, 1)])
def test_crop_of_odd_shapes(photo, preprocessing, size):
    assert seen("crop", photo(size=size), preprocessing).shape == (32, 32, 3)


def test_color_keeps_a_grey_image_grey(preprocessing):
    grey = Image.new("RGB", (40, 40), (100, 100, 100))
    for seed in range(20):
        pixels = seen("color=0.5", grey, preprocessing, seed)
        assert pixels.std() == 0
        assert 50 <= pixels[0, 0, 0] <= 150


def test_erase_fills_one_rectangle_with_noise(preprocessing):
    black = Image.new("RGB", (40, 40))
    shares = []
    for seed in range(200):
        touched = seen("erase=0.5", black, preprocessing, seed).any(axis=-1)
        if touched.any():
            rows, columns = np.flatnonzero(touched.any(1)), np.flatnonzero(touched.any(0))
            box = touched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
            shares.append(box.size / touched.size)
    assert 70 < len(shares) < 130
    assert 0.01 < min(shares) < 0.06
    assert 0.28 < max(shares) < 0.36
