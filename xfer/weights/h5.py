"""Weights that Keras saved as HDF5, read with h5py and without Keras.

Keras has two layouts: layers by name, with `layer_names` and `weight_names` as attributes (`model.save("x.h5")`, the
files of keras.applications), and `layers/*/vars/*` with the layer's name as an attribute (`model.save_weights`, and the
`model.weights.h5` in a `.keras` archive, whose configuration, which can hold code, is not looked at).
"""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xfer.errors import WeightsError
from xfer.weights.archive import MAGIC, Archive
from xfer.weights.malformed import MalformedError

if TYPE_CHECKING:
    import h5py

_MEMBER = "model.weights.h5"
_MAX_TEXT = 512 << 20  # bytes that a list of names may take


def read_h5(path: str | Path) -> dict[str, np.ndarray]:
    """The weights of each layer as `layer/0`, `layer/1`, ... in the order in which Keras keeps them.

    That order is kernel, bias; for batch normalisation gamma, beta, mean, variance. Layouts are Keras's.

    Raises:
        WeightsError: h5py is missing; damaged; no weights of Keras; or something in the file that weights never need:
            links, data in other files, filters, tensors that are larger than what the file holds of them.
    """
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _read(path, path, content)


def read_keras(path: str | Path) -> dict[str, np.ndarray]:
    """The weights in a `.keras` archive, as `read_h5` gives them; its configuration is not read.

    Raises:
        WeightsError: no such archive, or one whose weights `read_h5` refuses.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            if file.read(len(MAGIC)) != MAGIC:
                raise MalformedError("it is no zip")
            content = Archive(file, size).read(_MEMBER)
    except MalformedError as error:
        raise WeightsError(f"refused {path}, a Keras archive: {error}") from None
    return _read(path, io.BytesIO(content), content)


def _read(path: str | Path, source: Any, content: bytes | mmap.mmap) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise WeightsError(f'{path} is an HDF5 file, which takes h5py: pip install "xfer-learn[h5]"') from None
    try:
        with h5py.File(source, "r") as file:
            return _Reader(content).read(file)
    except (WeightsError, MalformedError) as error:
        raise WeightsError(f"{path}: {error}") from None
    # h5py turns whatever damaged bytes lead HDF5 to into exceptions of many kinds.
    except Exception as error:
        detail = ascii(str(error) or type(error).__name__)[1:-1][:200]
        raise WeightsError(f"{path} is damaged or not a file of Keras: {detail}") from None


class _Reader:
    """Reads one file.

    Args:
        content: its bytes. All tensors together cannot have more, however often the file links to one.
    """

    def __init__(self, content: bytes | mmap.mmap) -> None:
        self._size = self._room = len(content)
        self._longest_text = _longest_text(content)

    def read(self, file: h5py.File) -> dict[str, np.ndarray]:
        root = _child(file, "model_weights") if _hard(file, "model_weights") else file
        layers = self._named(root) if "layer_names" in root.attrs else self._numbered(root)
        return {f"{layer}/{i}": array for layer, arrays in layers for i, array in enumerate(arrays)}

    def _named(self, root: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
        """The layout of keras.applications and of whole models."""
        for layer in self._texts(root, "layer_names"):
            group = _child(root, layer)
            yield layer, [self._array(_child(group, name)) for name in self._texts(group, "weight_names")]

    def _numbered(self, root: h5py.Group) -> Iterator[tuple[str, list[np.ndarray]]]:
        """The layout of `save_weights` since Keras 3."""
        if not _hard(root, "layers"):
            raise MalformedError("holds no weights that Keras saved")
        layers = _child(root, "layers")
        for key in layers:
            group = _child(_child(layers, key), "vars")
            if len(group):
                numbers = sorted(group, key=int)
                yield _name(group, key), [self._array(_child(group, number)) for number in numbers]

    def _texts(self, group: h5py.Group, name: str) -> list[str]:
        """The names that an attribute lists. All of them may be the longest that the file has, if it lies."""
        about = group.attrs.get_id(name)
        count = math.prod(about.shape)
        if about.shape == (0,):
            return []
        if len(about.shape) != 1 or about.dtype.kind not in "SO":
            raise MalformedError(f"attribute {name!r} is no list of names")
        each = about.dtype.itemsize if about.dtype.kind == "S" else self._longest_text
        if about.get_storage_size() > self._size or count * each > _MAX_TEXT:
            raise MalformedError(f"attribute {name!r} may take {count * each:,} bytes: save with save_weights()")
        return [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in group.attrs[name]]

    def _array(self, dataset: h5py.Dataset) -> np.ndarray:
        """A tensor, if it is stored as Keras stores one: as it is, in this file."""
        held, needed = dataset.id.get_storage_size(), dataset.nbytes
        plist = dataset.id.get_create_plist()
        plain = not (dataset.external or dataset.is_virtual or dataset.chunks or plist.get_nfilters())
        if not plain or held != needed:
            raise MalformedError(f"{_shown(dataset)} has {held} bytes here for {needed}: not stored as Keras does")
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
            raise MalformedError(f"{_shown(dataset)} has dtype {dataset.dtype}: expected a float")
        self._room -= needed
        if self._room < 0:
            raise MalformedError(f"its tensors have more bytes than the file, which has {self._size:,}")
        return np.asarray(dataset[()])


def _name(group: h5py.Group, key: str) -> str:
    """The layer's name that goes with its weights; by default its key."""
    import h5py

    if "name" not in group.attrs:
        return key
    about = group.attrs.get_id("name")
    if about.shape != () or h5py.check_string_dtype(about.dtype) is None:
        raise MalformedError("the name of a layer is no text")
    found = group.attrs["name"]
    return found.decode("utf-8") if isinstance(found, bytes) else str(found)


def _longest_text(content: bytes | mmap.mmap) -> int:
    """The most bytes that a text of no fixed length can have: those of the largest heap, where HDF5 keeps such."""
    longest = at = 0
    while (at := content.find(b"GCOL\x01", at)) >= 0:
        longest = max(longest, min(int.from_bytes(content[at + 8 : at + 16], "little"), len(content)))
        at += 5
    return longest


def _hard(group: h5py.Group, name: str) -> bool:
    """Whether a child is there and in this very file; links are not followed to find out."""
    import h5py

    if not isinstance(group, h5py.Group) or name in ("", ".", ".."):
        return False
    raw = name.encode("utf-8")
    return bool(group.id.links.exists(raw) and group.id.links.get_info(raw).type == h5py.h5l.TYPE_HARD)


def _child(group: h5py.Group, name: str) -> Any:
    """A child by its path, each step of it in this very file."""
    for part in name.split("/"):
        if not _hard(group, part):
            raise MalformedError(f"{part[:80]!r} is missing, or a link that leads elsewhere")
        group = group[part]
    return group


def _shown(dataset: h5py.Dataset) -> str:
    return repr(dataset.name)[:100]
