"""Torch files made by hand, without torch, from a pickle given as bytes."""

import io
import pickle
import struct
import zipfile

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def zipped(program: bytes, records: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """The zip format around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", b"little")
        for name, content in (records or {}).items():
            archive.writestr(f"archive/{name}", content)
    return out.getvalue()


def legacy(program: bytes, storages: dict[str, tuple[int, bytes]] | None = None) -> bytes:
    """The older sequence of pickles around a pickle; storages are (elements, bytes) by key."""
    parts = [pickle.dumps(x, 2) for x in (MAGIC, PROTOCOL, {"little_endian": True})]
    parts += [program, pickle.dumps(list(storages or {}), 2)]
    parts += [struct.pack("<q", count) + content for count, content in (storages or {}).values()]
    return b"".join(parts)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<i", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str = "0", elements: int = 4, kind: str = "FloatStorage") -> bytes:
    """A persistent id, as torch writes it."""
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(elements) + b"tQ"


def tensor(where: bytes, offset: int = 0, shape: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,)) -> bytes:
    """A call of _rebuild_tensor_v2."""
    numbers = b"".join(b"(" + b"".join(map(number, n)) + b"t" for n in (shape, stride))
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + where + number(offset) + numbers + b"\x89" + hooks + b"tR"


def state_dict(**values: bytes) -> bytes:
    """A pickle of a dictionary of such values."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in values.items()) + b"u."
