"""Columns of a table beside the images: missing values imputed, numbers scaled, categories encoded, by train alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from xfer.errors import DataError, UsageError, check_name

if TYPE_CHECKING:
    from xfer.data import Data

Imputer = Literal["mean", "median", "most_frequent", "knn", "iterative"]
_MISSING = "(missing)"


@dataclass(frozen=True, eq=False)
class Columns:
    """Makes numbers of cells, as scikit-learn's transformers learnt to on the training split.

    Columns whose cells in train are all numbers are numeric: missing ones are imputed, with a 0/1 column that says
    where, and everything is standardised. The others are categories, one-hot, of which "missing" is one; a category
    that train lacks is all zeros.

    Args:
        names: of the columns.
        numeric: which of them are numbers.
        transformers: fitted, of numeric columns and of the others; None where there are none.
        width: how many numbers a row becomes.
    """

    names: tuple[str, ...]
    numeric: tuple[bool, ...]
    transformers: tuple[Any, Any]
    width: int

    @classmethod
    def fit(cls, data: Data, imputer: Imputer = "median") -> Self:
        """Learn from the training split of a data set that was read with `columns`.

        Args:
            data: its validation and test splits are not looked at.
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
            if all(cell is None for cell in cells):
                raise DataError(f"column {name!r} is empty in train: leave it out")
        numeric = tuple(all(c is None or _number(c) is not None for c in cells) for cells in split.columns.T)
        numbers, names = _numbers(split.columns, numeric), _categories(split.columns, numeric)
        scaling = categories = None
        if numbers.shape[1]:
            scaling = make_pipeline(_imputer(imputer), StandardScaler()).fit(numbers)
        if names.shape[1]:
            categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(names)
        fitted = cls(split.column_names, numeric, (scaling, categories), 0)
        width = fitted.transform(split.columns[:1]).shape[1]
        return cls(split.column_names, numeric, (scaling, categories), width)

    def transform(self, cells: np.ndarray | Sequence[Sequence[Any]]) -> np.ndarray:
        """Numbers float64 (N, `width`) of cells (N, C), None or NaN where one is missing.

        Raises:
            DataError: another number of columns, or a text where train has numbers.
        """
        table = np.empty((len(cells), len(self.names)), object)
        for i, row in enumerate(cells):
            if len(row) != len(self.names):
                raise DataError(f"a row has {len(row)} columns: expected {', '.join(self.names)}")
            table[i] = [None if is_empty(cell) else cell for cell in row]
        parts = []
        for transformer, part in zip(
            self.transformers,
            (_numbers(table, self.numeric, self.names), _categories(table, self.numeric)),
            strict=True,
        ):
            if transformer is not None:
                parts.append(np.asarray(transformer.transform(part), np.float64))
        return np.hstack(parts)


def _imputer(name: Imputer) -> Any:
    from sklearn import impute

    if name == "knn":
        return impute.KNNImputer(add_indicator=True)
    if name == "iterative":
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401

        return impute.IterativeImputer(add_indicator=True, random_state=0)
    return impute.SimpleImputer(strategy=name, add_indicator=True)


def is_empty(cell: Any) -> bool:
    """Whether a cell says nothing: None, an empty text, or NaN, which Parquet's missing values become."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell)


def _number(cell: Any) -> float | None:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _numbers(cells: np.ndarray, numeric: Sequence[bool], names: Sequence[str] = ()) -> np.ndarray:
    chosen = [j for j, is_number in enumerate(numeric) if is_number]
    found = np.full((len(cells), len(chosen)), np.nan)
    for to, j in enumerate(chosen):
        for i, cell in enumerate(cells[:, j]):
            number = None if cell is None else _number(cell)
            if cell is not None and number is None:
                raise DataError(f"column {names[j]!r} is {cell!r}: train has numbers there")
            found[i, to] = math.nan if number is None else number
    return found


def _categories(cells: np.ndarray, numeric: Sequence[bool]) -> np.ndarray:
    chosen = [j for j, is_number in enumerate(numeric) if not is_number]
    found = np.empty((len(cells), len(chosen)), object)
    for to, j in enumerate(chosen):
        found[:, to] = [_MISSING if cell is None else str(cell) for cell in cells[:, j]]
    return found
