"""Weights that Keras saved as HDF5, read with h5py and without Keras.

Keras has two layouts: layers by name, with `layer_names` and `weight_names` as attributes (`model.save("x.h5")`, the
files of keras.applications), and `layers/*/vars/*` with the layer's name as an attribute (`model.save_weights`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import WeightsError

if TYPE_CHECKING:
    import h5py


def read_h5(path: str | Path) -> dict[str, np.ndarray]:
    """The weights of each layer as `layer/0`, `layer/1`, ... in the order in which Keras keeps them.

    That order is kernel, bias; for batch normalisation gamma, beta, mean, variance. Layouts are Keras's.

    Raises:
        WeightsError: h5py is missing; damaged; no weights of Keras; or something in the file that weights never need:
            links, data in other files, filters, tensors that are larger than what the file holds of them.
    """
    try:
        import h5py
    except ImportError:
        raise WeightsError(f'{path} is an HDF5 file, which takes h5py: pip install "xfer-learn[h5]"') from None
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file) if _hard(file, "model_weights") else file
            layers = _named(root) if "layer_names" in root.attrs else _numbered(root, path)
            return {f"{layer}/{i}": array for layer, arrays in layers for i, array in enumerate(arrays)}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged or not a file of Keras: {str(error).splitlines()[0]}") from None


def _named(root: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The layout of keras.applications and of whole models."""
    for layer in _texts(root.attrs["layer_names"]):
        group = _child(root, layer)
        yield layer, [_array(_child(group, name)) for name in _texts(group.attrs["weight_names"])]


def _numbered(root: h5py.Group, path: str | Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The layout of `save_weights` since Keras 3."""
    if not _hard(root, "layers"):
        raise WeightsError("holds no weights that Keras saved")
    layers = _child(root, "layers")
    for key in layers:
        group = _child(_child(layers, key), "vars")
        if group.keys():
            name = str(group.attrs.get("name", key))
            yield name, [_array(_child(group, number)) for number in sorted(group, key=int)]


def _texts(attribute: Any) -> list[str]:
    return [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in attribute]


def _hard(group: h5py.Group, name: str) -> bool:
    """Whether a child is there and in this very file."""
    import h5py

    return name in group and isinstance(group.get(name, getlink=True), h5py.HardLink)


def _child(group: h5py.Group, name: str) -> Any:
    """A child by its path, each step of it in this very file."""
    for part in name.split("/"):
        if not _hard(group, part):
            raise WeightsError(f"{part!r} is missing, or a link that leads elsewhere")
        group = group[part]
    return group


def _array(dataset: h5py.Dataset) -> np.ndarray:
    """A tensor, if it is stored as Keras stores one: as it is, in this file."""
    held = dataset.id.get_storage_size()
    if dataset.external or dataset.is_virtual or dataset.compression or held != dataset.nbytes:
        raise WeightsError(f"{dataset.name!r} has {held} bytes here for {dataset.nbytes}: not stored as Keras does")
    if dataset.dtype.kind != "f":
        raise WeightsError(f"{dataset.name!r} has dtype {dataset.dtype}: expected a float")
    return np.asarray(dataset[()])
