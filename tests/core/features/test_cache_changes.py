"""Images that are not the same each time they are read are not cached."""

import numpy as np
from PIL import Image

import xfer
from xfer.features import keys
from xfer.features.cache import FeatureCache

RNG = np.random.default_rng(0)


class RandomCrops:
    """A data set whose transform draws anew at each reading."""

    targets = [0, 1, 2] * 4

    def __init__(self):
        self.rng = np.random.default_rng(1)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        image = np.full((16, 16, 3), 80 * self.targets[index], np.uint8)
        return image + self.rng.integers(0, 30, image.shape).astype(np.uint8), self.targets[index]


def test_random_transforms_are_seen_anew_each_epoch(model, tmp_path, capsys):
    model.freeze()
    data = xfer.data.wrap(RandomCrops(), RandomCrops(), classes=["a", "b", "c"])
    trainer = xfer.Trainer(model, lr=1e-2, progress=False, cache=tmp_path)
    trainer.fit(data, 2)
    assert trainer.cached is None
    assert "is not the same each time it is read" in capsys.readouterr().err


def test_a_file_that_is_replaced_between_its_digest_and_its_decoding(model, tmp_path, monkeypatch, capsys):
    """What is stored under the digest of the old content is not what the new one gives."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    pixels = RNG.integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    for path, image in zip(paths, pixels, strict=False):
        Image.fromarray(image).save(path)
    split = xfer.data.pictures(paths)
    data = xfer.data.Data(split, None, None, ("a", "b", "c"), "files")
    digests_of = keys.digests_of

    def replacing(split, workers):
        found = digests_of(split, workers)
        Image.fromarray(pixels[4]).save(paths[2])
        return found

    cache = FeatureCache(tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(keys, "digests_of", replacing)
        try:
            cache.data(model, data, "features", 2, 0)
        except OSError as error:
            assert "2.png is not the same each time it is read" in str(error)  # noqa: PT017
        else:
            raise AssertionError("the replaced file was cached")
    Image.fromarray(pixels[2]).save(paths[2])
    found, _ = cache.data(model, data, "features", 2, 0)
    for i, image in enumerate(pixels[:4]):
        expected = model.stage(np.stack([image] * 2), "features")[0]
        np.testing.assert_allclose(found.train.images[i], expected, rtol=1e-6)
