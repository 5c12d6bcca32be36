"""Columns of a table beside the images: missing values imputed, numbers scaled, categories one-hot, fitted on train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, get_args

import numpy as np

from xfer.data.dataset import Data
from xfer.data.empty import is_empty
from xfer.errors import DataError, UsageError, check_name
from xfer.runtime.text import listed
from xfer.specs.choices import Imputer

_MISSING = "(missing)"


@dataclass(frozen=True, eq=False)
class Columns:
    """A transformer of table cells to numbers, fitted on the training split.

    Columns whose cells in train are all numbers are numeric: missing ones are imputed, with a 0/1 column that says
    where, and all are standardised. The others are categories, one-hot encoded, of which "missing" is one; a category
    that is not in train is all zeros.

    Args:
        names: of the columns.
        numeric: which of them are numbers.
        transformer: a fitted `sklearn.compose.ColumnTransformer`.
        width: how many numbers a row becomes.
        sha256: of the file that it was read from, if it was.
    """

    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    transformer: Any
    width: int
    sha256: str = ""

    def __repr__(self) -> str:
        kinds = ("number" if numeric else "category" for numeric in self.numeric)
        said = listed((f"{name} ({kind})" for name, kind in zip(self.names, kinds, strict=True)), width=40)
        return f"Columns({said}; {self.width} numbers an image)"

    @classmethod
    def fit(cls, data: Data, imputer: Imputer = "median") -> Self:
        """Fit on the training split of a data set that was read with `columns`.

        Args:
            data: its validation and test splits are not used.
            imputer: "mean", "median", "most_frequent" (`sklearn.impute.SimpleImputer`), "knn" (`KNNImputer`) or
                "iterative" (`IterativeImputer`).

        Raises:
            UsageError: the data has no columns, or there is no such imputer. DataError: a column is all empty.
        """
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        check_name("imputer", imputer, get_args(Imputer))
        split = data.train
        if split.columns is None:
            raise UsageError(f"{data.source} has no columns: read it with manifest(..., columns=[...])")
        for name, cells in zip(split.column_names, split.columns.T, strict=True):
            if all(is_empty(cell) for cell in cells):
                raise DataError(f"column {name!r} is empty in train: leave it out")
        numeric = tuple(all(c is None or _number(c) is not None for c in cells) for cells in split.columns.T)
        scaling = make_pipeline(_imputer(imputer), StandardScaler())
        categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        transformer = _transformer(numeric, scaling, categories)
        table = _table(split.columns, split.column_names, numeric)
        return cls(split.column_names, numeric, transformer, transformer.fit_transform(table).shape[1])

    @classmethod
    def of_parts(cls, names: tuple[str, ...], numeric: tuple[bool, ...], parts: tuple[Any, ...], width: int) -> Self:
        """From a fitted pipeline of the numeric columns and a fitted encoder of the others, as xfer 0.1 stored them."""
        from sklearn.frozen import FrozenEstimator

        frozen = [None if part is None else FrozenEstimator(part) for part in parts]
        transformer = _transformer(numeric, *frozen)
        blank = np.array([[math.nan if number else _MISSING for number in numeric]], object)
        return cls(names, numeric, transformer.fit(blank), width)

    def transform(self, cells: np.ndarray | Sequence[Sequence[Any]]) -> np.ndarray:
        """Numbers float64 (N, `width`) of cells (N, C), None or NaN where one is missing.

        Raises:
            DataError: another number of columns, or a text where train has numbers.
        """
        rows = np.empty((len(cells), len(self.names)), object)
        for i, row in enumerate(cells):
            if len(row) != len(self.names):
                raise DataError(f"a row has {len(row)} columns: expected {', '.join(self.names)}")
            rows[i] = [None if is_empty(cell) else cell for cell in row]
        if not len(rows):
            return np.zeros((0, self.width))
        return np.asarray(self.transformer.transform(_table(rows, self.names, self.numeric)), np.float64)


def _transformer(numeric: Sequence[bool], scaling: Any, categories: Any) -> Any:
    from sklearn.compose import ColumnTransformer

    numbers = [j for j, is_number in enumerate(numeric) if is_number]
    others = [j for j, is_number in enumerate(numeric) if not is_number]
    parts = [("numbers", scaling, numbers), ("categories", categories, others)]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0.0)


def _imputer(name: Imputer) -> Any:
    from sklearn import impute

    if name == "knn":
        return impute.KNNImputer(add_indicator=True)
    if name == "iterative":
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401

        return impute.IterativeImputer(add_indicator=True, random_state=0)
    return impute.SimpleImputer(strategy=name, add_indicator=True)


def _number(cell: Any) -> float | None:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _table(cells: np.ndarray, names: Sequence[str], numeric: Sequence[bool]) -> np.ndarray:
    """Floats, NaN where one is missing, and texts: objects (N, C)."""
    found = np.empty(cells.shape, object)
    for j, (name, is_number) in enumerate(zip(names, numeric, strict=True)):
        found[:, j] = [_value(cell, name) if is_number else _text(cell) for cell in cells[:, j]]
    return found


def _value(cell: Any, name: str) -> float:
    number = math.nan if cell is None else _number(cell)
    if number is None:
        raise DataError(f"column {name!r} is {cell!r}: train has numbers there")
    return number


def _text(cell: Any) -> str:
    return _MISSING if cell is None else str(cell)
