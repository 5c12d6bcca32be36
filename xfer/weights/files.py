"""Reading weight files of any kind, recognised by their content."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xfer.errors import WeightsError
from xfer.runtime.paths import expanded
from xfer.runtime.strict_json import parse
from xfer.weights.h5 import read_h5, read_keras
from xfer.weights.malformed import MalformedError
from xfer.weights.parts import with_prefix
from xfer.weights.pth import read_pth
from xfer.weights.sharded import read_sharded
from xfer.weights.tensors import read_safetensors

_HEAD = 512
_CONFIG = 1 << 20  # bytes of a config.json


def read_weights(path: str | Path, *, safetensors: bool = False) -> dict[str, np.ndarray]:
    """The tensors of a `.safetensors`, `.pth`, `.ckpt`, `.h5` or `.keras` file by name; for the last two see `read_h5`.

    Nothing in a file is executed or imported, and memory is bounded by a small multiple of its size.

    Args:
        path: the file, or the index of safetensors in several files. "x.pth#model" is the state dict of a checkpoint
            under that key, or, in any file, the tensors whose names begin with "model."; without it see `parts`.
        safetensors: refuse the other formats.

    Returns:
        Arrays of their own memory; bfloat16 is widened to float32.

    Raises:
        WeightsError: missing, unreadable, truncated, of another format, or refused.
    """
    path, part = _parted(expanded(path))
    if not path.exists():
        raise WeightsError(f"no weights at {path}{_near(path)}: give a .safetensors, .pth or .h5 file")
    if path.is_dir():
        raise WeightsError(f"{path} is a folder without manifest.json, so no xfer run: give a file in it")
    if not path.is_file():
        raise WeightsError(f"{path} is no plain file: give a .safetensors, .pth or .h5 file")
    try:
        return _read(path, part, safetensors)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise WeightsError(f"{path} does not fit into memory: it has {path.stat().st_size:,} bytes") from None


def beside(path: str | Path) -> dict[str, Any]:
    """What the `config.json` in the folder of weights says of their network, as timm and transformers write it.

    Returns:
        The document; empty where there is none that can be read.
    """
    config = _parted(expanded(path))[0].with_name("config.json")
    try:
        if not config.is_file() or config.stat().st_size > _CONFIG:
            return {}
        document = parse(config.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _parted(path: Path) -> tuple[Path, str]:
    """The file, and what stands after a "#" that is no part of its name."""
    name, mark, part = path.name.partition("#")
    return (path.with_name(name), part) if mark and name and not path.exists() else (path, "")


def _read(path: Path, part: str, safetensors: bool) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise WeightsError(f"{path} is empty: download it again")
    if head.lstrip()[:1] == b"<":
        raise WeightsError(f"{path} is a web page, not weights: the download failed; remove it and download again")
    if head.startswith(b"\x89HDF") and not safetensors:
        found = read_h5(path)
    elif not safetensors and (b"metadata.json" in head or b"model.weights.h5" in head or path.suffix == ".keras"):
        found = read_keras(path)
    elif (read := _read_safetensors if safetensors else _safetensors_reader(head)) is None:
        return read_pth(path, part)
    else:
        try:
            found = read(path)
        except MalformedError as error:
            raise WeightsError(f"{path} is damaged or not a safetensors file: {error}") from None
    try:
        return with_prefix(found, part) if part else found
    except MalformedError as error:
        raise WeightsError(f"{path}: {error}") from None


def _safetensors_reader(head: bytes) -> Callable[[Path], dict[str, np.ndarray]] | None:
    """What reads a file that begins so, if it is one of safetensors or an index of some."""
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return _read_safetensors
    return read_sharded if head.lstrip()[:1] == b"{" else None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        return read_safetensors(file, path.stat().st_size)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (there is no folder {path.parent})"
    near = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=3)
    return f" (there is {', '.join(near)})" if near else ""
