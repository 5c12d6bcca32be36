"""Files of models on Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

import xfer
from tests.suites.exporting import CLASSES, Exporting, lively, onnx
from tests.suites.zoo_workflow import SMALLEST, smallest
from xfer.errors import UsageError


class TestExport(Exporting):
    backend = "tensorflow"
    formats = ("saved-model", "onnx", "litert", "keras")
    quick = ("litert", "onnx")

    def opened(self, format, path):
        if format == "onnx":
            return onnx(path)
        if format == "litert":
            return litert(path)
        if format == "saved-model":
            kept = tf.saved_model.load(path)

            def run(**inputs):
                return {name: tensor.numpy() for name, tensor in kept.serve(*map(tf.constant, inputs.values())).items()}

            return run
        model = keras.saving.load_model(path)

        def call(**inputs):
            outputs = model([*inputs.values()] if len(inputs) > 1 else inputs["image"])
            return {name: tensor.numpy() for name, tensor in outputs.items()}

        return call

    def wrapped(self):
        keras.utils.set_random_seed(0)
        image = keras.Input((16, 16, 3))
        x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(image))))
        net = keras.Model(image, layers.Dense(3, name="fc")(x))
        return xfer.wrap(net, backend="tensorflow", head="fc", device="cpu")

    def test_fewer_bits(self, tmp_path):
        model, size = self.load(classes=CLASSES), {}
        images = np.random.default_rng(2).integers(0, 256, (9, 16, 16, 3)).astype(np.uint8)
        z = model.logits(images).astype(float)
        expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        for precision, far in (("float32", 1e-5), ("float16", 5e-3), ("int8", 0.2)):
            path = tmp_path / precision / "net.tflite"
            done = xfer.export(model, path, to="litert", precision=precision, calibration=images, check=images)
            size[precision] = done.bytes
            found = litert(path)(image=images)["probabilities"]
            assert np.abs(found - expected).max() < far
            kinds = {detail["dtype"] for detail in Interpreter(str(path)).get_tensor_details()}
            assert (np.float16 in kinds, np.int8 in kinds) == (precision == "float16", precision == "int8")
        with pytest.raises(UsageError, match="int8 takes its ranges from training images, which are not there"):
            xfer.export(model, tmp_path / "other", to="litert", precision="int8")


def litert(path):
    """A LiteRT file as a function."""
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    return lambda **inputs: runner(**inputs)


def test_layers_of_keras_alone():
    """A convolutional network is saved with Keras's own layers, whatever those are that it was trained with."""
    from xfer.specs.exported import ExportJob, outputs_of
    from xfer_keras.export import program

    model = xfer.load("resnet18", backend="tensorflow", weights=None, classes=2, image_size=32, device="cpu")
    job = ExportJob("keras", "", outputs_of(model.classes, (), model.decision), {})
    kinds = {type(layer).__module__ for layer in program(model, job)._flatten_layers()}
    assert all(kind.startswith("keras.") for kind in kinds), kinds


@pytest.mark.long
@pytest.mark.parametrize("format", ["saved-model", "litert", "keras", "onnx"])
@pytest.mark.parametrize("name", SMALLEST)
def test_every_family(tmp_path, name, format):
    """The comparison is in the export: it would fail."""
    size, options = smallest(name), {"weights": None, "classes": CLASSES, "precision": "fp32"}
    model = lively(xfer.load(name, backend="tensorflow", image_size=size, **options))
    done = xfer.export(model, tmp_path / "out", to=format)
    assert done.check.equal_classes == done.check.images == 64
