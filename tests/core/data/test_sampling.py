"""Epochs of equal classes: what they hold, that nothing but seed and epoch decides it, and that they can be resumed."""

from collections import Counter
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from scipy.stats import chisquare

import xfer
from tests.suites.command_line import xfer_command
from xfer.data import Augment, Data, Loader, Sampling, Split
from xfer.data.images.decode import decode
from xfer.data.sampling import quotas, repetitions, sample
from xfer.errors import UnknownNameError, UsageError
from xfer.runtime import checksums
from xfer.specs.settings import RunSettings
from xfer.specs.training_settings import TrainingSettings
from xfer.testing import NumpyBackend
from xfer.training.callback import Callback
from xfer.workflows import run as workflow
from xfer.workflows import setup
from xfer.workflows.config import run_settings

KINDS = ("over", "under", "balanced")


def skewed(counts, size=(12, 10)):
    """Random images whose labels are mixed up, so many of each class."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in labels]
    return Split(images, labels, [f"{i:03}" for i in range(len(labels))], tuple("abcdef"[: len(counts)]))


@pytest.mark.parametrize("counts", [(20, 7, 3), (1, 50), (6, 6), (5,), (0, 9, 4), (13, 1, 1, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_is_what_is_promised(preprocessing, counts, kind):
    split = skewed(counts)
    there = [count for count in counts if count]
    expected = {"over": max(there), "under": min(there), "balanced": sum(there) // len(there)}[kind]
    loader = Loader(split, preprocessing, batch_size=4, sampling=kind, shuffle=True, seed=3)
    for epoch in range(5):
        order = loader.order(epoch)
        assert order.dtype == np.int64
        assert Counter(split.labels[order].tolist()) == {i: expected for i, count in enumerate(counts) if count}
        times = Counter(order.tolist())
        for label, count in enumerate(counts):
            of_class = [times[i] for i in np.flatnonzero(split.labels == label).tolist()]
            assert len(of_class) == count
            assert max(of_class, default=0) - min(of_class, default=0) <= 1
        if kind == "over":
            assert set(times) == set(range(len(split)))
        if kind == "under":
            assert set(times.values()) == {1}
    assert loader.size == len(order) == expected * len(there)
    assert len(loader) == -(-loader.size // 4)
    assert sum(map(len, loader.epoch(0))) == loader.size


def test_none_is_every_image_once(preprocessing):
    split = skewed((20, 7, 3))
    loader = Loader(split, preprocessing, batch_size=4, shuffle=True, seed=3)
    assert loader.order(2).tolist() == np.random.default_rng([3, 2]).permutation(30).tolist()
    assert sample(split.labels, "none", np.random.default_rng(0)).tolist() == list(range(30))
    assert quotas(split.labels, "none").tolist() == [20, 7, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_depends_on_seed_and_epoch_alone(preprocessing, kind):
    split = skewed((20, 7, 3))

    def order(epoch, seed=3):
        loader = Loader(split, preprocessing, batch_size=4, sampling=kind, shuffle=True, seed=seed)
        return loader.order(epoch).tolist()

    late = Loader(split, preprocessing, batch_size=9, sampling=kind, shuffle=True, seed=3, workers=2, augment="light")
    for epoch in (4, 1, 0, 1):
        list(late.epoch(epoch))
        assert late.order(epoch).tolist() == order(epoch)
    assert len({str(order(epoch)) for epoch in range(6)} | {str(order(0, seed)) for seed in range(4, 8)}) == 10


def test_other_images_each_epoch_and_all_alike_in_the_long_run(preprocessing):
    split = skewed((20, 7, 3))
    for kind, label in (("under", 0), ("under", 1), ("over", 1), ("balanced", 0), ("balanced", 1)):
        loader = Loader(split, preprocessing, batch_size=4, sampling=kind, shuffle=True)
        orders = [loader.order(epoch) for epoch in range(1000)]
        drawn = [tuple(sorted(order[split.labels[order] == label].tolist())) for order in orders]
        assert len(set(drawn)) > 5
        times = np.bincount(np.concatenate(drawn), minlength=len(split))[split.labels == label]
        assert chisquare(times).pvalue > 1e-3, (kind, label)


def test_without_shuffling_the_split_keeps_its_order(preprocessing):
    loader = Loader(skewed((20, 7, 3)), preprocessing, batch_size=4, sampling="over")
    orders = [loader.order(epoch).tolist() for epoch in range(3)]
    assert all(a <= b for order in orders for a, b in pairwise(order))
    assert orders[0] != orders[1], "which images are repeated once more differs"


def test_repetitions_are_counted_from_the_first():
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 50, 300):
        order = rng.integers(0, 20, size)
        expected = [order[:place].tolist().count(index) for place, index in enumerate(order.tolist())]
        assert repetitions(order).tolist() == expected


@pytest.mark.parametrize("workers", [0, 3])
def test_each_repetition_is_augmented_anew(preprocessing, workers):
    split = skewed((9, 2))
    options = {"batch_size": 4, "shuffle": True, "seed": 7, "augment": "strong", "workers": workers}
    seen = Counter()
    views = {}
    for batch in Loader(split, preprocessing, sampling="over", **options).epoch(2):
        for index, pixels in zip(batch.indices.tolist(), batch.images, strict=True):
            nth = seen[index]
            rng = np.random.default_rng([7, 2, index, nth] if nth else [7, 2, index])
            expected = Augment.parse("strong")(decode(split.images[index]), preprocessing, rng)
            np.testing.assert_array_equal(pixels, expected)
            views.setdefault(index, set()).add(pixels.tobytes())
            seen[index] += 1
    for label, times in ((0, {1}), (1, {4, 5})):
        assert {seen[i] for i in np.flatnonzero(split.labels == label).tolist()} == times
    assert all(len(views[i]) == seen[i] for i in seen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_begins_anywhere(preprocessing, kind, workers):
    options = {"batch_size": 3, "shuffle": True, "sampling": kind, "augment": "light"}
    split = skewed((14, 5, 4))
    whole = list(Loader(split, preprocessing, **options).epoch(1))
    for start in range(len(whole) + 1):
        rest = list(Loader(split, preprocessing, workers=workers, **options).epoch(1, start))
        assert [batch.number for batch in rest] == [batch.number for batch in whole[start:]]
        for a, b in zip(rest, whole[start:], strict=True):
            np.testing.assert_array_equal(a.indices, b.indices)
            np.testing.assert_array_equal(a.images, b.images)


def test_unreadable_images_are_missing_as_often_as_they_were_drawn(preprocessing):
    split = skewed((9, 3))
    bad = int(np.flatnonzero(split.labels == 1)[0])
    split.images[bad] = b""
    loader = Loader(split, preprocessing, batch_size=4, sampling="over", shuffle=True, workers=2)
    read = np.concatenate([batch.indices for batch in loader.epoch(0)])
    assert len(read) == 18 - 3
    assert [skipped.name for skipped in loader.skipped] == [split.names[bad]]


def test_refusals(preprocessing):
    split = skewed((20, 7, 3))
    with pytest.raises(UnknownNameError, match="unknown sampling 'ovr'; did you mean 'over'"):
        Loader(split, preprocessing, batch_size=4, sampling="ovr")
    with pytest.raises(UsageError, match="drop_last leaves nothing of 9 images in batches of 10"):
        Loader(split, preprocessing, batch_size=10, sampling="under", drop_last=True)
    unlabelled = Split(split.images, np.where(split.labels == 2, -1, split.labels), split.names)
    with pytest.raises(UsageError, match="sampling='over' needs labels, which 3 images lack"):
        Loader(unlabelled, preprocessing, batch_size=4, sampling="over")
    assert Loader(unlabelled, preprocessing, batch_size=4).size == 30
    assert list(Loader(split.subset([]), preprocessing, batch_size=4, sampling="over").epoch(0)) == []


# In training.


@pytest.fixture
def data():
    return Data(skewed((30, 9, 5), (16, 16)), skewed((4, 3, 2), (16, 16)), None, ("a", "b", "c"), "skewed")


@pytest.fixture
def network():
    return xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b", "c"], image_size=16)


def trainer(model, **options):
    return xfer.Trainer(model, **({"lr": 1e-2, "progress": False, "batch_size": 8, "restore_best": False} | options))


def watch(run):
    """What the network is given from now on: (epoch, images, labels) of each step."""
    steps, step = [], run.stepper.step

    def watched(inputs, labels, rates, seed):
        steps.append((run.epoch, inputs.values.tobytes(), labels.tolist()))
        return step(inputs, labels, rates, seed)

    run.stepper.step = watched
    return steps


@pytest.mark.parametrize(("kind", "images"), [("none", 44), ("over", 90), ("under", 15), ("balanced", 42)])
def test_training_sees_equal_classes_and_validation_all(network, data, kind, images):
    run = trainer(network, sampling=kind)
    steps = watch(run)
    rows = run.fit(data, 2)
    assert [row["images"] for row in rows] == [images] * 2
    found = Counter(label for epoch, _, labels in steps for label in labels if epoch == 0)
    assert found == ({0: 30, 1: 9, 2: 5} if kind == "none" else dict.fromkeys(range(3), images // 3))
    assert len(network.evaluate(data).labels) == 9


def test_a_lone_last_image_is_one_of_those_that_are_taken(network, data):
    """11 of each are 33, whose last would stand alone; 33 images of which 30 are taken end with a batch of 14."""
    lone = Data(skewed((11, 9, 5), (16, 16)), None, None, data.classes, "lone")
    assert trainer(network, batch_size=16, sampling="over").fit(lone, 1)[0]["images"] == 32
    many = Data(skewed((13, 10, 10), (16, 16)), None, None, data.classes, "many")
    assert trainer(network, batch_size=16, sampling="under").fit(many, 1)[0]["images"] == 30
    assert trainer(network, batch_size=16).fit(many, 1)[0]["images"] == 32


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_stopped_in_the_middle_of_an_epoch_goes_on_with_the_same_batches(network, data, tmp_path, kind):
    class StopAt(Callback):
        def on_step_end(self, trainer, step, loss):
            if trainer.epoch == 1 and step == 0:
                raise KeyboardInterrupt

    options = {"sampling": kind, "augment": "flip,crop", "schedule": "cosine"}
    start = network.weights()
    whole = trainer(network, **options)
    steps = watch(whole)
    whole.fit(data, 3)
    expected = network.weights()

    network.set_weights(start)
    first = trainer(network, callbacks=[StopAt()], **options)
    before = watch(first)
    with pytest.raises(KeyboardInterrupt):
        first.fit(data, 3)
    first.save(tmp_path)
    second = xfer.Trainer.resume(tmp_path, backend=network.backend, progress=False, restore_best=False)
    assert (second.settings.sampling, second.epoch, second.batch) == (kind, 1, 1)
    after = watch(second)
    second.fit(data)
    assert before + after == steps
    assert len(before) < len(steps) - 2
    assert all(second.model.weights()[name].tobytes() == array.tobytes() for name, array in expected.items())


def test_a_run_saved_before_there_was_sampling_is_resumed_without(network, data, tmp_path):
    run = trainer(network)
    run.fit(data, 1)
    run.save(tmp_path)
    document = checksums.without_checksum((tmp_path / "manifest.json").read_bytes())
    del document["training"]["settings"]["sampling"]
    (tmp_path / "manifest.json").write_bytes(checksums.with_checksum(document))
    assert xfer.Trainer.resume(tmp_path, backend=network.backend, progress=False).settings.sampling == "none"


def test_words_are_the_same_everywhere(network, tmp_path):
    assert get_args(Sampling) == ("none", *KINDS)
    assert RunSettings.model_fields["sampling"].annotation == Sampling
    assert TrainingSettings.model_fields["sampling"].annotation == Sampling
    with pytest.raises(UnknownNameError, match="unknown sampling 'ovr'"):
        trainer(network, sampling="ovr")
    result = xfer_command("train", "digits", "--sampling", "ovr", "--out", tmp_path / "run")
    assert result.returncode == 2
    assert "ovr" in result.stderr


def test_a_configuration_reaches_the_trainer(tree, tmp_path, monkeypatch):
    real = setup.load
    monkeypatch.setattr(setup, "load", lambda model, **options: real(model, **options | {"backend": NumpyBackend()}))
    root = tree({"photos/train/ant": 7, "photos/train/bee": 2, "photos/val/ant": 2, "photos/val/bee": 1})
    given = {"data": str(root / "photos"), "model": "tiny", "weights": "none", "image_size": 16, "epochs": 1}
    result = workflow.train(run_settings(given, {"sampling": "over", "out": str(tmp_path / "run")}), progress=False)
    assert result.metrics["epochs"][0]["images"] == 14
    assert result.metrics["config"]["sampling"] == "over"
    assert len(result.evaluation.labels) == 3
