"""JSON documents that say what their own bytes must be, and are read as if a stranger had written them.

The first key holds the SHA-256 of the document's bytes, its own 64 digits counted as zeros. So one flipped bit
anywhere, in a rate or in a space, is seen. It is no signature: whoever changes a document can seal it again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer.errors import CheckpointError

LIMIT = 8 << 20  # bytes; a manifest of 20,000 classes has less than one million
_OPENING = b'{\n "sha256": "'
_BLANK = b"0" * 64
_START, _END = len(_OPENING), len(_OPENING) + len(_BLANK)


def sealed(document: Mapping[str, Any]) -> bytes:
    """The JSON of a document, beginning with its seal.

    Raises:
        ValueError: a number that JSON does not have, such as infinity.
    """
    content = json.dumps({"sha256": _BLANK.decode(), **document}, indent=1, allow_nan=False).encode()
    return content[:_START] + hashlib.sha256(content).hexdigest().encode() + content[_END:]


def unsealed(content: bytes) -> dict[str, Any]:
    """The document of bytes that `sealed` made, without the seal; of bytes without one, what they say.

    Raises:
        ValueError: bytes that are not those that were sealed, or no JSON object; see `parse`.
    """
    if content.startswith(_OPENING):
        blank = content[:_START] + _BLANK + content[_END:]
        if hashlib.sha256(blank).hexdigest().encode() != content[_START:_END]:
            raise ValueError("its bytes are not those that were sealed")
    document = parse(content)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if document.pop("sha256", None) is not None and not content.startswith(_OPENING):
        raise ValueError("its seal is broken")
    return document


def is_sealed(content: bytes) -> bool:
    """Whether bytes begin as `sealed` writes them."""
    return content.startswith(_OPENING)


def read(path: Path, newest: int) -> dict[str, Any]:
    """A document of format 2 or later with its seal, or of format 1, which had none.

    A byte that changes cannot turn one into the other: where the seal is whole it covers the format, and where it is
    not, the format still says 2, which is not read without a seal.

    Args:
        path: the file.
        newest: the latest format that is understood.

    Raises:
        CheckpointError: no file, or one that is damaged, too large, or of a newer format.
    """
    try:
        content = within(path.parent, path.name, LIMIT)
        document = unsealed(content)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    found = document.get("format")
    if type(found) is int and found > newest:
        raise CheckpointError(f"{path} has format {found}, this xfer reads up to {newest}: upgrade xfer")
    if type(found) is not int or found < 1 or is_sealed(content) != (found > 1):
        raise CheckpointError(f"{path} is damaged: format {str(found)[:20]} does not begin so")
    return document


def within(folder: Path, name: str, limit: int | None = None) -> bytes:
    """The bytes of a file that lies in a folder itself, and not elsewhere by way of its name or of a link.

    Raises:
        CheckpointError: another place, no plain file, or more bytes than the limit. OSError: it cannot be read.
    """
    path = folder / name
    if not name or name in (".", "..") or any(character in name for character in "/\\:\0"):
        raise CheckpointError(f"{folder} names a file outside its folder: {name!r}")
    if Path(os.path.realpath(path)).parent != Path(os.path.realpath(folder)):
        raise CheckpointError(f"{path} is a link that leads outside its folder: copy the file into it")
    # Without waiting for whoever might write into a pipe.
    with open(path, "rb", opener=lambda p, flags: os.open(p, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise CheckpointError(f"{path} is no plain file: the run is damaged")
        if limit is not None and about.st_size > limit:
            raise CheckpointError(f"{path} has {about.st_size:,} bytes: more than {limit:,} is refused")
        try:
            content = file.read() if limit is None else file.read(limit)
        except MemoryError:
            raise CheckpointError(f"{path} has {about.st_size:,} bytes, which do not fit into memory") from None
    return content


def parse(content: bytes | bytearray) -> Any:
    """JSON as the standard has it, with nothing said twice.

    Raises:
        ValueError: no UTF-8 or no JSON; a key that is there twice, a number that is not finite, or lists in lists in
            lists.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("it says a key twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"it holds {constant}, which is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:20]}, which is no number")
    return number
