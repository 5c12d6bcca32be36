"""Habits of PyTorch and Keras: the table, and what each changes in the specs."""

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import xfer
from xfer.data import Loader
from xfer.data.images.decode import resize, resize_crop
from xfer.data.sampling import buffered
from xfer.data.sources.arrays import arrays
from xfer.data.transforms.augment import Augment
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.loss import LossSpec, TaskLoss
from xfer.specs.numerics import PARTS, Numerics
from xfer.specs.optimizer import OptimizerSpec
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.training_settings import TrainingSettings
from xfer.specs.update import UpdateSpec
from xfer.testing import NumpyBackend

RECIPE = Preprocessing(224, 256, "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_nothing_said_is_nothing_changed():
    own = Numerics()
    assert own.given == {}
    assert own.preprocessing(RECIPE) == RECIPE
    assert RECIPE.described().keys() == {"size", "resize", "interpolation", "mean", "std", "missing", "decode"}
    update = TrainingSettings().update_spec(LossSpec(), own)
    assert update == UpdateSpec(OptimizerSpec())
    assert (update.form, update.decay_form, update.loss.reduction) == ("torch", "torch", "weights")
    own.check_own("saved")


def test_the_table_has_each_field_once():
    assert [part.field for part in PARTS.values()] == [field.name for field in fields(Numerics)]
    for part in PARTS.values():
        assert part.torch != part.keras
        assert Numerics.habits("pytorch").given[part.field] == part.torch
        assert Numerics.habits("tensorflow").given[part.field] == part.keras
        assert part.parse(str(part.keras)) == part.keras
    with pytest.raises(UnknownNameError, match="framework"):
        Numerics.habits("caffe")
    with pytest.raises(UnknownNameError, match="value of crop"):
        Numerics(crop="middle")
    with pytest.raises(UsageError, match="norm-eps=2"):
        Numerics(norm_eps=2.0)


def test_the_page_has_the_table():
    page = (Path(__file__).parents[3] / "docs" / "gap.md").read_text("utf-8")
    for part in PARTS.values():
        assert f"| `{part.name}` | {part.what[0]} | {part.what[1]} |" in page
        assert f"| `{part.name}` | {part.source[0]} | {part.source[1]} |" in page


def test_preprocessing():
    torch, keras = (Numerics.habits(world).preprocessing(RECIPE) for world in ("torch", "keras"))
    assert (torch.resize, torch.squash, torch.antialias, torch.interpolation) == (256, False, True, "bilinear")
    assert (keras.resize, keras.squash, keras.antialias, keras.interpolation) == (224, True, False, "bilinear")
    assert (torch.mean[0], keras.mean[0], keras.std[0]) == (0.485, 0.5, 0.5)
    assert Numerics(resize="nearest").preprocessing(RECIPE).interpolation == "nearest"
    assert len({str(recipe.described()) for recipe in (RECIPE, torch, keras)}) == 3
    with pytest.raises(UsageError, match="antialias=False"):
        Preprocessing(8, 8, "bicubic", antialias=False)


def test_nearest_is_pillows():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8))
    found = resize(image, (9, 7), Preprocessing(8, 8, "nearest"))
    assert found.tobytes() == image.resize((9, 7), Image.Resampling.NEAREST).tobytes()


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_constants_are_those_of_the_framework_unless_they_are_given(rule):
    keras = Numerics.habits("keras")
    update = TrainingSettings(optimizer=rule).update_spec(LossSpec(), keras)
    assert update.optimizer.eps == 1e-7
    assert update.optimizer.decay == {"sgd": 0, "adam": 0, "adamw": 0.004}[rule]
    assert update.decoupled
    chosen = TrainingSettings(optimizer=rule, eps=1e-3, weight_decay=0.2).update_spec(LossSpec(), keras).optimizer
    assert (chosen.eps, chosen.decay) == (1e-3, 0.2)
    assert TrainingSettings(optimizer=rule).update_spec(LossSpec(), keras).loss.reduction == "count"
    several = LossSpec(tasks=(TaskLoss("single-label", 3, loss=LossSpec(class_weights=(1.0, 2.0, 3.0))),))
    (task,) = TrainingSettings(optimizer=rule).update_spec(several, keras).loss.tasks
    assert (task.loss.reduction, task.loss.class_weights) == ("count", (1.0, 2.0, 3.0))


@given(st.integers(0, 60), st.integers(1, 70), st.integers(0, 5))
def test_a_buffer_gives_each_element_once_and_none_before_it_is_read(number, size, seed):
    found = buffered(np.arange(number), size, np.random.default_rng(seed))
    assert sorted(found.tolist()) == list(range(number))
    assert all(element < place + size for place, element in enumerate(found.tolist()))


def loader(**options):
    data = arrays(np.zeros((50, 8, 8, 3), np.uint8), np.arange(50) % 2, classes=("a", "b"))
    return Loader(data.train, Preprocessing(8, 8), batch_size=8, shuffle=True, **options)


def test_a_loader_shuffles_through_a_buffer():
    """Batches of one epoch come from one part of an order that all epochs share."""
    whole, part = loader(), loader(buffer=4)
    assert sorted(part.order(0).tolist()) == list(range(len(part.split)))
    places = np.argsort(np.random.default_rng([0, 2**32 - 1]).permutation(len(part.split)))
    for epoch in range(3):
        assert (places[part.order(epoch)] < np.arange(len(part.split)) + 4).all()
        assert not (places[whole.order(epoch)] < np.arange(len(part.split)) + 4).all()
    assert not np.array_equal(part.order(0), part.order(1))


def test_a_crop_of_the_resized_image():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8))
    augment, recipe = Augment(crop=0.3), Preprocessing(16, 16)
    first = Numerics(augmentation_order="resize-first").preprocessing(recipe)
    found = augment(image, first, np.random.default_rng(3))
    small = Image.fromarray(resize_crop(image, recipe))
    assert found.tobytes() == augment(small, recipe, np.random.default_rng(3)).tobytes()
    assert found.tobytes() != augment(image, recipe, np.random.default_rng(3)).tobytes()


def test_several_processes_are_refused_before_anything_is_trained():
    data = arrays(np.zeros((20, 16, 16, 3), np.uint8), np.arange(20) % 2)
    model = xfer.load(
        "tiny",
        backend=NumpyBackend(),
        weights=None,
        classes=data.classes,
        image_size=16,
        numerics=Numerics(norm_eps=0.1),
    )
    trainer = xfer.Trainer(model, progress=False, cache=False)
    trainer.distributed = SimpleNamespace(size=2, rank=0)
    with pytest.raises(UsageError, match="cannot be trained in several processes"):
        trainer.fit(data, 1)
    assert trainer.epoch == 0
