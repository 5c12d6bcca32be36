"""Reading weight files of any kind, recognised by their content."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from xfer.errors import WeightsError
from xfer.runtime.paths import expanded
from xfer.weights.h5 import read_h5, read_keras
from xfer.weights.malformed import MalformedError
from xfer.weights.pth import read_pth
from xfer.weights.tensors import read_safetensors

_HEAD = 512


def read_weights(path: str | Path, *, safetensors: bool = False) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors`, `.pth`, `.h5` or `.keras` file by name; for the last two see `read_h5`.

    Nothing in a file is executed or imported, and memory is bounded by a small multiple of its size.

    Args:
        path: the file.
        safetensors: refuse the other formats.

    Returns:
        Arrays of their own memory; bfloat16 is widened to float32.

    Raises:
        WeightsError: missing, unreadable, truncated, of another format, or refused.
    """
    path = expanded(path)
    if not path.exists():
        raise WeightsError(f"no weights at {path}{_near(path)}: give a .safetensors, .pth or .h5 file")
    if path.is_dir():
        raise WeightsError(f"{path} is a folder without manifest.json, so no xfer run: give a file in it")
    if not path.is_file():
        raise WeightsError(f"{path} is no plain file: give a .safetensors, .pth or .h5 file")
    try:
        return _read(path, safetensors)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise WeightsError(f"{path} does not fit into memory: it has {path.stat().st_size:,} bytes") from None


def _read(path: Path, safetensors: bool) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if safetensors or (head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32):
        try:
            with path.open("rb") as file:
                return read_safetensors(file, path.stat().st_size)
        except MalformedError as error:
            raise WeightsError(f"{path} is damaged or not a safetensors file: {error}") from None
    if head.startswith(b"\x89HDF"):
        return read_h5(path)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not weights: the download failed; remove it and download again")
    if b"metadata.json" in head or b"model.weights.h5" in head or path.suffix.lower() == ".keras":
        return read_keras(path)
    return read_pth(path)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=3)
    return f" (there is {', '.join(near)})" if near else ""
