"""The feature cache: the same run, computed once, and never stale."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import xfer
from tests.core.features.caching import build, plan, rows_in, segments
from xfer.data.images.decode import BadImageError
from xfer.features.cache import CacheUse, FeatureCache
from xfer.features.store import Writer, find
from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend.model import NumpyModel


@pytest.mark.parametrize(("unfrozen", "norm"), [(0, True), (1, True), (1, False)])
@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_the_same_run(data, tmp_path, unfrozen, norm, precision):
    """Losses, validation and weights, to rounding; unreadable images leave the same gaps."""
    images = [data.train.images[i] for i in range(60)]
    images[7] = b"nothing"
    broken = replace(data, train=xfer.data.Split(images, data.train.labels, data.train.names, data.classes))
    found = []
    for cache in (False, tmp_path):
        model = plan(build(precision), unfrozen, norm)
        trainer = xfer.Trainer(model, lr=0.02, cache=cache, progress=False, sampling="balanced", batch_size=16)
        found.append((trainer.fit(broken, 4), model.weights(), [s.name for s in trainer.skipped]))
    bound = 1e-5 if precision == "fp32" else 1e-11
    for row, other in zip(found[0][0], found[1][0], strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=bound)
        assert other["val_loss"] == pytest.approx(row["val_loss"], rel=bound)
        assert other["images"] == row["images"]
    for name, array in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], array, rtol=100 * bound, atol=bound, err_msg=name)
    assert found[0][2] == found[1][2] == ["7"]
    assert trainer.cached.computed == 59 + 15


def test_one_pass_for_all_epochs_and_none_for_the_next_run(data, tmp_path, monkeypatch):
    passes = []
    normalise = NumpyModel.normalise

    def counted(self, images):
        passes.append(len(images))
        return normalise(self, images)

    monkeypatch.setattr(NumpyModel, "normalise", counted)
    for expected in (CacheUse(0, 75, 16 * 8), CacheUse(75, 0, 16 * 8)):
        passes.clear()
        trainer = xfer.Trainer(plan(build(), 0), cache=tmp_path, progress=False)
        trainer.fit(data, 5)
        assert trainer.cached == expected
        assert sum(passes) == expected.computed


def test_rows_are_shared_by_subsets_and_copies_are_computed_once(data, tmp_path):
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    twice = replace(data, train=data.train.subset([0, 1, 2, 0, 1]), val=None)
    _, used = cache.data(model, twice, "features", 4, 0)
    assert used.computed == 5
    assert rows_in(tmp_path) == 3
    found, used = cache.data(model, data, "features", 4, 0)
    assert used.there == 3
    expected = model.features(data.train)
    np.testing.assert_array_equal([found.train.images[i] for i in range(60)], expected)


def test_what_changes_a_row_changes_its_place(data, tmp_path, monkeypatch):
    """Weights, block, preprocessing, precision, versions, device's name: each has a folder of its own."""
    cache, seen = FeatureCache(tmp_path), set()

    def space(model, after="features"):
        _, used = cache.data(plan(model, 0), data, after, 32, 0)
        (new,) = {path.name for path in tmp_path.iterdir() if path.is_dir()} - seen
        seen.add(new)
        return used

    assert space(build()).computed == 75
    assert space(build(), "layer1").computed == 75
    other = build()
    other.set_weights({"conv1.weight": other.weights()["conv1.weight"] + 1e-12})
    assert space(other).computed == 75
    assert space(build("fp32")).computed == 75
    assert space(build(image_size=24)).computed == 75
    assert space(build(missing_pixels="mean")).computed == 75
    assert space(build(decode="draft")).computed == 75
    monkeypatch.setattr(NumpyBackend, "versions", lambda self: {"numpy": "99"})
    assert space(build()).computed == 75
    head = build()
    head.set_weights({"fc.weight": head.weights()["fc.weight"] + 1})
    _, used = cache.data(plan(head, 0), data, "features", 32, 0)
    assert used.there == 75, "the head is not in the rows"


def test_an_image_that_changes_is_another_image(tmp_path):
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(8):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)).save(path)
    cache, model = FeatureCache(tmp_path / "cache"), plan(build(), 0)
    data = xfer.data.folder(folder, val=0)
    assert cache.data(model, data, "features", 4, 0)[1].computed == 8
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "a" / "0.png")
    (folder / "a" / "2.png").rename(folder / "a" / "renamed.png")
    found, used = cache.data(model, xfer.data.folder(folder, val=0), "features", 4, 0)
    assert (used.there, used.computed) == (7, 1)
    data = xfer.data.folder(folder, val=0)
    np.testing.assert_array_equal([found.train.images[i] for i in range(8)], model.features(data.train))
    (folder / "a" / "0.png").unlink()
    gone, _ = cache.data(model, data, "features", 4, 0)
    with pytest.raises(BadImageError, match="no such file"):
        gone.train.images[list(data.train.names).index("a/0.png")]


def test_damage_is_found_and_mended(data, tmp_path):
    """Cuts and flipped bits anywhere in the files: the rows that come out are right."""
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    expected = model.features(data.train)
    rng = np.random.default_rng(0)
    for trial in range(60):
        cache.data(model, data, "features", 8, 0)
        file = rng.choice([path for path in segments(tmp_path) if path.stat().st_size > 256])
        content = bytearray(file.read_bytes())
        within = 256 if trial % 3 == 0 else len(content)  # the header, a third of the time
        if rng.random() < 0.5:
            content = content[: rng.integers(within)]
        else:
            content[rng.integers(within)] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        found, _ = cache.data(model, data, "features", 8, 0)
        got = np.array([found.train.images[i] for i in range(60)])
        np.testing.assert_array_equal(got, expected, err_msg=f"{trial}: {file.name}")


def test_every_bit_of_a_header_is_checked(tmp_path):
    """A row whose bytes are whole, but are of another dtype, would pass a checksum of the row alone."""
    digest, rows = b"d" * 32, np.arange(8.0).reshape(1, 8)
    with Writer(tmp_path) as out:
        out.append([digest], rows)
    content = out.path.read_bytes()
    assert find(tmp_path, {digest}).row_bytes == 64
    for bit in range(256 * 8):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        out.path.write_bytes(damaged)
        assert not find(tmp_path, {digest}).places, bit


def test_a_lost_segment_costs_its_rows(data, tmp_path):
    cache, model = FeatureCache(tmp_path), plan(build(), 0)
    others = replace(data, train=data.train.subset(np.arange(59, 29, -1)), val=None)
    cache.data(model, others, "features", 8, 0)
    (lost,) = segments(tmp_path)
    cache.data(model, data, "features", 8, 0)
    lost.unlink()
    for there in (45, 75):
        found, used = cache.data(model, data, "features", 8, 0)
        assert used.there == there
        got = np.array([found.train.images[i] for i in range(60)])
        np.testing.assert_array_equal(got, model.features(data.train))
