"""The core's pixels against torchvision's, on Pillow images, bit for bit."""

import io

import numpy as np
import pytest
from PIL import Image

torchvision = pytest.importorskip("torchvision")

from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize  # noqa: E402
from torchvision.transforms import functional as F  # noqa: E402
from torchvision.transforms.autoaugment import RandAugment, _apply_op  # noqa: E402

from xfer.data.images.decode import decode, resize_crop  # noqa: E402
from xfer.data.transforms.augment import shift_hue  # noqa: E402
from xfer.data.transforms.randaugment import OPERATIONS, SIGNED, randaugment  # noqa: E402
from xfer.exporting.description import reference  # noqa: E402
from xfer.specs.preprocessing import Preprocessing  # noqa: E402

SIZES = [
    (320, 240),
    (240, 321),
    (257, 257),
    (500, 333),
    (31, 97),
    (8, 8),
    (224, 1000),
    (641, 5),
    (256, 256),
    (333, 256),
]


def picture(size, seed=0):
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (64, 64), (299, 342), (33, 40)])
def test_resize_and_center_crop(size, resize, interpolation):
    mode = InterpolationMode(interpolation)
    theirs = Compose([Resize(resize, interpolation=mode), CenterCrop(size)])
    for shape in SIZES:
        image = picture(shape)
        ours = resize_crop(image, Preprocessing(size, resize, interpolation))
        np.testing.assert_array_equal(ours, np.asarray(theirs(image)), err_msg=str(shape))


@pytest.mark.parametrize(("size", "resize"), [(64, 64), (33, 40)])
def test_both_sides_resized(size, resize):
    """timm's crop mode "squash" is torchvision's Resize with two sides; what exported files carry does the same."""
    theirs = Compose([Resize((resize, resize), interpolation=InterpolationMode.BICUBIC), CenterCrop(size)])
    recipe, exported = Preprocessing(size, resize, "bicubic", squash=True), {}
    exec(reference(recipe), exported)
    for shape in SIZES:
        image = picture(shape)
        expected = np.asarray(theirs(image))
        np.testing.assert_array_equal(resize_crop(image, recipe), expected, err_msg=str(shape))
        image.save(file := io.BytesIO(), "PNG")
        np.testing.assert_array_equal(exported["preprocess"](file), expected, err_msg=str(shape))


def test_a_jpeg_file(tmp_path):
    from torchvision.datasets.folder import default_loader

    Image.fromarray(np.asarray(picture((40, 30)).resize((400, 300)))).save(tmp_path / "a.jpg", quality=80)
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg"), default_loader(tmp_path / "a.jpg"))


@pytest.mark.parametrize("name", list(RandAugment()._augmentation_space(31, (1, 1))))
@pytest.mark.parametrize("magnitude", [0, 5, 9, 21, 30])
def test_randaugment_operations(name, magnitude):
    image = picture((60, 45))
    values, signed = RandAugment()._augmentation_space(31, (45, 60))[name]
    assert signed == (name in SIGNED)
    # Their magnitudes are float32; rounding gives back the decimal that was meant.
    strength = round(float(values[magnitude]), 5) if values.ndim else 0.0
    for sign in (1, -1) if signed else (1,):
        theirs = _apply_op(image, name, sign * strength, InterpolationMode.BILINEAR, None)
        ours = OPERATIONS[name](image, sign * magnitude / 30)
        difference = np.abs(np.asarray(ours, int) - np.asarray(theirs, int))
        # They shear by tan(atan(level)), which moves some bilinear weights over a rounding boundary.
        assert difference.max() <= (1 if name.startswith("Shear") else 0)
        assert (difference > 0).mean() < 0.05


def test_randaugment_has_their_operations_and_draws_all_of_them():
    assert list(OPERATIONS) == list(RandAugment()._augmentation_space(31, (1, 1)))
    image = picture((20, 20))
    drawn = {randaugment(image, 1, 20, np.random.default_rng(seed)).tobytes() for seed in range(400)}
    assert len(drawn) == len(OPERATIONS) + len(SIGNED)


@pytest.mark.parametrize("turn", [-0.5, -0.05, 0.0, 0.03, 0.25])
def test_hue(turn):
    image = picture((50, 40))
    np.testing.assert_array_equal(shift_hue(image, turn), F.adjust_hue(image, turn))
