"""JSON documents that contain a checksum of their own bytes, and are not trusted before they were checked.

The first key holds the SHA-256 of the document's bytes, its own 64 digits counted as zeros. So one flipped bit
anywhere is detected. It is no signature: anyone who changes a document can compute the checksum again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer.errors import CheckpointError
from xfer.runtime.files import read_inside
from xfer.runtime.strict_json import parse

LIMIT = 8 << 20  # bytes; a manifest of 20,000 classes has less than one million

_OPENING = b'{\n "sha256": "'

_BLANK = b"0" * 64

_START, _END = len(_OPENING), len(_OPENING) + len(_BLANK)


def with_checksum(document: Mapping[str, Any]) -> bytes:
    """The JSON of a document, beginning with its checksum.

    Raises:
        ValueError: a number that JSON does not have, such as infinity.
    """
    content = json.dumps({"sha256": _BLANK.decode(), **document}, indent=1, allow_nan=False).encode()
    return content[:_START] + hashlib.sha256(content).hexdigest().encode() + content[_END:]


def without_checksum(content: bytes) -> dict[str, Any]:
    """The document of bytes that `with_checksum` made, without the checksum; bytes without one are parsed as they are.

    Raises:
        ValueError: bytes that do not match their checksum, or no JSON object; see `parse`.
    """
    if content.startswith(_OPENING):
        blank = content[:_START] + _BLANK + content[_END:]
        if hashlib.sha256(blank).hexdigest().encode() != content[_START:_END]:
            raise ValueError("its bytes do not match its checksum")
    document = parse(content)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    if document.pop("sha256", None) is not None and not content.startswith(_OPENING):
        raise ValueError("its checksum is broken")
    return document


def has_checksum(content: bytes) -> bool:
    """Whether bytes begin with a checksum."""
    return content.startswith(_OPENING)


def read(path: Path, newest: int) -> dict[str, Any]:
    """A document of format 2 or later with its checksum, or of format 1, which had none.

    A changed byte cannot turn one into the other: an intact checksum covers the format, and without one the format
    still says 2 or more, which is not read without a checksum.

    Args:
        path: the file.
        newest: the latest format that is understood.

    Raises:
        CheckpointError: no file, or one that is damaged, too large, or of a newer format.
    """
    try:
        content = read_inside(path.parent, path.name, LIMIT)
        document = without_checksum(content)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    found = document.get("format")
    if type(found) is int and found > newest:
        raise CheckpointError(f"{path} has format {found}, this xfer reads up to {newest}: upgrade xfer")
    if type(found) is not int or found < 1 or has_checksum(content) != (found > 1):
        raise CheckpointError(f"{path} is damaged: format {str(found)[:20]} does not begin so")
    return document
