"""Data sets of unusual shape: each runs through inspection, training and prediction, or is one plain line."""

import unicodedata

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.core.data.odd import journey, network, posix, reasons
from tests.suites.command_line import xfer_command
from xfer.cli.app import app
from xfer.data import Loader, Split, arrays, folder, inspect, manifest, pictures
from xfer.errors import DataError
from xfer.workflows.opening import Opening


@pytest.fixture
def predicted(monkeypatch):
    """`xfer predict` with a given model, in this process."""

    def run(model, *arguments):
        monkeypatch.setattr(Opening, "__call__", lambda self: model)
        return CliRunner().invoke(app, ["predict", "run", *map(str, arguments)])

    return run


def test_a_class_without_images(tree):
    root = tree({"train/ant": 2, "train/bee": 2, "val/ant": 1, "val/bee": 0})
    found, _ = journey(folder(root), root)
    assert found.splits["val"].counts == {"ant": 1, "bee": 0}
    assert "val has no readable image of bee: add some" in found.suggestions
    (root / "train/cow").mkdir()
    (root / "train/cow/notes.txt").write_text("none yet")
    for run in (lambda: folder(root), lambda: inspect(root)):
        with pytest.raises(DataError, match=r"class folder .*cow has no images: add some, or remove the folder"):
            run()
    result = xfer_command("inspect", root)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)


def test_one_class(tree, tmp_path):
    root = tree({"ant": 5})
    with pytest.raises(DataError, match="has one class, 'ant': classification needs two or more"):
        folder(root)
    (tmp_path / "one.csv").write_text("image,label\nant/0.png,ant\nant/1.png,ant\n")
    with pytest.raises(DataError, match="has one class, 'ant': classification needs two or more"):
        manifest(tmp_path / "one.csv")
    # Where a second class is known, images of one are enough to go on with.
    journey(arrays(np.zeros((4, 16, 16, 3), np.uint8), np.zeros(4, int), classes=["a", "b"], val=0))


def test_one_image(photo):
    one = np.asarray(photo())[None]
    data = arrays(one, np.zeros(1, int), classes=["a", "b"], val=0)
    found, model = journey(data)
    assert found.splits["train"].listed == 1
    assert len(model.predict(one)) == 1
    with pytest.raises(DataError, match="1 images of 1 classes are too few to hold out 20% for validation"):
        arrays(one, np.zeros(1, int), classes=["a", "b"])


@pytest.mark.long
def test_a_thousand_classes(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(1000):
        (tmp_path / f"class{i:04}").mkdir()
        for j in range(2):
            pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"class{i:04}/{j}.png")
    data = folder(tmp_path, val=0.5)
    found, model = journey(data, tmp_path)
    assert len(model.classes) == 1000
    assert found.splits["train"].counts == found.splits["val"].counts == dict.fromkeys(model.classes, 1)
    judged = model.evaluate(data)
    assert judged.probabilities.shape == (1000, 1000)


def test_labels_that_training_has_not_seen(tree, tmp_path):
    root = tree({"train/ant": 2, "train/bee": 2, "val/ant": 1, "val/cow": 1})
    message = "label 'cow' of 'val/cow/0.png' in val is not among the 2 classes of train"
    for run in (folder, inspect):
        with pytest.raises(DataError, match=message):
            run(root)
    lines = ["image,label,split", "train/ant/0.png,ant,train", "train/bee/0.png,bee,train", "val/cow/0.png,cow,val"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        manifest(tmp_path / "table.csv")


@posix
def test_class_names_that_look_alike(tree):
    """A folder copied from a Mac has letters in parts, where other systems have them whole."""
    whole, parts = (unicodedata.normalize(form, "e\N{COMBINING ACUTE ACCENT}") for form in ("NFC", "NFD"))
    root = tree({f"train/{whole}": 1, "train/bee": 1, f"val/{parts}": 1})
    with pytest.raises(DataError, match=r"in val is a class of train in another form of Unicode .*: rename it as in"):
        folder(root)
    (root / "train/bee").rename(root / "train" / parts)
    with pytest.raises(DataError, match=r"has class '.' in two forms of Unicode that look alike \(NFC, NFD\)"):
        folder(root)


def test_the_smallest_and_the_largest(tmp_path):
    """1 x 1 is trained on, 20,000 x 20,000 is left out before a pixel of it is made, and so is what is too thin."""
    for label, colour in (("ant", "red"), ("bee", "blue")):
        (tmp_path / label).mkdir()
        for form in ("png", "jpg", "gif", "webp", "tif", "bmp", "ppm"):
            Image.new("RGB", (1, 1), colour).save(tmp_path / label / f"one.{form}")
    Image.new("1", (20000, 20000)).save(tmp_path / "ant/large.png")
    assert (tmp_path / "ant/large.png").stat().st_size < 2**17
    data = folder(tmp_path, val=0)
    found, _ = journey(data, tmp_path)
    assert reasons(found) == {"ant/large.png": "too many pixels: 400,000,000, of at most 178,956,970; save it smaller"}
    assert found.splits["train"].counts == {"ant": 7, "bee": 7}
    assert found.splits["train"].width.max == 1
    Image.new("L", (1, 60000)).save(tmp_path / "bee/thin.png")
    thin = Split([tmp_path / "bee/thin.png", tmp_path / "bee/one.png"], [0, 1], ["thin.png", "one.png"])
    loader = Loader(thin, network(["a", "b"]).spec.preprocessing.__class__(size=224, resize=256), batch_size=2)
    assert sum(map(len, loader.epoch(0))) == 1
    assert loader.skipped[0].reason == "too long and thin: 1 x 60000 pixels"


def test_no_image_at_all(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "bee").mkdir()
    for run, message in (
        (folder, "class folder .*ant has no images"),
        (pictures, "has no images in it: give image files or a folder of them"),
        (lambda root: folder(root / "ant"), "has no class folders: put the images of each class into a folder"),
    ):
        with pytest.raises(DataError, match=message):
            run(tmp_path)
