"""Values of which few are different, as numbers: labels of a million images are not a million Python objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import numpy as np

T = TypeVar("T", bound=Hashable)
U = TypeVar("U", bound=Hashable)


@dataclass(frozen=True, eq=False)
class Categorical(Sequence[T | None], Generic[T]):
    """A sequence of values, any of them None.

    Args:
        codes: int32 (N,), indices into `values`, -1 for None.
        values: the different ones.
    """

    codes: np.ndarray
    values: tuple[T, ...]

    @classmethod
    def of(cls, values: Iterable[T | None]) -> Categorical[T]:
        """Values in their order, the different ones as they first appear."""
        if isinstance(values, Categorical):
            return values
        known: dict[T, int] = {}
        codes = np.fromiter((-1 if v is None else known.setdefault(v, len(known)) for v in values), np.int32)
        return cls(codes, tuple(known))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> T | None: ...
    @overload
    def __getitem__(self, index: slice) -> Categorical[T]: ...
    def __getitem__(self, index: int | slice) -> T | Categorical[T] | None:
        if isinstance(index, slice):
            return Categorical(self.codes[index], self.values)
        code = int(self.codes[index])
        return None if code < 0 else self.values[code]

    def take(self, indices: np.ndarray) -> Categorical[T]:
        """The values at `indices`, int64 (M,), in that order."""
        return Categorical(self.codes[indices], self.values)

    def map(self, function: Callable[[T], U]) -> Categorical[U]:
        """The value of a function for each value, called once for each different one."""
        return Categorical(self.codes, tuple(map(function, self.values)))

    def numbers(self, of: Callable[[T], int], none: int) -> np.ndarray:
        """A number for each value, int64 (N,), called once for each different one; `none` for None."""
        return np.asarray(np.array([*map(of, self.values), none], np.int64)[self.codes])

    def is_one_of(self, values: Collection[T]) -> np.ndarray:
        """Which are among these, bool (N,)."""
        return np.asarray(np.array([*(value in values for value in self.values), False])[self.codes])

    def there(self) -> list[T]:
        """The different values that occur."""
        occurs = np.zeros(len(self.values) + 1, bool)
        occurs[self.codes] = True
        return [value for value, is_there in zip(self.values, occurs, strict=False) if is_there]
