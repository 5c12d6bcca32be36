"""Augmented views in the cache."""

from dataclasses import replace

import numpy as np
import pytest

import xfer
from tests.core.features.caching import build, plan
from xfer.data.images.decode import decode
from xfer.data.transforms.augment import Augment
from xfer.errors import UsageError
from xfer.testing import NumpyBackend
from xfer.training import loaders as feeding
from xfer.training.callback import Callback


def train(data, epochs, cache, **options):
    model = plan(build(), 0)
    settings = {"lr": 0.02, "augment": "flip,crop", "batch_size": 16, "progress": False, "seed": 3} | options
    trainer = xfer.Trainer(model, cache=cache, **settings)
    return [(row["loss"], row["val_loss"], row["images"]) for row in trainer.fit(data, epochs)], trainer


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 23},  # of 47 images, another one is left over in each epoch
        {"sampling": "balanced"},
        {"sampling": "over", "augment": "none", "augment_minority": "strong"},
    ],
)
def test_cached_views_are_those_that_augmentation_draws(data, tmp_path, options):
    """As many epochs as views: the run without a cache. More: the run that sees the same views again."""
    uneven = replace(data, train=data.train.subset([*range(40), *range(40, 60, 3)]))
    images = [uneven.train.images[i] for i in range(len(uneven.train))]
    images[7] = b"nothing"
    uneven = replace(uneven, train=replace(uneven.train, images=images))
    plain, _ = train(uneven, 6, False, **options)
    for views in (6, 4):
        expected, _ = train(uneven, 6, False, cache_views=views, **options)
        found, trainer = train(uneven, 6, tmp_path, cache_views=views, **options)
        assert trainer.cached.computed + trainer.cached.there > 60
        assert [bad.name for bad in trainer.skipped] == ["7"]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        np.testing.assert_allclose(found[:views], plain[:views], rtol=1e-9)
    assert abs(found[4][0] - plain[4][0]) > 1e-6 * plain[4][0], "the fifth epoch sees the first one's views"


def test_views_are_made_once(data, tmp_path, passes):
    for made, epochs in ((2 * 60, 5), (0, 5), (0, 1)):
        passes.clear()
        _, trainer = train(data, epochs, tmp_path, cache_views=2)
        assert len(passes) == trainer.cached.computed == (made + 15 if made else 0)
    train(data, 2, tmp_path, cache_views=3)
    assert len(passes) == 0, "the views of the first epochs do not depend on how many there are"
    for other in ({"seed": 4}, {"augment": "flip"}):
        _, trainer = train(data, 2, tmp_path, cache_views=2, **other)
        assert (trainer.cached.there, trainer.cached.computed) == (15, 120), "validation has no augmentation"


def test_a_view_is_the_augmented_image(data, tmp_path):
    _, trainer = train(data, 3, tmp_path, cache_views=2)
    source = feeding.loaders(trainer, data, 3)[0].split
    model = trainer.model
    for view, index in ((0, 5), (1, 5), (1, 59)):
        rng = np.random.default_rng([3, view, index])
        pixels = Augment.parse("flip,crop")(decode(data.train.images[index]), model.spec.preprocessing, rng)
        expected = model.stage(pixels[None], "features")[0]
        np.testing.assert_allclose(source.images.at(view, index, 0), expected, rtol=1e-12)
    with pytest.raises(KeyError, match="no row for view 2 of image 5"):
        source.images.at(2, 5, 0)


def test_a_resumed_run_sees_the_same_views(data, tmp_path):
    class Interrupt(Callback):
        def on_epoch_end(self, trainer, row):
            if trainer.epoch == 4:
                raise KeyboardInterrupt

    whole, _ = train(data, 6, tmp_path, cache_views=2)
    model = plan(build(), 0)
    settings = {"lr": 0.02, "augment": "flip,crop", "batch_size": 16, "progress": False, "seed": 3}
    trainer = xfer.Trainer(
        model, cache=tmp_path, cache_views=2, callbacks=[Interrupt()], restore_best=False, **settings
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(data, 6)
    trainer.save(tmp_path / "run")
    for cache in (tmp_path, False):
        resumed = xfer.Trainer.resume(tmp_path / "run", backend=NumpyBackend(), cache=cache, progress=False)
        rows = resumed.fit(data)
        np.testing.assert_allclose([row["loss"] for row in rows], [row[0] for row in whole[4:]], rtol=1e-6)


def test_views_that_cannot_be(data):
    with pytest.raises(UsageError, match="cache_views=0: give at least 1"):
        xfer.Trainer(build(), cache_views=0, augment="flip")
    with pytest.raises(UsageError, match="cache_views=2: mix=mixup blends other images each epoch"):
        xfer.Trainer(build(), cache_views=2, augment="flip", mix="mixup")
    with pytest.raises(UsageError, match="not pictures: leave out augmentation"):
        xfer.Trainer(build(), cache_views=2, augment="flip", progress=False).fit(xfer.extract(build(), data), 1)
