"""Mixup and CutMix against their formulas, pixel by pixel."""

import numpy as np
import pytest

import xfer
from xfer.data import Loader, Mix
from xfer.data.transforms.mix import one_hot
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.preprocessing import Preprocessing

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3)).astype(np.uint8)
SHARES = one_hot(np.array([0, 1, 2, 0, 1, -1]), 3)


def test_mixup_blends_images_and_shares():
    mixed, shares = Mix(mixup=0.4)(IMAGES, SHARES, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    partner, kept = rng.permutation(6), rng.beta(0.4, 0.4)
    for i, j in enumerate(partner):
        np.testing.assert_array_equal(mixed[i], np.rint(kept * IMAGES[i] + (1 - kept) * IMAGES[j].astype(float)))
        np.testing.assert_allclose(shares[i], kept * SHARES[i] + (1 - kept) * SHARES[j])
    lost = [i for i, j in enumerate(partner) if 5 in (i, j)]
    assert np.isnan(shares[lost]).all(), "what touches an image without a label has none"
    assert mixed.dtype == np.uint8


def test_cutmix_pastes_a_rectangle_and_counts_its_pixels():
    seen = set()
    for seed in range(30):
        mixed, shares = Mix(cutmix=1.0)(IMAGES, SHARES, np.random.default_rng(seed))
        partner = np.random.default_rng(seed).permutation(6)
        for i, j in enumerate(partner):
            own = (mixed[i] == IMAGES[i]).all(-1)
            other = (mixed[i] == IMAGES[j]).all(-1)
            assert (own | other).all()
            if i == j or np.isnan(shares[i]).any():
                continue
            kept = own.mean()
            np.testing.assert_allclose(shares[i], kept * SHARES[i] + (1 - kept) * SHARES[j], atol=1e-12)
            rows, columns = np.flatnonzero(~own.all(1)), np.flatnonzero(~own.all(0))
            assert not len(rows) or not own[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].any(), "a rectangle"
            seen.add(round(kept, 2))
    assert len(seen) > 10


def test_the_loader_mixes_by_seed_epoch_and_batch_alone():
    split = xfer.data.Split(list(IMAGES), np.arange(6) % 3, list("abcdef"))
    options = {"batch_size": 4, "shuffle": True, "mix": "mixup,cutmix", "seed": 5}
    preprocessing = Preprocessing(8, 8)
    whole = list(Loader(split, preprocessing, **options).epoch(2))
    rest = list(Loader(split, preprocessing, workers=2, **options).epoch(2, start=1))
    np.testing.assert_array_equal(whole[1].images, rest[0].images)
    np.testing.assert_array_equal(whole[1].labels, rest[0].labels)
    assert whole[0].labels.shape == (4, 3)
    np.testing.assert_allclose(whole[0].labels.sum(1), 1)
    other = next(Loader(split, preprocessing, **options).epoch(3))
    assert not np.array_equal(other.labels, whole[0].labels)


def test_training_with_mixed_labels_learns_and_resumes(model, data, tmp_path):
    trainer = xfer.Trainer(model, lr=0.05, mix="mixup=0.2", progress=False, loss=xfer.LossSpec(0.1))
    trainer.fit(data, 5)
    assert model.evaluate(data).metrics["accuracy"] > 0.8
    trainer.save(tmp_path)
    assert str(xfer.Trainer.resume(tmp_path, backend=model.backend).settings.mix) == "mixup=0.2"


def test_words():
    assert str(Mix.parse("cutmix=0.5,mixup")) == "mixup=0.2,cutmix=0.5"
    assert not Mix.parse("none")
    assert not Mix.parse(None)
    with pytest.raises(UnknownNameError, match="did you mean 'mixup'"):
        Mix.parse("mixap")
    with pytest.raises(UsageError, match=r"mixup=0\.2"):
        Mix.parse("mixup=much")
    with pytest.raises(UsageError, match="cutmix=-1"):
        Mix.parse("cutmix=-1")
