"""What `data.show` and `xfer inspect` show is what a network is given in training, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.data import Split
from xfer.data.views import samples
from xfer.errors import UnknownNameError, UsageError
from xfer.specs.preprocessing import Preprocessing
from xfer.specs.settings import RunSettings
from xfer.testing.numpy_backend import NumpyBackend
from xfer.training.loaders import training_loader

EPOCHS = 3


@pytest.fixture
def data(tmp_path, photo):
    """25 photos of three classes, all of them different."""
    for seed, name in enumerate(["ant"] * 14 + ["bee"] * 7 + ["fly"] * 3 + ["val"]):
        folder = tmp_path / ("val/ant" if name == "val" else f"train/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        photo(seed).save(folder / f"{seed}.png")
    return xfer.data.folder(tmp_path)


class Recorder:
    """A stepper that notes what it is given before it makes the update."""

    def __init__(self, stepper):
        self._stepper, self.batches = stepper, []

    def __getattr__(self, name):
        return getattr(self._stepper, name)

    def step(self, inputs, labels, *rest):
        self.batches.append((inputs.values.copy(), labels.copy()))
        return self._stepper.step(inputs, labels, *rest)


def trained_on(data, **options):
    """The images and labels of each step of a fit on the NumPy backend, by epoch."""
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=data.classes)
    trainer = xfer.Trainer(model, progress=False, cache=False, **options)
    found = []
    for _ in range(EPOCHS):
        recorder = Recorder(trainer.stepper)
        trainer._stepper = recorder
        trainer.fit(data, epochs=1)
        trainer._stepper = recorder._stepper
        found.append(recorder.batches)
    return model, found


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "strong"},
        {"augment": "light", "mix": "mixup,cutmix"},
        {"augment": "none", "mix": "cutmix"},
        {"sampling": "over", "augment": "flip", "augment_minority": "strong"},
        {"sampling": "under", "augment": "flip"},
        {},
    ],
    ids=lambda options: ",".join(options) or "none",
)
def test_views_are_what_the_network_was_given(data, options):
    model, epochs = trained_on(data, batch_size=8, seed=3, **options)
    shown = data.show(n=10, views=EPOCHS, model=model, batch_size=8, seed=3, **options)
    assert len(shown) == 10
    assert {sample.label for sample in shown} == {"ant", "bee", "fly"}
    number = 0
    for epoch, batches in enumerate(epochs):
        seen = {
            image.tobytes(): label for images, labels in batches for image, label in zip(images, labels, strict=True)
        }
        for sample in shown:
            if options.get("sampling") == "under" and len(sample.views) < EPOCHS:
                continue  # some epochs leave it out
            view = sample.views[epoch]
            label = seen[view.pixels.tobytes()]  # not one bit is other
            number += 1
            if np.ndim(label) == 0:
                assert view.label == sample.label == data.classes[label]
            else:  # shares of mixed classes
                said = view.label.split(", ")
                assert said[0].startswith(data.classes[int(label.argmax())])
                assert len(said) == (label >= 0.005).sum()
    assert number >= EPOCHS * (1 if options.get("sampling") == "under" else 10)


def test_the_command_line_uses_the_loader_of_a_fit(data):
    """The loader of the settings gives the batches of a fit with the same settings."""
    config = RunSettings(data="photos", augment="light", batch_size=8, seed=5)
    model, epochs = trained_on(data, batch_size=8, augment="light", seed=5)
    loader = training_loader(data.train, model.spec.preprocessing, config, batch_size=config.images_per_pass)
    for epoch, batches in enumerate(epochs):
        for made, (images, labels) in zip(loader.epoch(epoch), batches, strict=True):
            assert np.array_equal(made.images, images)
            assert np.array_equal(made.labels, labels)


def test_an_epoch_that_leaves_an_image_out_has_no_view_of_it(data):
    """Undersampling takes three of 14 ants in an epoch."""
    shown = data.show(n=24, views=4, sampling="under", augment="flip", image_size=32)
    ants = [sample for sample in shown if sample.label == "ant"]
    assert sum(len(sample.views) for sample in ants) == 4 * 3
    assert all(len(sample.views) == 4 for sample in shown if sample.label == "fly")


def test_images_of_each_class_are_chosen_and_unreadable_ones_left_out(data, tmp_path, capsys):
    for name in [name for name in data.train.names if "fly" in name][1:]:
        (tmp_path / name).write_bytes(b"broken")
    shown = data.show(n=6)
    assert [sample.label for sample in shown].count("fly") == 1
    assert not any(sample.views for sample in shown)
    assert "cannot read" in capsys.readouterr().err
    assert {sample.label for sample in data.show(n=3)} == {"ant", "bee", "fly"}


def test_saved_as_page_and_picture(data, tmp_path):
    shown = data.show(n=3, augment="light", image_size=32)
    page = shown.save(tmp_path / "samples.html").read_text("utf-8")
    assert page.count("<img") == 3 * 5
    assert page.startswith("<!doctype html>")
    with Image.open(shown.save(tmp_path / "samples.png")) as sheet:
        assert sheet.size[0] > 5 * 160
        # The second picture of the first row is the first view, enlarged five times.
        first = np.asarray(sheet)[8:168, 176:336]
    assert np.array_equal(first[2::5, 2::5], shown[0].views[0].pixels)
    with pytest.raises(UsageError, match=r"neither a page nor a picture: give \.html"):
        shown.save(tmp_path / "samples.gif")


def test_targets_of_several_tasks_and_missing_labels():
    tasks = (
        xfer.Task("kind", classes=("a", "b")),
        xfer.Task("marks", "multi-label", ("red", "old")),
        xfer.Task("age", "regression", ("age",), mean=(10.0,), std=(2.0,)),
    )
    images = np.zeros((3, 8, 8, 3), np.uint8)
    targets = np.array([[0, 1, 1, 0.5], [1, 0, 0, -1], [np.nan] * 4])
    split = Split(images, [0, 1, -1], ["0", "1", "2"], ("a", "b"), targets=targets)
    recipe = Preprocessing(8, 8)
    shown = samples(xfer.data.Loader(split, recipe, batch_size=2), "t", tasks, n=3, views=1)
    assert [s.label for s in shown] == ["no label", "kind=a, marks=red|old, age=11", "kind=b, marks=-, age=8"]
    assert [s.views[0].label for s in shown] == [s.label for s in shown]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "test"}, UnknownNameError, "unknown split 'test'"),
        ({"n": 0}, UsageError, "n=0: give 1 to 100"),
        ({"views": 17}, UsageError, "views=17: give 0 to 16"),
        ({"augment": "folder"}, UnknownNameError, "unknown augmentation"),
        ({"mix": "cutout"}, UnknownNameError, "unknown mix"),
        ({"model": "resnet"}, UnknownNameError, "unknown model"),
        ({"model": 3}, UsageError, "model is a int: give an architecture's name"),
        ({"image_size": 4}, UsageError, "too small"),
    ],
)
def test_refused_in_one_line(data, options, error, message):
    with pytest.raises(error, match=message) as raised:
        data.show(**options)
    assert "\n" not in str(raised.value)


def test_features_are_no_pictures(data):
    features = Split(np.zeros((4, 8), np.float32), [0, 1, 0, 1], list("abcd"), ("x", "y"), after="features")
    with pytest.raises(UsageError, match="not pictures"):
        xfer.data.load(features).show()
