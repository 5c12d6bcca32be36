import contextlib
import io
import warnings

import numpy as np
import pytest
from PIL import Image

from xfer.data.images.decode import BadImageError, decode, resize_crop
from xfer.specs.preprocessing import Preprocessing

# What a viewer must show for a stored image, by EXIF 2.3's definition of where row 0 and column 0 are.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation(photo, orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    shown = decode(encoded(photo(), form, exif=exif, **options))
    np.testing.assert_array_equal(np.asarray(shown), UPRIGHT[orientation](np.asarray(photo())))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_keeps_the_pixels(photo):
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data).size == (48, 40)


def test_16_bit_grey_is_scaled(tmp_path):
    grey = np.array([[0, 257, 40000], [65535, 128, 129]], np.uint16)
    expected = np.rint(grey / 257).astype(np.uint8)
    assert expected.max() == 255
    for name in ("a.png", "a.tif", "a.pgm"):
        Image.fromarray(grey).save(tmp_path / name)
        decoded = np.asarray(decode(tmp_path / name))
        np.testing.assert_array_equal(decoded, np.repeat(expected[..., None], 3, -1), err_msg=name)


def test_float_grey_needs_a_known_scale(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)).save(tmp_path / "unit.tif")
    assert np.asarray(decode(tmp_path / "unit.tif"))[0, :, 0].tolist() == [0, 128, 255]
    Image.fromarray(np.array([[0.0, 1000.0]], np.float32)).save(tmp_path / "wild.tif")
    with pytest.raises(BadImageError, match="grey values from 0 to 1000 have no known scale"):
        decode(tmp_path / "wild.tif")


def test_modes(photo):
    image = photo()
    rgb = np.asarray(image)
    grey = image.convert("L")
    np.testing.assert_array_equal(decode(encoded(grey, "PNG")), np.repeat(np.asarray(grey)[..., None], 3, -1))
    np.testing.assert_array_equal(decode(encoded(image.convert("1"), "PNG")), image.convert("1").convert("RGB"))
    with_alpha = Image.fromarray(np.dstack([rgb, np.full(rgb.shape[:2], 7, np.uint8)]))
    np.testing.assert_array_equal(decode(encoded(with_alpha, "PNG")), rgb)
    cmyk = Image.merge("CMYK", [*(Image.fromarray(255 - rgb[..., i]) for i in range(3)), Image.new("L", image.size)])
    np.testing.assert_array_equal(decode(encoded(cmyk, "TIFF")), rgb)
    assert np.abs(np.asarray(decode(encoded(cmyk, "JPEG", quality=95)), int) - rgb).mean() < 6


def test_palette_with_transparency_warns_nobody(photo):
    palette = photo().quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    data = encoded(palette, "PNG", transparency=bytes([0, 128] + [255] * 14))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(decode(data), expected)


def test_an_animation_is_its_first_frame(photo):
    red, blue = Image.new("RGB", (9, 9), (255, 0, 0)), Image.new("RGB", (9, 9), (0, 0, 255))
    for form in ("GIF", "WEBP"):
        options = {"lossless": True} if form == "WEBP" else {}
        shown = np.asarray(decode(encoded(red, form, save_all=True, append_images=[blue], **options)))
        assert (shown == (255, 0, 0)).all()


def test_arrays(photo):
    rgb = np.asarray(photo())
    np.testing.assert_array_equal(decode(rgb), rgb)
    np.testing.assert_array_equal(decode(rgb[..., :1]), rgb[..., [0, 0, 0]])
    np.testing.assert_array_equal(decode(rgb[..., 1]), rgb[..., [1, 1, 1]])
    np.testing.assert_array_equal(decode(rgb.transpose(2, 0, 1).transpose(1, 2, 0)), rgb)


def test_bad_files_say_why(tmp_path, photo, monkeypatch):
    whole = encoded(photo(), "JPEG")
    files = {"cut.jpg": whole[:-300], "empty.jpg": b"", "text.jpg": b"hello, world" * 20}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    reasons = {}
    for name in (*files, "missing.jpg"):
        with pytest.raises(BadImageError) as error:
            decode(tmp_path / name)
        reasons[name] = error.value.reason
    assert reasons.pop("cut.jpg").startswith("damaged: image file is truncated")
    assert reasons == {
        "empty.jpg": "the file is empty",
        "text.jpg": "not an image that xfer can read",
        "missing.jpg": "there is no such file",
    }
    with pytest.raises(BadImageError, match="a folder, not a file"):
        decode(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImageError, match="too many pixels"):
        decode(whole)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_bytes_raise_nothing_else(photo):
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        whole = np.frombuffer(encoded(photo(), form), np.uint8)
        for _ in range(40):
            damaged = whole[: rng.integers(1, len(whole) + 1)].copy()
            damaged[rng.integers(0, len(damaged), 5)] = rng.integers(0, 256, 5)
            with contextlib.suppress(BadImageError):
                assert decode(damaged.tobytes()).mode == "RGB"


def test_resize_crop_keeps_the_centre():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    seen = resize_crop(Image.fromarray(wide), Preprocessing(size=10, resize=10))
    assert seen.shape == (10, 10, 3)
    assert seen.dtype == np.uint8
    assert (seen == 255).all()


def test_resize_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = resize_crop(Image.fromarray(stripes), Preprocessing(size=8, resize=8))
    assert abs(int(seen.min()) - 127) < 12
    assert abs(int(seen.max()) - 127) < 12


def test_a_thread_thin_image_does_not_fill_the_memory():
    thread = Image.new("RGB", (60000, 1))
    with pytest.raises(BadImageError, match="too long and thin: 60000 x 1 pixels"):
        resize_crop(thread, Preprocessing(size=224, resize=256))
