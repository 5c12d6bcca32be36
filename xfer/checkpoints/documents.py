"""JSON documents that come from a folder, checked against the dataclass that describes them."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from xfer.errors import CheckpointError
from xfer.runtime import checksums

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")


def read_document(path: Path, newest: int, what: str) -> dict[str, Any]:
    """The document of a file with a checksum; see `xfer.runtime.checksums.read`.

    Args:
        path: the file.
        newest: the latest format that is understood.
        what: what its folder is where there is no such file, for the message, such as "no ensemble".

    Raises:
        CheckpointError: no file, or one that is damaged, too large, or of a newer format.
    """
    try:
        return checksums.read(path, newest)
    except OSError as error:
        raise CheckpointError(f"{path.parent} is {what}: {path.name} cannot be read ({error.strerror})") from None


def validated(kind: type[T], document: Any, path: Path) -> T:
    """The dataclass that a document describes.

    Raises:
        CheckpointError: it says what cannot be, in one line with the place in the file `path`.
    """
    from pydantic import ValidationError

    try:
        found: T = _adapter(cast(Hashable, kind)).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:100]
        message = first["msg"].splitlines()[0]
        raise CheckpointError(f"{path} is damaged: {where or 'document'}: {message}") from None
    return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Made once, for it evaluates the annotations of the class."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)
