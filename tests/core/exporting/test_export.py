"""`xfer.export` before any framework is asked, and the comparison that every file goes through."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.linear_model import LogisticRegression

import xfer
from xfer.data.images.decode import decode, resize_crop
from xfer.errors import UsageError, XferError
from xfer.exporting import export as module
from xfer.exporting.check import Comparison
from xfer.exporting.description import reference
from xfer.exporting.formats import FORMATS, Format
from xfer.exporting.images import images_to_calibrate, images_to_check
from xfer.runtime.files import tensors_digest
from xfer.specs.decision import Decision, softmax
from xfer.specs.exported import outputs_of
from xfer.specs.preprocessing import Preprocessing
from xfer.testing import NumpyBackend
from xfer.workflows.config import run_settings
from xfer.workflows.run import train
from xfer.workflows.setup import read_data

NUMPY = "xfer.testing:NumpyBackend"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    orientation=st.integers(1, 8),
    mode=st.sampled_from(["RGB", "L", "P", "CMYK"]),
    size=st.integers(8, 40),
    more=st.integers(0, 12),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_preprocess_py_gives_the_same_pixels(folder, width, height, orientation, mode, size, more, interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / ("x.png" if mode == "P" else "x.jpg")
    Image.fromarray(pixels).convert(mode).save(path, exif=exif)
    recipe = Preprocessing(size, size + more, interpolation)
    (folder / "preprocess.py").write_text(reference(recipe))
    found = runpy.run_path(str(folder / "preprocess.py"))["preprocess"](path)
    np.testing.assert_array_equal(found, resize_crop(decode(path), recipe))


OPENED = """
import numpy as np
version = "numpy"
answers = np.load(path)
images = np.load(path.replace("answers", "images"))

def run(image):
    rows = [int((images == each).all(axis=(1, 2, 3)).argmax()) for each in image]
    return {"probabilities": answers[rows]}
"""


def comparison(model, images, answers, tmp_path, code=OPENED):
    np.save(tmp_path / "answers.npy", answers)
    np.save(tmp_path / "images.npy", images)
    model.spec = replace(model.spec, preprocessing=replace(model.spec.preprocessing, resize=16))  # as they are
    split = xfer.data.arrays(images, np.arange(len(images)) % 3, classes=["a", "b", "c"], val=0).train
    compared = Comparison(model, outputs_of(model.classes, (), model.decision), split)
    found = compared.of(tmp_path / "answers.npy", Format("x", (".npy",), (), code))
    compared.close()
    return found


def test_what_a_comparison_counts(model, tmp_path):
    """Answers that are the model's own but for two: one off by 0.25, and one that names another class."""
    model.decision = Decision(1.0, (0.2, 0.3, 0.5))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3)).astype(np.uint8)
    exact = softmax(model.logits(images))
    answers = exact.copy()
    answers[7, 1] += 0.25
    answers[35] = np.eye(3)[(model.decision.choose(exact)[35] + 1) % 3]
    found = comparison(model, images, answers, tmp_path)
    assert found.greatest_difference == pytest.approx(np.abs(answers - exact).max(), abs=1e-6)
    assert found.images == 40
    assert found.equal_classes == int((model.decision.choose(answers) == model.decision.choose(exact)).sum()) < 40
    assert found.runtime == "numpy"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('not a graph')", "cannot be opened again by x's own runtime: ValueError: not a graph"),
        ("version = ''\ndef run(image): return {'other': image}", "expected probabilities"),
        ("import torch", "ModuleNotFoundError"),
    ],
)
def test_files_that_do_not_open(model, tmp_path, code, words):
    images = np.zeros((3, 16, 16, 3), np.uint8)
    with pytest.raises(XferError, match=words):
        comparison(model, images, np.zeros(1), tmp_path, code)


def test_not_a_number_is_no_small_difference(model, tmp_path):
    images = np.zeros((2, 16, 16, 3), np.uint8)
    code = (
        "import numpy as np\nversion = ''\ndef run(image): return {'probabilities': np.full((len(image), 3), np.nan)}"
    )
    found = comparison(model, images, np.zeros(1), tmp_path, code)
    assert (found.greatest_difference, found.equal_classes) == (np.inf, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "onyx"}, "unknown format 'onyx'; did you mean 'onnx'"),
        ({"to": "onnx", "precision": "int8"}, "--to onnx is written in float32, not in int8"),
        ({"to": "onnx", "precision": "fp32"}, "unknown precision 'fp32'"),
        ({"to": "onnx", "path": "model.tflite"}, "model.tflite is a file of --to litert, not of onnx"),
        ({"to": "onnx", "model": "nowhere"}, "'nowhere' is no run"),
    ],
)
def test_refused_before_anything_is_done(model, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    given = {"model": model, "path": "out", **options}
    with pytest.raises(UsageError, match=words):
        xfer.export(given.pop("model"), given.pop("path"), **given)
    assert list(tmp_path.iterdir()) == []


def test_the_backend_that_is_given_writes(model, tmp_path):
    for named, format, others in (("keras", "torch-export", "torch"), ("numpy", "onnx", "torch, tensorflow")):
        with pytest.raises(UsageError, match=f"does not write {format} of tiny: give {others}$"):
            xfer.export(model, tmp_path / "out", to=format, backend=named)


def test_a_package_that_is_missing(model, tmp_path, monkeypatch):
    format = replace(FORMATS["litert"], needs={"": ("nowhere_to_be_found",)})
    monkeypatch.setattr(module, "format_of", lambda name: format)
    with pytest.raises(UsageError, match=r'needs nowhere_to_be_found: pip install "xfer-learn\[litert\]"'):
        xfer.export(model, tmp_path / "out", to="litert")


def test_a_head_of_scikit_learn(model, data, tmp_path):
    model.replace_head(["a", "b", "c"], xfer.Head.sklearn(LogisticRegression()))
    model.freeze()
    xfer.Trainer(model, progress=False, cache=False).fit(data)
    with pytest.raises(UsageError, match="the head is scikit-learn's LogisticRegression, which onnx cannot hold"):
        xfer.export(model, tmp_path / "out", to="onnx")


def test_an_ensemble(model, tmp_path):
    both = xfer.Ensemble([model, model])
    both.save(tmp_path / "both")
    for each in (both, tmp_path / "both"):
        with pytest.raises(UsageError, match="export its members one by one"):
            xfer.export(each, tmp_path / "out", to="onnx")
    with pytest.raises(UsageError, match="'7' is no run"):
        xfer.export(7, tmp_path / "out", to="onnx")


def test_places_that_are_taken(model, tmp_path):
    (tmp_path / "model.json").write_text(json.dumps({"files": {}, "architecture": "another"}))
    with pytest.raises(UsageError, match="holds an export of another model"):
        xfer.export(model, tmp_path, to="onnx")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there and no SavedModel"):
        xfer.export(model, tmp_path / "kept", to="saved-model")
    assert (tmp_path / "kept" / "a.txt").read_text() == "mine"


class Writing(NumpyBackend):
    """Writes one format."""

    formats = ("onnx",)

    def export(self, model, job):
        Path(job.path).write_text(f"{sorted(model.weights())}")


UNIFORM = """
import numpy as np
version = "uniform"

def run(image):
    return {"probabilities": np.full((len(image), 3), 1 / 3)}
"""


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "format_of", lambda name: Format("onnx", (".onnx",), ("numpy",), UNIFORM))
    options = {"weights": None, "classes": ["a", "b", "c"], "image_size": 16}
    model = xfer.load("tiny", backend=Writing(), **options)
    with pytest.raises(XferError, match=r"model.onnx differs from .* more than 1.0e-04, of .*: it is not kept"):
        xfer.export(model, tmp_path / "new" / "out", to="onnx")
    assert not (tmp_path / "new" / "out").exists()
    done = xfer.export(model, tmp_path / "out", to="onnx", bound=1)
    assert 1e-4 < done.check.greatest_difference < 1
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["labels.txt", "model.json", "model.onnx", "preprocess.py"]
    before = (tmp_path / "out" / "model.onnx").read_bytes()
    with pytest.raises(XferError, match="it is not kept"):
        xfer.export(model, tmp_path / "out", to="onnx")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


LETTERS = """
import numpy as np
version = "letters"

def run(image):
    return {"probabilities": np.load(path)}
"""


class Answering(Writing):
    """Writes the probabilities that it is told."""

    formats = ("litert",)

    def export(self, model, job):
        with Path(job.path).open("wb") as file:
            np.save(file, self.answers)


@pytest.mark.parametrize(("changed", "kept"), [(0, True), (1, True), (2, False)])
def test_int8_is_held_to_its_classes(tmp_path, monkeypatch, changed, kept):
    """Of 20 images one may change its class, whatever the probabilities are; `--bound` holds these instead."""
    precisions = ("float32", "int8")
    answers = Format("litert", (".tflite",), ("numpy",), LETTERS, precisions=precisions)
    monkeypatch.setattr(module, "format_of", lambda name: answers)
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    model = xfer.load("tiny", backend=Answering(), weights=None, classes=["a", "b", "c"], image_size=16)
    guess = model.predict_proba(list(images)).argmax(axis=1)
    guess[:changed] = (guess[:changed] + 1) % 3
    model.backend.answers = np.eye(3, dtype=np.float32)[guess] * 0.9 + 0.1 / 3
    options = {"to": "litert", "precision": "int8", "check": list(images), "calibration": list(images)}
    if kept:
        done = xfer.export(model, tmp_path, **options)
        assert (done.check.equal_classes, done.bound) == (20 - changed, None)
        assert done.check.greatest_difference > 0.25
    else:
        with pytest.raises(XferError, match=r"keeps the class of 18 of 20 images, fewer than 95%, of .*not kept"):
            xfer.export(model, tmp_path, **options)
    with pytest.raises(XferError, match=r"in a number of probabilities, more than 2.5e-01, of .*not kept"):
        xfer.export(model, tmp_path, bound=0.25, **options)


def test_weights_are_known_again_on_another_backend():
    """Which lists them in another order, as for networks with attention."""
    weights = {name: np.full((2, 3), i, np.float32) for i, name in enumerate(("stem", "table", "qkv"))}
    other = {name: weights[name] for name in ("stem", "qkv", "table")}
    assert tensors_digest(other) == tensors_digest(weights)
    assert tensors_digest(weights | {"qkv": weights["table"]}) != tensors_digest(weights)
    exchanged = {"stem": weights["stem"], "table": weights["qkv"], "qkv": weights["table"]}
    assert tensors_digest(exchanged) != tensors_digest(weights)


def test_images_of_the_run(tmp_path):
    """Validation images where the run's data are still there, at most 512; and those that are given."""
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    run = tmp_path / "run"
    options = {"model": "tiny", "weights": "none", "image_size": 16, "epochs": 1, "val": 0.3}
    config = run_settings(options, {"data": str(tmp_path / "photos"), "out": str(run), "backend": NUMPY})
    train(config, progress=False)
    model = xfer.load(run, backend=NumpyBackend())
    split, which = images_to_check(model, None, run)
    assert (split.names, which) == (read_data(config).val.names, f"{tmp_path / 'photos'} (val)")
    assert len(images_to_calibrate(model, None, run)) == 14
    assert len(images_to_check(model, str(tmp_path / "photos"), run)[0]) == 20
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert images_to_check(model, None, run)[1] == "crops of scikit-learn's sample photographs"
    with pytest.raises(UsageError, match="which are not there: --calibration DATA"):
        images_to_calibrate(model, None, run)
    with pytest.raises(XferError, match="nowhere"):
        images_to_check(model, "nowhere", run)
