"""The formats: who writes each, what opens it again, and how far it may be from the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from xfer.errors import UnknownNameError, UsageError
from xfer.specs.exported import ExportPrecision

# Greatest difference of a probability (of a regression, in its standard deviations) by precision. Half precision rounds
# to 1/2048. Eight bits move most probabilities by a few percent and those of single images by more, so where classes
# are named the share of images that keep theirs is held instead.
BOUNDS: Mapping[ExportPrecision, float] = {"float32": 1e-4, "float16": 1e-2, "int8": 0.25}
LEAST_EQUAL: Mapping[ExportPrecision, float] = {"int8": 0.95}


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
        name: as `--to` has it.
        suffixes: of its files, the usual one first; none for a folder.
        backends: that write it; a model of another goes through the first of them.
        opened_by: Python code that defines `run(**inputs)`, from arrays by name to arrays by name, for a `path`, and
            `version`. It is what users write, without xfer.
        needs: modules that writing and opening it need, beside those of the backend.
        extra: of xfer, which installs them.
        precisions: of the weights in the file.
        without: modules that are not there when the file is opened.
    """

    name: str
    suffixes: tuple[str, ...]
    backends: tuple[str, ...]
    opened_by: str
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: str = ""
    precisions: tuple[ExportPrecision, ...] = ("float32",)
    without: tuple[str, ...] = ("xfer", "torch", "tensorflow", "keras")

    def check_installed(self, backend: str) -> None:
        """Find out before the work whether what writes and opens the file is there.

        Raises:
            UsageError: a module is missing.
        """
        for name in (*self.needs.get("", ()), *self.needs.get(backend, ())):
            if find_spec(name) is None:
                raise UsageError(f'--to {self.name} needs {name}: pip install "xfer-learn[{self.extra}]"')

    def file(self, path: Path) -> Path:
        """The file itself: a path that has none of the suffixes is the folder in which it is called "model".

        Raises:
            UsageError: the suffix of another format.
        """
        if not self.suffixes or path.suffix in self.suffixes:
            return path
        others = [each.name for each in FORMATS.values() if path.suffix and path.suffix in each.suffixes]
        if others:
            raise UsageError(f"{path} is a file of --to {others[0]}, not of {self.name}: end it in {self.suffixes[0]}")
        return path / f"model{self.suffixes[0]}"


_ONNX = """
import onnxruntime

session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
version = f"onnxruntime {onnxruntime.__version__}"

def run(**inputs):
    return dict(zip(names, session.run(None, inputs)))
"""

_SAVED_MODEL = """
import tensorflow as tf

model = tf.saved_model.load(path)  # kept: an endpoint ends with the model that it is of
version = f"tensorflow {tf.__version__}"

def run(**inputs):
    outputs = model.signatures["serving_default"](**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: tensor.numpy() for name, tensor in outputs.items()}
"""

_LITERT = """
from importlib.metadata import version as version_of
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(path)
version = f"ai-edge-litert {version_of('ai-edge-litert')}"
runner = interpreter.get_signature_runner("serving_default")

def run(**inputs):
    return runner(**inputs)
"""

_TORCH_EXPORT = """
import json
import torch

files = {"model.json": ""}
model = torch.export.load(path, extra_files=files).module()
names = list(json.loads(files["model.json"])["outputs"])
version = f"torch {torch.__version__}"

def run(**inputs):
    with torch.inference_mode():
        outputs = model(*(torch.from_numpy(array) for array in inputs.values()))
    return {name: output.numpy() for name, output in zip(names, outputs)}
"""

_TORCHVISION = """
import runpy
from pathlib import Path
import torch
import torchvision

script = runpy.run_path(str(Path(path).with_suffix(".py")))
version = f"torchvision {torchvision.__version__}"

def run(image):
    return {"probabilities": script["probabilities"](torch.from_numpy(image)).numpy()}
"""

_KERAS = """
import os
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras

try:
    model = keras.saving.load_model(path)
except TypeError:
    # These register the layers that Keras does not have.
    import xfer_keras_nets.attention, xfer_keras_nets.layers, xfer_keras_nets.rotary
    model = keras.saving.load_model(path)
version = f"keras {keras.__version__}"

def run(**inputs):
    arrays = list(inputs.values())
    outputs = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    return {name: tensor.numpy() for name, tensor in outputs.items()}
"""

FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format(
            "onnx",
            (".onnx",),
            ("torch", "tensorflow"),
            _ONNX,
            {"": ("onnx", "onnxruntime"), "torch": ("onnxscript",), "tensorflow": ("tf2onnx",)},
            "onnx",
        ),
        Format("saved-model", (), ("tensorflow",), _SAVED_MODEL, without=("xfer", "torch", "keras")),
        Format(
            "litert",
            (".tflite",),
            ("tensorflow",),
            _LITERT,
            {"": ("ai_edge_litert",)},
            "litert",
            ("float32", "float16", "int8"),
        ),
        Format("torch-export", (".pt2",), ("torch",), _TORCH_EXPORT, without=("xfer", "tensorflow", "keras")),
        Format(
            "torchvision",
            (".safetensors", ".pth"),
            ("torch",),
            _TORCHVISION,
            without=("xfer", "tensorflow", "keras"),
        ),
        Format("keras", (".keras",), ("tensorflow",), _KERAS, without=()),
    )
}


def format_of(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]
