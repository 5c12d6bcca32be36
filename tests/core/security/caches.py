"""Hostile namespaces of the feature cache, and hostile pictures."""

import contextlib
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

import xfer
from tests.core.weights.craft import state_dict, storage, tensor, zipped
from xfer.features import store
from xfer.testing import NumpyBackend

Change = Callable[[Path], object]


HEADERS = {
    "endless sides": {"shape": [10**9, 10**9], "dtype": "<f4"},
    "a side of 2^100": {"shape": [2**100], "dtype": "<f4"},
    "a negative side": {"shape": [-4], "dtype": "<f4"},
    "a side of nothing": {"shape": [0], "dtype": "<f4"},
    "twenty sides": {"shape": [1] * 20, "dtype": "<f4"},
    "objects": {"shape": [4], "dtype": "|O"},
    "a text for sides": {"shape": "4", "dtype": "<f4"},
    "a fraction": {"shape": [4.5], "dtype": "<f4"},
    "something else": {"shape": [4], "dtype": "<f4", "pickle": "x"},
    "a list": [4],
    "a number that is none": {"shape": [float("nan")], "dtype": "<f4"},
    "infinity": {"shape": [float("inf")], "dtype": "<f4"},
}


def spaces(folder: Path) -> list[tuple[str, str, str]]:
    """Segments of the feature cache that lie."""
    found = []
    for number, (name, header) in enumerate(HEADERS.items()):
        path = folder / f"space{number}"
        path.mkdir()
        (path / "x.rows").write_bytes(json.dumps(header).encode().ljust(256) + bytes(4096))
        found.append((f"cache: {name}", "cache", str(path)))
    path = folder / "space"
    path.mkdir()
    os.mkfifo(path / "pipe.rows")
    (path / "folder.rows").mkdir()
    (path / "link.rows").symlink_to("/dev/zero")
    (path / "nothing.rows").symlink_to("gone")
    (path / "nested.rows").write_bytes(b"[" * 300)
    with (path / "sparse.rows").open("wb") as file:
        file.write(json.dumps({"shape": [1000], "dtype": "<f4"}).encode().ljust(256))
        file.truncate(1 << 28)
    found.append(("cache: pipes, folders, links and 256 MiB of nothing", "cache", str(path)))
    return found


def use_space(path: str) -> None:
    """Look for rows; that none is there counts as refused."""
    if not store.find(Path(path), {bytes(32), b"x" * 32}).places:
        raise xfer.XferError("no row is there")


def images(folder: Path) -> list[tuple[str, str, str]]:
    """Pictures that are none, or too many; `tests/core/data` has more of them."""
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    lies = bytearray(png.getvalue())
    lies[16:24] = struct.pack(">II", 200_000, 200_000)
    contents = {
        "40 gigapixels": bytes(lies),
        "cut off": png.getvalue()[:40],
        "PostScript, which runs": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file\n",
        "a pickle": zipped(state_dict(w=tensor(storage()))),
        "a script": b"#!/bin/sh\ntouch canary\n",
    }
    found = []
    for number, (name, content) in enumerate(contents.items()):
        path = folder / f"image{number}.png"
        path.write_bytes(content)
        found.append((f"image: {name}", "image", str(path)))
    return found


def warm_up(folder: Path, readers: dict[str, Callable[[str], Any]]) -> None:
    """Use every reader once on something good, so that what it imports is there."""
    warm = folder / "warm"
    warm.mkdir()
    (warm / "x.pth").write_bytes(zipped(state_dict(w=tensor(storage())), {"data/0": bytes(16)}))
    save_file({"a": np.ones(3, np.float32)}, warm / "x.safetensors")
    with h5py.File(warm / "x.h5", "w") as file:
        file["layers/0/vars/0"] = np.ones(3, np.float32)
        file["layers/0/vars"].attrs["name"] = "dense"
    for name in ("x.pth", "x.safetensors", "x.h5"):
        readers["weights"](str(warm / name))
    for name in "ab":
        Image.new("RGB", (8, 8)).save(warm / f"{name}.png")
    (warm / "x.csv").write_text("image,label,split\na.png,a,train\nb.png,b,train\na.png,a,val\nb.png,b,val\n")
    readers["table"](str(warm / "x.csv"))
    readers["image"](str(warm / "a.png"))
    (warm / "x.toml").write_text("data = 'digits'")
    readers["config"](str(warm / "x.toml"))
    for name in ("plain", "estimator"):
        xfer.load(folder / "good" / name, backend=NumpyBackend())
    readers["run"](str(folder / "good" / "plain"))
    with contextlib.suppress(xfer.XferError):  # its members' backend is not registered
        readers["run"](str(folder / "good" / "ensemble"))
    for kind in ("weights", "table", "config", "image", "cache"):  # what is needed to refuse
        (warm / "bad").write_bytes(b"\x00")
        with contextlib.suppress(Exception):
            readers[kind](str(warm / "bad"))
