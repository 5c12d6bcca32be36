"""Files of a network on Keras: ONNX, SavedModel, LiteRT and `.keras`."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from xfer.errors import BackendError, first_line
from xfer.models.network import WRAPPED
from xfer.runtime.quiet import held_back
from xfer.specs.exported import COLUMNS, IMAGE, ExportJob, Output
from xfer_keras.model import KerasModel
from xfer_keras_nets.layers import BatchNorm, exact_gelu


def program(model: KerasModel, job: ExportJob) -> keras.Model:
    """The whole model: uint8 (N, S, S, 3), and columns (N, C) if it reads any, to its outputs (N, K) by name."""
    recipe, width = model.spec.preprocessing, model.spec.columns
    mean, std = np.array(recipe.mean), np.array(recipe.std)
    image = keras.Input((recipe.size, recipe.size, 3), dtype="uint8", name=IMAGE)
    x = layers.Rescaling((1 / (255 * std)).tolist(), (-mean / std).tolist(), name="normalise")(image)
    beside = [keras.Input((width,), name=COLUMNS)] if width else []
    logits = _plain(model, job.format)([x, *beside] if beside else x)
    found = {output.name: _answer(output, logits[:, output.start : output.stop]) for output in job.outputs}
    return keras.Model([image, *beside] if beside else image, found, name=model.name.replace(":", "_"))


def _answer(output: Output, z: Any) -> Any:
    if output.kind == "single-label":
        if output.temperature != 1.0:
            z = layers.Rescaling(1 / output.temperature, name=f"{output.name}.temperature")(z)
        return layers.Softmax(name=output.name)(z)
    if output.kind == "multi-label":
        return layers.Activation("sigmoid", name=output.name)(z)
    return layers.Rescaling(list(output.std or (1.0,)), list(output.mean or (0.0,)), name=output.name)(z)


def _plain(model: KerasModel, format: str) -> keras.Model:
    """The network with Keras's own layers wherever they compute the same in inference."""
    if model.card.family == WRAPPED:
        return model.native

    def clone(layer: Any) -> Any:
        if isinstance(layer, BatchNorm):
            config = {name: value for name, value in layer.get_config().items() if name != "update"}
            return layers.BatchNormalization.from_config(config)
        # Not in ONNX, where TensorFlow's own would need an Erfc.
        if isinstance(layer, layers.Activation) and layer.activation is exact_gelu and format != "onnx":
            return layers.Activation("gelu", name=layer.name)
        return type(layer).from_config(layer.get_config())

    made = keras.models.clone_model(model.native, clone_function=clone)
    made.set_weights(model.native.get_weights())
    return made


def write(model: KerasModel, job: ExportJob) -> None:
    """Write a file of one of `WRITERS`."""
    with tf.device("CPU:0"), model.policy(), redirect_stdout(io.StringIO()), held_back():
        WRITERS[job.format](program(model, job), job)


def _saved_model(made: keras.Model, job: ExportJob) -> None:
    _save(made, job.path)


def _keras(made: keras.Model, job: ExportJob) -> None:
    made.save(job.path)


def _onnx(made: keras.Model, job: ExportJob) -> None:
    import onnx
    from tf2onnx import optimizer

    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it tells of each optimization that fails and is left out
    # Each of its optimizers copies the whole graph; but for this one, onnxruntime does the same when it opens the file.
    few = {"optimize_transpose": optimizer._optimizers["optimize_transpose"]}
    try:
        with patch.dict(optimizer._optimizers, few, clear=True):
            made.export(job.path, format="onnx", verbose=False, input_signature=_signature(made))
    finally:
        logger.setLevel(level)
    written = onnx.load(job.path)
    onnx.helper.set_model_props(written, job.metadata)
    onnx.save(written, job.path)


def _litert(made: keras.Model, job: ExportJob) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _save(made, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if job.precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if job.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if job.precision == "int8":
            names = [IMAGE, COLUMNS][: len(job.calibration)]
            converter.representative_dataset = lambda: _samples(names, job.calibration)
        try:
            Path(job.path).write_bytes(converter.convert())
        except Exception as error:
            raise BackendError(f"LiteRT's converter failed: {first_line(error)}") from None


def _save(made: keras.Model, path: str) -> None:
    """A SavedModel with one endpoint, `serve`; Keras's own export keeps each weight twice."""

    def serve(*arrays: Any) -> Any:
        return made(arrays if len(arrays) > 1 else arrays[0], training=False)

    module = tf.Module()
    module.weights = [variable.value for variable in made.variables]
    module.serve = tf.function(serve, input_signature=_specs(made), autograph=False)
    tf.saved_model.save(module, path, signatures=module.serve)


def _signature(made: keras.Model) -> list[Any]:
    """The one argument of a model: a tensor, or a list of them."""
    specs = _specs(made)
    return [specs] if len(specs) > 1 else specs


def _specs(made: keras.Model) -> list[tf.TensorSpec]:
    return [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, tensor.name) for tensor in made.inputs]


def _samples(names: Sequence[str], arrays: Sequence[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for i in range(len(arrays[0])):
        yield {name: array[i : i + 1] for name, array in zip(names, arrays, strict=True)}


WRITERS: dict[str, Callable[[keras.Model, ExportJob], None]] = {
    "onnx": _onnx,
    "saved-model": _saved_model,
    "litert": _litert,
    "keras": _keras,
}
