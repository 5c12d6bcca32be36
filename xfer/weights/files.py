"""Weight files by their content, whatever they are called."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np

from xfer.errors import WeightsError
from xfer.weights.h5 import read_h5
from xfer.weights.pth import read_pth

_HEAD = 512


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors`, `.pth` or `.h5` file by name; for the last see `read_h5`.

    Returns:
        Arrays of their own memory; bfloat16 is widened to float32.

    Raises:
        WeightsError: missing, unreadable, truncated, of another format, or refused.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"no weights at {path}{_near(path)}: give a .safetensors, .pth or .h5 file")
    if path.is_dir():
        raise WeightsError(f"{path} is a folder without manifest.json, so no xfer run: give a file in it")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from None
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20:
        return _read_safetensors(path)
    if head.startswith(b"\x89HDF"):
        return read_h5(path)
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not weights: the download failed; remove it and download again")
    return read_pth(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                arrays[name] = file.get_tensor(name)
    except TypeError:  # NumPy has no bfloat16, and safetensors says so by this error
        return _widened(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or not a safetensors file: {str(error).splitlines()[0]}") from None
    return arrays


def _widened(path: Path) -> dict[str, np.ndarray]:
    """A safetensors file that holds bfloat16 tensors; the format is https://github.com/huggingface/safetensors."""
    from safetensors import deserialize

    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
    arrays = {}
    for name, tensor in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
        content, kind, shape = tensor["data"], tensor["dtype"], tensor["shape"]
        if kind == "BF16":
            bits = np.frombuffer(content, "<u2").astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(shape)
        elif kind in kinds:
            arrays[name] = np.frombuffer(content, kinds[kind]).reshape(shape).copy()
        else:
            raise WeightsError(f"{path}: tensor {name!r} has dtype {kind}, which no supported model uses")
    return arrays


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=3)
    return f" (there is {', '.join(near)})" if near else ""
