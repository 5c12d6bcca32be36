"""Large JPEGs decoded at a fraction of their size: off by default, and no further from the truth than stated."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.data import Loader, pictures
from xfer.data.images.decode import decode, resize_crop
from xfer.errors import UnknownNameError
from xfer.specs.preprocessing import Preprocessing
from xfer.testing import NumpyBackend

FULL = Preprocessing(size=56, resize=64)
DRAFT = replace(FULL, decode="draft")


@pytest.fixture
def large(photo):
    """A maker of images with structure of every size: shapes with sharp edges, a gradient, noise of a camera."""

    def make(size=(1024, 768)):
        width, height = size
        pixels = np.asarray(photo(1, size), np.int64).copy()
        y, x = np.mgrid[:height, :width]
        pixels[((x // 61) + (y // 83)) % 3 == 0] //= 2
        pixels[(x - width / 2) ** 2 + (y - height / 3) ** 2 < (height / 5) ** 2] = (250, 240, 10)
        pixels += np.random.default_rng(0).integers(-12, 13, pixels.shape)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return make


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 90} | options)
    return buffer.getvalue()


def view(data, preprocessing):
    return resize_crop(decode(data, preprocessing.missing, preprocessing.kept), preprocessing).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_stay_within_the_stated_bound(large, mode, subsampling, interpolation):
    data = jpeg(large().convert(mode), **({} if mode == "L" else {"subsampling": subsampling}))
    full, draft = (view(data, replace(recipe, interpolation=interpolation)) for recipe in (FULL, DRAFT))
    difference = np.abs(full - draft)
    assert 0 < difference.mean() < 1.4
    assert difference.max() <= 16


@pytest.mark.parametrize(
    ("size", "becomes"),
    [
        ((1024, 1024), (128, 128)),  # an eighth
        ((2048, 1016), (512, 254)),  # an eighth would leave 127 of the 128 wanted
        ((520, 256), (260, 128)),
        ((520, 254), (520, 254)),  # half would be too small
        ((1026, 1024), (513, 512)),  # by 2 alone without a remainder
        ((1025, 1024), (1025, 1024)),
    ],
)
def test_what_remains(photo, size, becomes):
    data = jpeg(photo(0, size))
    assert decode(data, kept=DRAFT.kept).size == becomes
    assert decode(data, kept=FULL.kept).size == decode(data).size == size


def test_a_drafted_image_is_that_of_the_mean_of_its_pixels(large):
    image = large((1024, 1024))
    drafted = np.asarray(decode(jpeg(image, quality=100, subsampling=0), kept=128), int)
    averaged = np.asarray(image, float).reshape(128, 8, 128, 8, 3).mean(axis=(1, 3))
    assert np.abs(drafted - averaged).max() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_what_remains(large, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = jpeg(large(), exif=exif)
    assert np.abs(view(turned, FULL) - view(turned, DRAFT)).max() <= 16


def test_everything_else_is_as_it_was(large):
    image = large()
    png = io.BytesIO()
    image.save(png, "PNG")
    lazy = Image.open(io.BytesIO(jpeg(image)))
    for source in (png.getvalue(), np.asarray(image), image, lazy, jpeg(image.resize((200, 160)))):
        np.testing.assert_array_equal(view(source, DRAFT), view(source, FULL))
    assert lazy.size == image.size, "an image of the caller's is not changed"


def test_a_loader_does_as_its_preprocessing_says(large):
    data = jpeg(large())
    opened = Image.open(io.BytesIO(data))
    opened.draft("RGB", (256, 192))
    assert opened.size == (256, 192)
    for recipe, expected in (
        (FULL, resize_crop(Image.open(io.BytesIO(data)), FULL)),
        (DRAFT, resize_crop(opened, FULL)),
    ):
        (batch,) = Loader(pictures([data]), recipe, batch_size=1).epoch(0)
        np.testing.assert_array_equal(batch.images[0], expected)


def test_a_run_decodes_as_it_was_trained(tmp_path):
    options = {"backend": NumpyBackend(), "weights": None, "classes": ["a", "b"], "image_size": 16}
    assert xfer.load("tiny", **options).spec.preprocessing.decode == "full"
    xfer.load("tiny", decode="draft", **options).save(tmp_path)
    assert xfer.load(tmp_path, backend=NumpyBackend()).spec.preprocessing.decode == "draft"
    assert xfer.load(tmp_path, backend=NumpyBackend(), decode="full").spec.preprocessing.decode == "full"
    with pytest.raises(UnknownNameError, match="unknown decode 'drift'; did you mean 'draft'"):
        xfer.load("tiny", decode="drift", **options)
