"""Short texts: what `repr` shows of names, numbers and lists."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

_NAME = 24  # characters of a name in a list
_LISTED = 5


def printable(text: str) -> str:
    """One line of what is there, whatever the names of files hold: bytes that are no text, or a terminal's commands."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in shown)


def one_line(text: object, most: int = _NAME) -> str:
    """A text as one printable line of at most so many characters."""
    line = printable(str(text))
    return line if len(line) <= most else line[: most - 1] + "…"


def path_text(path: object, most: int = 80) -> str:
    """A path as one printable line; of a long one the end, which says more."""
    line = printable(str(path))
    return line if len(line) <= most else "…" + line[1 - most :]


def listed(names: Iterable[object], most: int = _LISTED, width: int = _NAME) -> str:
    """The first of some names, each of at most so many characters, and how many more there are: `a, b, ... 8 more`."""
    every = list(names)
    rest = [f"... {len(every) - most:,} more"] if len(every) > most else []
    return ", ".join([*(one_line(name, width) for name in every[:most]), *rest])


def count_of(number: int, what: str, plural: str | None = None) -> str:
    """`1 image`, `2,000 images`, `3 classes`."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def classes_text(classes: Sequence[str]) -> str:
    """`2 classes (ant, bee)`."""
    names = f" ({listed(classes)})" if classes else ""
    return count_of(len(classes), "class", "classes") + names


def size_text(size: float) -> str:
    """Bytes as `13.4 MiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
