"""Class names."""

from __future__ import annotations

from collections.abc import Sequence

from xfer.errors import UsageError


def class_names(classes: Sequence[str] | int) -> tuple[str, ...]:
    """Names for `classes`: as given, or "0" to "K-1" for a number.

    Raises:
        UsageError: fewer than one class, or a name given twice.
    """
    names = tuple(str(i) for i in range(classes)) if isinstance(classes, int) else tuple(map(str, classes))
    if not names:
        raise UsageError(f"classes={classes!r} names no class: give names or a number of at least 1")
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise UsageError(f"class {twice!r} is named twice: class names must differ")
    return names
