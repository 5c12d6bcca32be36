"""What `xfer.export` promises, for both backends: subclasses say which formats they write, and open them."""

import json
import runpy

import numpy as np
import pytest
from PIL import Image

import xfer
from xfer.errors import UsageError
from xfer.specs.decision import Decision
from xfer.specs.tasks import Task, split_outputs

CLASSES = ("a", "b", "c")
NUMBERS = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
TASKS = (
    Task("kind", classes=("x", "y", "z")),
    Task("marks", "multi-label", ("p", "q")),
    Task("size", "regression", ("cm",), mean=(30.0,), std=(4.0,)),
)


def lively(model):
    """Weights with which predictions differ from image to image."""
    rng = np.random.default_rng(0)
    weights = model.weights()
    for name, array in weights.items():
        if name.endswith(("running_mean", "running_var")):
            weights[name] = (array + rng.uniform(0, 0.5, array.shape)).astype(np.float32)
        elif model.card.block_of(name) == "head":
            weights[name] = rng.normal(size=array.shape).astype(np.float32)
    model.set_weights(weights)
    return model


def photographs(folder):
    """JPEG files upright, lying and turned by their EXIF."""
    rng, paths = np.random.default_rng(3), []
    for i, size in enumerate([(40, 30), (31, 57), (16, 16), (25, 90), (64, 48), (20, 21), (33, 18)]):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8))
        exif = Image.Exif()
        exif[0x0112] = 1 + i
        paths.append(folder / f"{i}.jpg")
        small.resize(size, Image.Resampling.BICUBIC).save(paths[-1], quality=95, exif=exif)
    return paths


class Exporting:
    """Give `backend`, `formats`, those of them whose runtime is quick to start, `opened` and `wrapped`."""

    backend = ""
    formats = ()
    quick = ()

    def opened(self, format, path):
        """The file as a function from arrays by name to arrays by name, by the runtime itself."""
        raise NotImplementedError

    def load(self, **options):
        given = {"weights": None, "image_size": 16, "device": "cpu", "precision": "fp32", **options}
        return lively(xfer.load("tiny", backend=self.backend, **given))

    def test_from_a_file_to_probabilities(self, tmp_path):
        """preprocess.py and the exported file, without xfer, against `predict_proba` of the same image files."""
        model, paths = self.load(classes=CLASSES), photographs(tmp_path)
        model.decision = Decision(temperature=2.5, thresholds=(0.2, 0.3, 0.5))
        expected = model.predict_proba(paths)
        assert np.ptp(expected) > 0.1
        for format in self.formats:
            done = xfer.export(model, tmp_path / format, to=format, check=paths)
            preprocess = runpy.run_path(str(tmp_path / format / "preprocess.py"))["preprocess"]
            images = np.stack([preprocess(path) for path in paths])
            run = self.opened(format, done.path)
            for count in (7, 1):
                found = run(image=images[:count])
                assert list(found) == ["probabilities"]
                np.testing.assert_allclose(found["probabilities"], expected[:count], atol=2e-6, rtol=0)
            about = json.loads((tmp_path / format / "model.json").read_text())
            assert about["outputs"]["probabilities"] == {
                "kind": "single-label",
                "classes": list(CLASSES),
                "temperature": 2.5,
                "thresholds": [0.2, 0.3, 0.5],
            }
            seen = about["files"][done.path.name]
            assert (seen["check"]["images"], seen["check"]["equal_classes"]) == (7, 7)
            assert seen["check"]["greatest_difference"] == done.check.greatest_difference <= 2e-6
            assert seen["bytes"] == done.bytes > 0
            assert (tmp_path / format / "labels.txt").read_text() == "a\nb\nc\n"

    def test_several_tasks_and_columns(self, tmp_path):
        self.several(self.quick, tmp_path)

    @pytest.mark.long
    def test_several_tasks_and_columns_in_the_others(self, tmp_path):
        self.several(set(self.formats) - set(self.quick), tmp_path)

    def several(self, formats, tmp_path):
        model = self.load(tasks=TASKS, columns=2)
        images = np.random.default_rng(2).integers(0, 256, (7, 16, 16, 3)).astype(np.uint8)
        expected = split_outputs(TASKS, model.logits(xfer_inputs(images)))
        for format in formats:
            done = xfer.export(model, tmp_path / format, to=format)
            found = self.opened(format, done.path)(image=images, columns=NUMBERS)
            assert set(found) == set(expected)
            for name, answer in expected.items():
                np.testing.assert_allclose(found[name], answer, atol=2e-6, rtol=1e-6, err_msg=f"{format} {name}")
            assert done.images == "crops of scikit-learn's sample photographs"

    @pytest.mark.long
    def test_bfloat16_is_exported_in_float32(self, tmp_path):
        model = self.load(classes=CLASSES, precision="bf16")
        before = model.weights()
        done = xfer.export(model, tmp_path / "out", to=self.formats[0])
        assert done.check.greatest_difference < 2e-6
        assert model.spec.precision == "bf16"
        assert all((model.weights()[name] == array).all() for name, array in before.items())

    def test_what_a_wrapped_network_cannot(self, tmp_path):
        model = self.wrapped()
        other = next(f for f in ("torch-export", "saved-model") if f not in self.formats)
        with pytest.raises(UsageError, match=f"is a network of {self.backend}, which writes no {other}"):
            xfer.export(model, tmp_path / "out", to=other)
        images = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3)).astype(np.uint8)
        z = model.logits(images).astype(float)
        expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        done = xfer.export(model, tmp_path / "out", to=self.quick[0])
        found = self.opened(self.quick[0], done.path)(image=images)["probabilities"]
        np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0)

    def wrapped(self):
        """A small network behind `xfer.wrap`."""
        raise NotImplementedError


def xfer_inputs(images):
    from xfer.specs.inputs import Inputs

    return Inputs(images, None, NUMBERS)


def onnx(path):
    """An ONNX file as a function."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert json.loads(session.get_modelmeta().custom_metadata_map["model.json"])["architecture"]
    return lambda **inputs: dict(zip(names, session.run(None, inputs), strict=True))
