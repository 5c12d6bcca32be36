"""Features in the place of images: the same run, at the price of the head."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from xfer.data.images.decode import decode
from xfer.data.transforms.augment import Augment
from xfer.errors import DataError, UsageError
from xfer.testing import NumpyBackend


def build(precision="fp64"):
    options = {"weights": None, "classes": list("abc"), "image_size": 16, "precision": precision}
    return xfer.load("tiny", backend=NumpyBackend(), **options)


@pytest.mark.parametrize(("after", "unfrozen"), [("features", 0), ("layer1", 0), ("stem", 1)])
def test_training_on_features_is_training_on_images(data, after, unfrozen):
    runs = []
    for cached in (False, True):
        model = build()
        model.freeze()
        model.unfreeze(last=unfrozen)
        source = xfer.extract(model, data, after=after) if cached else data
        trainer = xfer.Trainer(model, lr=0.05, progress=False, sampling="over", mix="mixup" if cached else "none")
        trainer.settings = trainer.settings.model_copy(update={"mix": "none"})
        runs.append((trainer.fit(source, 3), model.weights(), model.evaluate(data).metrics))
    (rows, weights, metrics), (others, same, scores) = runs
    for row, other in zip(rows, others, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-12)
        assert other["val_loss"] == pytest.approx(row["val_loss"], rel=1e-12)
    for name, array in weights.items():
        np.testing.assert_allclose(same[name], array, rtol=1e-9, atol=1e-12, err_msg=name)
    assert scores == pytest.approx(metrics)


def test_augmented_views_are_those_of_the_seed(data):
    model = build()
    twice = replace(data, train=data.train.subset([0, 0, 5]))
    found = xfer.extract(model, twice, augment="strong", seed=3)
    for i, place in enumerate([0, 0, 5]):
        rng = np.random.default_rng([3, 0, i])
        view = Augment.parse("strong")(decode(data.train.images[place]), model.spec.preprocessing, rng)
        expected = model.features([view])
        np.testing.assert_allclose(found.train.images[i : i + 1], expected, rtol=1e-12)
    np.testing.assert_allclose(found.val.images, model.features(data.val), rtol=1e-12)


def test_mixed_images_are_those_of_the_loader(data):
    """Features and shares of the same mixed batches, and a head trained on them as on the pictures."""
    model = build()
    found = xfer.extract(model, data, mix="cutmix", seed=3, batch_size=20)
    recipe = model.spec.preprocessing
    loader = xfer.data.Loader(data.train, recipe, batch_size=20, seed=3, shuffle=True, mix="cutmix")
    for i, batch in enumerate(loader.epoch(0)):
        rows = slice(20 * i, 20 * (i + 1))
        np.testing.assert_allclose(found.train.images[rows], model.features(batch.images), rtol=1e-12)
        np.testing.assert_array_equal(found.train.targets[rows], batch.labels)
    assert found.val.targets is None
    model.freeze()
    rows = xfer.Trainer(model, lr=0.05, progress=False).fit(found, 5)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert model.evaluate(found).metrics["accuracy"] > 0.6


def test_unreadable_images_are_missing_and_said(data):
    images = [data.train.images[i] for i in range(6)]
    images[2] = b"nothing"
    broken = replace(data, train=xfer.data.Split(images, data.train.labels[:6], list("abcdef"), data.classes))
    found = xfer.extract(build(), broken)
    assert list(found.train.names) == ["a", "b", "d", "e", "f"]
    assert "1 images in train could not be read" in found.notes
    with pytest.raises(DataError, match="cannot read c"):
        xfer.extract(build(), broken, on_bad="raise")


def test_refusals(data):
    model = build()
    features = xfer.extract(model, data)
    with pytest.raises(DataError, match="is outputs of 'features' already"):
        xfer.extract(model, features)
    with pytest.raises(UsageError, match="not pictures: leave out augmentation"):
        xfer.Trainer(model, augment="flip", progress=False).fit(features, 1)
    with pytest.raises(UsageError, match="is trainable, but the inputs are outputs of 'features'"):
        xfer.Trainer(model, progress=False).fit(features, 1)
