"""What counts as no value, in tables and data sets of any origin."""

from __future__ import annotations

from typing import Any

# What pandas.read_csv takes for missing (its `na_values`), so that a table means the same wherever it is read.
_TEXTS = "#N/A #NA -1.#IND -1.#QNAN -NaN -nan 1.#IND 1.#QNAN <NA> N/A NA NULL NaN None n/a nan null"
EMPTY = frozenset(["", "#N/A N/A", *_TEXTS.split(" ")])
_MISSING = ("NAType", "NaTType")  # pandas.NA and pandas.NaT


def is_empty(cell: Any) -> bool:
    """Whether a cell has no value: None, NaN, pandas.NA, NaT, or a text of `EMPTY`, with blanks around it or not."""
    if isinstance(cell, str):
        return cell in EMPTY or cell.strip() in EMPTY
    if cell is None or type(cell).__name__ in _MISSING:
        return True
    try:
        return bool(cell != cell)
    except (TypeError, ValueError):  # an array
        return False
