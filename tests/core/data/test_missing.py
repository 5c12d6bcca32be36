"""Missing pixels, missing images and missing labels: filled in as asked, and said."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.data import Loader, Split
from xfer.data.images.decode import BadImageError, decode
from xfer.data.images.repair import repair
from xfer.errors import DataError, UsageError
from xfer.specs.preprocessing import Preprocessing


def picture(seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (9, 11, 3)).astype(np.uint8)
    hole = rng.random((9, 11)) < 0.4
    return pixels, hole


def test_the_mean_and_the_nearest_pixel():
    pixels, hole = picture()
    filled = repair(pixels, hole, "mean")
    np.testing.assert_array_equal(filled[~hole], pixels[~hole])
    np.testing.assert_array_equal(filled[hole], np.tile(np.rint(pixels[~hole].mean(0)), (hole.sum(), 1)))
    nearest = repair(pixels, hole, "neighbours")
    there = np.argwhere(~hole)
    for y, x in np.argwhere(hole):
        distances = ((there - (y, x)) ** 2).sum(1)
        candidates = [pixels[tuple(p)].tolist() for p in there[distances == distances.min()]]
        assert nearest[y, x].tolist() in candidates
    np.testing.assert_array_equal(repair(pixels, hole, "keep"), pixels)


def test_inpainting_continues_a_gradient():
    ramp = np.tile((np.arange(24) * 10)[None, :, None], (24, 1, 3)).astype(np.uint8)
    hole = np.zeros((24, 24), bool)
    hole[8:14, 9:15] = True
    filled = repair(np.where(hole[..., None], 0, ramp).astype(np.uint8), hole, "inpaint")
    assert np.abs(filled.astype(int) - ramp).max() <= 2
    np.testing.assert_array_equal(filled[~hole], ramp[~hole])


def test_files_with_an_alpha_mask():
    pixels, hole = picture()
    file = io.BytesIO()
    Image.fromarray(np.dstack([pixels, np.where(hole, 0, 255).astype(np.uint8)])).save(file, "png")
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue())), pixels)
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue(), "mean")), repair(pixels, hole, "mean"))
    blank = np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(BadImageError, match="every pixel is missing"):
        decode(blank, "mean")


def test_arrays_with_nan():
    pixels, hole = picture()
    floats = pixels / 255.0
    floats[hole, 1] = np.nan
    data = xfer.data.arrays(np.stack([floats] * 4), [0, 1, 0, 1], val=0)
    assert "4 images in train have missing pixels (NaN): black, unless missing_pixels says what" in data.notes
    recipe = Preprocessing(9, 9, missing="mean")
    view = next(Loader(data.train, recipe, batch_size=4).epoch(0)).images[0]
    expected = xfer.data.arrays(np.stack([repair(pixels, hole, "mean")] * 4), [0, 1, 0, 1], val=0)
    np.testing.assert_array_equal(view, next(Loader(expected.train, recipe, batch_size=4).epoch(0)).images[0])


def test_the_model_and_its_checkpoint_say_what_pixels_become(data, tmp_path):
    from xfer.testing import NumpyBackend

    model = xfer.load(
        "tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16, missing_pixels="neighbours"
    )
    model.save(tmp_path)
    assert xfer.load(tmp_path, backend=NumpyBackend()).spec.preprocessing.missing == "neighbours"
    other = xfer.load(tmp_path, backend=NumpyBackend(), missing_pixels="mean")
    assert other.spec.preprocessing.missing == "mean"


def test_imputed_images_are_blank_and_listed(data, model):
    images = [data.train.images[i] for i in range(6)]
    images[1], images[4] = b"", b"junk"
    split = Split(images, data.train.labels[:6], list("abcdef"), data.classes)
    loader = Loader(split, model.spec.preprocessing, batch_size=6, on_bad="impute")
    (batch,) = loader.epoch(0)
    assert batch.indices.tolist() == list(range(6))
    assert [(s.name, s.imputed) for s in loader.skipped] == [("b", True), ("e", True)]
    blank = model.outputs(batch.images, ["input"])["input"][[1, 4]]
    assert np.abs(blank).max() < 0.02, "a blank image is the mean, which normalises to zero"
    trainer = xfer.Trainer(model, on_bad="impute", progress=False)
    (row,) = trainer.fit(xfer.Data(split, None, None, data.classes, "x"), 1)
    assert row["images"] == 6
    assert len(trainer.skipped) == 2


@pytest.fixture
def half(data):
    """Every second training label is gone."""
    labels = data.train.labels.copy()
    labels[::2] = -1
    return replace(data, train=replace(data.train, labels=labels))


def test_images_without_a_label_change_nothing(half, data, model):
    """One batch: the loss and the update are those of the labelled images alone, for a head on a frozen backbone."""
    known = replace(half, train=half.train.subset(np.flatnonzero(half.train.labelled)))
    found = []
    for source in (half, known):
        model.replace_head(data.classes)
        model.freeze()
        trainer = xfer.Trainer(model, lr=0.1, batch_size=60, optimizer="sgd", progress=False, restore_best=False)
        found.append((trainer.fit(source, 1)[0]["loss"], model.weights()["fc.weight"]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-7)


def test_evaluation_leaves_them_out(half, model):
    found = model.evaluate(half.train)
    assert len(found.labels) == int(half.train.labelled.sum())
    nothing = replace(half.train, labels=np.full(len(half.train), -1))
    with pytest.raises(DataError, match="no image with a label"):
        model.evaluate(nothing)


def test_tables_with_empty_labels(tmp_path):
    for i in range(12):
        Image.fromarray(np.full((16, 16, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,{'ab'[i % 2] if i % 3 else ''}" for i in range(12)]
    (tmp_path / "t.csv").write_text("image,label\n" + "\n".join(rows) + "\n")
    data = xfer.data.manifest(tmp_path / "t.csv", val=0.25)
    assert data.classes == ("a", "b")
    assert "4 of 12 images in train have no label: they count in no loss or metric" in data.notes
    assert int((data.train.labels < 0).sum()) == 4
    assert (data.val.labels >= 0).all()


def test_pseudo_labels_are_sure_and_reported(half, data, model):
    xfer.Trainer(model, lr=0.005, progress=False).fit(data, 2)
    places = np.flatnonzero(half.train.labels < 0)
    probabilities = model.predict_proba(half.train.subset(places))
    threshold = float(np.median(probabilities.max(1)))
    found, report = xfer.pseudo_label(model, half, threshold=threshold)
    sure = probabilities.max(1) >= threshold
    assert report.unlabelled == len(places)
    assert len(report.given) == sure.sum()
    expected = half.train.labels.copy()
    expected[places[sure]] = probabilities[sure].argmax(1)
    np.testing.assert_array_equal(found.train.labels, expected)
    assert [name for name, _, _ in report.given] == [half.train.names[i] for i in places[sure]]
    assert f"{sure.sum()} of {len(places)} images without a label got the model's own" in found.notes[-1]
    same, none = xfer.pseudo_label(model, data)
    assert none.unlabelled == 0
    assert (same.train.labels == data.train.labels).all()
    with pytest.raises(UsageError, match="threshold=0"):
        xfer.pseudo_label(model, half, threshold=0)
