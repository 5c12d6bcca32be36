"""Weights that Keras saved as HDF5, read without Keras.

Keras has two layouts: layers by name, with `layer_names` and `weight_names` as attributes (`model.save("x.h5")`, the
files of keras.applications), and `layers/*/vars/*` with the layer's name as an attribute (`model.save_weights`, and the
`model.weights.h5` in a `.keras` archive, whose configuration, which can hold code, is not looked at). The layers of a
model within a model, such as a network of keras.applications under a new head, are read as the model's own.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from xfer.errors import WeightsError
from xfer.weights.archive import MAGIC, Archive
from xfer.weights.hdf5 import Hdf5, Node
from xfer.weights.malformed import MalformedError

_DEPTH = 8  # of models within models
_MEMBER = "model.weights.h5"


def read_h5(path: str | Path) -> dict[str, np.ndarray]:
    """The weights of each layer as `layer/0`, `layer/1`, ... in the order in which Keras keeps them.

    That order is kernel, bias; for batch normalisation gamma, beta, mean, variance. Layouts are Keras's.

    Raises:
        WeightsError: damaged; no weights of Keras; or something in the file that weights never need: links, data in
            other files, filters, tensors that are larger than what the file holds of them.
    """
    with Path(path).open("rb") as file:
        try:
            return _read(file, file.seek(0, io.SEEK_END))
        except MalformedError as error:
            raise WeightsError(f"{path} is damaged or not a file of Keras: {error}") from None


def read_keras(path: str | Path) -> dict[str, np.ndarray]:
    """The weights in a `.keras` archive, as `read_h5` gives them; its configuration is not read.

    Raises:
        WeightsError: no such archive, or one whose weights `read_h5` refuses.
    """
    with Path(path).open("rb") as file:
        try:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            if file.read(len(MAGIC)) != MAGIC:
                raise MalformedError("it is no zip")
            content = Archive(file, size).read(_MEMBER)
            return _read(io.BytesIO(content), len(content))
        except MalformedError as error:
            raise WeightsError(f"refused {path}, a Keras archive: {error}") from None


def _read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    source = Hdf5(file, size)
    root = _child(source, source.root, "model_weights") if "model_weights" in source.root.children else source.root
    names = source.texts(root, "layer_names")
    layers = _numbered(source, root, _DEPTH) if names is None else _named(source, root, names)
    found: dict[str, list[np.ndarray]] = {}
    for layer, arrays in layers:
        if layer in found:
            raise MalformedError(f"it has two layers that are named {layer[:80]!r}")
        found[layer] = arrays
    return {f"{layer}/{i}": array for layer, arrays in found.items() for i, array in enumerate(arrays)}


def _named(source: Hdf5, root: Node, names: list[str]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The layout of keras.applications and of whole models."""
    for layer in names:
        group = _child(source, root, layer)
        weights = source.texts(group, "weight_names") or []
        owners = dict.fromkeys(name.rpartition("/")[0] for name in weights)
        for owner in owners:  # of a model within the model each layer
            own = [name for name in weights if name.rpartition("/")[0] == owner]
            arrays = [source.tensor(_child(source, group, name)) for name in own]
            yield layer if len(owners) == 1 else owner.rpartition("/")[2] or layer, arrays


def _numbered(source: Hdf5, root: Node, depth: int) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The layout of `save_weights` since Keras 3."""
    if "layers" not in root.children or not depth:
        raise MalformedError("holds no weights that Keras saved, or models within models")
    layers = _child(source, root, "layers")
    for key in layers.children:
        layer = _child(source, layers, key)
        if "layers" in layer.children:
            yield from _numbered(source, layer, depth - 1)
        group = _child(source, layer, "vars")
        if group.children:
            if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in group.children):
                raise MalformedError("the tensors of a layer have no numbers")
            numbers = sorted(group.children, key=int)
            name = (source.texts(group, "name") or [key])[0]
            yield name, [source.tensor(_child(source, group, number)) for number in numbers]


def _child(source: Hdf5, node: Node, path: str) -> Node:
    for part in path.split("/"):
        if part not in node.children:
            raise MalformedError(f"{part[:80]!r} is missing")
        node = source.node(node.children[part])
    return node
