"""Hostile files, each class of attack once or more; `write` puts them all into a folder.

A kind says what reads a file; see `victim.py`. Every one of them is to be refused, but those of kind "harmless": what
is hostile in them is not looked at.
"""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.core.weights import test_h5 as h5
from tests.core.weights.craft import legacy, state_dict, storage, tensor, text, zipped
from tests.core.weights.test_pth_attacks import ARCHIVES, CALLS, FORMATS, FOUR, GOOD, LIES

TUPLES = b"K\x01q\x000" + b"h\x00h\x00\x86q\x000" * 64 + b"h\x00"  # a tuple of 2^64 ones

BOMBS = {
    "a memo of 32 GB": b"\x80\x02K\x01r\xff\xff\xff\x7f}.",
    "8 TB of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 43) + b".",
    "a bytearray of 8 TB": b"\x80\x05\x96" + struct.pack("<Q", 1 << 43) + b".",
    "8 TB of text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 43) + b".",
    "a number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "a frame of 8 TB": b"\x80\x04\x95" + struct.pack("<Q", 1 << 43) + b"}.",
    "a key that takes for ever to hash": b"\x80\x02}" + TUPLES + b"Ns.",
    "a name that takes for ever to show": b"\x80\x04" + TUPLES + text("x") + b"\x93.",
    "a storage that takes for ever to compare": b"\x80\x04(" + text("storage") + TUPLES + TUPLES + b"tQ.",
    "lists in lists": b"\x80\x02" + b"]" * 900_000 + b"a" * 899_999 + b".",
    "endless": b"\x80\x02" + b"N0" * 4_000_000 + b".",
    "many dictionaries": b"\x80\x02(" + b"}" * 1_900_000 + b"t.",
    "many large integers": b"\x80\x02(" + (b"\x8a\xff" + bytes(254) + b"\x01") * 100_000 + b"t.",
    "a storage of two types": state_dict(w=tensor(storage()), v=tensor(storage(kind="IntStorage"))),
    "a storage of endless elements": state_dict(w=tensor(storage(elements=2**70))),
    "a storage of -1 elements": state_dict(w=tensor(storage(elements=-1))),
    "empty, of endless sides": state_dict(w=tensor(storage(), shape=(0, 2**47, 2**47), stride=(1, 1, 1))),
    "forty dimensions": state_dict(w=tensor(storage(), shape=(1,) * 40, stride=(1,) * 40)),
    "protocol 0": pickle.dumps({"w": 1}, 0),
}


def overlapping() -> bytes:
    """A record that lies within another (D. Fifield, "A better zip bomb", 2019)."""
    inner = zipped(GOOD, {"data/0": bytes(1000)})
    start = inner.index(b"PK\x01\x02")
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("archive/x", inner[:start])
    whole = outer.getvalue()
    shift = whole.index(inner[:start])
    entries = bytearray(inner[start : inner.index(b"PK\x05\x06")])
    at = 0
    while at < len(entries):  # the inner list of records, moved to where they are now
        (offset,) = struct.unpack_from("<I", entries, at + 42)
        struct.pack_into("<I", entries, at + 42, offset + shift)
        at += 46 + sum(struct.unpack_from("<HHH", entries, at + 28))
    end = whole.index(b"PK\x05\x06")
    directory = whole[whole.index(b"PK\x01\x02", shift + start) : end] + bytes(entries)
    body = whole[: whole.index(b"PK\x01\x02", shift + start)]
    count = directory.count(b"PK\x01\x02")
    return body + directory + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)


def lying_size() -> bytes:
    """A record of 4 GB, as its entry says."""
    content = bytearray(zipped(GOOD, {"data/0": FOUR}))
    at = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(content)


def long_directory() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for i in range(60_000):
            archive.writestr(f"archive/data/{i}{'x' * 40}", b"")
    return out.getvalue()


def twice() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for program in (CALLS["system"], GOOD):
            archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", FOUR)
    return out.getvalue()


def named(*names: str) -> Callable[[], bytes]:
    def make() -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, CALLS["system"])
        return out.getvalue()

    return make


ZIPS = {
    "overlapping records": overlapping,
    "a size that lies": lying_size,
    "a long list of records": long_directory,
    "two records of one name": twice,
    "a pickle under another name": named("archive/evil.pkl"),
    "a pickle outside": named("../../data.pkl", "/data.pkl"),
    "a pickle at the root": named("data.pkl"),
    "a TorchScript archive": named("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl", "m/version"),
    "a bomb behind names": named(*(f"{'../' * 30}{i}/data.pkl" for i in range(50))),
}


def header(document: object, tail: bytes = b"", length: int | None = None) -> bytes:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(content) if length is None else length) + content + tail


def entry(shape: object = (4,), offsets: object = (0, 16), kind: object = "F32") -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": offsets}


SAFETENSORS = {
    "header longer than the file": header({"a": entry()}, bytes(16), 1 << 40),
    "header of 2^64 bytes": header({"a": entry()}, bytes(16), 2**64 - 1),
    "header of nothing": header(b"", b"{" + bytes(16)),
    "header of 16 MiB": header(b"{" + b" " * (16 << 20) + b"}"),
    "header nested": header(b'{"a":' + b"[" * 500_000),
    "header of many small things": header(b'{"a":[' + b"[]," * 2_000_000 + b"[]]}"),
    "a tensor twice": header(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(16)),
    "tensors that overlap": header({"a": entry(), "b": entry()}, bytes(16)),
    "tensors that overlap in part": header({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)),
    "a gap": header({"a": entry(), "b": entry(offsets=(20, 36))}, bytes(36)),
    "bytes after the last": header({"a": entry()}, bytes(17)),
    "an end after the file": header({"a": entry((1 << 40,), (0, 1 << 42))}, bytes(16)),
    "an overflow": header({"a": entry((1 << 62, 4), (0, 16))}, bytes(16)),
    "an overflow to nothing": header({"a": entry((1 << 32, 1 << 32), (0, 0))}),
    "endless sides of nothing": header({"a": entry((0, 1 << 47, 1 << 47), (0, 0))}),
    "a negative place": header({"a": entry((4,), (-16, 0))}, bytes(16)),
    "a negative shape": header({"a": entry((-4,), (0, -16))}, bytes(16)),
    "a shape of fractions": header({"a": entry((4.0,), (0, 16))}, bytes(16)),
    "a shape of truths": header({"a": entry((True, 4), (0, 16))}, bytes(16)),
    "a shape of text": header({"a": entry("4")}, bytes(16)),
    "a hundred dimensions": header({"a": entry((1,) * 99 + (4,))}, bytes(16)),
    "an unknown dtype": header({"a": entry(kind="O")}, bytes(16)),
    "a dtype of another size": header({"a": entry(kind="F64")}, bytes(16)),
    "a list of dtypes": header({"a": entry(kind=["F32"])}, bytes(16)),
    "a number of 10,000 digits": header(b'{"a":' + b"9" * 10_000 + b"}"),
    "infinity": header(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,16]}}', bytes(16)),
    "truth of 2": header({"a": entry((4,), (0, 4), "BOOL")}, b"\x02\x02\x02\x02"),
    "no UTF-8": header(b'{"\xff": 1}'),
}


INDEXES = {
    "a path": b'{"weight_map": {"a": "../x.safetensors"}}',
    "an absolute path": b'{"weight_map": {"a": "/etc/passwd"}}',
    "a folder": b'{"weight_map": {"a": "work"}}',
    "itself": b'{"weight_map": {"a": "index.json"}}',
    "a pipe": b'{"weight_map": {"a": "pipe.h5"}}',
    "a key twice": b'{"weight_map": {"a": "x", "a": "x"}}',
    "nested": b'{"weight_map": ' + b"[" * 500_000,
    "of 16 MiB": b'{"weight_map": {' + b" " * (16 << 20) + b"}}",
    "many files": json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(100_000)}}).encode(),
    "a list of files": b'{"weight_map": {"a": ["x.safetensors"]}}',
}


def hard_links(path: Path) -> None:
    with h5py.File(path, "w") as file:
        first = file.create_group("layers/0/vars")
        first["0"] = np.zeros(1 << 18, np.float32)
        for i in range(1, 4000):
            file[f"layers/{i}"] = file["layers/0"]


def long_names(path: Path) -> None:
    """Thousands of names that are all the one of a megabyte."""
    with h5py.File(path, "w") as file:
        file.attrs["long"] = b"x" * (1 << 20)
        file.attrs["layer_names"] = [b"12345678"] * 4000
    content = path.read_bytes()
    long, short = struct.pack("<I", 1 << 20), struct.pack("<I", 8)

    def in_heap(at: int) -> bool:
        (where,) = struct.unpack_from("<Q", content, at + 4)
        return content[where : where + 4] == b"GCOL"

    one = next(i for i in range(len(content) - 16) if content[i : i + 4] == long and in_heap(i))
    first = next(i for i in range(len(content) - 16) if content[i : i + 4] == short and in_heap(i))
    path.write_bytes(content[:first] + content[one : one + 16] * 4000 + content[first + 64_000 :])


def chunked(path: Path) -> None:
    h5.legacy(path, shuffle=True, chunks=True, fletcher32=True)


def large_shape(path: Path) -> None:
    """A tensor that says it has 16 GB, and that the file has them."""
    h5.legacy(path)
    content = bytearray(path.read_bytes())
    places = [i for i in range(len(content) - 16) if content[i : i + 16] == struct.pack("<QQ", 3, 4)]
    for place in places:
        content[place : place + 16] = struct.pack("<QQ", 1 << 16, 1 << 16)
    size = struct.pack("<Q", 48)
    while (at := content.find(size)) >= 0:
        content[at : at + 8] = struct.pack("<Q", 1 << 34)
    path.write_bytes(content)


def soft_group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers"] = h5py.SoftLink("/layers")


def external_root(path: Path) -> None:
    """Links to a pipe: whoever follows them waits for ever."""
    os.mkfifo(path.with_name("pipe.h5"))
    with h5py.File(path, "w") as file:
        for name in ("model_weights", "layers"):
            file[name] = h5py.ExternalLink("pipe.h5", "/")


def changed(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        h5.legacy(path)
        change(path)

    return make


H5 = {
    "hard links to one tensor": hard_links,
    "names of 4 GB": long_names,
    "filters": chunked,
    "16 GB": large_shape,
    "a link to itself": soft_group,
    "links to a pipe": external_root,
    "an external link": changed(h5.external_link),
    "a soft link": changed(h5.soft_link),
    "external data": changed(h5.external_data),
    "a virtual tensor": changed(h5.virtual),
    "a bomb": changed(h5.bomb),
    "4 TB declared": changed(h5.declared_only),
    "nothing but the signature": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(4000)),
}

LAMBDA = {
    "class_name": "Sequential",
    "config": {"layers": [{"class_name": "Lambda", "config": {"function": "X_system_touch_canary"}}]},
}


def keras(path: Path, method: int = zipfile.ZIP_STORED, member: str = "model.weights.h5", junk: int = 0) -> None:
    inner = path.with_suffix(".inner")
    with h5py.File(inner, "w") as file:
        file["layers/dense/vars/0"] = np.ones((2, 2), np.float32)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("config.json", json.dumps(LAMBDA))
        archive.writestr(member, inner.read_bytes() + bytes(junk))
    inner.unlink()


KERAS = {
    "no weights": lambda path: keras(path, member="../model.weights.h5"),
    "a bomb": lambda path: keras(path, zipfile.ZIP_DEFLATED, junk=100_000_000),
    "nothing but a list": lambda path: path.write_bytes(b"PK\x05\x06" + bytes(18)),
}

TABLES = {
    "a field of a megabyte": b"image,label\n" + b"x" * (1 << 20) + b",a\n",
    "NUL": b"image,label\n\0.png,a\n",
    "UTF-16": "image,label\na.png,a\n".encode("utf-16"),
    "Latin 1": b"image,label\n\xe9.png,a\n",
    "a quote that never ends": b'image,label\n"' + b"x,\n" * 1_000_000,
    "a quoted newline for a path": b'image,label\n"a\nb\x1b[2J",a\n',
    "a path of 10,000 letters": b"image,label\n" + b"x" * 10_000 + b",a\n",
    "a folder for an image": b"image,label\n.,a\n",
    "a pipe for an image": b"image,label\npipe.h5,a\n",
    "a million columns": b"image,label" + b",x" * 1_000_000 + b"\n" + b"\n",
    "random bytes": np.random.default_rng(0).bytes(100_000),
    "nothing": b"",
}

CONFIGS = {
    "nested": b"data = " + b"[" * 100_000,
    "nested tables": b"[" + b"a." * 50_000 + b"a]",
    "a number of 10,000 digits": b"epochs = " + b"9" * 10_000,
    "infinity": b"data = 'x'\nlr = inf",
    "not a number": b"data = 'x'\nlr = nan",
    "of a gigabyte, sparse": b"",
    "no UTF-8": b"data = '\xff'",
    "a date": b"data = 1979-13-40",
    "a list for a text": b"data = [1, 2]",
    "twice": b"data = 'x'\ndata = 'y'",
}


def write(folder: Path) -> list[tuple[str, str, str]]:
    """Write all attacks on single files; gives name, kind and path of each."""
    found: list[tuple[str, str, str]] = []

    def add(group: str, name: str, kind: str, suffix: str, content: bytes | Callable[[Path], object]) -> None:
        path = folder / f"{len(found)}{suffix}"
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        found.append((f"{group}: {name}", kind, str(path)))

    for form, wrap in FORMATS.items():
        for name, program in (CALLS | LIES | BOMBS).items():
            add(f".pth, {form}", name, "weights", ".pth", wrap(program))
        beside = GOOD[:-2] + text("call") + CALLS["system"][2:-1] + b"u."
        add(f".pth, {form}", "a call beside a tensor", "harmless", ".pth", wrap(beside))
    large = np.zeros(1 << 21, np.float32).tobytes()
    shared = state_dict(**{f"w{i}": tensor(storage(elements=1 << 21), shape=(1 << 21,)) for i in range(2000)})
    add(".pth, zip", "tensors that share", "weights", ".pth", zipped(shared, {"data/0": large}))
    add(".pth, legacy", "tensors that share", "weights", ".pth", legacy(shared, {"0": (1 << 21, large)}))
    for name, content in ARCHIVES.items():
        add(".pth archive", name, "weights", ".pth", content)
    for name, make in ZIPS.items():
        add(".pth archive", name, "weights", ".pth", make())
    for name, content in SAFETENSORS.items():
        add(".safetensors", name, "weights", ".safetensors", content)
    for name, content in INDEXES.items():
        add(".index.json", name, "weights", ".index.json", content)
    for name, make in H5.items():
        add(".h5", name, "weights", ".h5", make)
    add(".keras", "a Lambda layer", "harmless", ".keras", keras)
    for name, make in KERAS.items():
        add(".keras", name, "weights", ".keras", make)
    for name, content in TABLES.items():
        add(".csv", name, "table", ".csv", content)
    for name, content in CONFIGS.items():
        add(".toml", name, "config", ".toml", content)
    os.truncate(found[[name for name, _, _ in found].index(".toml: of a gigabyte, sparse")][2], 1 << 30)
    return found
