"""A folder of every odd kind of file: right pixels, or a reason; and a training run over it to the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import xfer
from xfer.data import Loader, folder, inspect
from xfer.errors import DataError
from xfer.specs.preprocessing import Preprocessing
from xfer.testing import NumpyBackend
from xfer.workflows import run as workflow
from xfer.workflows import setup
from xfer.workflows.config import run_settings

CLASSES = ("ant", "bee")
READABLE = {
    "alpha.png",
    "cmyk.jpg",
    "deep.png",
    "deep.tif",
    "moving.gif",
    "one_bit.png",
    "palette.gif",
    "palette.png",
    "really_png.jpg",
    *(f"turned{i}.jpg" for i in range(1, 9)),
}
UNREADABLE = {
    "cut.jpg": "damaged: image file is truncated",
    "cut.png": "damaged: ",
    "empty.jpg": "the file is empty",
    "text.png": "not an image that xfer can read",
}


def write_odd_files(where: Path, photo, seed: int) -> None:
    where.mkdir(parents=True)
    image = photo(seed)
    rgb = np.asarray(image)
    photo(seed + 1).convert("CMYK").save(where / "cmyk.jpg")
    deep = (np.asarray(photo(seed + 2), np.uint16)[..., 0] * 256 + 91).astype(np.uint16)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(deep).save(where / name)
    transparency = bytes([0, 128] + [255] * 14)
    photo(seed + 3).quantize(16).save(where / "palette.png", transparency=transparency)
    photo(seed + 4).quantize(16).save(where / "palette.gif", transparency=1)
    frames = [photo(seed + i).quantize(32) for i in (5, 6, 7)]
    frames[0].save(where / "moving.gif", save_all=True, append_images=frames[1:])
    photo(seed + 8).convert("1").save(where / "one_bit.png")
    Image.fromarray(np.dstack([rgb, 255 - rgb[..., 0]])).save(where / "alpha.png")
    photo(seed + 9).save(where / "really_png.jpg", "PNG")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo(seed + 9 + orientation).save(where / f"turned{orientation}.jpg", exif=exif)
    for suffix in ("jpg", "png"):
        image.save(where / f"whole.{suffix}")
        content = (where / f"whole.{suffix}").read_bytes()
        (where / f"whole.{suffix}").unlink()
        (where / f"cut.{suffix}").write_bytes(content[: len(content) * 2 // 3])
    (where / "empty.jpg").write_bytes(b"")
    (where / "text.png").write_text("I am no image")


@pytest.fixture
def odd(tmp_path, photo):
    """train and val, two classes each, every kind of file in all four."""
    root = tmp_path / "odd"
    for i, where in enumerate(f"{split}/{label}" for split in ("train", "val") for label in CLASSES):
        write_odd_files(root / where, photo, 100 * i)
    return root


def by_pillow(path: Path) -> Image.Image:
    """The file as Pillow's own tools show it: nothing of xfer is used."""
    with Image.open(path) as image:
        image.seek(0)
        if image.mode.startswith("I;16"):
            grey = np.asarray(image).astype(np.float64) / 257
            return Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
        upright = ImageOps.exif_transpose(image)
        with_alpha = upright.mode == "P" and "transparency" in upright.info
        return (upright.convert("RGBA") if with_alpha else upright).convert("RGB")


def seen_by_pillow(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """Shorter side resized, centre cut out."""
    image = by_pillow(path)
    scale = preprocessing.resize / min(image.size)
    shape = tuple(preprocessing.resize if side == min(image.size) else int(side * scale) for side in image.size)
    resized = np.asarray(image.resize(shape, Image.Resampling[preprocessing.interpolation.upper()]))
    top, left = (round((side - preprocessing.size) / 2) for side in resized.shape[:2])
    return resized[top : top + preprocessing.size, left : left + preprocessing.size]


@pytest.mark.parametrize("workers", [0, 2])
def test_readable_files_have_the_pixels_that_pillow_shows(odd, preprocessing, workers):
    split = folder(odd).train
    assert len(split) == 2 * (len(READABLE) + len(UNREADABLE))
    seen = set()
    for batch in Loader(split, preprocessing, batch_size=5, shuffle=True, workers=workers).epoch(0):
        for index, pixels in zip(batch.indices, batch.images, strict=True):
            path = odd / split.names[index]
            np.testing.assert_array_equal(pixels, seen_by_pillow(path, preprocessing), err_msg=path.name)
            seen.add(split.names[index])
    assert seen == {f"train/{label}/{name}" for label in CLASSES for name in READABLE}


def test_turned_files_are_measured_upright(odd):
    """All are stored 48 wide and 40 high; orientations 5 to 8 turn them on their side."""
    sizes = {path.name: by_pillow(path).size for path in (odd / "train/ant").glob("turned*.jpg")}
    assert sizes == {f"turned{i}.jpg": (48, 40) if i < 5 else (40, 48) for i in range(1, 9)}
    found = inspect(folder(odd)).splits["train"]
    assert (found.width.min, found.width.max, found.height.min, found.height.max) == (40, 48, 40, 48)


def test_unreadable_files_are_listed_with_the_reason(odd, preprocessing):
    split = folder(odd).train
    loader = Loader(split, preprocessing, batch_size=5)
    read = sum(map(len, loader.epoch(0)))
    assert read + len(loader.skipped) == len(split)
    reasons = {bad.name: bad.reason for bad in loader.skipped}
    assert set(reasons) == {f"train/{label}/{name}" for label in CLASSES for name in UNREADABLE}
    for name, reason in reasons.items():
        assert reason.startswith(UNREADABLE[Path(name).name]), (name, reason)


def test_inspection_adds_up(odd):
    found = inspect(folder(odd))
    for name, split in found.splits.items():
        assert split.listed == len(list((odd / name).glob("*/*.*")))
        assert split.listed == split.readable + len(split.unreadable)
        assert split.counts == dict.fromkeys(CLASSES, len(READABLE))
        for tally in (split.formats, split.modes):
            assert sum(tally.values()) == split.readable == 2 * len(READABLE)
        assert split.formats == {"JPEG": 18, "PNG": 10, "GIF": 4, "TIFF": 2}
        assert split.modes["CMYK"] == 2
        assert split.modes["I;16"] == 4


@pytest.fixture
def on_numpy(monkeypatch):
    """`xfer train` on the NumPy backend, whatever else is installed."""
    real = setup.load
    monkeypatch.setattr(setup, "load", lambda model, **options: real(model, **options | {"backend": NumpyBackend()}))


def configured(root: Path, **more):
    given = {"data": str(root / "odd"), "model": "tiny", "weights": "none", "image_size": 16, "batch_size": 8}
    return run_settings(given, {"epochs": 2, "fine_tune": 1, "augment": "light", "out": str(root / "run")}, more)


@pytest.mark.usefixtures("on_numpy")
def test_a_run_over_all_of_it(odd, tmp_path):
    """Every epoch trains on the readable images, and metrics.json names each other one once."""
    result = workflow.train(configured(tmp_path), progress=False)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert [row["images"] for row in metrics["epochs"]] == [2 * len(READABLE)] * 3
    assert metrics["data"]["train"] == 2 * (len(READABLE) + len(UNREADABLE))
    assert metrics["data"]["val"] == len(result.evaluation.labels) == 2 * len(READABLE)
    expected = {f"{s}/{label}/{name}" for s in ("train", "val") for label in CLASSES for name in UNREADABLE}
    assert sorted(bad["name"] for bad in metrics["data"]["skipped"]) == sorted(expected)
    assert np.isfinite(metrics["epochs"][-1]["loss"])
    again = xfer.load(tmp_path / "run", backend=NumpyBackend())
    good = odd / "val/ant/moving.gif"
    row = result.evaluation.names.index("val/ant/moving.gif")
    np.testing.assert_allclose(again.predict_proba(good)[0], result.evaluation.probabilities[row], rtol=1e-5)


@pytest.mark.usefixtures("on_numpy")
def test_a_run_that_must_read_all_of_it_stops(odd, tmp_path):
    with pytest.raises(DataError, match=r"cannot read train/(ant|bee)/(cut|empty|text)\.(jpg|png): "):
        workflow.train(configured(tmp_path, on_bad="raise"), progress=False)
    assert not (tmp_path / "run/metrics.json").exists()
