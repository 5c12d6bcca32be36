"""The families of architectures that a backend can build, each in a file of its own that is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any


class FamilyTable(Mapping[str, Any]):
    """The builders of families by name: the function `resnet` of the module `resnet` builds the family "resnet".

    Args:
        package: full name of the package whose modules are the families.
        path: its `__path__`.
    """

    def __init__(self, package: str, path: Iterable[str]) -> None:
        self._package = package
        self._names = tuple(sorted(module.name for module in iter_modules(path)))

    def __getitem__(self, family: str) -> Any:
        if family not in self._names:
            raise KeyError(family)
        return getattr(import_module(f"{self._package}.{family}"), family)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
